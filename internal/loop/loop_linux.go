package loop

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supported says whether there are loops on this system.
const Supported = true

// mostEvents is how many events are taken at a time.
const mostEvents = 256

// longest is how long the kernel is told to wait: it counts milliseconds in 32 bits.
const longest = time.Hour

// A Loop calls the functions of its connections, one after the other.
//
// Its goroutine is a runner. There is always one, but not always the same: a
// function that is going to wait hands the loop on to a new runner (see leave),
// and its own ends when the function has returned.
type Loop struct {
	epoll, wakeup int // descriptors
	epoch         time.Time
	now           atomic.Int64 // nanoseconds since epoch, when epoll last returned

	running atomic.Pointer[runner] // who is in a call, or nil

	// Only the runner touches these.
	due    []*Conn // to be called, from at on
	at     int
	events [mostEvents]unix.EpollEvent
	holds  int // waits with the processor kept that have ended without anything

	dedicated bool        // the loop has a processor of its own
	stirred   atomic.Bool // there is work beside the loop

	mu       sync.Mutex // guards the fields below
	conns    []*Conn    // by descriptor
	added    int32      // connections, in all
	injected []*Conn    // to be called
	timers   timers
	asleep   bool // the runner is waiting, or is about to
	closed   bool
	started  bool
}

// A runner is one goroutine of a loop.
type runner struct {
	calling atomic.Pointer[Conn]
}

func newLoop(dedicated bool) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll instance: %w", err)
	}
	wakeup, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("create an eventfd: %w", err)
	}
	l := &Loop{epoll: epoll, wakeup: wakeup, epoch: time.Now(), dedicated: dedicated}
	l.now.Store(1)
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wakeup, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wakeup)}); err != nil {
		l.release()
		return nil, fmt.Errorf("watch an eventfd: %w", err)
	}
	return l, nil
}

func (l *Loop) release() {
	_ = unix.Close(l.epoll)
	_ = unix.Close(l.wakeup)
}

// start runs the loop.
func (l *Loop) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
	go l.run(new(runner))
}

// close ends the loop, which releases what it holds.
func (l *Loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	if !l.started {
		l.release()
		return
	}
	l.wake()
}

// run is a runner's life: until the loop is closed, or handed on.
func (l *Loop) run(r *runner) {
	for {
		for l.at < len(l.due) {
			c := l.due[l.at]
			l.due[l.at] = nil
			l.at++
			if !l.call(r, c) {
				return
			}
		}
		if !l.collect() {
			return
		}
	}
}

// call calls the function of a connection, and reports whether the loop is still
// the runner's.
func (l *Loop) call(r *runner, c *Conn) bool {
	r.calling.Store(c)
	l.running.Store(r)
	c.turns = 0
	if c.out.waiting.Load() && l.running.CompareAndSwap(r, nil) {
		// Somebody waits for the peer to take what it is sent, and may hold a lock that
		// reading wants: crypto/tls answers some messages in Read.
		go c.await()
		return true
	}
	c.await()
	return l.running.CompareAndSwap(r, nil)
}

// leave hands the loop on if it is in a call for c.
func (l *Loop) leave(c *Conn) {
	if r := l.running.Load(); r != nil && r.calling.Load() == c && l.running.CompareAndSwap(r, nil) {
		go l.run(new(runner))
	}
}

// collect waits until something is due, and reports whether the loop goes on.
func (l *Loop) collect() bool {
	n := l.wait(l.patience())
	now := int64(time.Since(l.epoch))
	l.now.Store(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = false
	if l.closed {
		l.release()
		return false
	}
	l.due, l.at = append(l.due[:0], l.injected...), 0
	clear(l.injected)
	l.injected = l.injected[:0]
	for i := range l.events[:n] {
		l.note(&l.events[i])
	}
	for {
		c := l.timers.expired(now)
		if c == nil {
			return true
		}
		l.ring(c, now)
	}
}

// patience is how long to wait, in milliseconds; -1 is for ever.
func (l *Loop) patience() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.injected) > 0 || l.closed {
		return 0
	}
	l.asleep = true
	at := l.timers.next()
	if at == 0 {
		return -1
	}
	left := min(time.Duration(at)-time.Since(l.epoch), longest)
	return max(0, int((left+time.Millisecond-1)/time.Millisecond))
}

