package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// A round is a [Round] under way.
type round struct {
	keeper *Keeper
	fleet  *Fleet
	seen   []Observation // at the beginning

	mu sync.Mutex // guards Done and Failed
	Round
}

// event hears what the fleet tells: of interest is what was done by the way.
func (r *round) event(ctx context.Context, e Event) {
	if e.Kind == EventRoster {
		r.done(ctx, Done{Do: ChoreRoster, POP: e.POP, Number: e.Number})
	}
}

// done notes, and logs at once, what was done.
func (r *round) done(ctx context.Context, d Done) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Done = append(r.Done, d)
	log, facts := r.keeper.Log, attrs("", d.POP, d.Site)
	switch d.Do {
	case ChoreRoster:
		log.LogAttrs(ctx, slog.LevelInfo, "roster delivered", append(facts, slog.Uint64("number", d.Number))...)
	case ChoreConfig:
		log.LogAttrs(ctx, slog.LevelInfo, "configuration delivered", append(facts, slog.Uint64("number", d.Number))...)
	case ChoreLeaf:
		log.LogAttrs(ctx, slog.LevelInfo, "certificate renewed", append(facts, slog.Time("expires", d.Expires))...)
	case ChorePreview:
		if d.Ended {
			log.LogAttrs(ctx, slog.LevelInfo, "end of a preview delivered", facts...)
			return
		}
		// Who reads logs need not know where it is.
		log.LogAttrs(ctx, slog.LevelInfo, "preview delivered", append(facts, slog.String("release", Short(d.Release)), slog.Time("expires", d.Expires))...)
	case ChoreSite:
		log.LogAttrs(ctx, slog.LevelInfo, "POP caught up", append(facts, slog.String("release", Short(d.Release)), slog.Uint64("generation", d.Generation),
			slog.Int("objects", d.Sent.Objects), slog.Int("verified", d.Verified))...)
	}
}

func (r *round) failed(do ChoreKind, pop, site string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Failed = append(r.Failed, Failed{Do: do, POP: pop, Site: site, Error: err.Error(), err: err})
}

// run looks, decides and does.
func (r *round) run(ctx context.Context) error {
	seen, err := r.fleet.Observe(ctx)
	if err != nil {
		return err
	}
	r.POPs, r.seen = len(seen), seen
	for _, o := range seen {
		if o.Err != nil {
			r.failed("", o.POP.Name, "", o.Err)
		}
	}
	r.Warnings = r.fleet.warnings()
	chores := Chores(seen, r.keeper.now())
	for _, kind := range []ChoreKind{ChoreConfig, ChoreLeaf} { // sites wait for the former
		r.small(ctx, kind, chores)
	}
	if r.configured() { // a POP may serve sites now of which it knew nothing
		if seen, err = r.fleet.Observe(ctx); err != nil {
			return err
		}
		chores = Chores(seen, r.keeper.now())
	}
	for _, c := range chores {
		switch c.Do {
		case ChoreSite:
			r.site(ctx, c)
		case ChorePreview:
			r.previews(ctx, c.Site)
		case ChoreRoster, ChoreConfig, ChoreLeaf: // done
		}
	}
	return ctx.Err()
}

// configured reports whether some POP has got a configuration.
func (r *round) configured() bool {
	for _, d := range r.Done {
		if d.Do == ChoreConfig {
			return true
		}
	}
	return false
}

// small does the chores of a kind that sends no content, many at a time.
func (r *round) small(ctx context.Context, kind ChoreKind, chores []Chore) {
	var g errgroup.Group
	g.SetLimit(keptAtOnce)
	for _, c := range chores {
		if c.Do != kind {
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, smallLimit, fmt.Errorf("it is not done within %v", smallLimit))
			defer cancel()
			d := Done{Do: kind, POP: c.POPs[0]}
			var err error
			if kind == ChoreConfig {
				d.Number, err = r.fleet.bringConfig(ctx, c.From, d.POP)
			} else {
				d.Expires, err = r.leaf(ctx, d.POP)
			}
			if errors.Is(err, errAsGood) {
				return nil
			}
			if err != nil {
				r.failed(kind, d.POP, "", err)
				return nil
			}
			r.done(ctx, d)
			return nil
		})
	}
	_ = g.Wait() // it is in Failed
}

// leaf renews the certificate of a POP's agent.
func (r *round) leaf(ctx context.Context, pop string) (time.Time, error) {
	if err := r.fleet.mayI(keys.Right{What: keys.Renew}); err != nil {
		return time.Time{}, err
	}
	err := fs.ErrNotExist
	var ca *keys.CA
	if r.keeper.Authority != nil {
		ca, err = r.keeper.Authority()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, &mistake.Error{What: "the fleet's CA is not on this machine", Hint: "penny control is to run where penny init did, or where penny control restore has put it"}
	}
	if err != nil {
		return time.Time{}, err
	}
	for _, o := range r.seen {
		if o.POP.Name == pop && o.Status != nil && !o.Status.LeafExpires.Before(ca.Certificate().NotAfter) {
			return time.Time{}, errAsGood
		}
	}
	return r.fleet.RenewLeaf(ctx, pop, ca)
}

// errAsGood says that a certificate need not be renewed: it ends with the CA. That there
// has to be another CA is a warning of its own.
var errAsGood = errors.New("the next certificate would not last longer")

