package resolve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/loop"
)

const fastSupported = true

func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// batch is how many packets a system call sends or receives at most.
const batch = 64

// message is struct mmsghdr of sendmmsg(2).
type message struct {
	header unix.Msghdr
	size   uint32 // Go pads as C does
}

// messages are the arguments of a call: the kernel fills or reads buffers.
type messages struct {
	list    [batch]message
	vectors [batch]unix.Iovec
}

// A fastLine sends a turn's packets with one system call from one port, another each
// time, and reads the answers as many at a time.
type fastLine struct {
	reactor  *loop.Reactor
	server   netip.AddrPort
	random   func() uint64
	received received
	ports    [ports]*fastPort
	old      []*fastPort
	serial   uint32

	from    int // the port of the packets that are collected
	n       int // of them
	out     messages
	packets [batch][packetSize]byte

	in      *messages // of all lines
	buffers *[batch][sizeReceived]byte
}

type fastPort struct {
	line    *fastLine
	fd      int
	serial  uint32
	packets int
	until   int64
}

// received buffers are shared by all lines of a resolver.
type inbox struct {
	messages
	buffers [batch][sizeReceived]byte
}

func newInbox() *inbox {
	in := new(inbox)
	for i := range in.list {
		in.vectors[i].Base = &in.buffers[i][0]
		in.vectors[i].SetLen(sizeReceived)
		in.list[i].header.Iov = &in.vectors[i]
		in.list[i].header.SetIovlen(1)
	}
	return in
}

func newFastLine(r *loop.Reactor, server netip.AddrPort, random func() uint64, in *inbox, f received) (line, error) {
	l := &fastLine{reactor: r, server: server, random: random, received: f, in: &in.messages, buffers: &in.buffers}
	for i := range l.out.list {
		l.out.vectors[i].Base = &l.packets[i][0]
		l.out.list[i].header.Iov = &l.out.vectors[i]
		l.out.list[i].header.SetIovlen(1)
	}
	for i := range l.ports {
		p, err := l.open()
		if err != nil {
			l.close()
			return nil, err
		}
		p.packets = i * portPackets / ports // not all at once later on
		l.ports[i] = p
	}
	return l, nil
}

func (l *fastLine) open() (*fastPort, error) {
	fd, err := l.connect()
	if err != nil {
		return nil, fmt.Errorf("open a port for the resolver %s: %w", l.server, err)
	}
	l.serial++
	p := &fastPort{line: l, fd: fd, serial: l.serial, until: l.reactor.Now() + portAge}
	if err := l.reactor.Watch(fd, unix.EPOLLIN|unix.EPOLLET, p); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return p, nil
}

// connect opens a socket. The kernel gives it a random port.
func (l *fastLine) connect() (int, error) {
	domain, to := unix.AF_INET, unix.Sockaddr(nil)
	addr := l.server.Addr().Unmap()
	if addr.Is4() {
		to = &unix.SockaddrInet4{Port: int(l.server.Port()), Addr: addr.As4()}
	} else {
		domain = unix.AF_INET6
		zone, err := zoneIndex(addr.Zone())
		if err != nil {
			return -1, err
		}
		to = &unix.SockaddrInet6{Port: int(l.server.Port()), Addr: addr.As16(), ZoneId: zone}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	// The first needs a privilege, and knows no limit. Neither is needed.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	}
	if err := unix.Connect(fd, to); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// zoneIndex is the number of an interface that a link-local address is on.
func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("find the interface %s: %w", zone, err)
	}
	return uint32(i.Index), nil //nolint:gosec // they are small
}

func (l *fastLine) send(packet []byte) uint32 {
	if l.n == batch {
		if l.write(); l.n == batch { // the kernel's buffer is full: as if it was lost
			l.n = 0
		}
	}
	if l.n == 0 {
		l.from = int(l.random() % ports)
	}
	p := l.ports[l.from]
	p.packets++
	l.out.vectors[l.n].SetLen(copy(l.packets[l.n][:], packet))
	l.n++
	return p.serial
}

// write sends what was collected. What remains comes first.
func (l *fastLine) write() {
	fd := l.ports[l.from].fd
	for sent, failed := 0, 0; sent < l.n; {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&l.out.list[sent])), uintptr(l.n-sent), unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case e == 0:
			sent += int(n) //nolint:gosec // at most batch
		case e == unix.EAGAIN && sent < l.n:
			for i := sent; i < l.n; i++ {
				l.packets[i-sent] = l.packets[i]
				l.out.vectors[i-sent].Len = l.out.vectors[i].Len
			}
			l.n -= sent
			return
		case e == unix.EINTR:
		default: // it is about an earlier packet (ECONNREFUSED), or about this one
			if e == unix.ECONNREFUSED {
				l.received(l.ports[l.from].serial, nil)
			}
			if failed++; failed > 1 {
				sent, failed = sent+1, 0
			}
		}
	}
	l.n = 0
}

func (l *fastLine) flush(now int64) bool {
	if l.n > 0 {
		if l.write(); l.n > 0 {
			return true
		}
		if p := l.ports[l.from]; p.packets >= portPackets {
			l.renew(l.from, now)
		}
	}
	if i := int(now>>20) % ports; now >= l.ports[i].until { // one after the other
		l.renew(i, now)
	}
	for len(l.old) > 0 && now >= l.old[0].until {
		l.reactor.Forget(l.old[0].fd)
		_ = unix.Close(l.old[0].fd)
		l.old = l.old[1:]
	}
	return false
}

// renew opens a port anew.
func (l *fastLine) renew(i int, now int64) {
	p := l.ports[i]
	fresh, err := l.open()
	if err != nil { // no descriptor: go on with this one for a while
		p.packets, p.until = 0, now+portAge
		return
	}
	p.until = now + portGrace
	l.old = append(l.old, p)
	l.ports[i] = fresh
}

// Ready reads everything that has come.
func (p *fastPort) Ready(uint32) {
	l := p.line
	for {
		for i := range l.in.list {
			l.in.list[i].size = 0
		}
		n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&l.in.list)), batch, unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
		case unix.EINTR:
			continue
		case unix.ECONNREFUSED: // an ICMP message; it is told once
			l.received(p.serial, nil)
			continue
		default: // nothing is left
			return
		}
		for i := range int(n) { //nolint:gosec // at most batch
			l.received(p.serial, l.buffers[i][:min(sizeReceived, int(l.in.list[i].size))])
		}
		if n < batch {
			return // what comes now is a new edge
		}
	}
}

func (l *fastLine) close() {
	for _, p := range append(l.old, l.ports[:]...) {
		if p != nil {
			l.reactor.Forget(p.fd)
			_ = unix.Close(p.fd)
		}
	}
}