const (
	// hold is how long a loop keeps its processor while it waits, in milliseconds.
	hold = 2
	// mostHolds is how often that may end without anything until it gives it back.
	mostHolds = 10
)

// wait waits for events. With a processor of its own the loop keeps it at first:
// the runtime does not hear of the system call, and there is no other processor
// for which it would wake threads that look for work and find none. Whatever has
// the runtime stop the world sends a signal, which ends the wait. When nothing has
// happened for a while, the runtime may have the processor.
func (l *Loop) wait(patience int) int {
	call := syscall.Syscall6
	keep := l.dedicated && l.holds < mostHolds
	if keep && patience != 0 {
		call = syscall.RawSyscall6
		if patience < 0 || patience > hold {
			patience = hold
		}
	}
	n, _, errno := call(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events)), mostEvents, uintptr(patience), 0, 0)
	if errno != 0 { // EINTR: nothing else can happen to it
		return 0
	}
	switch {
	case n > 0 || l.stirred.Swap(false):
		l.holds = 0
	case keep:
		l.holds++
		runtime.Gosched() // goroutines that the calls have started may be waiting for this processor
	}
	return int(n)
}

// stir is for [Group.Stir].
func (l *Loop) stir() {
	if l.stirred.Load() || l.stirred.Swap(true) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake()
}

// note notes an event. mu is held.
func (l *Loop) note(e *unix.EpollEvent) {
	fd := int(e.Fd)
	if fd == l.wakeup {
		var b [8]byte
		_, _ = unix.Read(l.wakeup, b[:])
		return
	}
	if fd >= len(l.conns) || l.conns[fd] == nil || l.conns[fd].number != e.Pad {
		return // it was closed meanwhile
	}
	c := l.conns[fd]
	if e.Events&(unix.EPOLLPRI|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.doubts.Store(true)
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLPRI|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.in.ready.Store(true)
		if c.armed.CompareAndSwap(true, false) {
			l.due = append(l.due, c)
		}
		c.in.signal()
	}
	if e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.out.ready.Store(true)
		c.out.signal()
	}
}

// ring is for a connection whose timer has run out. mu is held.
func (l *Loop) ring(c *Conn, now int64) {
	switch at := c.in.deadline.Load(); {
	case at == 0 || !c.armed.Load(): // whoever awaits sets it again
	case at > now:
		l.timers.set(c, at)
	case c.armed.CompareAndSwap(true, false):
		l.due = append(l.due, c)
	}
}

// inject has the function of c called soon.
func (l *Loop) inject(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.injected = append(l.injected, c)
	l.wake()
}

// schedule sees to it that c is looked at when its deadline has passed.
func (l *Loop) schedule(c *Conn, at int64) {
	if set := c.timer.at.Load(); set != 0 && set <= at {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if fd := c.fd; fd >= len(l.conns) || l.conns[fd] != c {
		return // it is closed
	}
	next := l.timers.next()
	l.timers.set(c, at)
	if next == 0 || at < next {
		l.wake()
	}
}

// wake wakes the runner if it waits. mu is held.
func (l *Loop) wake() {
	if !l.asleep {
		return
	}
	l.asleep = false
	one := [8]byte{1}
	_, _ = unix.Write(l.wakeup, one[:]) // the counter cannot be full
}

// watch adds a connection.
func (l *Loop) watch(c *Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("watch a connection: %w", errClosed)
	}
	for len(l.conns) <= c.fd {
		l.conns = append(l.conns, nil)
	}
	l.added++
	c.number = l.added
	event := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1), Fd: int32(c.fd), Pad: c.number,
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
		return fmt.Errorf("watch a connection: %w", err)
	}
	l.conns[c.fd] = c
	return nil
}

// forget removes a connection.
func (l *Loop) forget(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timers.drop(c)
	if l.conns[c.fd] == c {
		l.conns[c.fd] = nil
	}
}
