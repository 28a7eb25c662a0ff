//go:build linux

package loop

import (
	"math/rand/v2"
	"testing"
)

func TestTimersExpireInTheirOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var all timers
	var conns []*Conn
	for range 500 {
		c := new(Conn)
		conns = append(conns, c)
		all.set(c, 1+random.Int64N(1000))
	}
	for i, c := range conns {
		switch i % 3 {
		case 0:
			all.set(c, 1+random.Int64N(1000))
		case 1:
			all.drop(c)
			all.drop(c) // it is not there any more
		}
	}
	last, count := int64(0), 0
	for now := int64(0); now <= 1000; now++ {
		for c := all.expired(now); c != nil; c = all.expired(now) {
			count++
			if c.timer.at.Load() != 0 {
				t.Error("it is still in")
			}
			if next := all.next(); next != 0 && next < last {
				t.Errorf("%d comes after %d", next, last)
			}
			last = now
		}
		if next := all.next(); next != 0 && next <= now {
			t.Errorf("%d is still there at %d", next, now)
		}
	}
	if want := 500 - 167; count != want || all.next() != 0 {
		t.Errorf("%d expired, want %d", count, want)
	}
}
