package agent

import (
	"sync"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// leases says who is deploying which site. They are advice between deployers, so
// that two do not work in vain: what is served is decided by the generation of
// heads. They are kept in memory, and gone after a restart of the agent: the
// others of the fleet have them still, and a lease is taken on a majority.
type leases struct {
	now func() time.Time // with a monotonic reading, so that setting the clock shortens none

	mu   sync.Mutex // guards held
	held map[string]lease
}

type lease struct {
	holder string
	key    keys.PublicKey
	until  time.Time
}

func newLeases(now func() time.Time) *leases {
	return &leases{now: now, held: make(map[string]lease)}
}

// take gives a site's lease to a holder, or renews it. If somebody else has it,
// that one is returned, and false.
func (l *leases) take(site, holder string, key keys.PublicKey, ttl time.Duration) (api.Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if has, ok := l.current(site, now); ok && (has.holder != holder || has.key != key) {
		return has.describe(now), false
	}
	given := lease{holder: holder, key: key, until: now.Add(ttl)}
	l.held[site] = given
	return given.describe(now), true
}

// giveBack ends a site's lease. It is no error if it has ended already. If
// somebody else has it, that one is returned, and false.
func (l *leases) giveBack(site, holder string, key keys.PublicKey) (api.Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if has, ok := l.current(site, now); ok && (has.holder != holder || has.key != key) {
		return has.describe(now), false
	}
	delete(l.held, site)
	return api.Lease{}, true
}

// of returns a site's lease, or nil.
func (l *leases) of(site string) *api.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	has, ok := l.current(site, now)
	if !ok {
		return nil
	}
	return new(has.describe(now))
}

// any reports whether anybody holds a lease.
func (l *leases) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for site := range l.held {
		if _, ok := l.current(site, now); ok {
			return true
		}
	}
	return false
}

// current returns a site's lease, and forgets one that has run out. The caller
// holds mu.
func (l *leases) current(site string, now time.Time) (lease, bool) {
	has, ok := l.held[site]
	if ok && !now.Before(has.until) {
		delete(l.held, site)
		ok = false
	}
	return has, ok
}

func (l lease) describe(now time.Time) api.Lease {
	return api.Lease{Holder: l.holder, Key: l.key.String(), Expires: l.until.UTC().Round(0), Left: l.until.Sub(now)}
}
