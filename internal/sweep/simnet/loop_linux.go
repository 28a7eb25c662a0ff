package simnet

import (
	"fmt"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	mostEvents = 512
	mostAccept = 32             // of one listener, before others have their turn
	mostRepeat = 64 << 20       // bytes of what has no end
	readSize   = 2 * maxRequest // at a time
)

// A kind is what a descriptor of the loop is.
type kind uint8

const (
	isNothing  kind = iota
	isListener      // of plain HTTP
	isSlammer       // resets whom it accepts
	isDNS           //
	isWakeup        //
	isConn          //
)

// A plainConn is a connection of plain HTTP.
type plainConn struct {
	in     []byte // of a request that is not complete
	out    []byte // yet to be sent
	block  []byte // of what follows, see ending
	sent   int    // bytes of what has no end
	due    int64  // when it is closed for want of anything happening, as plainLoop.now
	serial uint32 // of the connection that has the descriptor
	events uint32 // that epoll tells of; 0 where it does not know it
	then   ending
	busy   bool // answering: nothing is read but the end
}

// plainLoop is a thread that answers DNS over UDP and plain HTTP.
type plainLoop struct {
	s             *Server
	epoll, wakeup int
	udp           int
	kinds         []kind      // by descriptor
	conns         []plainConn // by descriptor
	open          int         // connections
	now           int64       // milliseconds since epoch
	epoch         time.Time
	timers        wheel
	web           *web
	names         *datagrams
	commands      chan func() // one, done by the loop
	buf           [readSize]byte
	scratch       []byte // of answers
}

func newPlainLoop(s *Server) (*plainLoop, error) {
	l := &plainLoop{s: s, udp: -1, epoch: time.Now(), commands: make(chan func(), 1)}
	l.web = newWeb(s.world, s.flakes.failsNow)
	l.names = newDatagrams(l)
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	if l.wakeup, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		_ = unix.Close(l.epoll)
		return nil, fmt.Errorf("make an event: %w", err)
	}
	return l, l.watch(l.wakeup, isWakeup)
}

// watch has the loop serve a descriptor, and own it.
func (l *plainLoop) watch(fd int, k kind) error {
	l.grow(fd)
	l.kinds[fd] = k
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil { //nolint:gosec // descriptors are small
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

func (l *plainLoop) grow(fd int) {
	if fd >= len(l.kinds) {
		l.kinds = append(l.kinds, make([]kind, fd+1024-len(l.kinds))...)
		l.conns = append(l.conns, make([]plainConn, fd+1024-len(l.conns))...)
	}
}

// wake has the loop look around.
func (l *plainLoop) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(l.wakeup, one[:]) // full means that it is awake
}

// cut tells the loop that the line was cut or mended, and waits until it is.
func (l *plainLoop) cut() {
	done := make(chan struct{})
	select {
	case l.commands <- func() { l.filter(); close(done) }:
	case <-l.s.stop:
		return
	}
	l.wake()
	select {
	case <-done:
	case <-l.s.stop:
	}
}

// filter puts the packet filters of all sockets as the line is.
func (l *plainLoop) filter() {
	do := dropNone
	if l.s.isCut.Load() {
		do = dropAll
	}
	for fd, k := range l.kinds {
		if k != isNothing && k != isWakeup {
			_ = do(fd) // one without a filter has none to lose
		}
	}
}

// run is the loop.
func (l *plainLoop) run() {
	runtime.LockOSThread()                                                    // the thread ends with the goroutine
	name := [...]byte{'s', 'i', 'm', 'n', 'e', 't', 0}                        // so that top tells what it takes
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name)), 0, 0, 0) //nolint:gosec // the call's argument
	var events [mostEvents]unix.EpollEvent
	if err := l.watch(l.udp, isDNS); err != nil {
		return // the epoll is there, and so is the socket
	}
	l.tick()
	l.timers.start(l.now)
	swept := l.now
	for {
		wait := 250
		if l.timers.pending > 0 {
			wait = 1
		}
		n, err := unix.EpollWait(l.epoll, events[:], wait)
		if err != nil {
			n = 0 // a signal
		}
		l.tick()
		for _, e := range events[:n] {
			l.handle(int(e.Fd), e.Events)
		}
		select {
		case <-l.s.stop:
			return
		case do := <-l.commands:
			do()
			l.restWhileCut()
		default:
		}
		l.timers.advance(l.now, l.fire)
		if l.now-swept >= 1000 {
			swept = l.now
			l.sweep()
		}
	}
}

