package edge

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A memPipe is one direction of a connection in memory. It takes everything at
// once: who is at the other end reads greedily.
type memPipe struct {
	mu       sync.Mutex // guards the fields below
	changed  sync.Cond
	data     []byte
	ended    bool // no more is written
	dropped  bool // nobody reads any more
	deadline time.Time
	timer    *time.Timer
}

func newMemPipe() *memPipe {
	p := new(memPipe)
	p.changed.L = &p.mu
	return p
}

func (p *memPipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ready() {
		p.changed.Wait()
	}
	switch {
	case p.dropped:
		return 0, net.ErrClosed
	case p.late():
		return 0, os.ErrDeadlineExceeded
	case len(p.data) > 0:
		n := copy(b, p.data)
		p.data = p.data[n:]
		return n, nil
	}
	return 0, io.EOF
}

// ready reports whether a read would not wait. mu is held.
func (p *memPipe) ready() bool { return p.dropped || p.ended || len(p.data) > 0 || p.late() }

// late reports whether the deadline has passed. mu is held.
func (p *memPipe) late() bool { return !p.deadline.IsZero() && !time.Now().Before(p.deadline) }

func (p *memPipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.dropped {
		return 0, net.ErrClosed
	}
	p.data = append(p.data, b...)
	p.changed.Broadcast()
	return len(b), nil
}

func (p *memPipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.changed.Broadcast()
}

// drop is the reader's close. It returns how many bytes nobody has read.
func (p *memPipe) drop() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped = true
	p.changed.Broadcast()
	return len(p.data)
}

func (p *memPipe) setReadDeadline(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deadline = t; p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		p.timer = time.AfterFunc(wait, p.wake)
	}
	p.changed.Broadcast()
}

func (p *memPipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

// A memConn is one end of a connection in memory, as much like TCP as servers
// notice. Writing never waits.
type memConn struct {
	in, out *memPipe

	mu     sync.Mutex // guards the fields below
	closed bool
	unread int           // bytes that were lost when it was closed, for which TCP would reset the connection
	after  time.Duration // of its life, until it was closed
	born   time.Time
}

// newMemConns returns both ends of a connection.
func newMemConns() (client, server *memConn) {
	up, down, now := newMemPipe(), newMemPipe(), time.Now()
	return &memConn{in: down, out: up, born: now}, &memConn{in: up, out: down, born: now}
}

func (c *memConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *memConn) Write(b []byte) (int, error) { return c.out.write(b) }
func (c *memConn) CloseWrite() error           { c.out.end(); return nil }

// Ready is for looptest.
func (c *memConn) Ready(wait bool) bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for wait && !c.in.ready() {
		c.in.changed.Wait()
	}
	return c.in.ready()
}

func (c *memConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.after = true, time.Since(c.born)
	c.unread = c.in.drop()
	c.out.end()
	c.in.setReadDeadline(time.Time{})
	return nil
}

// ending tells how the connection was closed.
func (c *memConn) ending() (closed bool, after time.Duration, unread int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed, c.after, c.unread
}

func (c *memConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

func (c *memConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000} }

func (c *memConn) SetDeadline(t time.Time) error     { return c.SetReadDeadline(t) }
func (c *memConn) SetReadDeadline(t time.Time) error { c.in.setReadDeadline(t); return nil }
func (c *memConn) SetWriteDeadline(time.Time) error  { return nil }

// A memListener accepts connections in memory.
type memListener struct {
	conns chan net.Conn // unbuffered: dialling waits for Accept
	done  chan struct{}
	once  sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// dial returns the client's end of a new connection, and the server's, which the
// server gets as wrap has it.
func (l *memListener) dial(wrap func(net.Conn) net.Conn) (client, server *memConn) {
	client, server = newMemConns()
	l.conns <- wrap(server)
	return client, server
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }
