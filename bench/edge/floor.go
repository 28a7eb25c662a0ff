//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const floorFlag = "internal-floor"

// floorOrder is what the child is to serve, and where.
type floorOrder struct {
	Address   netip.AddrPort
	Root      string
	Cert, Key string // files; "" = without TLS
}

// floorChild is the server; see [floor].
func floorChild(ctx context.Context, spec string) error {
	var order floorOrder
	if err := json.Unmarshal([]byte(spec), &order); err != nil {
		return err
	}
	f := &floor{open: map[int]*floorConn{}}
	var err error
	if f.answers, err = floorAnswers(order.Root); err != nil {
		return err
	}
	if order.Cert != "" {
		pair, err := tls.LoadX509KeyPair(order.Cert, order.Key)
		if err != nil {
			return err
		}
		f.config = &tls.Config{
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, DynamicRecordSizingDisabled: true,
		}
	}
	return f.listenAndServe(ctx, order.Address)
}

// A floor answers with bytes that lie ready, and does nothing else: no limits, no deadlines, no log, no Date that is right.
// It is one goroutine on one epoll instance, in system calls of which the runtime does not hear. Whoever uses crypto/tls
// cannot be much cheaper.
type floor struct {
	epoll, listener int
	config          *tls.Config // nil: without TLS
	answers         map[string][]byte
	open            map[int]*floorConn // by descriptor
	idle            []*handshaker
	out             []byte // the records of the connection whose turn it is
	events          [256]unix.EpollEvent
	holds           int
}

func (f *floor) listenAndServe(ctx context.Context, address netip.AddrPort) (err error) {
	var err1, err2 error
	f.epoll, err1 = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	f.listener, err2 = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	defer func() { err = errors.Join(err, unix.Close(f.listener), unix.Close(f.epoll)) }()
	if err := errors.Join(err1, err2,
		unix.SetsockoptInt(f.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(f.listener, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), // connections inherit it
		unix.Bind(f.listener, &unix.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())}),
		unix.Listen(f.listener, 4096),
		unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, f.listener, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(f.listener)})); err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	for ctx.Err() == nil {
		for _, e := range f.events[:f.wait()] {
			if c := f.open[int(e.Fd)]; c == nil {
				f.accept()
			} else if c.advance(e.Events) != nil { //nolint:contextcheck // nothing in it waits
				c.end()
			}
		}
	}
	for _, c := range f.open {
		c.end()
	}
	for _, h := range f.idle {
		h.stop()
	}
	return nil
}

// wait keeps the processor, unless nothing has come for a while: see the loops of internal/loop.
func (f *floor) wait() int {
	const mostHolds, hold, patience = 10, 2, 100 // the latter in milliseconds
	if f.holds >= mostHolds {
		n, err := unix.EpollWait(f.epoll, f.events[:], patience)
		if n > 0 && err == nil {
			f.holds = 0
		}
		return max(n, 0) // EINTR: nothing else can happen to it
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(f.epoll), uintptr(unsafe.Pointer(&f.events)), uintptr(len(f.events)), hold, 0, 0)
	if errno == 0 && n > 0 {
		f.holds = 0
		return int(n)
	}
	f.holds++
	runtime.Gosched()
	return 0
}

func (f *floor) accept() {
	fd, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(f.listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return // who is still there is told of again
	}
	c := &floorConn{floor: f, fd: int(fd), drained: true}
	if f.config != nil {
		c.secure = tls.Server(c, f.config)
	}
	f.open[c.fd] = c
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1), Fd: int32(fd)}
	if unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, c.fd, &event) != nil {
		c.end()
	}
}
