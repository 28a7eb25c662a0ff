package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

func (a *Agent) postCollect(c *call) error {
	result, err := a.collect(c.r.Context())
	if err != nil {
		return err
	}
	return c.answer(result)
}

// collect removes what retention does not keep. It does nothing while somebody
// deploys: what is on its way belongs to nothing yet.
func (a *Agent) collect(ctx context.Context) (api.CollectResult, error) {
	if a.leases.any() {
		return api.CollectResult{Skipped: "somebody holds a lease"}, nil
	}
	if !a.collecting.TryLock() {
		return api.CollectResult{Skipped: "something is on its way"}, nil
	}
	defer a.collecting.Unlock()
	ctx = context.WithoutCancel(ctx) // half of it would be done again
	if err := a.endPreviews(ctx); err != nil {
		return api.CollectResult{}, err
	}
	keep := make(map[release.Hash]bool)
	for _, s := range a.allSites() {
		kept, err := a.retain(ctx, s)
		if err != nil {
			// Nothing is removed that a site may still want.
			return api.CollectResult{}, fmt.Errorf("collect what %s does not need: %w", s.name, err)
		}
		for id := range kept {
			keep[id] = true
		}
	}
	// Nothing is on its way, so however young something is, nobody waits for it.
	collected, err := a.store.Collect(ctx, func(r release.Stored) bool { return keep[r.ID] }, a.o.Now())
	if collected.Bytes > 0 {
		a.log.LogAttrs(ctx, slog.LevelInfo, "garbage collected", slog.Int64("bytes", collected.Bytes))
	}
	return api.CollectResult{Freed: collected.Bytes}, err
}

// collectable reports whether there is something to collect, so that it is not looked for
// after every deploy: a release that retention does not keep, or whatever could not be
// collected when it was time.
func (a *Agent) collectable() bool {
	if a.postponed.Swap(false) {
		return true
	}
	return slices.ContainsFunc(a.allSites(), func(s *hostedSite) bool { return a.dropsAny(s) })
}

func (a *Agent) dropsAny(s *hostedSite) bool {
	_, drop := a.judge(s)
	return len(drop) > 0
}

// judge returns which releases of a site its retention keeps, and which of those that are
// here it does not.
func (a *Agent) judge(s *hostedSite) (keep map[release.Hash]bool, drop []release.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var serving []release.Hash
	if s.serving {
		serving = append(serving, s.active)
	}
	if s.head != nil {
		serving = append(serving, s.head.release)
	}
	keep = keepers(s.records, serving, a.config.Load().Retention, a.o.Now())
	for _, p := range s.previews {
		keep[p.id] = true
	}
	for id := range s.records {
		if !keep[id] {
			drop = append(drop, id)
		}
	}
	return keep, drop
}

// retain forgets the releases of a site that its retention does not keep, takes
// their fingerprinted files out of what is served, and returns those that stay.
func (a *Agent) retain(ctx context.Context, s *hostedSite) (map[release.Hash]bool, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	keep, drop := a.judge(s)
	if len(drop) == 0 {
		return keep, nil
	}
	for _, id := range drop {
		if err := a.dir.remove(sitesDir, s.name, releasesDir, id.String()+recordExt); err != nil {
			return nil, err
		}
		s.mu.Lock()
		delete(s.records, id)
		s.mu.Unlock()
		if s.compiled != nil && s.compiled.id == id {
			s.compiled = nil
		}
	}
	s.offer(nil, nil)
	a.recallRetained(ctx, s)
	return keep, a.refresh(ctx, s)
}
