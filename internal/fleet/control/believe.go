package control

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// look asks every POP how it is, and returns what can be believed of it for a site.
func (f *Fleet) look(ctx context.Context, site string) ([]POPState, error) {
	seen, err := f.Observe(ctx)
	if err != nil {
		return nil, err
	}
	return f.believed(ctx, seen, site)
}

// believed is what POPs have said of a site, as far as it can be believed. What a POP
// says of its head is not signed, and a stolen one could say anything: a generation
// after which there can be no other, for example. So where POPs disagree, and about a
// head that this machine does not remember, the signed head is asked for. A POP that
// does not have it is taken for one that cannot be reached.
func (f *Fleet) believed(ctx context.Context, seen []Observation, site string) ([]POPState, error) {
	pops := states(seen, site)
	known := f.recall(site)
	agreed := agree(pops)
	var wait sync.WaitGroup
	for i := range pops {
		s := &pops[i]
		if s.Unreachable != "" || s.Head == nil || agreed {
			continue
		}
		if s.Head.Generation < known.Generation || s.Head.Generation == known.Generation && s.Head.Release == known.Release {
			continue
		}
		wait.Go(func() {
			if err := f.proveHead(ctx, s, site); err != nil {
				s.Unreachable = "it cannot show the head that it speaks of: " + err.Error()
			}
		})
	}
	wait.Wait()
	roster := f.currentRoster()
	for i := range pops {
		s := &pops[i]
		if key, err := keys.ParsePublicKey(s.HeadKey); err == nil && roster != nil {
			s.Orphaned = !roster.May(key, keys.Right{What: keys.Deploy, Site: site})
		}
	}
	return pops, ctx.Err()
}

// agree reports whether several POPs answer, and all have the same head.
func agree(pops []POPState) bool {
	var first *api.Head
	answering := 0
	for _, s := range pops {
		if s.Unreachable != "" {
			continue
		}
		answering++
		switch {
		case s.Head == nil:
			return false
		case first == nil:
			first = s.Head
		case first.Generation != s.Head.Generation || first.Release != s.Head.Release:
			return false
		}
	}
	return answering > 1
}

// proveHead replaces what a POP says of its head by what is signed. Who has signed it
// may have been revoked since: what was deployed stays what is served.
func (f *Fleet) proveHead(ctx context.Context, s *POPState, site string) error {
	st, err := f.agent(s.POP).statement(ctx, apiPath("sites", site, "head"))
	if err != nil {
		return err
	}
	var head api.Head
	if err := f.readSigned(st, api.KindHead, site, &head); err != nil {
		return err
	}
	if head.Site != site || head.Generation < s.Head.Generation { // higher if somebody deploys now
		return fmt.Errorf("it is generation %d of %.260q, and not %d", head.Generation, head.Site, s.Head.Generation)
	}
	s.Head, s.HeadKey = &head, st.Key.String()
	return nil
}

// readSigned verifies a statement about a site that somebody has made who may deploy it,
// or could once.
func (f *Fleet) readSigned(st *keys.Statement, kind, site string, payload any) error {
	err := f.readStatement(st, kind, site, payload)
	if r := f.currentRoster(); err != nil && r != nil && slices.Contains(r.Revoked, st.Key) {
		return f.readPayload(st, kind, payload)
	}
	return err
}
