package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
)

// RollbackOptions say to what a site goes back. Site is required.
type RollbackOptions struct {
	Site    string
	Release string // its first digits; "" is the one before
	All     bool   // every POP has to be reached
	Wait    bool   // wait for another deploy to end
	DryRun  bool   // make the plan, and do nothing
	// Only are the POPs that are brought up by [Fleet.CatchUp]; empty for all.
	Only []string
	Best bool // of CatchUp: make the best codings here, and send them behind
}

// Rollback makes a release that POPs still have what a site's visitors see. Where they
// have it, nothing is sent. Who waits for a deploy to end goes back to the release that
// was the one before when it was asked for: not to the one that was to be got rid of.
func (f *Fleet) Rollback(ctx context.Context, o RollbackOptions) (*Report, error) {
	var decided string
	return f.move(ctx, o, func(pops []POPState) (Intent, error) {
		if decided != "" {
			return Intent{Kind: Rollback, Release: decided}, nil
		}
		top := topOf(pops)
		if top == nil {
			return Intent{}, &mistake.Error{What: o.Site + " was never deployed", Hint: "penny deploy " + o.Site}
		}
		prefix := cmp.Or(o.Release, top.Previous)
		if prefix == "" {
			return Intent{}, &mistake.Error{What: fmt.Sprintf("%s is the first release of %s: there is none before", Short(top.Release), o.Site), Hint: "penny releases " + o.Site + " lists what there is"}
		}
		var err error
		decided, err = findRelease(pops, o.Site, prefix)
		return Intent{Kind: Rollback, Release: decided}, err
	})
}

// Promote makes a release that POPs have what a site's visitors see, such as one that was
// a preview until now: through the same steps as a deploy, but where POPs have it, nothing
// is sent.
func (f *Fleet) Promote(ctx context.Context, o RollbackOptions) (*Report, error) {
	return f.move(ctx, o, func(pops []POPState) (Intent, error) {
		id, err := findRelease(pops, o.Site, o.Release)
		return Intent{Kind: Promote, Release: id}, err
	})
}

// CatchUp brings POPs that are behind up to the newest head of a site, with objects from
// POPs that have it.
func (f *Fleet) CatchUp(ctx context.Context, o RollbackOptions) (*Report, error) {
	r, err := f.move(ctx, o, func(pops []POPState) (Intent, error) {
		if top := topOf(pops); top != nil {
			return Intent{Kind: CatchUp, Release: top.Release, Only: o.Only}, nil
		}
		return Intent{Kind: CatchUp}, nil
	})
	if err != nil || !o.Best || o.DryRun {
		return r, err
	}
	return r, f.refineServed(ctx, r)
}

// overtakings is by how many others somebody may be overtaken who waits.
const overtakings = 10

// move makes a release that POPs have what is served. Who waits for somebody else to end
// plans anew after that.
func (f *Fleet) move(ctx context.Context, o RollbackOptions, decide func([]POPState) (Intent, error)) (*Report, error) {
	if err := checkSite(o.Site); err != nil {
		return nil, err
	}
	began := f.Now()
	for try := 0; ; try++ {
		report, err := f.moveOnce(ctx, o, decide, began)
		if _, overtaken := errors.AsType[*OvertakenError](err); !overtaken || !o.Wait || try == overtakings {
			return report, err
		}
	}
}

