package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// almostOver is how long before its end a preview is not worth bringing anywhere, in
// view of clocks that differ.
const almostOver = time.Minute

// A knownPreview is a preview that POPs have, by the statement that lasts longest.
type knownPreview struct {
	PreviewInfo
	statement *keys.Statement
	until     map[string]time.Time // by POP, as it has it
}

// A knownEnd is a preview that somebody has ended.
type knownEnd struct {
	statement *keys.Statement
	pops      []string // who knows
}

// A knownPreviews is what POPs know of a site's previews, by host: as far as it is
// signed by somebody who may say so.
type knownPreviews struct {
	open  map[string]*knownPreview
	ended map[string]*knownEnd
}

// askPreviews asks every POP that answers.
func (f *Fleet) askPreviews(ctx context.Context, name string, pops []POPState) knownPreviews {
	known := knownPreviews{make(map[string]*knownPreview), make(map[string]*knownEnd)}
	lists := make([]*api.Previews, len(f.agents))
	up := make(map[string]bool, len(pops))
	for _, s := range pops {
		up[s.POP] = s.Unreachable == ""
	}
	_ = f.atEvery(func(i int, a *agentClient) (err error) {
		if up[a.pop.Name] {
			lists[i], err = a.previews(ctx, name)
		}
		return err
	}) // who does not tell has none to tell of
	for i, list := range lists {
		if list == nil {
			continue
		}
		for _, there := range list.Previews {
			f.heardOf(&known, name, f.agents[i].pop.Name, there.Statement)
		}
		for _, raw := range list.Ended {
			f.heardEnd(&known, name, f.agents[i].pop.Name, raw)
		}
	}
	return known
}

// heardOf takes up a preview that a POP has.
func (f *Fleet) heardOf(known *knownPreviews, name, pop string, raw []byte) {
	var p PreviewInfo
	st, err := keys.ParseStatement(raw)
	if err != nil || f.readStatement(st, api.KindPreview, name, &p.Preview) != nil || p.Site != name || !f.Now().Before(p.Expires) {
		return // nobody who may say so has said so
	}
	p.URL, p.By = f.previewURL(p.Host), f.nameOf(st.Key.String())
	has := known.open[p.Host]
	if has == nil {
		has = &knownPreview{PreviewInfo: p, statement: st, until: make(map[string]time.Time)}
		known.open[p.Host] = has
	}
	has.POPs = append(has.POPs, pop)
	has.until[pop] = p.Expires
	if p.Expires.After(has.Expires) {
		has.Preview, has.By, has.statement = p.Preview, p.By, st
	}
}

// heardEnd takes up the end of a preview.
func (f *Fleet) heardEnd(known *knownPreviews, name, pop string, raw []byte) {
	var e api.PreviewEnd
	st, err := keys.ParseStatement(raw)
	if err != nil || f.readStatement(st, api.KindPreviewEnd, name, &e) != nil || e.Site != name || !f.Now().Before(e.Expires) {
		return
	}
	has := known.ended[e.Host]
	if has == nil {
		has = &knownEnd{statement: st}
		known.ended[e.Host] = has
	}
	has.pops = append(has.pops, pop)
}

// A BroughtPreview is a preview that POPs were brought which had been away, or of which
// they were told that it has ended.
type BroughtPreview struct {
	api.Preview
	POPs  []string `json:"pops"`
	Ended bool     `json:"ended,omitempty"`
}

// BringPreviews gives POPs that were away the previews of a site that others have: at the
// same hosts, for as long, and verified. It tells them as well which have ended. Only are
// the POPs that may change; empty for all. What has been done is returned beside an error.
func (f *Fleet) BringPreviews(ctx context.Context, name string, only ...string) ([]BroughtPreview, error) {
	if err := checkSite(name); err != nil {
		return nil, err
	}
	pops, err := f.look(ctx, name)
	if err != nil {
		return nil, err
	}
	known := f.askPreviews(ctx, name, pops)
	wanted := func(s POPState) bool {
		return s.Unreachable == "" && (len(only) == 0 || slices.Contains(only, s.POP))
	}
	done, errs := f.tellEnds(ctx, name, known, pops, wanted)
	for _, host := range sortedKeys(known.open) {
		p := known.open[host]
		if known.ended[host] != nil || p.Expires.Sub(f.Now()) < almostOver {
			continue
		}
		var lacking []string
		for _, s := range pops {
			if wanted(s) && p.until[s.POP].Before(p.Expires) {
				lacking = append(lacking, s.POP)
			}
		}
		if len(lacking) == 0 {
			continue
		}
		report, err := f.bringPreview(ctx, p, pops, lacking)
		if err != nil {
			errs = append(errs, fmt.Errorf("bring the preview of %s to %s: %w", Short(p.Release), strings.Join(lacking, ", "), err))
			continue
		}
		brought := BroughtPreview{Preview: p.Preview}
		for _, pop := range report.POPs {
			if pop.Live && slices.Contains(lacking, pop.POP) {
				brought.POPs = append(brought.POPs, pop.POP)
			}
		}
		done = append(done, brought)
	}
	return done, errors.Join(append(errs, ctx.Err())...)
}

