package agent

import (
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

func TestALeaseIsOneHolders(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := newLeases(func() time.Time { return now })
	ada, bob := keys.PublicKey{1}, keys.PublicKey{2}
	given, ok := l.take("a.org", "ada, 1", ada, time.Minute)
	if !ok || given.Holder != "ada, 1" || given.Left != time.Minute || !given.Expires.Equal(now.Add(time.Minute)) {
		t.Fatalf("ada got %+v, %v", given, ok)
	}
	for _, other := range []struct {
		holder string
		key    keys.PublicKey
	}{{"bob", bob}, {"ada, 2", ada}, {"ada, 1", bob}} { // a name is no proof
		if has, ok := l.take("a.org", other.holder, other.key, time.Hour); ok || has.Holder != "ada, 1" {
			t.Errorf("%s took it: %+v", other.holder, has)
		}
		if has, ok := l.giveBack("a.org", other.holder, other.key); ok || has.Holder != "ada, 1" {
			t.Errorf("%s gave it back: %+v", other.holder, has)
		}
	}
	if _, ok := l.take("b.org", "bob", bob, time.Minute); !ok {
		t.Error("another site's lease is another one")
	}
	now = now.Add(40 * time.Second)
	if renewed, ok := l.take("a.org", "ada, 1", ada, time.Minute); !ok || renewed.Left != time.Minute {
		t.Errorf("renewed: %+v, %v", renewed, ok)
	}
	now = now.Add(59 * time.Second)
	if has := l.of("a.org"); has == nil || has.Left != time.Second {
		t.Errorf("a second before its end: %+v", has)
	}
	now = now.Add(time.Second)
	if has := l.of("a.org"); has != nil || l.any() {
		t.Errorf("at its end: %+v", has)
	}
	if _, ok := l.giveBack("a.org", "ada, 1", ada); !ok {
		t.Error("giving back what has ended is no mistake")
	}
	if _, ok := l.take("a.org", "bob", bob, time.Minute); !ok {
		t.Error("what has ended can be taken")
	}
	if left, ok := l.giveBack("a.org", "bob", bob); !ok || left != (api.Lease{}) || l.any() {
		t.Errorf("after giving back: %+v, %v", left, ok)
	}
}

// A clock that is set back or forth must neither end a lease nor make it last.
func TestALeaseGoesByTheMonotonicClock(t *testing.T) {
	l := newLeases(time.Now)
	if _, ok := l.take("a.org", "ada", keys.PublicKey{1}, time.Hour); !ok {
		t.Fatal("not taken")
	}
	l.mu.Lock()
	until := l.held["a.org"].until
	l.mu.Unlock()
	if until == until.Round(0) { // that there is a monotonic reading is what is asked
		t.Error("the end of a lease has no monotonic reading")
	}
}
