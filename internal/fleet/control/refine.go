package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

const (
	// maxCodings is how many bytes of codings are kept on this machine.
	maxCodings = 1 << 30
	// refinedBytes and refinedFiles bound what is fetched, coded and sent at a time, in
	// bytes of identity forms and in objects: what was sent need not be sent again by who
	// was interrupted, and no connection waits while something is coded.
	refinedBytes = 16 << 20
	refinedFiles = 1000
)

// A refinement is best codings that are to be sent behind a release, which is live: the
// same release, in fewer bytes for its visitors.
type refinement struct {
	manifest *release.Manifest
	files    []release.File // one for each object of which some POP lacks the best coding
	// lacks is what each POP lacks. One that something is wrong with is taken out.
	lacks map[string]map[release.Hash]bool
}

// newRefinement asks POPs that serve a release what they lack of it. Those that do not
// say are in the error, and get nothing.
func (f *Fleet) newRefinement(ctx context.Context, m *release.Manifest, live []string) (*refinement, error) {
	r := &refinement{manifest: m, lacks: make(map[string]map[release.Hash]bool)}
	var worth []release.File
	seen := make(map[release.Hash]bool)
	for _, file := range m.Files {
		if !seen[file.Hash] && file.WorthCoding() {
			worth = append(worth, file)
		}
		seen[file.Hash] = true
	}
	var mu sync.Mutex // guards r.lacks
	err := f.atEvery(func(_ int, a *agentClient) error {
		if !slices.Contains(live, a.pop.Name) {
			return nil
		}
		lacks, err := a.lacks(ctx, m, worth)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		r.lacks[a.pop.Name] = lacks
		return nil
	})
	for _, file := range worth {
		if r.wanted(file.Hash) {
			r.files = append(r.files, file)
		}
	}
	return r, err
}

// lacks asks an agent which best codings of some files it lacks.
func (a *agentClient) lacks(ctx context.Context, m *release.Manifest, worth []release.File) (map[release.Hash]bool, error) {
	lacks := make(map[release.Hash]bool)
	said, err := a.codings(ctx, m.Site, m.ID().String())
	if refused, ok := errors.AsType[*api.Error](err); ok && refused.Status == http.StatusNotFound && refused.Code == api.CodeNotFound {
		for _, file := range worth { // it is too old to say
			lacks[file.Hash] = true
		}
		return lacks, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range said.Lacking {
		h, err := release.ParseHash(name)
		if err != nil {
			return nil, fmt.Errorf("it lacks what is no object: %w", err)
		}
		lacks[h] = true
	}
	return lacks, nil
}

// wanted reports whether some POP lacks an object's best coding.
func (r *refinement) wanted(h release.Hash) bool {
	for _, lacks := range r.lacks {
		if lacks[h] {
			return true
		}
	}
	return false
}

// A refiner makes the codings of a refinement here, once for all POPs, and sends them.
type refiner struct {
	fleet *Fleet
	todo  *refinement
	from  content
	// donors are POPs that send what from does not have; empty where it has everything.
	donors []*agentClient
	// workers is how many codings are made at a time.
	workers int
	// rest is asked before each coding is made; its error ends the work. nil: never.
	rest func() error

	packer release.Packer
	sent   Amount // to some POP
	done   int64  // files that were looked at

	mu   sync.Mutex // guards last
	last time.Time  // when somebody was told how far it is
}

// run makes and sends everything. A POP that something is wrong with is in the error, and
// no longer in the refinement; the others get theirs.
func (w *refiner) run(ctx context.Context) error {
	if len(w.todo.files) == 0 {
		return nil
	}
	cache, err := encode.OpenCache(w.fleet.in("cache", "codings"), maxCodings)
	if err != nil {
		return err
	}
	w.packer, w.last = release.Packer{Cache: cache}, w.fleet.Now()
	var errs []error
	for files := w.todo.files; len(files) > 0; {
		n, bytes := 0, int64(0)
		for n < len(files) && n < refinedFiles && (n == 0 || bytes+files[n].Size <= refinedBytes) {
			bytes += files[n].Size
			n++
		}
		err := w.batch(ctx, files[:n])
		if ctx.Err() != nil || errors.Is(err, errBusy) {
			return errors.Join(append(errs, err, ctx.Err())...)
		}
		errs = append(errs, err)
		if len(w.todo.lacks) == 0 {
			break // nobody is left
		}
		files = files[n:]
	}
	return errors.Join(errs...)
}

// batch makes and sends the codings of some files. What was fetched for that is not kept.
func (w *refiner) batch(ctx context.Context, files []release.File) (err error) {
	files = slices.DeleteFunc(slices.Clone(files), func(file release.File) bool { return !w.todo.wanted(file.Hash) })
	fetched, err := w.fetch(ctx, files)
	defer func() {
		for _, h := range fetched {
			err = errors.Join(err, w.fleet.store.Remove(h))
		}
	}()
	if err != nil {
		clear(w.todo.lacks) // nobody gets everything
		return fmt.Errorf("fetch what the best codings are made of: %w", err)
	}
	made, err := w.make(ctx, files)
	if err != nil {
		clear(w.todo.lacks)
		return err
	}
	return w.send(ctx, made)
}

// fetch brings the objects from POPs that are neither here nor coded already.
func (w *refiner) fetch(ctx context.Context, files []release.File) ([]release.Hash, error) {
	if len(w.donors) == 0 {
		return nil, nil
	}
	var objects []release.Hash
	for _, file := range files {
		if _, made := w.packer.Cache.Get(file.Hash, encode.Brotli, encode.Best); !made && !w.fleet.store.Has(file.Hash) {
			objects = append(objects, file.Hash)
		}
	}
	if len(objects) == 0 {
		return nil, nil
	}
	return objects, w.fleet.fetch(ctx, w.fleet.store, w.todo.manifest.Site, objects, w.donors)
}

// make makes the best codings of files, several at a time, and leaves out those that would
// be no smaller.
func (w *refiner) make(ctx context.Context, files []release.File) ([]*release.Prepared, error) {
	made := make([]*release.Prepared, len(files))
	one := func(i int) (err error) {
		if err = ctx.Err(); err == nil && w.rest != nil {
			err = w.rest()
		}
		if err == nil {
			made[i], err = w.best(files[i])
		}
		return err
	}
	var g errgroup.Group
	g.SetLimit(w.workers)
	var failed error
	for i := range files {
		if w.workers == 1 { // by this goroutine, which may have a priority of its own
			failed = one(i)
		} else {
			g.Go(func() error { return one(i) })
		}
		if failed != nil {
			break
		}
	}
	if err := errors.Join(failed, g.Wait()); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(made, func(p *release.Prepared) bool { return p == nil }), nil
}

// best makes one coding, if it would be smaller. What a POP calls the best is not believed:
// it would go to all others.
func (w *refiner) best(file release.File) (*release.Prepared, error) {
	p, err := w.packer.Best(release.Source{Hash: file.Hash, Size: file.Size, Open: func() (release.Content, error) { return w.from.Open(file) }}, file.Type)
	if errors.Is(err, release.ErrChanged) {
		return nil, &ChangedError{Path: file.Path}
	}
	if err != nil {
		return nil, err
	}
	w.progress()
	return p, nil
}

// progress tells how far it is, now and then.
func (w *refiner) progress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done++
	if now := w.fleet.Now(); now.Sub(w.last) > progressEvery {
		w.last = now
		w.fleet.tell(Event{Time: now, Kind: EventProgress, Site: w.todo.manifest.Site, Do: ActionRefine, Done: w.done, Total: int64(len(w.todo.files))})
	}
}