// restWhileCut waits until the line is mended.
func (l *plainLoop) restWhileCut() {
	for l.s.isCut.Load() {
		select {
		case <-l.s.stop:
			return
		case do := <-l.commands:
			do()
		}
	}
	l.tick()
}

func (l *plainLoop) tick() { l.now = time.Since(l.epoch).Milliseconds() }

func (l *plainLoop) handle(fd int, events uint32) {
	switch l.kinds[fd] {
	case isListener:
		l.accept(fd)
	case isSlammer:
		l.slam(fd)
	case isDNS:
		l.names.read()
	case isWakeup:
		var count [8]byte
		_, _ = unix.Read(fd, count[:])
	case isConn:
		if events&unix.EPOLLOUT != 0 {
			l.push(fd)
			return
		}
		l.read(fd)
	case isNothing: // closed meanwhile
	}
}

// take accepts a connection, or says that there is none.
func (l *plainLoop) take(listener int) (fd int, ok bool) {
	if l.open >= mostConns {
		time.Sleep(time.Millisecond) // the kernel keeps them; it is asked again
		return -1, false
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno == unix.EMFILE || errno == unix.ENFILE {
		time.Sleep(time.Millisecond)
	}
	if errno != 0 {
		return -1, false
	}
	l.s.counters.connections.Add(1)
	return int(r), true
}

func (l *plainLoop) accept(listener int) {
	for range mostAccept {
		fd, ok := l.take(listener)
		if !ok {
			return
		}
		l.grow(fd)
		l.kinds[fd] = isConn
		c := &l.conns[fd]
		c.due = l.now + patience.Milliseconds()
		l.open++
		l.read(fd) // mostly it has said something
	}
}

// slam resets whom it accepts: where it is to be at the first word, the kernel shows it
// those who have said something.
func (l *plainLoop) slam(listener int) {
	for range mostAccept {
		fd, ok := l.take(listener)
		if !ok {
			return
		}
		reset(fd)
	}
}

// end closes a connection.
func (l *plainLoop) end(fd int, closing func(int)) {
	c := &l.conns[fd]
	*c = plainConn{serial: c.serial + 1, in: c.in[:0]}
	l.kinds[fd] = isNothing
	l.open--
	closing(fd)
}

func closeRaw(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// await has epoll tell of events.
func (l *plainLoop) await(fd int, events uint32) {
	c := &l.conns[fd]
	if c.events == events {
		return
	}
	op := unix.EPOLL_CTL_MOD
	if c.events == 0 {
		op = unix.EPOLL_CTL_ADD
	}
	c.events = events
	e := unix.EpollEvent{Events: events | unix.EPOLLRDHUP, Fd: int32(fd)}                                                         //nolint:gosec // descriptors are small
	_, _, _ = unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(l.epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0) //nolint:gosec // the call's argument
}

// read reads a request and answers it.
func (l *plainLoop) read(fd int) {
	c := &l.conns[fd]
	r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&l.buf)), readSize) //nolint:gosec // the call's argument
	switch {
	case errno == unix.EAGAIN:
		l.await(fd, unix.EPOLLIN)
		return
	case errno != 0 || r == 0:
		l.end(fd, closeRaw)
		return
	case c.busy:
		return // it may say what it likes
	}
	data := l.buf[:r]
	if len(c.in) > 0 {
		c.in = append(c.in, data...)
		data = c.in
	}
	request, used, ok := parseRequest(data)
	switch {
	case !ok:
		l.end(fd, closeRaw)
	case used == 0:
		if len(c.in) == 0 {
			c.in = append(c.in, data...)
		}
		l.await(fd, unix.EPOLLIN)
	default:
		c.in = c.in[:0] // nobody sends a second request before the first answer
		l.answer(fd, &request)
	}
}

