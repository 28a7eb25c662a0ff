package loop

import (
	"context"
	"sync"
	"time"
)

// A Reactor runs callbacks in one goroutine: when descriptors are ready (Linux
// only), when timers expire, and when others post them. So what the callbacks
// share needs no lock, and something that waits costs its state and no stack.
//
// It is for those who ask: they have hundreds of thousands of things under way,
// each a few system calls long. [Loop] is for those who answer.
//
// Callbacks must not block. Everything but [Reactor.Post] is for callbacks, and
// for the time before [Reactor.Run].
type Reactor struct {
	poller poller
	epoch  time.Time
	now    int64 // nanoseconds since epoch, at the beginning of the turn
	late   time.Duration
	wheel  wheel
	turns  []func() bool

	mu     sync.Mutex // guards the fields below
	posted []func()
	asleep bool // the goroutine waits, or is about to

	taken []func() // posted, and being run
}

// most is how long a reactor waits when it has nothing to wait for.
const most = time.Second

// NewReactor returns a reactor, which is idle until [Reactor.Run].
func NewReactor() (*Reactor, error) {
	r := &Reactor{epoch: time.Now(), now: 1}
	if err := r.poller.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// Run runs callbacks until ctx ends, and then releases what the reactor holds: it
// cannot run again. Timers that have not expired and what is posted later are
// forgotten. Descriptors that are watched stay open.
func (r *Reactor) Run(ctx context.Context) error {
	defer r.poller.close()
	stop := context.AfterFunc(ctx, func() { r.Post(func() {}) })
	defer stop()
	var timeout time.Duration
	for ctx.Err() == nil {
		if err := r.poller.wait(timeout); err != nil {
			return err
		}
		before := r.now
		r.Refresh()
		r.late = max(0, time.Duration(r.now-before)-timeout)
		r.mu.Lock()
		r.asleep = false
		r.taken, r.posted = r.posted, r.taken[:0]
		r.mu.Unlock()

		r.poller.dispatch()
		for i, f := range r.taken {
			r.taken[i] = nil
			f()
		}
		r.wheel.expire(r.now)
		busy := false
		for _, f := range r.turns {
			busy = f() || busy
		}
		timeout = r.patience(busy)
	}
	return nil
}

// patience is how long the next wait may be. Afterwards whoever posts wakes the
// reactor.
func (r *Reactor) patience(busy bool) time.Duration {
	if busy {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.posted) > 0 {
		return 0
	}
	r.asleep = true
	at, ok := r.wheel.next(r.now)
	if !ok {
		return most
	}
	return min(most, max(0, time.Duration(at-r.now)))
}

// Post has f called by the reactor, after what was posted before. Any goroutine may
// call it.
func (r *Reactor) Post(f func()) {
	r.mu.Lock()
	r.posted = append(r.posted, f)
	wake := r.asleep
	r.asleep = false
	r.mu.Unlock()
	if wake {
		r.poller.wake()
	}
}

// Now is the time in nanoseconds since some moment before the reactor, as it was
// when the turn began. It never goes back.
func (r *Reactor) Now() int64 { return r.now }

// Refresh reads the clock anew, for callbacks that take long.
func (r *Reactor) Refresh() int64 {
	r.now = max(r.now, int64(time.Since(r.epoch)))
	return r.now
}

// Time is the wall clock's time at [Reactor.Now].
func (r *Reactor) Time() time.Time { return r.epoch.Add(time.Duration(r.now)).Round(0) }

// Late is how much longer the last turn took than it had to wait, with all of its
// callbacks: where it is large the processor was taken from us or there is too much
// to do, and what seems to be late may only have been found late.
func (r *Reactor) Late() time.Duration { return r.late }

// EachTurn has f called at the end of every turn, before the reactor waits. f
// reports whether there is more to do at once.
func (r *Reactor) EachTurn(f func() bool) { r.turns = append(r.turns, f) }

// A Timer calls F once, in a reactor's goroutine. The zero value with F is ready;
// it must not be copied once it was set. F may set it again.
type Timer struct {
	F          func()
	at         int64
	next, prev *Timer // in the ring of its slot; nil when it is not set
}

// Armed reports whether the timer is set and has not expired.
func (t *Timer) Armed() bool { return t.next != nil }

// Set has t expire at a time of [Reactor.Now], up to 10 ms later and never earlier,
// instead of when it was to.
func (r *Reactor) Set(t *Timer, at int64) {
	t.remove()
	t.at = at
	r.wheel.add(t)
}

// Stop has t not expire.
func (r *Reactor) Stop(t *Timer) { t.remove() }

func (t *Timer) remove() {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// A wheel is a hashed timing wheel (Varghese and Lauck, 1987, scheme 6): a timer is
// in the slot of its tick, whichever the round.
type wheel struct {
	slots [slots]Timer // the heads of rings
	tick  int64        // the last that has expired
	ready bool
}

const (
	slots = 1 << 12
	tick  = int64(10 * time.Millisecond)
)

func (w *wheel) init() {
	for i := range w.slots {
		s := &w.slots[i]
		s.next, s.prev = s, s
	}
	w.ready = true
}

// add puts t into the slot of the first tick that is not before its time.
func (w *wheel) add(t *Timer) {
	if !w.ready {
		w.init()
	}
	at := max((t.at+tick-1)/tick, w.tick+1)
	s := &w.slots[at&(slots-1)]
	t.next, t.prev = s, s.prev
	s.prev.next, s.prev = t, t
}

// expire calls the functions of all timers up to now.
func (w *wheel) expire(now int64) {
	if !w.ready {
		return
	}
	last := now / tick
	if last-w.tick > slots { // one round finds them all
		w.tick = last - slots
	}
	for w.tick < last {
		w.tick++
		w.expireSlot(&w.slots[w.tick&(slots-1)])
	}
}

// expireSlot empties a slot, but for the timers of later rounds. Functions may set
// and stop timers, those of this slot included: so the ring is moved to a head of
// its own first.
func (w *wheel) expireSlot(s *Timer) {
	if s.next == s {
		return
	}
	var due Timer
	due.next, due.prev = s.next, s.prev
	due.next.prev, due.prev.next = &due, &due
	s.next, s.prev = s, s
	end := w.tick * tick
	for due.next != &due {
		t := due.next
		t.remove()
		if t.at > end {
			t.next, t.prev = s, s.prev
			s.prev.next, s.prev = t, t
			continue
		}
		t.F()
	}
}

// next is the time of the next slot that has timers, whichever their round.
func (w *wheel) next(now int64) (int64, bool) {
	if !w.ready {
		return 0, false
	}
	for i := w.tick + 1; i <= w.tick+int64(most)/tick+1; i++ {
		if s := &w.slots[i&(slots-1)]; s.next != s {
			return i * tick, true
		}
	}
	return now + int64(most), true
}
