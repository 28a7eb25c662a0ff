package edge

import (
	"net"
	"sync"
	"syscall"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/serve/h1"
)

// A countedConn leaves the count of its client when it is closed.
//
// With the fast engine a connection of HTTP/1.1 is a newcomer first: the goroutine
// that admitted it waits for the first request, which has mostly been sent already,
// and serves it for as long as there is something to read. Only then does it move
// to a loop, which costs some system calls: many connections ask once and end.
type countedConn struct {
	net.Conn
	leave func()
	loops *loop.Group

	mu       sync.Mutex      // guards the fields below, and changes of Conn
	newcomer syscall.RawConn // nil: it is none, or not any more
	spoken   bool            // something has been read of it
	readBy   time.Time       // a newcomer's read deadline
	writeBy  time.Time       // and its write deadline
}

// welcome makes the connection a newcomer to the loops, if there are any.
func (c *countedConn) welcome(loops *loop.Group) {
	if loops == nil {
		return
	}
	raw, err := rawConnOf(c.Conn)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loops, c.newcomer = loops, raw
}

// moveIn has one of the loops wait for the connection from here on, and returns
// it. Where that cannot be it returns nil, and the connection goes on as it was.
func (c *countedConn) moveIn() loop.Waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newcomer == nil {
		return loop.WaiterOf(*c.socket())
	}
	c.newcomer = nil
	socket := c.socket()
	moved, err := c.loops.Take(*socket)
	if err == nil {
		*socket = moved
	}
	_ = (*socket).SetWriteDeadline(c.writeBy) // if it has failed, whoever reads finds out
	_ = (*socket).SetReadDeadline(c.readBy)   // likewise
	return loop.WaiterOf(*socket)
}

// socket is where the connection itself is.
func (c *countedConn) socket() *net.Conn {
	if proxied, ok := c.Conn.(*proxiedConn); ok {
		return &proxied.Conn
	}
	return &c.Conn
}

// Read reads. Of a newcomer that has spoken it does not wait.
func (c *countedConn) Read(p []byte) (int, error) {
	if c.newcomer == nil { // only who reads changes it, and spoken
		return c.Conn.Read(p)
	}
	if c.spoken {
		return c.try(p)
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spoken = true
	}
	return n, err
}

// SetReadDeadline sets until when reading waits.
func (c *countedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	if c.newcomer != nil && c.spoken {
		return nil // nothing waits; see moveIn
	}
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline sets until when writing waits.
func (c *countedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both.
func (c *countedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// Close closes the connection.
func (c *countedConn) Close() error {
	c.leave()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets the connection linger.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// WriteBuffers writes several buffers by as few system calls as may be.
func (c *countedConn) WriteBuffers(buffers ...[]byte) error {
	socket := *c.socket()
	if w, ok := socket.(h1.BuffersWriter); ok {
		return w.WriteBuffers(buffers...)
	}
	vector := net.Buffers(buffers)
	_, err := vector.WriteTo(socket)
	return err
}

// Waiter is for [loop.WaiterOf].
func (c *countedConn) Waiter() loop.Waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newcomer != nil {
		return (*newcomer)(c)
	}
	if w := loop.WaiterOf(*c.socket()); w != nil {
		return w
	}
	return patientWaiter(c)
}

// A newcomer is the waiter of a countedConn that is to move to a loop, and of one
// that has.
type newcomer countedConn

// Begin has f called by a loop.
func (n *newcomer) Begin(f func()) {
	c := (*countedConn)(n)
	if w := c.moveIn(); w != nil {
		w.Begin(f)
		return
	}
	patientWaiter(c).Begin(f)
}

// Await is Begin for a newcomer: something may have come meanwhile.
func (n *newcomer) Await(f func()) {
	c := (*countedConn)(n)
	if c.newcomer != nil {
		n.Begin(f)
		return
	}
	if w := loop.WaiterOf(*c.socket()); w != nil {
		w.Await(f)
		return
	}
	patientWaiter(c).Await(f)
}

// Leave is for [loop.Waiter]. Nobody waits for who admitted a newcomer.
func (n *newcomer) Leave() {
	if w := loop.WaiterOf(*(*countedConn)(n).socket()); w != nil {
		w.Leave()
	}
}

// Block is for [loop.Waiter].
func (n *newcomer) Block() {
	c := (*countedConn)(n)
	if c.newcomer != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.newcomer = nil
		_ = c.Conn.SetReadDeadline(c.readBy) // if it has failed, whoever reads finds out
		return
	}
	if w := loop.WaiterOf(*c.socket()); w != nil {
		w.Block()
	}
}

// Pace is for [loop.Waiter]. A newcomer has deadlines.
func (n *newcomer) Pace(time.Duration, int64, int64) bool { return false }

// Now is for [loop.Waiter].
func (n *newcomer) Now() time.Time {
	if w := loop.WaiterOf(*(*countedConn)(n).socket()); w != nil {
		return w.Now()
	}
	return time.Now()
}

// Tries is for [loop.Waiter].
func (n *newcomer) Tries() bool { return true }
