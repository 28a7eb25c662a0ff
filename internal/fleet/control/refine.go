package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/release"
)

// maxCodings is how many bytes of codings are kept on this machine.
const maxCodings = 1 << 30

// A refinement is best codings that are to be sent behind a release, which is live: the
// same release, in fewer bytes for its visitors.
type refinement struct {
	manifest *release.Manifest
	files    []release.File // one for each object that some POP lacks the best coding of
	pops     []string
	has      map[string]map[release.Hash]bool // by POP: what it was sent with a release before
}

// newRefinement decides what is to be sent to POPs. What one has been sent with a
// release that it still keeps it has.
func (f *Fleet) newRefinement(m *release.Manifest, live []string, pops []POPState) *refinement {
	r := &refinement{manifest: m, pops: live, has: make(map[string]map[release.Hash]bool)}
	refined := f.recall(m.Site).Refined
	for _, s := range pops {
		before := refined[s.POP]
		if !slices.Contains(s.Staged, before) {
			continue
		}
		if there := f.manifestHere(before); there != nil {
			r.has[s.POP] = make(map[release.Hash]bool, len(there.Files))
			for _, file := range there.Files {
				r.has[s.POP][file.Hash] = true
			}
		}
	}
	known := make(map[release.Hash]bool)
	for _, file := range m.Files {
		lacks := slices.ContainsFunc(live, func(pop string) bool { return !r.has[pop][file.Hash] })
		if lacks && !known[file.Hash] && encode.Compressible(file.Type) && file.Size <= release.MaxCoded {
			known[file.Hash] = true
			r.files = append(r.files, file)
		}
	}
	return r
}

// refine makes what is to be sent here once, so that POPs need not, and sends it. It
// returns how many objects went to some POP, and the bytes of their codings.
func (f *Fleet) refine(ctx context.Context, r *refinement, from content) (Amount, error) {
	if len(r.files) == 0 || len(r.pops) == 0 {
		return Amount{}, nil
	}
	cache, err := encode.OpenCache(f.in("cache", "codings"), maxCodings)
	if err != nil {
		return Amount{}, err
	}
	packer := release.Packer{Cache: cache}
	streams := make([]*io.PipeWriter, len(r.pops))
	packs := make([]*release.PackWriter, len(r.pops))
	taken := make([]bool, len(r.pops))
	g, sending := errgroup.WithContext(ctx)
	for i, pop := range r.pops {
		in, out := io.Pipe()
		streams[i], packs[i] = out, release.NewPackWriter(out)
		g.Go(func() error {
			result, err := f.agent(pop).pack(sending, r.manifest.Site, in)
			_ = in.CloseWithError(errors.Join(io.ErrClosedPipe, err)) // never fails; the writer ends
			if err != nil {
				return fmt.Errorf("%s: %w", pop, err)
			}
			taken[i] = len(result.Bad) == 0
			return nil
		})
	}
	var sent Amount
	g.Go(func() error {
		err := f.bestOf(sending, &packer, r, from, func(p *release.Prepared) error {
			sent.Objects, sent.Bytes = sent.Objects+1, sent.Bytes+p.Length
			for i, w := range packs {
				if r.has[r.pops[i]][p.Hash] {
					continue
				}
				if err := w.Send(p); err != nil {
					return err
				}
			}
			return p.Close()
		})
		for i := range packs {
			end := err
			if end == nil {
				end = packs[i].Close()
			}
			_ = streams[i].CloseWithError(end) // never fails
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return sent, err
	}
	return sent, f.noteRefined(r, taken)
}

// noteRefined remembers which POPs have the best codings of a release. One that did not
// take them all is sent them again.
func (f *Fleet) noteRefined(r *refinement, taken []bool) error {
	m := f.recall(r.manifest.Site)
	refined := make(map[string]string)
	maps.Copy(refined, m.Refined)
	for i, pop := range r.pops {
		if taken[i] {
			refined[pop] = r.manifest.ID().String()
		}
	}
	m.Refined = refined
	return f.remember(r.manifest.Site, m)
}

// bestOf makes the best codings of files, on every processor, and hands them on one at a
// time.
func (f *Fleet) bestOf(ctx context.Context, packer *release.Packer, r *refinement, from content, send func(*release.Prepared) error) error {
	var mu sync.Mutex // lets one be sent at a time, and guards done and last
	var done int64
	last := f.Now()
	g, making := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, file := range r.files {
		if making.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := making.Err(); err != nil {
				return err
			}
			p, err := packer.Best(release.Source{Hash: file.Hash, Size: file.Size, Open: func() (release.Content, error) { return from.Open(file) }}, file.Type)
			if errors.Is(err, release.ErrChanged) {
				return &ChangedError{Path: file.Path}
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			if now := f.Now(); now.Sub(last) > progressEvery {
				last = now
				f.tell(Event{Time: now, Kind: EventProgress, Site: r.manifest.Site, Do: ActionRefine, Done: done, Total: int64(len(r.files))})
			}
			if p == nil {
				return nil
			}
			return send(p)
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// refineLive is refine for a deploy that has gone well. What goes wrong with it is told,
// and takes nothing back.
func (f *Fleet) refineLive(ctx context.Context, m *release.Manifest, from content, pops []POPState, r *Report) error {
	var live []string
	for _, p := range r.POPs {
		if p.Live {
			live = append(live, p.POP)
		}
	}
	began := f.Now()
	todo := f.newRefinement(m, live, pops)
	if len(todo.files) > 0 && len(live) > 0 {
		f.tell(Event{Kind: EventNote, Site: m.Site, Text: fmt.Sprintf("%s is live on %d of %d; its best codings are being made", Short(r.Release), len(live), len(f.agents))})
	}
	sent, err := f.refine(ctx, todo, from)
	if err != nil {
		return fmt.Errorf("%s is live, but its best codings could not be sent: %w", Short(r.Release), err)
	}
	r.Refined, r.Refining = sent, f.Now().Sub(began).Round(time.Millisecond)
	return nil
}

// refineServed is refineLive from a machine that need not have the files: POPs send what
// it lacks.
func (f *Fleet) refineServed(ctx context.Context, r *Report) error {
	seen, err := f.Observe(ctx)
	if err != nil {
		return err
	}
	pops := states(seen, r.Site)
	donors := f.donors(pops, r.Release)
	m, _, err := f.manifest(ctx, r.Site, r.Release, donors)
	if err != nil {
		return err
	}
	var live []string
	for _, s := range pops {
		if s.Unreachable == "" && s.Active == r.Release {
			live = append(live, s.POP)
		}
	}
	todo := f.newRefinement(m, live, pops)
	objects := make([]release.Hash, len(todo.files))
	for i, file := range todo.files {
		objects[i] = file.Hash
	}
	if len(objects) > 0 {
		if err := f.fetch(ctx, f.store, r.Site, objects, donors); err != nil {
			return fmt.Errorf("fetch what the best codings are made of: %w", err)
		}
	}
	return f.refineLive(ctx, m, shelf{f.store}, pops, r)
}
