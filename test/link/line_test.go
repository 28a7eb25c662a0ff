package link

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// At 8 Mbit/s a packet of a thousand bytes takes a millisecond.
const thousandAMillisecond = 8_000_000

func TestALineTakesItsTime(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	type sent struct{ at, size int } // milliseconds, bytes
	const dropped = -1
	for name, test := range map[string]struct {
		options Options
		packets []sent
		want    []float64 // milliseconds from the start, or dropped
	}{
		"a delay shifts what comes": {
			Options{Delay: 40 * time.Millisecond},
			[]sent{{0, 100}, {0, 1500}, {7, 1}},
			[]float64{40, 40, 47},
		},
		"a rate lets one packet wait for the other": {
			Options{Rate: thousandAMillisecond},
			[]sent{{0, 1000}, {0, 1000}, {1, 500}, {1, 500}},
			[]float64{1, 2, 2.5, 3},
		},
		"a pause empties the queue": {
			Options{Rate: thousandAMillisecond},
			[]sent{{0, 1000}, {0, 1000}, {50, 1000}},
			[]float64{1, 2, 51},
		},
		"a delay comes on top of the rate": {
			Options{Rate: thousandAMillisecond, Delay: 10 * time.Millisecond},
			[]sent{{0, 1000}, {0, 1000}},
			[]float64{11, 12},
		},
		"a queue that is full drops, and what it drops takes no time": {
			Options{Rate: thousandAMillisecond, Queue: 3000},
			[]sent{{0, 1000}, {0, 1000}, {0, 1000}, {0, 1000}, {0, 1000}, {1, 1000}},
			[]float64{1, 2, 3, dropped, dropped, 4},
		},
		"a small packet fits where a large one does not": {
			Options{Rate: thousandAMillisecond, Queue: 3000},
			[]sent{{0, 1000}, {0, 1000}, {0, 1500}, {0, 1000}},
			[]float64{1, 2, dropped, 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(test.options.withDefaults(), 1)
			for i, p := range test.packets {
				f, due := l.send(start.Add(time.Duration(p.at)*time.Millisecond), p.size)
				got := float64(due.Sub(start)) / float64(time.Millisecond)
				if f == full {
					got = dropped
				}
				if got != test.want[i] {
					t.Errorf("packet %d arrives after %v ms, want %v", i, got, test.want[i])
				}
			}
		})
	}
}

// fates sends n packets and returns what became of each.
func fates(o Options, stream uint64, n int) []fate {
	l := newLine(o.withDefaults(), stream)
	all := make([]fate, n)
	for i := range all {
		all[i], _ = l.send(time.Unix(0, 0), 100)
	}
	return all
}

func TestLossesAreAsManyAsWereAskedFor(t *testing.T) {
	const n = 100_000
	for _, share := range []float64{0, 0.02, 0.5, 1} {
		got := 0
		for _, f := range fates(Options{Loss: share, Seed: 1}, 1, n) {
			if f == lost {
				got++
			}
		}
		if mean, bound := expected(n, share); math.Abs(float64(got)-mean) > bound {
			t.Errorf("of %d packets %d are lost, want %v ± %.0f", n, got, mean, bound)
		}
	}
}

func TestSoManyTakeADetourAsWereAskedForAndNoneMoreIsLost(t *testing.T) {
	const n = 100_000
	counted := make(map[fate]int)
	l := newLine(Options{Delay: time.Millisecond, Loss: 0.1, Reorder: 0.2, Detour: 3 * time.Millisecond, Seed: 1}.withDefaults(), 1)
	start := time.Unix(0, 0)
	for range n {
		f, due := l.send(start, 100)
		counted[f]++
		if want := map[fate]time.Duration{arrives: time.Millisecond, late: 4 * time.Millisecond}[f]; f != lost && due.Sub(start) != want {
			t.Fatalf("one that is %v takes %v, want %v", f, due.Sub(start), want)
		}
	}
	for f, share := range map[fate]float64{lost: 0.1, late: 0.9 * 0.2, arrives: 0.9 * 0.8} {
		if mean, bound := expected(n, share); math.Abs(float64(counted[f])-mean) > bound {
			t.Errorf("of %d packets %d are %v, want %v ± %.0f", n, counted[f], f, mean, bound)
		}
	}
}

// expected returns how many of n packets are lost on average, and by how much
// that is missed once in a million runs.
func expected(n int, share float64) (mean, bound float64) {
	return float64(n) * share, 5 * math.Sqrt(float64(n)*share*(1-share))
}

func TestASeedLosesTheSamePackets(t *testing.T) {
	const n = 1000
	one := fates(Options{Loss: 0.3, Seed: 1}, 1, n)
	if diff := cmp.Diff(one, fates(Options{Loss: 0.3, Seed: 1}, 1, n)); diff != "" {
		t.Errorf("the same seed:\n%s", diff)
	}
	for name, other := range map[string][]fate{
		"another seed":        fates(Options{Loss: 0.3, Seed: 2}, 1, n),
		"the other direction": fates(Options{Loss: 0.3, Seed: 1}, 2, n),
	} {
		if cmp.Equal(one, other) {
			t.Errorf("%s loses the same packets", name)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	err := Options{Delay: -1, Loss: math.NaN(), Rate: -1, Queue: 1, Reorder: 2, Detour: -1}.validate()
	if err == nil || strings.Count(err.Error(), "\n") != 5 {
		t.Errorf("of six mistakes these are told:\n%v", err)
	}
	if err := (Options{}).withDefaults().validate(); err != nil {
		t.Errorf("no options at all: %v", err)
	}
}