// moveOnce plans once, and does it.
func (f *Fleet) moveOnce(ctx context.Context, o RollbackOptions, decide func([]POPState) (Intent, error), began time.Time) (*Report, error) {
	unlock, err := f.lockSite(ctx, o.Site, o.Wait)
	if err != nil {
		return nil, err
	}
	defer unlock() //nolint:errcheck // the lock is gone with the process at the latest
	f.startWires()
	pops, err := f.look(ctx, o.Site)
	if err != nil {
		return nil, err
	}
	intent, err := decide(pops)
	if err != nil {
		return nil, cmp.Or(f.noneAnswers(pops), err)
	}
	intent.Site, intent.Holder, intent.All, intent.Wait, intent.Generation = o.Site, f.holder, o.All, o.Wait, f.recall(o.Site).Generation
	intent.Hint = f.whereAll()
	if intent.Release == "" { // nothing to catch up with
		_, err := Make(intent, pops)
		return nil, err
	}
	donors := f.donors(pops, intent.Release)
	m, statement, err := f.manifest(ctx, o.Site, intent.Release, donors)
	if err != nil {
		return nil, err
	}
	f.lacks(pops, m, intent.Release)
	plan, err := Make(intent, pops)
	if err != nil {
		return nil, err
	}
	live := f.servedBefore(ctx, plan, pops)
	report := newReport(intent.Kind, &snapshot{manifest: m, id: intent.Release}, live)
	report.DryRun = o.DryRun
	report.plan(plan)
	if o.DryRun || plan.Nothing() {
		report.finish(f, plan, nil, nil, nil, f.Now().Sub(began))
		return report, nil
	}
	lay, err := layout(m, f.opener(ctx, o.Site, donors))
	if err != nil {
		return nil, err
	}
	box := newParcel(intent.Release, m, statement)
	if box.shelf, err = newSpool(filepath.Dir(f.siteFile(o.Site, "spool")), shelf{f.store}, nil); err != nil {
		return nil, err
	}
	defer box.shelf.close() //nolint:errcheck // a temporary file
	check := f.newVerifier(m, live, lay, false, nil)
	report.Left = check.left
	return f.carryOut(ctx, plan, pops, box, check, report, RunOptions{All: o.All, Wait: o.Wait}, began)
}

// noneAnswers is the error of a fleet of which no POP can be reached.
func (f *Fleet) noneAnswers(pops []POPState) error {
	_, err := Make(Intent{Kind: CatchUp, Hint: f.whereAll()}, pops)
	if slices.ContainsFunc(pops, func(s POPState) bool { return s.Unreachable == "" }) {
		return nil
	}
	return err
}

// whereAll says what to do where no POP can be reached.
func (f *Fleet) whereAll() string {
	if f.POPs.up {
		return "penny up in another terminal starts them again"
	}
	return ""
}

// servedBefore is the manifest of what is served before a plan, or nil: then everything
// counts as new.
func (f *Fleet) servedBefore(ctx context.Context, p *Plan, pops []POPState) *release.Manifest {
	if p.Previous == "" {
		return nil
	}
	m, _, err := f.manifest(ctx, p.Site, p.Previous, f.donors(pops, p.Previous))
	if err != nil {
		return nil
	}
	return m
}

// A Checked is what has come of asking every POP whether it serves what it should.
type Checked struct {
	Site       string        `json:"site"`
	Release    string        `json:"release"`
	Generation uint64        `json:"generation"`
	POPs       []Verified    `json:"pops"`
	Behind     []Behind      `json:"behind"` // POPs that were not asked, or serve another release
	Left       int           `json:"left"`   // URLs that were not asked for, by choice
	Took       time.Duration `json:"took_ns"`
}

// OK reports whether every POP serves what it should.
func (c *Checked) OK() bool {
	return len(c.Behind) == 0 && !slices.ContainsFunc(c.POPs, func(v Verified) bool { return v.Differences > 0 || len(v.Unasked) > 0 })
}