func (l *plainLoop) answer(fd int, r *request) {
	l.s.counters.requests.Add(1)
	c := &l.conns[fd]
	reply := l.web.reply(l.scratch[:0], r, HTTP)
	if cap(reply.data) > cap(l.scratch) && cap(reply.data) < 1<<16 {
		l.scratch = reply.data
	}
	c.busy, c.then, c.block, c.sent = true, reply.then, reply.block, 0
	if wait := l.s.wait(httpLatency, reply.delay); wait >= time.Millisecond {
		c.out = slices.Clone(reply.data)
		l.timers.add(l.now+wait.Milliseconds(), timer{fd: fd, serial: c.serial})
		l.await(fd, unix.EPOLLIN)
		return
	}
	l.send(fd, reply.data)
}

// push goes on with what could not be sent at once.
func (l *plainLoop) push(fd int) { l.send(fd, l.conns[fd].out) }

// send sends data, and then what follows.
func (l *plainLoop) send(fd int, data []byte) {
	c := &l.conns[fd]
	rest, ok := write(fd, data)
	if !ok {
		l.end(fd, closeRaw)
		return
	}
	if len(rest) > 0 {
		if len(c.out) == 0 {
			rest = slices.Clone(rest) // it is the scratch buffer's
		}
		c.out = rest
		l.await(fd, unix.EPOLLOUT)
		return
	}
	c.out = nil
	switch c.then {
	case thenKeep:
		c.busy, c.due = false, l.now+patience.Milliseconds()
		l.await(fd, unix.EPOLLIN)
	case thenClose:
		l.end(fd, closeRaw)
	case thenReset:
		l.end(fd, reset)
	case thenHang:
		l.await(fd, unix.EPOLLIN)
	case thenDrip:
		l.await(fd, unix.EPOLLIN)
		l.timers.add(l.now+1000, timer{fd: fd, serial: c.serial})
	case thenRepeat:
		l.repeat(fd)
	}
}

// repeat sends the block until the client has had enough for now.
func (l *plainLoop) repeat(fd int) {
	c := &l.conns[fd]
	if c.sent += len(c.block); c.sent > mostRepeat {
		l.end(fd, closeRaw)
		return
	}
	rest, ok := write(fd, c.block)
	if !ok {
		l.end(fd, closeRaw)
		return
	}
	c.out = rest // none, if all was sent: the next one then
	l.await(fd, unix.EPOLLOUT)
}

// write writes what the socket takes, and returns the rest.
func write(fd int, data []byte) (rest []byte, ok bool) {
	for len(data) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), unix.MSG_NOSIGNAL, 0, 0) //nolint:gosec // the call's argument
		if errno == unix.EAGAIN {
			return data, true
		}
		if errno != 0 {
			return nil, false
		}
		data = data[n:]
	}
	return nil, true
}

// fire does what a timer is for.
func (l *plainLoop) fire(t timer) {
	if t.packet != nil {
		l.names.sendLate(t)
		return
	}
	c := &l.conns[t.fd]
	if l.kinds[t.fd] != isConn || c.serial != t.serial {
		return // it has gone
	}
	if c.then == thenDrip && len(c.out) == 0 && len(c.block) > 0 {
		b := c.block[:1]
		c.block = c.block[1:]
		l.send(t.fd, b)
		return
	}
	if c.then == thenDrip && len(c.out) == 0 {
		return // everything has dripped; it ends for want of anything happening
	}
	l.send(t.fd, c.out)
}

// sweep closes connections that nothing has happened on for long.
func (l *plainLoop) sweep() {
	for fd, k := range l.kinds {
		if k == isConn && l.conns[fd].due <= l.now {
			l.end(fd, closeRaw)
		}
	}
}

// release closes all descriptors.
func (l *plainLoop) release() {
	for fd, k := range l.kinds {
		if k != isNothing && k != isWakeup && fd != l.udp {
			_ = unix.Close(fd)
		}
	}
	if l.udp >= 0 {
		_ = unix.Close(l.udp)
	}
	_ = unix.Close(l.wakeup)
	_ = unix.Close(l.epoll)
}
