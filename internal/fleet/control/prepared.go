package control

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/site"
)

// A snapshot is a directory that has become a release.
type snapshot struct {
	manifest *release.Manifest
	tree     *release.Tree
	id       string
}

func (s *snapshot) close() {
	if s != nil && s.tree != nil {
		_ = s.tree.Close() // only read
	}
}

// content is the files, nil if they are not here.
func (s *snapshot) content() content {
	if s.tree == nil {
		return nil
	}
	return s.tree
}

// notes say what is not in it.
func (s *snapshot) notes() []string {
	if s.tree == nil {
		return nil
	}
	return s.tree.Notes
}

// scan looks at a directory.
func (f *Fleet) scan(ctx context.Context, o DeployOptions) (*release.Scan, error) {
	scan, err := release.NewScan(ctx, o.Dir, release.SnapshotOptions{
		Site: o.Site, Dialect: cmp.Or(o.Dialect, rules.Netlify.String()), Cache: f.siteFile(o.Site, "stat"), Now: f.Now,
	})
	if err != nil {
		return nil, err
	}
	if n, _ := scan.Files(); n == 0 {
		return nil, errors.Join(&mistake.Error{File: o.Dir, What: "there is nothing in it to deploy", Hint: "build the site first, or correct `files` in penny.toml"}, scan.Close())
	}
	return scan, nil
}

// prepared is everything that is known before a plan is made.
type prepared struct {
	seen []Observation
	pops []POPState
	scan *release.Scan
	id   string // of the release that the directory is
	// As long as the directory is what is served, there is no more to know of it.
	live *release.Manifest // what is served now, nil for nothing
	new  *snapshot

	lay    *site.Layout // of new
	layErr error        // what is wrong with its rules

	check    *verifier // is knocking; nil: nobody is yet
	stop     func()
	knocking sync.WaitGroup
}

func (p *prepared) close() {
	if p.check != nil {
		p.stop()
		p.knocking.Wait()
		p.check.close()
	}
	p.new.close()
	if p.scan != nil {
		_ = p.scan.Close() // only read
	}
}

// knock begins to knock at all POPs, because there will be something to verify: before
// they have said how they are, and have been sent anything.
func (p *prepared) knock(ctx context.Context, f *Fleet, site string) {
	pops := make([]string, len(f.agents))
	for i, a := range f.agents {
		pops[i] = a.pop.Name
	}
	ctx, p.stop = context.WithCancel(ctx)
	p.check = f.newKnocker(site, hostOf(site))
	p.knocking.Go(p.check.knockAll(ctx, pops))
}

// snapshot reads the directory. What is live, if it is known, gives unchanged files their
// times.
func (p *prepared) snapshot(ctx context.Context, o DeployOptions, live *release.Manifest) error {
	m, tree, err := p.scan.Snapshot(ctx, live)
	if err != nil {
		return err
	}
	if p.new == nil || p.id != tree.ID.String() {
		p.live, p.new, p.id = live, &snapshot{m, tree, tree.ID.String()}, tree.ID.String()
		p.lay, p.layErr = checkRules(o, p.new)
	}
	p.live = live
	return nil
}

// prepare looks at the POPs and at the directory at the same time.
func (f *Fleet) prepare(ctx context.Context, o DeployOptions) (p *prepared, err error) {
	p = new(prepared)
	remembered := f.recall(o.Site)
	var seenErr error
	var wait sync.WaitGroup
	wait.Go(func() {
		if p.seen, seenErr = f.observeAll(ctx, o.Site); seenErr == nil {
			p.pops, seenErr = f.believed(ctx, p.seen, o.Site)
		}
	})
	if p.scan, err = f.scan(ctx, o); err == nil {
		if was, known := p.scan.Release(); known && was.String() == remembered.Release {
			p.id = remembered.Release // as it seems
		} else {
			if _, size := p.scan.Unread(); size <= knockEarly && o.Preview == 0 && !o.DryRun {
				p.knock(ctx, f, o.Site)
			}
			err = p.snapshot(ctx, o, f.manifestHere(remembered.Release))
		}
	}
	wait.Wait()
	if err = errors.Join(err, seenErr); err != nil {
		return p, err
	}
	top := topOf(p.pops)
	if top != nil && top.Release == remembered.Release && (p.new == nil || p.live != nil) {
		return p, nil
	}
	return p, f.compare(ctx, o, p, top)
}

// knockEarly is how much of a directory there may be to read, in bytes, for the knock not
// to be forgotten by the time that it is over.
const knockEarly = 16 << 20

// compare reads the directory, after the release that POPs serve, which may be nil.
func (f *Fleet) compare(ctx context.Context, o DeployOptions, p *prepared, top *api.Head) error {
	err := fs.ErrNotExist
	var live *release.Manifest
	if top != nil {
		live, _, err = f.manifest(ctx, o.Site, top.Release, f.donors(p.pops, top.Release))
	}
	switch {
	case err == nil:
		return p.snapshot(ctx, o, live) // its times depend on what is live; the hashes are known
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case p.new == nil: // it is gone everywhere: everything is new
		return p.snapshot(ctx, o, f.manifestHere(p.id))
	}
	return nil
}

// manifestHere is the manifest of a release if this machine has it, or nil. It must not be
// changed: it is read once for all who ask.
func (f *Fleet) manifestHere(id string) *release.Manifest {
	f.reading.Lock()
	defer f.reading.Unlock()
	if m := f.manifests[id]; m != nil {
		return m
	}
	hash, err := release.ParseHash(id)
	if err != nil {
		return nil
	}
	m, err := f.store.Manifest(hash)
	if err != nil {
		return nil
	}
	if len(f.manifests) == manifestsHeld {
		clear(f.manifests)
	}
	f.manifests[id] = m
	return m
}

// manifestsHeld bounds the manifests that are in memory: a deploy asks for what is served,
// and for what POPs had before.
const manifestsHeld = 4

// settled is the report of a deploy of which there is nothing to do, because all POPs
// serve what the directory is. It is nil if there is something to do, or to be known.
func (f *Fleet) settled(ctx context.Context, o DeployOptions, p *prepared, began time.Time) (*Report, error) {
	if o.Best || o.Preview > 0 {
		return nil, nil
	}
	plan, err := Make(f.intent(o, Deploy, p.id), p.pops)
	if err != nil || !plan.Nothing() {
		return nil, err
	}
	report := &Report{Site: o.Site, Kind: Deploy, Release: p.id, POPs: []POPReport{}, Notes: p.scan.Notes(), DryRun: o.DryRun, Drift: f.told(ctx, o, p.seen)}
	report.Files, report.Bytes = p.scan.Files()
	report.plan(plan)
	report.finish(f, plan, nil, nil, nil, f.Now().Sub(began))
	return report, nil
}

// intent is what a deploy wants.
func (f *Fleet) intent(o DeployOptions, kind Kind, id string) Intent {
	return Intent{Kind: kind, Site: o.Site, Release: id, Holder: f.holder, All: o.All, Wait: o.Wait, Generation: f.recall(o.Site).Generation, Hint: f.whereAll()}
}

// told is how what POPs were told differs from what the fleet file says, if that matters.
func (f *Fleet) told(ctx context.Context, o DeployOptions, seen []Observation) []ConfigChange {
	if o.Config == nil {
		return nil
	}
	drift, err := f.drift(ctx, seen, *o.Config)
	if err != nil {
		f.tell(Event{Kind: EventNote, Site: o.Site, Text: err.Error()}) // the deploy may go on without
	}
	return drift
}