// Verify asks every POP, as visitors do, whether it serves the release that the newest
// head of a site names: a sample of its URLs, or all of them over every protocol.
func (f *Fleet) Verify(ctx context.Context, site string, all bool) (*Checked, error) {
	if err := checkSite(site); err != nil {
		return nil, err
	}
	began := f.Now()
	pops, err := f.look(ctx, site)
	if err != nil {
		return nil, err
	}
	top := topOf(pops)
	if top == nil {
		return nil, cmp.Or(f.noneAnswers(pops), error(&mistake.Error{What: site + " was never deployed", Hint: "penny deploy " + site}))
	}
	donors := f.donors(pops, top.Release)
	m, _, err := f.manifest(ctx, site, top.Release, donors)
	if err != nil {
		return nil, err
	}
	lay, err := layout(m, f.opener(ctx, site, donors))
	if err != nil {
		return nil, err
	}
	v := f.newVerifier(m, nil, lay, all, nil)
	c := &Checked{Site: site, Release: top.Release, Generation: top.Generation, Behind: []Behind{}, Left: v.left}
	var asked []string
	for _, s := range pops {
		switch {
		case s.Unreachable != "":
			c.Behind = append(c.Behind, Behind{POP: s.POP, Why: s.Unreachable})
		case s.Active != top.Release:
			c.Behind = append(c.Behind, Behind{POP: s.POP, Why: "it serves " + cmp.Or(Short(s.Active), "nothing")})
		}
		if s.Unreachable == "" {
			asked = append(asked, s.POP)
		}
	}
	if err := v.everywhere(ctx, asked); err != nil {
		return nil, err
	}
	c.POPs, c.Took = v.results(), f.Now().Sub(began)
	return c, nil
}

// A ReleaseInfo is a release of a site, and where it is.
type ReleaseInfo struct {
	api.Release
	By      string   `json:"by"`      // the name of who deployed it, or the key
	Live    []string `json:"live"`    // POPs that serve it
	Staged  []string `json:"staged"`  // POPs that could serve it at once
	Current bool     `json:"current"` // the newest head names it
	// Previews are where it is to be seen beside that, for who may deploy the site.
	Previews []PreviewInfo `json:"previews,omitempty"`
}

// Releases lists the releases that POPs have of a site, the newest first.
func (f *Fleet) Releases(ctx context.Context, site string) ([]ReleaseInfo, []Behind, error) {
	if err := checkSite(site); err != nil {
		return nil, nil, err
	}
	pops, err := f.look(ctx, site)
	if err != nil {
		return nil, nil, err
	}
	top := topOf(pops)
	found := make(map[string]*ReleaseInfo)
	behind := []Behind{}
	for _, s := range pops {
		if s.Unreachable != "" {
			behind = append(behind, Behind{POP: s.POP, Why: s.Unreachable})
			continue
		}
		list, err := f.agent(s.POP).releases(ctx, site)
		if refused := apiCode(err); refused == api.CodeNoSite {
			continue
		}
		if err != nil {
			behind = append(behind, Behind{POP: s.POP, Why: err.Error()})
			continue
		}
		for _, r := range list.Releases {
			info := found[r.Release.Release]
			if info == nil {
				info = &ReleaseInfo{Release: r.Release, By: f.nameOf(r.Key), Live: []string{}, Staged: []string{}, Current: top != nil && top.Release == r.Release.Release}
				found[r.Release.Release] = info
			}
			if r.Active {
				info.Live = append(info.Live, s.POP)
			}
			if r.Staged {
				info.Staged = append(info.Staged, s.POP)
			}
		}
	}
	if len(behind) == len(pops) {
		return nil, nil, f.noneAnswers(pops)
	}
	previews, err := f.previews(ctx, site, pops)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range previews {
		if info := found[p.Release]; info != nil {
			info.Previews = append(info.Previews, p)
		}
	}
	all := []ReleaseInfo{}
	for _, info := range found {
		all = append(all, *info)
	}
	slices.SortFunc(all, func(a, b ReleaseInfo) int {
		return cmp.Or(b.Time.Compare(a.Time), strings.Compare(a.Release.Release, b.Release.Release))
	})
	return all, behind, nil
}

// nameOf is what people call who has a key.
func (f *Fleet) nameOf(key string) string {
	r := f.currentRoster()
	if r == nil {
		return key
	}
	if key == r.Owner().String() {
		return "owner"
	}
	for _, m := range r.Members {
		if m.Key.String() == key {
			return m.Name
		}
	}
	return key
}
