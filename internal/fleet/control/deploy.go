package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/site"
)

// DeployOptions say what is deployed. Site and Dir are required.
type DeployOptions struct {
	Site    string
	Dir     string
	Dialect string // of _headers and _redirects; "" is Netlify's
	All     bool   // every POP has to be reached
	Wait    bool   // wait for another deploy to end
	DryRun  bool   // make the plan, and do nothing
	Best    bool   // make the best codings here, and send them behind the release
	// Config is what the fleet file says to POPs, so that the report says how it differs
	// from what they were told; nil: that does not matter.
	Config *api.Config
	// Preview leaves the site alone, and serves the release at a host of its own for so
	// long; 0 is no preview.
	Preview time.Duration
}

// A Report is what has become of a deploy or a rollback.
type Report struct {
	Site       string `json:"site"`
	Kind       Kind   `json:"kind"`
	Release    string `json:"release"`
	Previous   string `json:"previous,omitempty"`
	Generation uint64 `json:"generation"`
	// Nothing says that there was nothing to do.
	Nothing bool  `json:"nothing"`
	DryRun  bool  `json:"dry_run,omitempty"`
	Plan    *Plan `json:"plan,omitempty"` // of a dry run

	Files   int   `json:"files"`
	Bytes   int64 `json:"bytes"` // of all files
	Added   int   `json:"added"`
	Changed int   `json:"changed"`
	Removed int   `json:"removed"`

	POPs []POPReport `json:"pops"`
	// Verified is how many URLs were verified at every POP together, over HTTP/2, and
	// Left how many of what changed were not asked for, by choice.
	Verified int `json:"verified"`
	Left     int `json:"left"`
	// Took is the time from the beginning, and Switch from the first POP's activation
	// to the last one's verification.
	Took   time.Duration `json:"took_ns"`
	Switch time.Duration `json:"switch_ns"`
	// Refined is what was sent behind to each POP: best codings, and their size. It
	// took Refining.
	Refined  Amount        `json:"refined,omitzero"`
	Refining time.Duration `json:"refining_ns,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
	// Drift is what an apply would change: a deploy does not.
	Drift []ConfigChange `json:"apply_would_change,omitempty"`
	// Preview is where the release is to be seen, if it is one.
	Preview *PreviewInfo `json:"preview,omitempty"`
}

// A POPReport is what has become of one POP.
type POPReport struct {
	POP      string    `json:"pop"`
	Live     bool      `json:"live"`
	Why      string    `json:"why,omitempty"` // not
	Sent     Amount    `json:"sent"`
	Wire     int64     `json:"wire"` // bytes over the network, both ways
	Verified *Verified `json:"verified,omitempty"`
}

// Live is how many POPs serve the release.
func (r *Report) Live() int {
	n := 0
	for _, p := range r.POPs {
		if p.Live {
			n++
		}
	}
	return n
}

// Deploy makes a directory what a site's visitors see. Who waits for another deploy to
// end plans anew after it, for that one is what is replaced then.
func (f *Fleet) Deploy(ctx context.Context, o DeployOptions) (*Report, error) {
	if err := checkSite(o.Site); err != nil {
		return nil, err
	}
	began := f.Now()
	for try := 0; ; try++ {
		report, err := f.deploy(ctx, o, began)
		if _, overtaken := errors.AsType[*OvertakenError](err); !overtaken || !o.Wait || try == overtakings {
			return report, err
		}
	}
}

// deploy plans once, and does it.
func (f *Fleet) deploy(ctx context.Context, o DeployOptions, began time.Time) (*Report, error) {
	unlock, err := f.lockSite(ctx, o.Site, o.Wait)
	if err != nil {
		return nil, err
	}
	defer unlock() //nolint:errcheck // the lock is gone with the process at the latest
	f.startWires()
	p, err := f.prepare(ctx, o)
	defer p.close()
	if err != nil {
		return nil, err
	}
	if p.new == nil {
		report, err := f.settled(ctx, o, p, began)
		if report != nil || err != nil {
			return report, err
		}
		if err := f.compare(ctx, o, p, topOf(p.pops)); err != nil {
			return nil, err
		}
	}
	kind, shown := Deploy, (*preview)(nil)
	if o.Preview > 0 {
		kind = Preview
		if shown, err = f.newPreview(ctx, o, p.pops, p.id); err != nil {
			return nil, err
		}
	}
	report := newReport(kind, p.new, p.live)
	report.DryRun, report.Drift = o.DryRun, f.told(ctx, o, p.seen)
	f.lacks(p.pops, p.new.manifest, p.id)
	intent := f.intent(o, kind, p.id)
	if shown != nil {
		intent.Host, report.Preview = shown.Host, &shown.PreviewInfo
	}
	plan, err := Make(intent, p.pops)
	if err != nil {
		return nil, err
	}
	report.plan(plan)
	if p.layErr != nil {
		return nil, p.layErr
	}
	if o.DryRun || plan.Nothing() {
		report.finish(f, plan, nil, nil, nil, f.Now().Sub(began))
		if o.DryRun {
			return report, nil
		}
		err := f.looked(o.Site, plan.Release)
		if err == nil && o.Best {
			err = f.refineLive(ctx, p.new.manifest, p.new.tree, report)
		}
		return report, err
	}
	statement, err := f.state(p.new.manifest, p.new.id)
	if err != nil {
		return nil, err
	}
	if err := f.keep(p.new.manifest, p.new.manifest.Encode(), statement); err != nil {
		return nil, err
	}
	box := newParcel(p.new.id, p.new.manifest, statement)
	if box.spool, err = newSpool(filepath.Dir(f.siteFile(o.Site, "spool")), p.new.tree, f.bases(ctx, p.live, p.new.manifest)); err != nil {
		return nil, err
	}
	spooled := unshelved{spool: box.spool}
	defer func() { spooled.close() }()
	if shown != nil {
		return f.openPreview(ctx, shown, plan, p, box, report, RunOptions{All: o.All, Wait: o.Wait}, began)
	}
	check := p.check
	if check == nil {
		check = f.newKnocker(o.Site, hostOf(o.Site))
	}
	check.choose(p.new.manifest, p.live, p.lay, false, p.new.content())
	report.Left = check.left
	report, err = f.carryOut(ctx, plan, p.pops, box, check, report, RunOptions{All: o.All, Wait: o.Wait}, began)
	if err == nil && o.Best {
		err = f.refineLive(ctx, p.new.manifest, p.new.tree, report)
	}
	if err == nil {
		f.unshelved = append(f.unshelved, unshelved{p.new, box.spool})
		p.new, p.scan, spooled.spool = nil, nil, nil // they are closed when they have been shelved
	}
	return report, err
}

// checkRules refuses rules with mistakes before anything is sent, with their places in
// the directory.
func checkRules(o DeployOptions, s *snapshot) (*site.Layout, error) {
	open := func(file release.File) (io.ReadCloser, error) { return s.tree.Open(file) }
	dialect, err := rules.ParseDialect(s.manifest.Dialect)
	if err != nil {
		return nil, err
	}
	var mistakes mistake.List
	for name, parse := range map[string]func(file string, text []byte) error{
		"_redirects": func(file string, text []byte) error { _, err := rules.ParseRedirects(file, text, dialect); return err },
		"_headers":   func(file string, text []byte) error { _, err := rules.ParseHeaders(file, text, dialect); return err },
	} {
		file, ok := s.manifest.File(name)
		if !ok {
			continue
		}
		in, err := open(file)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(in, rules.MaxFile+1))
		_ = in.Close() // only read
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if err := parse(filepath.Join(o.Dir, name), text); err != nil {
			if len(mistake.Of(err)) == 0 {
				return nil, err
			}
			mistakes = append(mistakes, mistake.Of(err)...)
		}
	}
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	return layout(s.manifest, open)
}

// carryOut does what a plan says.
func (f *Fleet) carryOut(ctx context.Context, plan *Plan, pops []POPState, box *parcel, check *verifier, report *Report, o RunOptions, began time.Time) (*Report, error) {
	f.behind.Wait() // a lease that is on its way back
	op := f.newOperation(plan, pops, check)
	box.donors = f.donors(pops, plan.Release)
	op.parcels[plan.Release] = box
	if plan.Previous != "" && plan.Previous != plan.Release {
		op.parcels[plan.Previous] = &parcel{id: plan.Previous, donors: f.donors(pops, plan.Previous)}
	}
	if !plan.NewHead && plan.Kind != Preview {
		if err := op.adoptHead(ctx, pops); err != nil {
			return nil, err
		}
	}
	behind, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer check.close()
	defer wait.Wait()
	defer stop()
	op.aside = func(do func(context.Context)) { wait.Go(func() { do(behind) }) }
	wait.Go(func() { op.renew(behind) })
	// While the POPs are sent what they lack.
	wait.Go(check.knockAll(behind, plan.targets()))
	if box.spool != nil {
		together := slices.ContainsFunc(plan.targets(), func(pop string) bool { return f.agent(pop).numbers() })
		op.likely = f.likely(plan, box)
		wait.Go(func() { box.spool.ahead(behind, op.likely, together) })
	}
	o.Events, o.Now, o.Aside = f.tell, f.Now, f.aside
	result, err := Run(ctx, plan, op, o)
	report.finish(f, plan, op, check, result, f.Now().Sub(began))
	served := plan.Release
	if err != nil || plan.Kind == Preview {
		served = plan.Previous
	}
	return report, errors.Join(err, f.looked(plan.Site, served))
}

// looked remembers what is served.
func (f *Fleet) looked(site, release string) error {
	m := f.recall(site)
	if m.Release == release {
		return nil
	}
	m.Release = release
	return f.remember(site, m)
}

// likely lists the files that POPs will probably lack, so that they can be coded while
// the POPs are still being asked.
func (f *Fleet) likely(plan *Plan, box *parcel) []release.File {
	live := f.manifestHere(plan.Previous)
	sending := slices.ContainsFunc(plan.Waves, func(w Wave) bool {
		return slices.ContainsFunc(w.Lanes, func(l Lane) bool {
			return slices.ContainsFunc(l.Steps, func(s Step) bool { return s.Do == ActionSend })
		})
	})
	if !sending {
		return nil
	}
	had := make(map[release.Hash]bool)
	if live != nil {
		for _, file := range live.Files {
			had[file.Hash] = true
		}
	}
	lacking := make(map[release.Hash]bool)
	for i := range box.manifest.Files {
		if h := box.manifest.Files[i].Hash; !had[h] {
			lacking[h] = true
		}
	}
	of := box.files(lacking)
	var files []release.File // as they will be asked for
	for _, o := range box.numbering().Objects {
		if lacking[o.Hash] {
			files = append(files, of[o.Hash])
		}
	}
	return files
}

// adoptHead takes over the head that POPs are to be brought up to.
func (o *operation) adoptHead(ctx context.Context, pops []POPState) error {
	var errs []error
	for _, s := range pops {
		if s.Head == nil || s.Head.Generation != o.plan.Generation || s.Head.Release != o.plan.Release {
			continue
		}
		err := o.fetchHead(ctx, o.fleet.agent(s.POP))
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("find the head of %s: %w", o.plan.Site, errors.Join(errs...))
}

// startWires begins to count what goes over the network.
func (f *Fleet) startWires() {
	for _, a := range f.agents {
		a.wire.mark()
	}
}

func newReport(kind Kind, s *snapshot, live *release.Manifest) *Report {
	m, changes := s.manifest, release.Diff(live, s.manifest)
	r := &Report{
		Site: m.Site, Kind: kind, Release: s.id, Files: len(m.Files), Bytes: m.Bytes(), Added: len(changes.Added), Removed: len(changes.Removed), POPs: []POPReport{},
		Notes: s.notes(),
	}
	for _, c := range changes.Changed {
		if c.Content() || c.Old.Type != c.New.Type {
			r.Changed++
		}
	}
	return r
}

// plan takes up what was decided.
func (r *Report) plan(p *Plan) {
	r.Previous, r.Generation, r.Nothing = p.Previous, p.Generation, p.Nothing()
	if r.DryRun {
		r.Plan = p
	}
}

// finish takes up what has come of it. Op, check and result are nil if nothing was done.
func (r *Report) finish(f *Fleet, plan *Plan, op *operation, check *verifier, result *Result, took time.Duration) {
	r.Took = took
	behind := plan.Behind
	var live []string
	changing := make(map[string]bool)
	if result != nil {
		behind, live = result.Behind, result.Live
		if !result.Until.IsZero() {
			r.Switch = result.Until.Sub(result.Since)
		}
	}
	for _, w := range plan.Waves {
		for _, l := range w.Lanes {
			changing[l.POP] = changing[l.POP] || w.Name == WaveActivate
		}
	}
	for _, a := range f.agents {
		p := POPReport{POP: a.pop.Name, Live: slices.Contains(live, a.pop.Name) || !changing[a.pop.Name] && !plan.NewHead, Wire: a.wire.since()}
		for _, b := range behind {
			if b.POP == p.POP {
				p.Live, p.Why = false, b.Why
			}
		}
		if op != nil {
			p.Sent = op.begun[a.pop.Name].sent
		}
		r.POPs = append(r.POPs, p)
	}
	if check == nil {
		return
	}
	for _, v := range check.results() {
		for i := range r.POPs {
			if r.POPs[i].POP == v.POP {
				r.POPs[i].Verified = &v
			}
		}
		r.Verified += v.URLs
	}
}