// send sends each POP the codings that it lacks.
func (w *refiner) send(ctx context.Context, made []*release.Prepared) error {
	var mu sync.Mutex // guards errs and taken
	var errs []error
	taken := make(map[release.Hash]bool)
	shares := make(map[string][]*release.Prepared)
	for pop, lacks := range w.todo.lacks {
		for _, p := range made {
			if lacks[p.Hash] {
				shares[pop] = append(shares[pop], p)
			}
		}
	}
	var wait sync.WaitGroup
	for pop, mine := range shares {
		wait.Go(func() {
			err := w.sendTo(ctx, pop, mine)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", pop, err))
				delete(w.todo.lacks, pop)
				return
			}
			for _, p := range mine {
				taken[p.Hash] = true
			}
		})
	}
	wait.Wait()
	for _, p := range made {
		if taken[p.Hash] {
			w.sent.Objects, w.sent.Bytes = w.sent.Objects+1, w.sent.Bytes+p.Length
		}
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// sendTo sends codings to one POP.
func (w *refiner) sendTo(ctx context.Context, pop string, mine []*release.Prepared) error {
	in, out := io.Pipe()
	var wait sync.WaitGroup
	wait.Go(func() {
		pack := release.NewPackWriter(out)
		var err error
		for _, p := range mine {
			if err = pack.Send(p); err != nil {
				break
			}
		}
		if err == nil {
			err = pack.Close()
		}
		_ = out.CloseWithError(err) // never fails
	})
	result, err := w.fleet.agent(pop).pack(ctx, w.todo.manifest.Site, in)
	_ = in.CloseWithError(errors.Join(io.ErrClosedPipe, err)) // never fails; the writer ends
	wait.Wait()
	if err == nil && len(result.Bad) > 0 {
		err = fmt.Errorf("it does not take %d codings, that of %s among them: %s", len(result.Bad), Short(result.Bad[0].Object), result.Bad[0].Error)
	}
	return err
}
