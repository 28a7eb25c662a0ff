package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// fastFetcher is a state machine on a reactor. Only its goroutine touches it.
type fastFetcher struct {
	reactor *loop.Reactor
	secure  secure
	stop    context.CancelFunc
	running sync.WaitGroup // handshakes and what follows them
	free    *conn
	read    [64 << 10]byte
	write   [16 << 10]byte
	texts   map[string]string
}

// A conn is an exchange under way.
type conn struct {
	f     *fastFetcher
	x     *Exchange
	fd    int
	state state
	timer loop.Timer
	began int64
	sent  int64
	limit int64  // when the phase under way is over
	armed int64  // when the timer expires
	rest  []byte // of a request that the socket had no room for
	answer
	next *conn // in the free list
}

type state uint8

const (
	connecting state = iota
	sending
	receiving
)

// maxTexts is how many values of common fields are shared.
const maxTexts = 1 << 10

// NewFast returns the engine that needs no goroutine for what waits.
func NewFast(r *loop.Reactor, c Config) (Fetcher, error) {
	f := &fastFetcher{reactor: r, texts: map[string]string{}}
	f.secure, f.stop = newSecure(c)
	return f, nil
}

// text shares what comes again and again, such as the names of servers.
func (f *fastFetcher) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := f.texts[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(f.texts) < maxTexts && len(b) <= 64 {
		f.texts[s] = s
	}
	return s
}

// Fetch connects.
func (f *fastFetcher) Fetch(x *Exchange) {
	x.ContentLength = -1
	c := f.free
	if c == nil {
		c = &conn{f: f}
		c.timer.F = c.expired
	} else {
		f.free = c.next
		c.next = nil
	}
	sample := c.body.sample
	c.x, c.fd, c.state, c.began, c.rest = x, -1, connecting, f.reactor.Now(), nil
	c.answer = answer{x: x, partial: c.partial[:0]}
	c.body.sample = sample[:0]
	if err := c.connect(); err != nil {
		x.Verdict, x.Err = connectVerdict(err), brief(err)
		// Done must not be called before Fetch returns.
		f.reactor.Post(func() { c.over() })
		return
	}
	c.deadline(x.Connect)
}

// connect begins to connect. SO_LINGER of 0 closes with a reset, which leaves no
// TIME_WAIT; without TCP_QUICKACK the handshake's last ACK rides on the request.
func (c *conn) connect() error {
	addr := c.x.Addr.Addr().Unmap()
	domain := unix.AF_INET
	if addr.Is6() {
		domain = unix.AF_INET6
	}
	fd, _, e := unix.RawSyscall(unix.SYS_SOCKET, uintptr(domain), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return os.NewSyscallError("socket", e)
	}
	c.fd = int(fd)
	linger := unix.Linger{Onoff: 1}
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	zero := int32(0)
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, uintptr(unsafe.Pointer(&zero)), unsafe.Sizeof(zero), 0)
	port := c.x.Addr.Port()
	if addr.Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(port), Addr: addr.As4()}
		_, _, e = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	} else {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(port), Addr: addr.As16()}
		_, _, e = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	}
	if e != 0 && e != unix.EINPROGRESS {
		return os.NewSyscallError("connect", e)
	}
	return c.f.reactor.Watch(c.fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, c)
}

// networkOrder is a port as sockaddr has it in memory.
func networkOrder(port uint16) uint16 {
	b := [2]byte{byte(port >> 8), byte(port)}
	return *(*uint16)(unsafe.Pointer(&b))
}

// deadline gives a phase its time.
func (c *conn) deadline(d time.Duration) {
	limit := int64(1) << 62
	if d > 0 {
		limit = c.f.reactor.Now() + int64(d)
	}
	if c.x.Total > 0 {
		limit = min(limit, c.began+int64(c.x.Total))
	}
	c.limit = limit
	// A timer that expires earlier looks again (see expired): moving it with each
	// phase costs more.
	if !c.timer.Armed() || limit < c.armed {
		c.armed = limit
		c.f.reactor.Set(&c.timer, limit)
	}
}

// Ready goes on where the descriptor allows it.
func (c *conn) Ready(events uint32) {
	if c.state == connecting {
		if !c.connected(events) {
			return
		}
	}
	if c.state == sending && !c.send() {
		return
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.receive()
	}
}

// connected finds out what became of the connection, and reports whether it is ready
// to send.
func (c *conn) connected(events uint32) bool {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			c.fail(err)
			return false
		case code != 0:
			c.fail(syscall.Errno(code))
			return false
		}
	}
	if events&unix.EPOLLOUT == 0 {
		return false
	}
	now := c.f.reactor.Now()
	c.x.ConnectTook = max(1, time.Duration(now-c.began))
	if c.x.Secure {
		c.handOver()
		return false
	}
	c.state = sending
	c.rest = c.x.request(c.f.write[:0], c.f.secure.agent)
	return true
}