// tellEnds tells POPs of the ends that they do not know.
func (f *Fleet) tellEnds(ctx context.Context, name string, known knownPreviews, pops []POPState, wanted func(POPState) bool) (done []BroughtPreview, errs []error) {
	for _, host := range sortedKeys(known.ended) {
		e := known.ended[host]
		told := BroughtPreview{Preview: api.Preview{Site: name, Host: host}, Ended: true}
		for _, s := range pops {
			if !wanted(s) || slices.Contains(e.pops, s.POP) {
				continue
			}
			if err := f.agent(s.POP).endPreview(ctx, name, host, e.statement); err != nil {
				errs = append(errs, fmt.Errorf("tell %s of a preview that has ended: %w", s.POP, err))
				continue
			}
			told.POPs = append(told.POPs, s.POP)
		}
		if len(told.POPs) > 0 {
			done = append(done, told)
		}
	}
	return done, errs
}

// bringPreview opens a preview of others at POPs that lack it, in the steps in which it was
// opened there, with the same statement.
func (f *Fleet) bringPreview(ctx context.Context, known *knownPreview, pops []POPState, lacking []string) (*Report, error) {
	began, name := f.Now(), known.Site
	unlock, err := f.lockSite(ctx, name, false)
	if err != nil {
		return nil, err
	}
	defer unlock() //nolint:errcheck // the lock is gone with the process at the latest
	f.startWires()
	donors := f.donors(pops, known.Release)
	if len(donors) == 0 {
		return nil, &mistake.Error{What: "no POP that answers has its release any more", Hint: "penny deploy " + name + " --preview opens it once more"}
	}
	m, statement, err := f.manifest(ctx, name, known.Release, donors)
	if err != nil {
		return nil, err
	}
	f.lacks(pops, m, known.Release)
	plan, err := Make(Intent{Kind: Preview, Site: name, Release: known.Release, Host: known.Host, Holder: f.holder, Only: lacking, Hint: f.whereAll()}, pops)
	if err != nil {
		return nil, err
	}
	live := f.servedBefore(ctx, plan, pops)
	p := &prepared{pops: pops, live: live, new: &snapshot{manifest: m, id: known.Release}}
	report := newReport(Preview, p.new, live)
	report.plan(plan)
	if p.lay, err = layout(m, f.opener(ctx, name, donors)); err != nil {
		return nil, err
	}
	box := newParcel(known.Release, m, statement)
	if box.shelf, err = newSpool(filepath.Dir(f.siteFile(name, "spool")), shelf{f.store}, nil); err != nil {
		return nil, err
	}
	defer box.shelf.close() //nolint:errcheck // a temporary file
	shown := &preview{PreviewInfo: known.PreviewInfo, statement: known.statement, brought: true}
	shown.POPs = nil
	return f.openPreview(ctx, shown, plan, p, box, report, RunOptions{}, began)
}

// sortedKeys are the keys of a map in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// previewsDiffer reports whether POPs that answer do not all have the same previews.
func previewsDiffer(up []Observation, site string) bool {
	var first *string
	for _, o := range up {
		i := slices.IndexFunc(o.Status.Sites, func(s api.SiteStatus) bool { return s.Site == site })
		if i < 0 {
			continue // it has no such site yet
		}
		switch digest := o.Status.Sites[i].Previews; {
		case first == nil:
			first = &digest
		case *first != digest:
			return true
		}
	}
	return false
}