// site brings POPs up to the head of a site: all at once, and if something is wrong
// each on its own, so that one does not hold up the others.
func (r *round) site(ctx context.Context, c Chore) {
	err := r.fleet.mayI(mayDeploy(c.Site))
	if err == nil {
		err = r.bring(ctx, c.Site, c.POPs)
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return
	case isTaken(err) || len(c.POPs) == 1 || r.fleet.mayI(mayDeploy(c.Site)) != nil:
		for _, pop := range c.POPs {
			r.failed(ChoreSite, pop, c.Site, err)
		}
		return
	}
	for _, pop := range c.POPs {
		if err := r.bring(ctx, c.Site, []string{pop}); err != nil {
			r.failed(ChoreSite, pop, c.Site, err)
		}
	}
}

// isTaken reports whether somebody is deploying the site: it is theirs for now.
func isTaken(err error) bool {
	_, leased := errors.AsType[*LeasedError](err)
	_, busy := errors.AsType[*BusyError](err)
	return leased || busy
}

// bring brings POPs up to the head of a site.
func (r *round) bring(ctx context.Context, site string, pops []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, siteLimit, fmt.Errorf("it is not done within %v", siteLimit))
	defer cancel()
	report, err := r.fleet.CatchUp(ctx, RollbackOptions{Site: site, Only: pops})
	if err != nil {
		return err
	}
	for _, p := range report.POPs {
		if !slices.Contains(pops, p.POP) {
			continue
		}
		if !p.Live {
			r.failed(ChoreSite, p.POP, site, errors.New(p.Why))
			continue
		}
		if report.Nothing {
			continue // somebody else was quicker
		}
		d := Done{Do: ChoreSite, POP: p.POP, Site: site, Release: report.Release, Generation: report.Generation, Sent: p.Sent, Wire: p.Wire}
		if p.Verified != nil {
			d.Verified = p.Verified.URLs
		}
		r.done(ctx, d)
	}
	return nil
}

// previews brings POPs the previews of a site that others have.
func (r *round) previews(ctx context.Context, site string) {
	ctx, cancel := context.WithTimeoutCause(ctx, siteLimit, fmt.Errorf("it is not done within %v", siteLimit))
	defer cancel()
	err := r.fleet.mayI(mayDeploy(site))
	var brought []BroughtPreview
	if err == nil {
		brought, err = r.fleet.BringPreviews(ctx, site)
	}
	for _, b := range brought {
		for _, pop := range b.POPs {
			r.done(ctx, Done{Do: ChorePreview, POP: pop, Site: site, Release: b.Release, Expires: b.Expires, Ended: b.Ended})
		}
	}
	if err != nil && ctx.Err() == nil {
		r.failed(ChorePreview, "", site, err)
	}
}

// mayDeploy is the right to deploy a site.
func mayDeploy(site string) keys.Right { return keys.Right{What: keys.Deploy, Site: site} }

// mayI says what somebody lacks who works with the fleet from here.
func (f *Fleet) mayI(right keys.Right) error {
	r := f.currentRoster()
	if r == nil || r.May(f.ID.Key().Public(), right) {
		return nil
	}
	return &mistake.Error{
		What: fmt.Sprintf("%s, as whom this machine works with the fleet, may not %s", f.ID.Name, right),
		Hint: fmt.Sprintf("the owner makes a key that may: penny key add NAME --may %s", right),
	}
}

// RenewLeaf gives a POP's agent its next certificate, for the key that the roster pins,
// and returns until when it is valid.
func (f *Fleet) RenewLeaf(ctx context.Context, pop string, ca *keys.CA) (time.Time, error) {
	a, r := f.agent(pop), f.currentRoster()
	if a == nil || r == nil {
		return time.Time{}, fmt.Errorf("renew the certificate of %s: %w", pop, keys.ErrNotPinned)
	}
	key, pinned := r.POP(pop)
	if !pinned {
		return time.Time{}, fmt.Errorf("renew the certificate of %s: %w", pop, keys.ErrNotPinned)
	}
	leaf, err := ca.IssuePOP(f.ID.Fleet, pop, key)
	if err != nil {
		return time.Time{}, err
	}
	var result api.Leaf
	err = a.do(ctx, call{method: http.MethodPut, path: apiPath("leaf"), header: http.Header{"Content-Type": {api.TypePEM}}, body: bytes.NewReader(leaf), result: &result})
	if err != nil {
		return time.Time{}, fmt.Errorf("renew the certificate of %s: %w", pop, err)
	}
	return result.Expires, nil
}

// bringConfig gives a POP the configuration that another one has: the same statement,
// if who signed it may still operate the fleet.
func (f *Fleet) bringConfig(ctx context.Context, from, to string) (uint64, error) {
	if err := f.mayI(keys.Right{What: keys.Operate}); err != nil {
		return 0, err
	}
	st, err := f.agent(from).statement(ctx, apiPath("config"))
	if err != nil {
		return 0, err
	}
	payload, err := st.Verify(f.ID.Fleet, api.KindConfig)
	if err != nil {
		return 0, fmt.Errorf("the configuration that %s has: %w", from, err)
	}
	if r := f.currentRoster(); r == nil || !r.May(st.Key, keys.Right{What: keys.Operate}) {
		return 0, &mistake.Error{
			What: fmt.Sprintf("the configuration that %s has is signed by %s, who may not operate the fleet", from, f.nameOf(st.Key.String())),
			Hint: "penny apply signs a new one",
		}
	}
	return numberOf(payload), f.agent(to).put(ctx, apiPath("config"), st)
}
