package h1

import (
	"net"
	"sync"
	"time"
)

// A deadline joins the one that the Conn's owner asks for with the guard's own, for one direction. The earlier applies.
//
// net/http stops a read that is under way by setting a deadline in the past from another goroutine, and expects a timeout at
// once and a working connection after it. So a change of the owner's wish reaches a read that is blocked.
type deadline struct {
	apply func(time.Time) error // sets the deadline of the inner connection

	mu      sync.Mutex // guards the fields below
	wish    time.Time  // the owner's; zero: none
	limit   time.Time  // the guard's, for the operation under way; zero: none
	applied time.Time  // what the inner connection has
	stale   bool       // or it has another one
	busy    bool
	closed  bool // nothing is begun any more, and the inner connection's deadline is somebody else's
}

// slack is how much too early the runtime may fire a deadline.
const slack = time.Millisecond

// set keeps the owner's wish. Without an operation under way nothing needs to be told: the next one does it.
func (d *deadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wish = t
	if !d.busy || d.closed {
		return nil
	}
	return d.sync()
}

// begin is called before an operation on the inner connection that may last until limit.
func (d *deadline) begin(limit time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return net.ErrClosed
	}
	d.busy, d.limit = true, limit
	return d.sync()
}

// close lets no further operation begin.
func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// forget says that somebody else may have set the inner connection's deadline: the next operation sets it anew.
func (d *deadline) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stale = true
}

// end is called after it.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = false
}

// active reports whether an operation is under way.
func (d *deadline) active() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.busy
}

// sync tells the inner connection. The caller holds mu.
func (d *deadline) sync() error {
	earlier := d.wish
	if earlier.IsZero() || !d.limit.IsZero() && d.limit.Before(earlier) {
		earlier = d.limit
	}
	if earlier.Equal(d.applied) && !d.stale {
		return nil
	}
	d.applied, d.stale = earlier, false
	return d.apply(earlier)
}

// wishPassed reports whether the owner's deadline lies in the past.
func (d *deadline) wishPassed() bool {
	d.mu.Lock()
	wish := d.wish
	d.mu.Unlock()
	return passed(wish)
}

// limitPassed reports whether it was the guard's own deadline that made an operation time out.
func (d *deadline) limitPassed() bool {
	d.mu.Lock()
	wish, limit := d.wish, d.limit
	d.mu.Unlock()
	return !passed(wish) && passed(limit)
}

func passed(t time.Time) bool { return !t.IsZero() && time.Until(t) < slack }
