package simnet

import (
	"slices"
	"testing"
)

func TestAWheelDoesEverythingInTimeAndOnce(t *testing.T) {
	var w wheel
	w.start(1000)
	due := map[int]int64{} // by descriptor
	d := dice(1)
	for fd := range 2000 {
		due[fd] = 1001 + int64(d.roll(wheelSize-2)) //nolint:gosec // small
		w.add(due[fd], timer{fd: fd})
	}
	w.add(0, timer{fd: -1})                 // overdue: as soon as possible
	w.add(1000+10*wheelSize, timer{fd: -2}) // too far away: as late as possible
	due[-1], due[-2] = 1001, 1000+wheelSize-1
	fired := map[int]bool{}
	for now := int64(1000); len(fired) < len(due); now += int64(1 + d.roll(50)) { //nolint:gosec // small
		before := w.at
		w.advance(now, func(t2 timer) {
			if fired[t2.fd] || due[t2.fd] <= before || due[t2.fd] > now {
				t.Errorf("timer %d, due at %d, fires between %d and %d", t2.fd, due[t2.fd], before, now)
			}
			fired[t2.fd] = true
			if t2.fd == 0 {
				w.add(now+3, timer{fd: 9999})
				due[9999] = now + 3
			}
		})
		if now > 1000+2*wheelSize {
			t.Fatalf("%d of %d timers have fired", len(fired), len(due))
		}
	}
	if w.pending != 0 || slices.ContainsFunc(w.slots[:], func(s []timer) bool { return len(s) > 0 }) {
		t.Errorf("%d timers are left", w.pending)
	}
}
