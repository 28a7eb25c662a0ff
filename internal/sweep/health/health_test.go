package health

import (
	"math/rand/v2"
	"testing"
	"time"
)

// run has events come for some seconds, at a rate, of which a share succeeds.
func run(m *Monitor, random *rand.Rand, from, seconds, rate int, share float64) {
	for s := from; s < from+seconds; s++ {
		for i := range rate {
			now := int64(s)*second + int64(i)*second/int64(rate)
			m.Began(now)
			m.Ended(now, random.Float64() < share)
			m.Judge(now)
		}
	}
}

func at(seconds float64) int64 { return int64(seconds * float64(second)) }

func TestACutLineIsIllAndNothingElse(t *testing.T) {
	for _, usual := range []float64{0.95, 0.7, 0.3} {
		random := rand.New(rand.NewPCG(1, uint64(usual*100)))
		var m Monitor
		run(&m, random, 10, 30, 500, usual)
		if m.Ill() > 0 {
			t.Errorf("share %v: %d seconds were ill before the cut", usual, m.Ill())
		}
		run(&m, random, 40, 10, 300, 0)
		if !m.Doubtful(at(41), at(44), false) || !m.Doubtful(at(48), at(50), false) {
			t.Errorf("share %v: failures during the cut are believed", usual)
		}
		run(&m, random, 50, 30, 500, usual)
		if n := m.Ill(); n != 10 {
			t.Errorf("share %v: %d seconds were ill, want 10", usual, n)
		}
		if m.Doubtful(at(60), at(65), false) {
			t.Errorf("share %v: failures after the cut are not believed", usual)
		}
		if !m.Doubtful(at(49), at(54), false) {
			t.Errorf("share %v: a failure that began in the cut is believed", usual)
		}
	}
}

func TestTheBeginningOfACutIsNoticedBeforeTheSecondIsOver(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Monitor
	run(&m, random, 10, 10, 500, 0.9)
	for i := range 100 {
		m.Ended(at(20)+int64(i)*int64(time.Millisecond), false)
	}
	if !m.Doubtful(at(19.9), at(20.1), false) {
		t.Error("a hundred failures in a row are believed")
	}
}

func TestAFailedControlMakesASecondIll(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Monitor
	run(&m, random, 10, 10, 500, 0.9)
	m.Control(at(15.5), false)
	if !m.Doubtful(at(15.1), at(16), false) {
		t.Error("failures beside a failed control are believed")
	}
	m.Control(at(19.1), true)
	if m.Doubtful(at(19), at(19.5), false) {
		t.Error("failures beside a good control are not believed")
	}
}

func TestARunInWhichNothingEverCameIsIll(t *testing.T) {
	var m Monitor
	run(&m, rand.New(rand.NewPCG(1, 2)), 10, 5, 100, 0)
	if !m.Doubtful(at(11), at(14), false) {
		t.Error("failures of a line that was never up are believed")
	}
}

func TestAHandfulOfTargetsIsNotJudged(t *testing.T) {
	var m Monitor
	for i := range 10 {
		m.Ended(at(10)+int64(i)*second/2, false)
	}
	if m.Doubtful(at(10), at(16), false) {
		t.Error("ten dead targets make the line ill")
	}
}

func TestWhatIsLateWhileWeAreIsNotBelieved(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Monitor
	run(&m, random, 10, 3, 100, 0.9)
	m.Slow(at(12.5))
	if !m.Doubtful(at(12), at(12.9), true) {
		t.Error("a timeout while the processor was taken away is believed")
	}
	if m.Doubtful(at(12), at(12.9), false) {
		t.Error("what was said while the processor was taken away is not believed")
	}
	if m.Judge(at(13.2)) || m.Ill() > 0 {
		t.Error("the line is ill because we were late")
	}
}

func TestASecondInWhichWeWereShortCountsAndStopsNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Monitor
	run(&m, random, 10, 3, 100, 0.9)
	m.Short(at(12.5))
	if m.Judge(at(13.2)) || m.Doubtful(at(12), at(13.2), true) {
		t.Error("the line is ill because we were short of something")
	}
	if m.Ill() != 1 {
		t.Errorf("%d seconds were ill, want 1", m.Ill())
	}
}

func TestALongSilenceForgetsWhatWasBefore(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Monitor
	run(&m, random, 10, 5, 100, 0.9)
	run(&m, random, 15, 5, 100, 0)
	run(&m, random, 100_000, 5, 100, 0.9)
	if m.Doubtful(at(100_001), at(100_004), false) {
		t.Error("failures are not believed because of what was a day ago")
	}
}

// At the end of a list the slow ones are left, and end together.
func TestTheEndOfAListIsNoIllness(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Monitor
	run(&m, random, 10, 30, 500, 0.9)
	for s := 42; s < 60; s++ {
		for range 100 {
			m.Ended(at(float64(s)+0.5), false)
		}
		if m.Doubtful(at(float64(s)), at(float64(s)+0.9), false) {
			t.Errorf("second %d is in doubt before it is over", s)
		}
	}
	if m.Judge(at(61)); m.Ill() != 0 {
		t.Errorf("%d seconds were ill", m.Ill())
	}
}
