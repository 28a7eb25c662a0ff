package resolve

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"pennyfarthing/internal/loop"
)

// A line carries packets to one server and back. Its methods are for the reactor's
// goroutine, in which received is called too.
type line interface {
	// send sends a packet, soon, and returns the port that it leaves from. A packet
	// may be lost without a word.
	send(packet []byte) (from uint32)
	// flush sends what has been collected. It reports whether some must wait.
	flush(now int64) (more bool)
	// close closes the ports and waits for what was started.
	close()
}

// received hears of a packet that came to a port of a line. The packet is valid until
// it returns. A nil packet is word that the server's port is closed (ICMP).
type received func(port uint32, packet []byte)

const (
	// ports that a line sends from, at random.
	ports = 16
	// A port is opened anew after so many packets or so long, and answers to the old
	// one are still taken for a while.
	portPackets = 1 << 16
	portAge     = int64(5 * time.Minute)
	portGrace   = int64(10 * time.Second)

	// sizeReceived is the size of the largest packet that is read: we ask for less.
	sizeReceived = 4096
	// socketBuffer is what the kernel keeps for us of packets that we have not read.
	socketBuffer = 4 << 20
)

// A plainLine sends through package net.
type plainLine struct {
	reactor  *loop.Reactor
	server   netip.AddrPort
	random   func() uint64
	received received
	ports    [ports]*plainPort
	old      []*plainPort
	serial   uint32
	wg       sync.WaitGroup // the readers
}

type plainPort struct {
	conn    net.Conn
	serial  uint32
	packets int
	until   int64 // when it is opened anew, or closed
}

func newPlainLine(r *loop.Reactor, server netip.AddrPort, random func() uint64, f received) (line, error) {
	l := &plainLine{reactor: r, server: server, random: random, received: f}
	for i := range l.ports {
		p, err := l.open()
		if err != nil {
			l.close()
			return nil, err
		}
		// Not all at once later on.
		p.packets = i * portPackets / ports
		l.ports[i] = p
	}
	return l, nil
}

func (l *plainLine) open() (*plainPort, error) {
	var d net.Dialer
	conn, err := d.DialContext(context.Background(), "udp", l.server.String()) // UDP does not wait
	if err != nil {
		return nil, fmt.Errorf("open a port for the resolver %s: %w", l.server, err)
	}
	if c, ok := conn.(*net.UDPConn); ok {
		_ = c.SetReadBuffer(socketBuffer / ports) // less is slower and not wrong
	}
	l.serial++
	p := &plainPort{conn: conn, serial: l.serial, until: l.reactor.Now() + portAge}
	l.wg.Go(func() { l.read(p) })
	return p, nil
}

// read reads until the port is closed.
func (l *plainLine) read(p *plainPort) {
	buffer := make([]byte, sizeReceived)
	for {
		n, err := p.conn.Read(buffer)
		switch {
		case err == nil:
			packet := append([]byte(nil), buffer[:n]...)
			l.reactor.Post(func() { l.received(p.serial, packet) })
		case isRefused(err):
			l.reactor.Post(func() { l.received(p.serial, nil) })
		default: // closed
			return
		}
	}
}

func (l *plainLine) send(packet []byte) uint32 {
	p := l.ports[l.random()%ports]
	p.packets++
	_, _ = p.conn.Write(packet) // as if it was lost
	return p.serial
}

func (l *plainLine) flush(now int64) bool {
	for i, p := range l.ports {
		if p.packets < portPackets && now < p.until {
			continue
		}
		fresh, err := l.open()
		if err != nil { // no descriptor: go on with this one for a while
			p.packets, p.until = 0, now+portAge
			continue
		}
		p.until = now + portGrace
		l.old = append(l.old, p)
		l.ports[i] = fresh
	}
	for len(l.old) > 0 && now >= l.old[0].until {
		_ = l.old[0].conn.Close()
		l.old = l.old[1:]
	}
	return false
}

func (l *plainLine) close() {
	for _, p := range append(l.old, l.ports[:]...) {
		if p != nil {
			_ = p.conn.Close()
		}
	}
	l.wg.Wait()
}
