package control

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"time"

	"pennyfarthing/internal/lockfile"
)

// errBusy says that the machine has something better to do.
var errBusy = errors.New("this machine has something else to do")

// glanceEvery is how often it is found out whether it has, while codings are made.
const glanceEvery = 250 * time.Millisecond

// An idler makes best codings while nobody wants the machine. Only its own goroutine has
// it.
type idler struct {
	keeper *Keeper
	// done is the release, by site and POP, of whose best codings nothing is lacking.
	done map[string]map[string]string
	// failed is what went wrong last, by site: it is tried again with the next release, or
	// after a while.
	failed map[string]failedRelease
	// waiting is since when there is something to do for a site and no time for it, or
	// when that was last told.
	waiting map[string]time.Time
}

type failedRelease struct {
	release string
	at      time.Time
}

// refine makes best codings after each look at the fleet that nobody has heard of yet,
// until ctx ends. It takes the thread it runs on with it.
func (k *Keeper) refine(ctx context.Context, looked <-chan struct{}) {
	runtime.LockOSThread() // and never gives it back: others would have its priority
	lowerPriority()
	w := &idler{keeper: k, done: make(map[string]map[string]string), failed: make(map[string]failedRelease), waiting: make(map[string]time.Time)}
	for {
		select {
		case <-looked:
			w.pass(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// pass looks at all sites once. What it finds wrong with the fleet the rounds tell.
func (w *idler) pass(ctx context.Context) {
	f, err := w.keeper.open(func(Event) {})
	if err != nil {
		return
	}
	defer f.Close()
	seen, err := f.Observe(ctx)
	if err != nil {
		return
	}
	for _, site := range sitesOf(seen) {
		if ctx.Err() != nil {
			return
		}
		w.site(ctx, f, seen, site)
	}
}

// busy reports whether somebody wants the machine.
func (w *idler) busy(f *Fleet) bool {
	if w.keeper.Busy != nil {
		return w.keeper.Busy() || f.deploying()
	}
	// What we do counts as one by itself.
	return loadAverage() > float64(runtime.NumCPU())+0.5 || f.deploying()
}

// site makes what POPs lack that serve the newest release of a site, unless somebody is
// deploying it.
func (w *idler) site(ctx context.Context, f *Fleet, seen []Observation, site string) {
	pops, err := f.believed(ctx, seen, site)
	if err != nil || f.mayI(mayDeploy(site)) != nil {
		return
	}
	top := topOf(pops)
	if top == nil || slices.ContainsFunc(pops, func(s POPState) bool { return s.Lease != nil }) {
		return
	}
	id := top.Release
	var live []string
	for _, s := range pops {
		if s.Unreachable == "" && s.Active == id && w.done[site][s.POP] != id {
			live = append(live, s.POP)
		}
	}
	now := w.keeper.now()
	if was := w.failed[site]; len(live) == 0 || was.release == id && now.Sub(was.at) < remindEvery {
		return
	}
	began := time.Now()
	r, err := w.refine(ctx, f, pops, live, site, id)
	facts := []slog.Attr{slog.String("site", site), slog.String("release", Short(id)), slog.Int("pops", len(live))}
	if r != nil && r.sent.Objects > 0 {
		facts = append(facts, slog.Int("objects", r.sent.Objects), slog.Int64("bytes", r.sent.Bytes), slog.Duration("dur", time.Since(began).Round(time.Millisecond)))
	}
	log := w.keeper.Log
	switch {
	case errors.Is(err, errBusy) || ctx.Err() != nil:
		if r != nil && r.sent.Objects > 0 {
			delete(w.waiting, site)
			log.LogAttrs(ctx, slog.LevelInfo, "some best codings sent", facts...)
		} else if ctx.Err() == nil {
			w.waits(ctx, site, facts)
		}
	case err != nil:
		w.failed[site] = failedRelease{id, now}
		log.LogAttrs(ctx, slog.LevelWarn, "best codings not sent", append(facts, slog.Any("err", err))...)
	case r.sent.Objects > 0:
		log.LogAttrs(ctx, slog.LevelInfo, "best codings sent", facts...)
	}
	if r == nil || errors.Is(err, errBusy) || ctx.Err() != nil {
		return
	}
	delete(w.waiting, site)
	for pop := range r.todo.lacks { // nothing was wrong with these
		if w.done[site] == nil {
			w.done[site] = make(map[string]string)
		}
		w.done[site][pop] = id
	}
}

// waits tells that a site waits for its codings for long: a machine that is never idle
// makes none, and nobody would see why.
func (w *idler) waits(ctx context.Context, site string, facts []slog.Attr) {
	now := w.keeper.now()
	since, before := w.waiting[site]
	if !before {
		w.waiting[site] = now
	}
	if !before || now.Sub(since) < remindEvery {
		return
	}
	w.waiting[site] = now
	w.keeper.Log.LogAttrs(ctx, slog.LevelInfo, "best codings wait", append(facts, slog.String("why", errBusy.Error()), slog.String("hint", "penny deploy --catch-up --best makes them all the same"))...)
}

// refine makes and sends the codings of one release.
func (w *idler) refine(ctx context.Context, f *Fleet, pops []POPState, live []string, site, id string) (*refiner, error) {
	donors := f.donors(pops, id)
	m, _, err := f.manifest(ctx, site, id, donors)
	if err != nil {
		return nil, err
	}
	todo, asked := f.newRefinement(ctx, m, live)
	r := &refiner{fleet: f, todo: todo, from: shelf{f.store}, donors: donors, workers: 1}
	var glanced time.Time
	r.rest = func() error {
		if now := time.Now(); now.Sub(glanced) >= glanceEvery {
			glanced = now
			if w.busy(f) {
				return errBusy
			}
		}
		return nil
	}
	if len(todo.files) > 0 {
		if err := r.rest(); err != nil {
			return r, err
		}
	}
	return r, errors.Join(asked, r.run(ctx))
}

// deploying reports whether another penny is deploying a site from this state directory,
// or does something else for which it has the site's lock.
func (f *Fleet) deploying() bool {
	sites, err := os.ReadDir(f.in("cache", "sites"))
	if err != nil {
		return false // none was ever deployed from here
	}
	for _, site := range sites {
		giveBack, err := lockfile.Take(f.siteFile(site.Name(), "lock"))
		if errors.Is(err, lockfile.ErrLocked) {
			return true
		}
		if err == nil {
			_ = giveBack() // it is gone with the file at the latest
		}
	}
	return false
}
