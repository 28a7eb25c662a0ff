package fetch

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
	"pennyfarthing/internal/verdict/fault"
)

// fastFetcher is a state machine on a reactor. Only its goroutine touches it, but for
// what the handshakes have.
type fastFetcher struct {
	reactor     *loop.Reactor
	agent       string
	judge       judge
	handshakes  *handshakes
	descriptors int
	open        int
	active      conn // the head of the ring of those under way
	free        *conn
	store       store
	texts       texts
	write       [16 << 10]byte
	read        [64 << 10]byte
	decrypted   [16 << 10]byte // a record of TLS has no more (RFC 8446 §5.1)
}

// A conn is an exchange under way.
type conn struct {
	f          *fastFetcher
	x          *Exchange
	fd         int // -1: none
	state      state
	watched    bool
	readable   bool   // there was an event while the handshake was computed
	turn       uint32 // grows when the conn is used again
	timer      loop.Timer
	began      int64 // the exchange, without what it has waited for its turn
	sent       int64 // the request
	limit      int64 // when the phase under way is over; 0: never
	rest       []byte
	client     *client // nil without TLS
	next, prev *conn   // in the ring of those under way, or in the free list
	answer
}

type state uint8

const (
	connecting state = iota
	shaking          // waits for the peer in the handshake
	computing        // the handshake has the conn
	sending
	receiving
)

// NewFast returns the engine that needs no goroutine for what waits, but for what
// waits in a handshake. It fails where loop.Supported is false.
func NewFast(r *loop.Reactor, c Config) (Fetcher, error) {
	f := &fastFetcher{reactor: r, agent: c.UserAgent, judge: judge{roots: c.Roots}, descriptors: c.Descriptors, texts: texts{}}
	f.active.next, f.active.prev = &f.active, &f.active
	f.handshakes = newHandshakes(f, c.handshakesAtOnce())
	return f, nil
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
	}
	c.next, c.prev = f.active.next, &f.active
	c.next.prev, f.active.next = c, c
	c.x, c.fd, c.state, c.began = x, -1, connecting, f.reactor.Now()
	c.begin(x, &f.store)
	if err := c.connect(); err != nil {
		x.Verdict, x.Err = fault.Connect(err), fault.Brief(err)
		f.reactor.Post(c.over) // Done is not called before Fetch returns
		return
	}
	c.deadline(x.Connect)
}

// connect begins to connect. SO_LINGER of 0 closes with a reset, which leaves no
// TIME_WAIT; without TCP_QUICKACK the handshake's last ACK rides on the request.
func (c *conn) connect() error {
	f := c.f
	if f.descriptors > 0 && f.open >= f.descriptors {
		return budgetError(f.descriptors)
	}
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
	f.open++
	linger := unix.Linger{Onoff: 1}
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	zero := int32(0)
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, uintptr(unsafe.Pointer(&zero)), unsafe.Sizeof(zero), 0)
	port := networkOrder(c.x.Addr.Port())
	if addr.Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: addr.As4()}
		_, _, e = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	} else {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: addr.As16()}
		_, _, e = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	}
	if e != 0 && e != unix.EINPROGRESS {
		return os.NewSyscallError("connect", e)
	}
	err := f.reactor.Watch(c.fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, c)
	c.watched = err == nil
	return err
}

// budgetError is a budget of descriptors that is used up.
type budgetError int

func (e budgetError) Error() string        { return overBudget(int(e)) }
func (e budgetError) Is(target error) bool { return target == syscall.EMFILE }

// networkOrder is a port as sockaddr has it in memory.
func networkOrder(port uint16) uint16 {
	b := [2]byte{byte(port >> 8), byte(port)}
	return *(*uint16)(unsafe.Pointer(&b))
}

// deadline gives a phase that begins now its time.
func (c *conn) deadline(d time.Duration) { c.deadlineFrom(c.f.reactor.Now(), d) }

