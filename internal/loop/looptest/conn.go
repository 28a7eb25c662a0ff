// Package looptest makes a [loop.Waiter] of any connection, for tests of what
// loops call: in a bubble of testing/synctest, over memory, and on systems that
// have no loops.
//
// A [Conn] keeps to what [loop.Conn] promises, and does what that may do but
// seldom does: it hands on less than there is, and says that there is nothing
// although there is. It panics where a caller breaks the rules.
//
// A connection that says whether it is [Ready] is not read before its time.
//
// Every function is called in a goroutine of its own. So whoever waits without
// [loop.Waiter.Leave] is not found out here, but only with real loops.
package looptest

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/loop"
)

// mostAwaited is how much is read at a time by who waits: the size of no buffer of
// ours.
const mostAwaited = 3000

// Ready may be implemented by connections that know whether a read would wait.
type Ready interface {
	// Ready reports whether a read would not wait, or waits until that is so.
	Ready(wait bool) bool
}

// A Conn is a connection around another one.
type Conn struct {
	inner net.Conn
	pace  *rand.Rand // nil: everything at once

	armed  atomic.Bool // it is awaited
	tries  atomic.Bool // reading does not wait
	closed atomic.Bool

	reading sync.Mutex // guards the fields below, and is held by the one who reads
	pending []byte     // what was read while waiting
	failed  error      // what comes after it
	turns   int        // of reading, in the call

	mu       sync.Mutex // guards deadline
	deadline time.Time
}

// Wrap returns a Conn around inner. Another seed is another pace; with 0 all that
// there is is handed on at once.
func Wrap(inner net.Conn, seed uint64) *Conn {
	c := &Conn{inner: inner}
	if seed != 0 {
		c.pace = rand.New(rand.NewPCG(seed, 0))
	}
	return c
}

// Begin is for [loop.Waiter].
func (c *Conn) Begin(f func()) {
	if c.tries.Store(true); c.armed.Load() {
		panic("looptest: begun, and it is awaited")
	}
	go c.call(f)
}

// Await is for [loop.Waiter].
func (c *Conn) Await(f func()) {
	if !c.tries.Load() {
		panic("looptest: awaited, and it has not begun")
	}
	if c.armed.Swap(true) {
		panic("looptest: it is awaited already")
	}
	go func() {
		c.wait()
		c.armed.Store(false)
		c.call(f)
	}()
}

// Leave is for [loop.Waiter].
func (c *Conn) Leave() {}

// Pace is for [loop.Waiter].
func (c *Conn) Pace(time.Duration, int64, int64) bool { return false }

// Now is for [loop.Waiter].
func (c *Conn) Now() time.Time { return time.Now() }

// Tries is for [loop.Waiter].
func (c *Conn) Tries() bool { return true }

// Block is for [loop.Waiter].
func (c *Conn) Block() {
	if c.armed.Load() {
		panic("looptest: blocked, and it is awaited")
	}
	c.tries.Store(false)
}

func (c *Conn) call(f func()) {
	c.reading.Lock()
	c.turns = 0
	c.reading.Unlock()
	f()
}

// wait returns when there is something to read.
func (c *Conn) wait() {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(c.pending) > 0 || c.failed != nil || c.closed.Load() || c.expired() {
		return
	}
	if inner, ok := c.inner.(Ready); ok && inner.Ready(true) {
		return
	}
	buf := make([]byte, mostAwaited)
	n, err := c.inner.Read(buf)
	c.pending = buf[:n]
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		c.failed = err
	}
}

// Read reads. Between Begin and Block it does not wait.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.armed.Load() {
		panic("looptest: read, and it is awaited")
	}
	switch tries := c.tries.Load(); {
	case c.closed.Load():
		return 0, c.error(net.ErrClosed)
	case c.expired():
		return 0, c.error(os.ErrDeadlineExceeded)
	case tries && c.turns > 0 && c.chance(6):
		return 0, loop.ErrAgain // although there may be something
	case len(c.pending) > 0:
		n := copy(p[:c.part(len(p))], c.pending)
		c.pending = c.pending[n:]
		c.turns++
		return n, nil
	case c.failed != nil:
		return 0, c.failed
	case !tries:
		return c.inner.Read(p)
	}
	if inner, ok := c.inner.(Ready); ok && inner.Ready(false) {
		c.turns++
		return c.inner.Read(p[:c.part(len(p))])
	}
	return 0, loop.ErrAgain
}

// chance is true once in n times.
func (c *Conn) chance(n int) bool { return c.pace != nil && c.pace.IntN(n) == 0 }

// part is how much of n bytes to hand on.
func (c *Conn) part(n int) int {
	switch {
	case c.chance(4):
		return 1
	case c.chance(4):
		return 1 + c.pace.IntN(min(n, 40))
	}
	return n
}

// expired reports whether the read deadline has passed.
func (c *Conn) expired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

func (c *Conn) error(err error) error {
	return &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Write writes.
func (c *Conn) Write(p []byte) (int, error) { return c.inner.Write(p) }

// WriteBuffers writes several buffers.
func (c *Conn) WriteBuffers(buffers ...[]byte) error {
	for _, b := range buffers {
		if _, err := c.inner.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the connection; whoever waits is told.
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.inner.Close()
}

// CloseWrite ends our side of the connection, where there is such a thing.
func (c *Conn) CloseWrite() error {
	if half, ok := c.inner.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets until when reading may wait, or is awaited.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.inner.SetReadDeadline(t)
}

// SetWriteDeadline sets until when writing may wait.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.inner.SetWriteDeadline(t) }

// LocalAddr returns our address.
func (c *Conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

var _ loop.Waiter = (*Conn)(nil)
