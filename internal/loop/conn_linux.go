package loop

import (
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var errClosed = net.ErrClosed

var _ Waiter = (*Conn)(nil)

// mostTurns is how often a function that the loop called may read before the
// others have their turns.
const mostTurns = 8

// A Conn is a TCP connection that is watched by a [Loop]. It is a net.Conn, and a
// [Waiter].
//
// The kernel tells when a direction becomes ready (EPOLLET), and only then; so
// each has a flag, which is set by that and cleared before a system call that may
// find nothing more.
type Conn struct {
	loop          *Loop
	fd            int
	number        int32 // of the loop's connections; descriptors are used again
	local, remote net.Addr

	users  atomic.Int64 // of the descriptor: its owner, and system calls under way
	closed atomic.Bool
	gone   atomic.Bool // the descriptor is closed
	doubts atomic.Bool // a read with room to spare may not have taken all

	in, out direction
	reading sync.Mutex // held by the one who reads
	writing sync.Mutex // held by the one who writes; guards pace
	pace    pace

	tries atomic.Bool // reading does not wait
	await func()      // to be called by the loop
	armed atomic.Bool // it is awaited
	turns int         // of reading, in the call
	timer timer       // guarded by loop.mu, but for its time
}

// A direction is reading or writing.
type direction struct {
	ready    atomic.Bool
	deadline atomic.Int64 // nanoseconds since the loop's epoch; 0 is none
	waiting  atomic.Bool  // somebody waits for a token
	token    chan struct{}
}

// signal wakes whoever waits.
func (d *direction) signal() {
	if !d.waiting.Load() || !d.waiting.CompareAndSwap(true, false) {
		return
	}
	select {
	case d.token <- struct{}{}:
	default: // one lies there
	}
}

func (d *direction) expired(now int64) bool {
	at := d.deadline.Load()
	return at != 0 && at <= now
}

// take is for [Group.Take].
func (l *Loop) take(conn net.Conn) (*Conn, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("watch a %T: %w", conn, ErrUnsupported)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("watch a connection: %w", err)
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(theirs uintptr) { fd, failed = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	c := &Conn{loop: l, fd: fd, local: tcp.LocalAddr(), remote: tcp.RemoteAddr()}
	c.users.Store(1)
	c.in.ready.Store(true)
	c.out.ready.Store(true)
	if err := l.watch(c); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	_ = tcp.Close() // the socket lives on in fd
	return c, nil
}

// Await is for [Waiter].
func (c *Conn) Await(f func()) {
	c.await = f
	c.armed.Store(true)
	at := c.in.deadline.Load()
	if at != 0 {
		c.loop.schedule(c, at)
	}
	if c.in.ready.Load() || c.closed.Load() || at != 0 && at <= c.loop.now.Load() {
		c.rouse()
	}
}

// Begin is for [Waiter].
func (c *Conn) Begin(f func()) {
	c.tries.Store(true)
	c.await = f
	c.loop.inject(c)
}

// rouse has the function that awaits something called now.
func (c *Conn) rouse() {
	if c.armed.CompareAndSwap(true, false) {
		c.loop.inject(c)
	}
}

// Leave is for [Waiter].
func (c *Conn) Leave() { c.loop.leave(c) }

// Pace is for [Waiter].
func (c *Conn) Pace(grace time.Duration, rate, free int64) bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.pace = pace{grace, rate, free}
	return true
}

// A pace is how fast a peer must take what is written; the zero pace is any.
type pace struct {
	grace      time.Duration
	rate, free int64
}

// until is when a write must go on that has waited since a time, both in
// nanoseconds since the epoch, and of which n bytes were taken; 0 is whenever.
func (p *pace) until(since int64, n int) int64 {
	if p.rate == 0 {
		return 0
	}
	return since + int64(p.grace) + (int64(n)+p.free)*int64(time.Second)/p.rate
}

// Now is for [Waiter].
func (c *Conn) Now() time.Time {
	l := c.loop
	if r := l.running.Load(); r != nil && r.calling.Load() == c {
		return l.epoch.Add(time.Duration(l.now.Load()))
	}
	return time.Now()
}

// Tries is for [Waiter].
func (c *Conn) Tries() bool { return true }

// Block is for [Waiter].
func (c *Conn) Block() {
	c.Leave()
	c.tries.Store(false)
}

// use begins a system call.
func (c *Conn) use() bool {
	c.users.Add(1)
	if c.closed.Load() {
		c.done()
		return false
	}
	return true
}

// done ends a system call. The last one closes the descriptor: until then its
// number belongs to nobody else.
func (c *Conn) done() {
	if c.users.Add(-1) == 0 && c.gone.CompareAndSwap(false, true) {
		c.loop.forget(c)
		_ = unix.Close(c.fd)
	}
}

// Close closes the connection; whoever waits on it is told.
func (c *Conn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return c.error("close", errClosed)
	}
	c.in.signal()
	c.out.signal()
	c.rouse()
	c.done()
	return nil
}

