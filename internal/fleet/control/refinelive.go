package control

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"pennyfarthing/internal/fleet/release"
)

// refineLive sends the best codings of a release behind it, from the machine that has
// deployed it, on every processor. What goes wrong with it is told, and takes nothing back.
func (f *Fleet) refineLive(ctx context.Context, m *release.Manifest, from content, r *Report) error {
	return f.refineReported(ctx, m, r, &refiner{fleet: f, from: from, workers: runtime.GOMAXPROCS(0)})
}

// refineServed is refineLive from a machine that need not have the files: POPs send what
// it lacks.
func (f *Fleet) refineServed(ctx context.Context, r *Report) error {
	seen, err := f.Observe(ctx)
	if err != nil {
		return err
	}
	donors := f.donors(states(seen, r.Site), r.Release)
	m, _, err := f.manifest(ctx, r.Site, r.Release, donors)
	if err != nil {
		return err
	}
	return f.refineReported(ctx, m, r, &refiner{fleet: f, from: shelf{f.store}, donors: donors, workers: runtime.GOMAXPROCS(0)})
}

// refineReported has a refiner do what POPs lack that serve a release.
func (f *Fleet) refineReported(ctx context.Context, m *release.Manifest, r *Report, w *refiner) error {
	var live []string
	for _, p := range r.POPs {
		if p.Live {
			live = append(live, p.POP)
		}
	}
	began := f.Now()
	todo, asked := f.newRefinement(ctx, m, live)
	if len(todo.files) > 0 {
		f.tell(Event{Kind: EventNote, Site: m.Site, Text: fmt.Sprintf("%s is live on %d of %d; its best codings are being made", Short(r.Release), len(live), len(f.agents))})
	}
	w.todo = todo
	err := errors.Join(asked, w.run(ctx))
	r.Refined, r.Refining = w.sent, f.Now().Sub(began).Round(time.Millisecond)
	if err != nil {
		return fmt.Errorf("%s is live, but not all of its best codings could be sent: %w", Short(r.Release), err)
	}
	return nil
}
