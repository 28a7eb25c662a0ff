package simnet

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// udpBuffer is how much of the DNS may wait in each direction, in bytes.
const udpBuffer = 32 << 20

// bindUDP opens the resolver's socket.
func bindUDP(at netip.AddrPort) (fd int, bound netip.AddrPort, err error) {
	if fd, err = open(at, unix.SOCK_DGRAM); err != nil {
		return -1, bound, err
	}
	for _, option := range []struct{ force, ask int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option.force, udpBuffer) != nil { // for root alone
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option.ask, udpBuffer) // the kernel gives what it may
		}
	}
	return bind(fd, at, "UDP")
}

// bindTCP opens a listening socket. Where deferred, the kernel keeps a connection
// to itself until the client has said something, or for some seconds: it saves a
// wakeup for each.
func bindTCP(at netip.AddrPort, deferred bool) (fd int, bound netip.AddrPort, err error) {
	if fd, err = open(at, unix.SOCK_STREAM); err != nil {
		return -1, bound, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		_ = unix.Close(fd)
		return -1, bound, fmt.Errorf("make a socket for %s: %w", at, err)
	}
	if deferred {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 3) // it works without
	}
	if fd, bound, err = bind(fd, at, "TCP"); err != nil {
		return -1, bound, err
	}
	if err = unix.Listen(fd, backlog); err != nil {
		_ = unix.Close(fd)
		return -1, bound, fmt.Errorf("listen on %s: %w", at, err)
	}
	return fd, bound, nil
}

func open(at netip.AddrPort, kind int) (int, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a socket for %s: %w", at, err)
	}
	return fd, nil
}

// bind binds a socket, or closes it.
func bind(fd int, at netip.AddrPort, what string) (int, netip.AddrPort, error) {
	err := unix.Bind(fd, sockaddr(at))
	if err != nil {
		_ = unix.Close(fd)
		return -1, netip.AddrPort{}, fmt.Errorf("bind %s %s: %w", what, at, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd)
		return -1, netip.AddrPort{}, fmt.Errorf("ask for the port of %s %s: %w", what, at, err)
	}
	switch sa := name.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrPortFrom(at.Addr(), uint16(sa.Port)) //nolint:gosec // a port
	case *unix.SockaddrInet6:
		at = netip.AddrPortFrom(at.Addr(), uint16(sa.Port)) //nolint:gosec // a port
	}
	return fd, at, nil
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
}

// dropAll has the kernel drop every packet that comes to a socket, connections of
// a listening one included: a classic BPF program that returns 0 bytes.
func dropAll(fd int) error {
	program := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &program[0]})
}

// dropNone undoes dropAll.
func dropNone(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
}

// reset closes a connection with a reset.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // a clean end at worst
	_ = unix.Close(fd)
}
