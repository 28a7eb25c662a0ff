package loop

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// reacting returns a reactor and runs it until the test's end, or until stop.
func reacting(t *testing.T, before func(r *Reactor)) (r *Reactor, stop func()) {
	t.Helper()
	r, err := NewReactor()
	if err != nil {
		t.Fatal(err)
	}
	before(r)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func TestAReactorRunsWhatIsPostedInOrder(t *testing.T) {
	const posters, each = 8, 2000
	got := make([][]int, posters)
	r, stop := reacting(t, func(*Reactor) {})
	var wg, done sync.WaitGroup
	done.Add(posters * each)
	for p := range posters {
		wg.Go(func() {
			for i := range each {
				r.Post(func() {
					got[p] = append(got[p], i)
					done.Done()
				})
			}
		})
	}
	wg.Wait()
	done.Wait()
	stop()
	for p, list := range got {
		for i, n := range list {
			if i != n {
				t.Fatalf("poster %d: call %d was %d", p, i, n)
			}
		}
	}
}

func TestAReactorThatSleepsIsWoken(t *testing.T) {
	r, _ := reacting(t, func(*Reactor) {})
	for range 200 {
		called := make(chan struct{})
		r.Post(func() { close(called) })
		<-called
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	}
}

// TestTimersExpireOnceAndNeverEarly compares a wheel with what was asked of it,
// over several rounds, without a clock.
func TestTimersExpireOnceAndNeverEarly(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var w wheel
	type expected struct {
		Timer
		due   int64
		stale bool
	}
	now, set, fired := int64(0), 0, 0
	var timers []*expected
	arm := func(x *expected) {
		x.due = now + random.Int64N(int64(3*slots)*tick)
		if random.IntN(3) == 0 {
			x.due = now + random.Int64N(20*tick)
		}
		x.remove()
		x.at = x.due
		w.add(&x.Timer)
		set++
	}
	for range 5000 {
		x := new(expected)
		x.F = func() {
			fired++
			if x.stale {
				t.Fatal("a timer expired that was stopped")
			}
			if now < x.due {
				t.Fatalf("a timer of %d expired at %d", x.due, now)
			}
			if random.IntN(4) == 0 {
				arm(x)
				return
			}
			if other := timers[random.IntN(len(timers))]; other.Armed() && !other.stale && random.IntN(8) == 0 {
				other.remove() // also one of the slot that is being emptied
				other.stale = true
				set--
			}
		}
		timers = append(timers, x)
		arm(x)
	}
	for step := 0; fired < set; step++ {
		at, ok := w.next(now)
		if !ok || at <= now {
			t.Fatalf("next after %d is %d", now, at)
		}
		now = at + random.Int64N(tick)
		if random.IntN(50) == 0 {
			now += random.Int64N(2 * int64(slots) * tick) // the process was stopped
		}
		w.expire(now)
		for _, x := range timers {
			if x.Armed() && x.due <= now-tick {
				t.Fatalf("a timer of %d has not expired at %d", x.due, now)
			}
		}
	}
}

func TestAReactorsTimersFollowTheClock(t *testing.T) {
	var mu sync.Mutex
	began := time.Now()
	took := map[int]time.Duration{}
	var wg sync.WaitGroup
	reacting(t, func(r *Reactor) {
		for i := range 20 {
			wg.Add(1)
			timer := &Timer{F: func() {
				mu.Lock()
				defer mu.Unlock()
				took[i] = time.Since(began)
				wg.Done()
			}}
			r.Set(timer, r.Now()+int64(i)*int64(7*time.Millisecond))
		}
		stopped := &Timer{F: func() { t.Error("a timer expired that was stopped") }}
		r.Set(stopped, r.Now()+int64(30*time.Millisecond))
		r.Stop(stopped)
	})
	wg.Wait()
	for i, d := range took {
		if least := time.Duration(i) * 7 * time.Millisecond; d < least {
			t.Errorf("a timer of %v expired after %v", least, d)
		}
	}
}

func TestAReactorDoesNotWaitWhileThereIsWork(t *testing.T) {
	left := 1000
	done := make(chan struct{})
	reacting(t, func(r *Reactor) {
		r.EachTurn(func() bool {
			if left == 0 {
				return false
			}
			if left--; left == 0 {
				close(done)
			}
			return left > 0
		})
	})
	<-done // 1,000 turns of a second each would not end in time
}