func (c *conn) deadlineFrom(from int64, d time.Duration) {
	c.limit = 0
	if d > 0 {
		c.limit = from + int64(d)
	}
	if end := c.began + int64(c.x.Total); c.x.Total > 0 && (c.limit == 0 || end < c.limit) {
		c.limit = end
	}
	if c.limit == 0 {
		c.f.reactor.Stop(&c.timer)
		return
	}
	c.f.reactor.Set(&c.timer, c.limit)
}

const (
	inEvents  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	endEvents = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// Ready goes on where the descriptor allows it.
func (c *conn) Ready(events uint32) {
	switch c.state {
	case connecting:
		c.connected(events)
	case shaking:
		c.compute(events)
	case computing:
		c.readable = true
	case sending:
		if c.send() && events&inEvents != 0 {
			c.receive(events)
		}
	case receiving:
		if events&inEvents != 0 {
			c.receive(events)
		}
	}
}

// connected finds out what became of the connection, and goes on.
func (c *conn) connected(events uint32) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = syscall.Errno(code) //nolint:gosec // errors are small
		}
		if err != nil {
			c.x.Verdict, c.x.Err = fault.Connect(err), fault.Brief(err)
			c.over()
			return
		}
	}
	if events&unix.EPOLLOUT == 0 {
		return
	}
	now := c.f.reactor.Now()
	c.x.ConnectTook = max(1, time.Duration(now-c.began))
	if c.x.Secure {
		c.client = newClient(c, now)
		c.compute(events)
		return
	}
	c.rest = c.x.request(c.f.write[:0], c.f.agent)
	if c.send() && events&inEvents != 0 {
		c.receive(events)
	}
}

// compute has the handshake computed as far as it goes.
func (c *conn) compute(events uint32) {
	c.f.reactor.Stop(&c.timer)
	c.state, c.readable = computing, false
	c.client.wake(events)
	c.f.handshakes.add(c)
}

// computed takes a conn back from the handshakes.
func (c *conn) computed() {
	k := c.client
	c.began += int64(k.waited)
	k.began += int64(k.waited)
	k.waited = 0
	switch {
	case k.err != nil && c.x.TLSTook == 0:
		c.x.Verdict, c.x.Err = handshakeVerdict(k.err), fault.Brief(k.err)
		c.over()
	case k.err != nil:
		c.end(k.err)
		c.over()
	case c.x.TLSTook == 0:
		c.state = shaking
		c.deadlineFrom(k.began, c.x.Handshake)
		if c.readable {
			c.compute(unix.EPOLLIN | unix.EPOLLRDHUP)
		}
	default:
		c.rest, k.out = k.out, nil
		if len(c.rest) > 0 {
			c.state = sending
			c.deadline(c.x.FirstByte)
			return
		}
		c.asked()
		if c.readable || len(k.in) > 0 || !k.drained {
			c.receive(unix.EPOLLIN | unix.EPOLLRDHUP)
		}
	}
}

// asked is for when the request has gone.
func (c *conn) asked() {
	c.state, c.sent = receiving, c.f.reactor.Now()
	c.deadline(c.x.FirstByte)
}

// send sends what there is of the request, and reports whether it is all gone.
func (c *conn) send() bool {
	n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(c.rest))), uintptr(len(c.rest)), unix.MSG_NOSIGNAL, 0, 0)
	switch {
	case e == unix.EAGAIN || e == unix.EINTR:
		n = 0
	case e != 0:
		c.end(e)
		c.over()
		return false
	}
	if c.client == nil {
		c.x.BytesOut += int64(n)
	}
	if int(n) < len(c.rest) {
		c.rest = append([]byte(nil), c.rest[n:]...) // the buffer is everybody's
		if c.state != sending {
			c.state = sending
			c.deadline(c.x.FirstByte)
		}
		return false
	}
	c.rest = nil
	c.asked()
	return true
}