// late is why nothing is done after a deadline.
func (c *Conn) late() error {
	if c.closed.Load() { // no other deadline helps
		return errClosed
	}
	return os.ErrDeadlineExceeded
}

// Read reads. Between Begin and Block it does not wait.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	tries := c.tries.Load()
	for {
		if c.in.expired(c.loop.now.Load()) {
			return 0, c.error("read", c.late())
		}
		if c.in.ready.Load() && !(tries && c.turns >= mostTurns) {
			n, errno := c.read(p)
			switch {
			case n > 0:
				c.turns++
				return n, nil
			case errno == 0:
				return 0, io.EOF
			case errno == syscall.EBADF && c.closed.Load():
				return 0, c.error("read", errClosed)
			case errno != syscall.EAGAIN:
				return 0, c.error("read", os.NewSyscallError("read", errno))
			}
		}
		if tries {
			if c.closed.Load() {
				return 0, c.error("read", errClosed)
			}
			return 0, ErrAgain
		}
		if err := c.wait(&c.in, 0); err != nil {
			return 0, c.error("read", err)
		}
	}
}

// read reads once, and keeps in mind whether more may be there: a read with room to
// spare has taken all, unless the peer has ended its side or has sent urgent data,
// of which the kernel has told already or will.
func (c *Conn) read(p []byte) (int, syscall.Errno) {
	if !c.use() {
		return 0, syscall.EBADF
	}
	defer c.done()
	c.in.ready.Store(false)
	for {
		r, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return 0, errno
		case errno != 0:
			c.in.ready.Store(true) // it fails again
			return 0, errno
		}
		if n := int(r); n == len(p) || n == 0 || c.doubts.Load() {
			c.in.ready.Store(true)
		}
		return int(r), 0
	}
}

// Write writes all of p, or until the write deadline.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.writeAll(p, c.write)
}

// writeAll writes all of p by means of once, which writes some of it.
func (c *Conn) writeAll(p []byte, once func([]byte) (int, syscall.Errno)) (int, error) {
	sent, since := 0, int64(0)
	for {
		if c.out.expired(c.loop.now.Load()) {
			return sent, c.error("write", c.late())
		}
		n, errno := once(p[sent:])
		sent += n
		switch {
		case errno == 0 && sent >= len(p):
			return sent, nil
		case errno == 0:
			continue // what is left does not fit, or is the next to be tried
		case errno == syscall.EBADF && c.closed.Load():
			return sent, c.error("write", errClosed)
		case errno != syscall.EAGAIN:
			return sent, c.error("write", os.NewSyscallError("write", errno))
		}
		if since == 0 {
			since = int64(time.Since(c.loop.epoch))
		}
		if err := c.wait(&c.out, c.pace.until(since, sent)); err != nil {
			return sent, c.error("write", err)
		}
	}
}