// fail ends an exchange that has no connection.
func (c *conn) fail(err error) {
	c.x.Verdict, c.x.Err = connectVerdict(err), brief(err)
	c.over()
}

// send sends what there is of the request, and reports whether it is all gone.
func (c *conn) send() bool {
	n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&c.rest[0])), uintptr(len(c.rest)), unix.MSG_NOSIGNAL, 0, 0)
	switch {
	case e == unix.EAGAIN || e == unix.EINTR:
		n = 0
	case e != 0:
		c.end(e)
		c.over()
		return false
	}
	c.x.BytesOut += int64(n)
	if c.rest = c.rest[n:]; len(c.rest) > 0 {
		c.rest = append([]byte(nil), c.rest...) // the buffer is everybody's
		return false
	}
	c.rest = nil
	c.state, c.sent = receiving, c.f.reactor.Now()
	c.deadline(c.x.FirstByte)
	return true
}

// receive reads until there is nothing more, or enough.
func (c *conn) receive() {
	for {
		buf := &c.f.read
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(buf)), uintptr(len(buf)), 0, 0, 0)
		switch {
		case e == unix.EAGAIN:
			return
		case e == unix.EINTR:
			continue
		case e != 0:
			c.end(e)
			c.over()
			return
		case n == 0:
			c.end(io.EOF)
			c.over()
			return
		}
		if c.x.FirstByteTook == 0 {
			c.x.FirstByteTook = max(1, time.Duration(c.f.reactor.Now()-c.sent))
		}
		had := c.x.Status
		if c.add(buf[:n], c.f.text) {
			c.over()
			return
		}
		if had == 0 && c.x.Status != 0 {
			c.deadline(c.x.FirstByte)
		}
	}
}

// expired ends an exchange whose time is over. It may be we who are late: so what has
// come meanwhile is looked at first.
func (c *conn) expired() {
	now := c.f.reactor.Now()
	if now < c.limit {
		c.armed = c.limit
		c.f.reactor.Set(&c.timer, c.limit)
		return
	}
	fds := [1]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN | unix.POLLOUT}} //nolint:gosec // descriptors are small
	if c.state != connecting {
		fds[0].Events = unix.POLLIN
	}
	if n, err := unix.Poll(fds[:], 0); err == nil && n > 0 && c.limit < 1<<62 {
		c.limit = 1 << 62 // once
		c.f.reactor.Set(&c.timer, now+int64(time.Second))
		c.Ready(uint32(fds[0].Revents)) //nolint:gosec // the bits of poll(2) and epoll(7) are the same
		return
	}
	if c.state == connecting {
		c.x.Verdict, c.x.Err = verdict.TCPTimeout, verdict.TCPTimeout.Text()
	} else {
		c.end(os.ErrDeadlineExceeded)
	}
	c.over()
}

// over closes the connection and tells the caller.
func (c *conn) over() {
	f, x := c.f, c.x
	f.reactor.Stop(&c.timer)
	if c.fd >= 0 {
		f.reactor.Forget(c.fd)
		_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
		c.fd = -1
	}
	x.TotalTook = max(1, time.Duration(f.reactor.Now()-c.began))
	x.settle(nil)
	x.Done(x)
	c.release()
}

// release makes the state ready for another exchange.
func (c *conn) release() {
	const most = 32 << 10
	if cap(c.partial) > 4<<10 {
		c.partial = nil
	}
	if cap(c.body.sample) > most {
		c.body.sample = nil
	}
	c.x = nil
	c.next = c.f.free
	c.f.free = c
}

// handOver has a goroutine do the rest: TLS.
func (c *conn) handOver() {
	f, x, fd := c.f, c.x, c.fd
	f.reactor.Stop(&c.timer)
	f.reactor.Forget(fd)
	began := time.Now().Add(-time.Duration(f.reactor.Now() - c.began))
	c.fd = -1
	c.release()
	f.running.Go(func() {
		defer func() {
			x.settle(recover())
			if f.secure.closing.Err() == nil {
				f.reactor.Post(func() { x.Done(x) })
			}
		}()
		file := os.NewFile(uintptr(fd), "tcp")
		nc, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			x.Verdict, x.Err = verdict.SelfDescriptors, fmt.Sprintf("hand over: %v", err)
			return
		}
		f.secure.run(nc, x, began)
	})
}

// Close ends what is under way. Connections that the reactor had are closed with the
// process.
func (f *fastFetcher) Close() {
	f.stop()
	f.running.Wait()
}
