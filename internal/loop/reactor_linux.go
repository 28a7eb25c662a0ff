package loop

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Handler hears of a descriptor that is ready.
type Handler interface {
	// Ready is called with the events of epoll(7): unix.EPOLLIN and so on.
	Ready(events uint32)
}

// A poller waits for descriptors.
type poller struct {
	epoll, wakeup int
	watched       []watched // by descriptor
	events        [mostEvents]unix.EpollEvent
	n             int // events that have come
}

// watched is a descriptor. Its generation tells it from another of the same number
// whose events had come already when it was forgotten.
type watched struct {
	handler    Handler
	generation int32
}

func (p *poller) open() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create an epoll instance: %w", err)
	}
	wakeup, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return fmt.Errorf("create an eventfd: %w", err)
	}
	p.epoll, p.wakeup = epoll, wakeup
	if err := p.watch(wakeup, unix.EPOLLIN|unix.EPOLLET, nil); err != nil {
		p.close()
		return err
	}
	return nil
}

func (p *poller) close() {
	_ = unix.Close(p.epoll)
	_ = unix.Close(p.wakeup)
}

const (
	// few events are not worth a turn: more are waited for, but no longer than a nap.
	few = 16
	nap = 300 * time.Microsecond
)

// wait waits for events, at most for timeout, rounded up to milliseconds. What is
// there at once is taken without telling the scheduler, which costs more than the
// call. Where little comes at a time, what comes within a nap is taken together: a
// turn for each event would cost more than the event.
func (p *poller) wait(timeout time.Duration) error {
	p.n = 0
	p.poll()
	if p.n >= few || timeout < nap {
		return nil
	}
	if p.n == 0 {
		got, err := unix.EpollWait(p.epoll, p.events[:], int((timeout+time.Millisecond-1)/time.Millisecond))
		p.n = max(0, got)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for events: %w", err)
		}
		if p.n == 0 || p.n >= few {
			return nil
		}
	}
	_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(nap)}, nil) // a signal ends it: the better
	p.poll()
	return nil
}

// poll takes what is there, behind what was taken before.
func (p *poller) poll() {
	free := p.events[p.n:]
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&free[0])), uintptr(len(free)), 0, 0, 0)
	if e == 0 {
		p.n += int(n)
	}
}

// dispatch tells the handlers.
func (p *poller) dispatch() {
	for i := range p.n {
		e := &p.events[i]
		if int(e.Fd) >= len(p.watched) {
			continue
		}
		if w := &p.watched[e.Fd]; w.handler != nil && w.generation == e.Pad {
			w.handler.Ready(e.Events)
		}
	}
	p.n = 0
}

// wake ends the wait that is under way, or the next. Being edge-triggered, the
// eventfd need not be read.
func (p *poller) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.wakeup, one[:]) // it is full: the wait ends anyway
}

func (p *poller) watch(fd int, events uint32, h Handler) error {
	if fd >= len(p.watched) {
		p.watched = slices.Grow(p.watched, fd+1-len(p.watched))[:fd+1]
	}
	w := &p.watched[fd]
	e := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: w.generation} //nolint:gosec // descriptors are small
	if _, _, err := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.epoll), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0); err != 0 {
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	w.handler = h
	return nil
}

// Watch has h called when one of events has come for fd. They are those of
// epoll_ctl(2), unix.EPOLLET included; with it h must go on until EAGAIN. fd must
// not be watched already.
func (r *Reactor) Watch(fd int, events uint32, h Handler) error { return r.poller.watch(fd, events, h) }

// Forget has nobody called for fd any more, if anybody was. It must be called before
// fd is closed, and closing it is what takes it away from the kernel's list.
func (r *Reactor) Forget(fd int) {
	if fd >= len(r.poller.watched) {
		return
	}
	w := &r.poller.watched[fd]
	w.handler = nil
	w.generation++
}