// write writes once.
func (c *Conn) write(p []byte) (int, syscall.Errno) {
	if !c.use() {
		return 0, syscall.EBADF
	}
	defer c.done()
	c.out.ready.Store(false)
	for {
		r, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(r), 0
		case syscall.EINTR:
			continue
		default:
			return 0, errno
		}
	}
}

// WriteBuffers writes several buffers, the first two of them by one system call if
// the peer takes them.
func (c *Conn) WriteBuffers(buffers ...[]byte) error {
	for ; len(buffers) >= 2; buffers = buffers[2:] {
		if err := c.writePair(buffers[0], buffers[1]); err != nil {
			return err
		}
	}
	for _, b := range buffers {
		if _, err := c.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) writePair(a, b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	n, errno := c.writeBoth(a, b)
	if errno != 0 && errno != syscall.EAGAIN { // those are found out again
		n = 0
	}
	if n < len(a) {
		if _, err := c.writeAll(a[n:], c.write); err != nil {
			return err
		}
		n = len(a)
	}
	if n -= len(a); n < len(b) {
		_, err := c.writeAll(b[n:], c.write)
		return err
	}
	return nil
}

func (c *Conn) writeBoth(a, b []byte) (int, syscall.Errno) {
	if !c.use() {
		return 0, syscall.EBADF
	}
	defer c.done()
	vector := [2]syscall.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	vector[0].SetLen(len(a))
	vector[1].SetLen(len(b))
	r, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(c.fd), uintptr(unsafe.Pointer(&vector)), uintptr(len(vector)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// wait waits until a direction may be ready, or until its deadline or another time,
// unless that is 0. If the loop has called the caller, it
// goes on without it.
func (c *Conn) wait(d *direction, until int64) error {
	if d.token == nil {
		d.token = make(chan struct{}, 1) // one token says all
	}
	for {
		d.waiting.Store(true)
		c.Leave() // behind waiting: see Loop.call
		at := d.deadline.Load()
		if until != 0 && (at == 0 || until < at) {
			at = until
		}
		left := time.Duration(at) - time.Since(c.loop.epoch)
		switch {
		case c.closed.Load():
			d.waiting.Store(false)
			return errClosed
		case at != 0 && left <= 0:
			d.waiting.Store(false)
			return os.ErrDeadlineExceeded
		case d.ready.Load():
			d.waiting.Store(false)
			return nil
		}
		d.rest(at != 0, left)
	}
}

// rest waits for a token, or until a time has passed.
func (d *direction) rest(bounded bool, left time.Duration) {
	if !bounded {
		<-d.token
		return
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-d.token:
	case <-t.C:
	}
}

// CloseWrite ends our side of the connection.
func (c *Conn) CloseWrite() error {
	if !c.use() {
		return c.error("close", errClosed)
	}
	defer c.done()
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		return c.error("close", os.NewSyscallError("shutdown", err))
	}
	return nil
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets until when reading may wait, or is awaited.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.closed.Load() {
		return c.error("set", errClosed)
	}
	at := c.loop.moment(t)
	c.in.deadline.Store(at)
	c.in.signal()
	switch {
	case at == 0 || !c.armed.Load():
	case at <= c.loop.now.Load():
		c.rouse()
	default:
		c.loop.schedule(c, at)
	}
	return nil
}

// SetWriteDeadline sets until when writing may wait.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.closed.Load() {
		return c.error("set", errClosed)
	}
	c.out.deadline.Store(c.loop.moment(t))
	c.out.signal()
	return nil
}

// moment is a time since the epoch; what has passed is 1, which has always passed.
func (l *Loop) moment(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	left := time.Until(t)
	if left <= 0 {
		return 1
	}
	now := time.Since(l.epoch)
	return int64(now + min(left, math.MaxInt64-now))
}

// LocalAddr returns our address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

func (c *Conn) error(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}
