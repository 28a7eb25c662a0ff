package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Listeners are the sockets that a server serves on.
type Listeners struct {
	Plain []net.Listener   // HTTP/1.1 and h2c; redirects to HTTPS where there is TLS as well
	TLS   []net.Listener   // HTTP/1.1 and 2
	QUIC  []net.PacketConn // HTTP/3, on the ports of TLS
}

// Close closes all of them.
func (l *Listeners) Close() error {
	var errs []error
	for _, ln := range append(append([]net.Listener(nil), l.Plain...), l.TLS...) {
		errs = append(errs, ln.Close())
	}
	for _, pc := range l.QUIC {
		errs = append(errs, pc.Close())
	}
	return errors.Join(errs...)
}

// udpBuffer is what is asked for as a socket's receive and send buffer, in
// bytes: quic-go wants 7 MiB, the kernel gives what net.core.rmem_max allows.
const udpBuffer = 7 << 20

// Listen binds every address, "host:port", for plain HTTP or for TLS and QUIC. A
// port of 0 becomes one free port that all addresses share. Either all are bound
// or none.
func Listen(ctx context.Context, secure bool, addresses ...string) (Listeners, error) {
	const attempts = 20 // a free port may be taken on another address, or over UDP
	var l Listeners
	var err error
	for range attempts {
		l, err = listenOnce(ctx, secure, addresses)
		if err == nil || !wantsFreePort(addresses) || !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	return l, err
}

func wantsFreePort(addresses []string) bool {
	for _, a := range addresses {
		if _, port, err := net.SplitHostPort(a); err == nil && port == "0" {
			return true
		}
	}
	return false
}

func listenOnce(ctx context.Context, secure bool, addresses []string) (l Listeners, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
			l = Listeners{}
		}
	}()
	free := "0"
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return l, fmt.Errorf("listen on %s: %w", address, err)
		}
		if port == "0" {
			port = free
		}
		bound, err := l.listen(ctx, secure, net.JoinHostPort(host, port))
		if err != nil {
			return l, err
		}
		free = strconv.Itoa(bound)
	}
	return l, nil
}

// listen binds one address and returns its port.
func (l *Listeners) listen(ctx context.Context, secure bool, address string) (int, error) {
	config := net.ListenConfig{KeepAlive: -1} // our own limits are shorter, and four system calls a connection less
	ln, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return 0, fmt.Errorf("listen on %s: %w", address, err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if !secure {
		l.Plain = append(l.Plain, ln)
		return port, nil
	}
	l.TLS = append(l.TLS, ln)
	host, _, _ := net.SplitHostPort(address) // Listen has parsed it
	address = net.JoinHostPort(host, strconv.Itoa(port))
	pc, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return 0, fmt.Errorf("listen on %s for QUIC: %w", address, err)
	}
	if udp, ok := pc.(*net.UDPConn); ok { // the kernel gives what it allows
		_ = udp.SetReadBuffer(udpBuffer)
		_ = udp.SetWriteBuffer(udpBuffer)
	}
	l.QUIC = append(l.QUIC, pc)
	return port, nil
}

// addrPort returns the port of a bound address, or 0.
func addrPort(addr net.Addr) int {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.Port
	case *net.UDPAddr:
		return a.Port
	}
	return 0
}