// receive reads until there is nothing more, or enough. Events say whether the peer
// has ended its side: of what comes later there is another event.
func (c *conn) receive(events uint32) {
	ended := events&endEvents != 0
	if c.client != nil {
		c.client.wake(events)
	}
	for {
		p, drained, err := c.readOnce()
		switch {
		case errors.Is(err, loop.ErrAgain):
			return
		case err != nil:
			c.end(err)
			c.over()
			return
		}
		if c.x.FirstByteTook == 0 {
			c.x.FirstByteTook = max(1, time.Duration(c.f.reactor.Now()-c.sent))
		}
		had := c.x.Status
		if c.add(p, c.f.texts.of) {
			c.over()
			return
		}
		if had == 0 && c.x.Status != 0 { // the body has as long again
			c.deadline(c.x.FirstByte)
		}
		if drained && !ended {
			return
		}
	}
}

// readOnce reads once. What it returns is valid until the next call; drained says
// that nothing more was there.
func (c *conn) readOnce() (p []byte, drained bool, err error) {
	f := c.f
	if k := c.client; k != nil {
		k.stage = f.read[:]
		n, err := k.tls.Read(f.decrypted[:])
		k.stage = nil
		if n > 0 {
			err = nil // it comes again
		}
		return f.decrypted[:n], false, err
	}
	n, err := recv(c.fd, f.read[:])
	return f.read[:n], n < len(f.read), err
}

// recv reads from a socket; io.EOF and loop.ErrAgain are what they are for others.
func recv(fd int, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.EAGAIN:
			return 0, loop.ErrAgain
		case e != 0:
			return 0, e
		case n == 0:
			return 0, io.EOF
		}
		return int(n), nil
	}
}

// expired ends an exchange whose time is over. It may be we who are late: so what has
// come meanwhile is looked at first.
func (c *conn) expired() {
	if c.state == computing {
		return // its time has been stopped
	}
	want := int16(unix.POLLIN | unix.POLLRDHUP)
	if c.state == connecting || c.state == sending {
		want = unix.POLLOUT
	}
	fds := [1]unix.PollFd{{Fd: int32(c.fd), Events: want}} //nolint:gosec // descriptors are small
	if n, err := unix.Poll(fds[:], 0); err == nil && n > 0 {
		turn, state, status := c.turn, c.state, c.x.Status
		c.Ready(uint32(fds[0].Revents)) //nolint:gosec // the bits of poll(2) and epoll(7) are the same
		if c.turn != turn || c.state != state || c.x.Status != status {
			return // it goes on
		}
	}
	if c.state == connecting {
		c.x.Verdict, c.x.Err = verdict.TCPTimeout, verdict.TCPTimeout.Text()
	} else if c.state == shaking {
		c.x.Verdict, c.x.Err = verdict.TLSTimeout, verdict.TLSTimeout.Text()
	} else {
		c.end(os.ErrDeadlineExceeded)
	}
	c.over()
}

// over closes the connection and tells the caller.
func (c *conn) over() {
	f, x := c.f, c.x
	f.reactor.Stop(&c.timer)
	c.close()
	x.TotalTook = max(1, time.Duration(f.reactor.Now()-c.began))
	x.settle(nil)
	c.turn++
	x.Done(x)
	c.release()
}

func (c *conn) close() {
	if c.client != nil {
		c.f.handshakes.leave(c.client)
	}
	if c.fd < 0 {
		return
	}
	if c.watched {
		c.f.reactor.Forget(c.fd)
		c.watched = false
	}
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
	c.fd = -1
	c.f.open--
}

// release makes the state ready for another exchange.
func (c *conn) release() {
	c.answer.release()
	c.prev.next, c.next.prev = c.next, c.prev
	c.x, c.client, c.rest, c.prev = nil, nil, nil, nil
	c.next = c.f.free
	c.f.free = c
}

// Close ends what is under way.
func (f *fastFetcher) Close() {
	f.handshakes.close()
	for c := f.active.next; c != &f.active; c = c.next {
		if c.fd >= 0 {
			_ = unix.Close(c.fd)
			c.fd = -1
		}
	}
}
