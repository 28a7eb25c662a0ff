// Package link is a line between two hosts with the weather of a real one: it
// takes time, loses packets at random, brings some out of order, and carries so
// much a second behind a queue that is full one day. What is sent at one end of it
// is a test's to choose: a whole browser, a server, a socket of the test itself.
//
//	l := link.New(t, link.Options{Delay: 40 * time.Millisecond, Loss: 0.02, Seed: 1})
//	l.Server.Do(func() { p = program.Start(t, penny, "serve", dir, "--listen", l.Server.At4(80)) })
//	l.Client.Do(func() { conn, err = net.Dial("tcp", l.Server.At4(80)) })
//
// Linux has netem for that, where it has it: it is a module, and many a kernel
// comes without. Ours needs network namespaces and /dev/net/tun, and root to make
// them. A [Link] has two namespaces with a TUN device each, and carries every IP
// packet that leaves one device into the other, which for the two hosts is a
// point-to-point line with a router in its middle. IPv4 and IPv6 go alike.
//
// A link owns six goroutines, three in each direction: one reads a device and
// decides what becomes of each packet, the others wait for its time and write it,
// one of them those packets that are overtaken. All end with the test. The
// namespaces have no names: when the test has closed them, or has died, they are
// gone as soon as the last process in them is.
//
// Packets keep their order, unless [Options] asks for another, and none is ever
// changed or doubled.
package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// MTU is the size of the largest packet, the usual one.
const MTU = 1500

// Options are the weather. Each holds in both directions alike and for each by
// itself: an answer meets it twice.
type Options struct {
	Delay time.Duration // from one end to the other
	Loss  float64       // the share of packets that are lost on the way, of 1
	Rate  int64         // bits a second; 0 is no limit
	Queue int           // bytes that may wait for the rate; 0 is 64 KiB
	Seed  uint64        // of what is left to chance: the same seed loses the n-th packet again

	Reorder float64       // the share of packets that take a detour, so that those behind them come first, of 1
	Detour  time.Duration // by how much later these come; 0 is 5 ms
}

func (o Options) withDefaults() Options {
	if o.Queue == 0 {
		o.Queue = 64 << 10
	}
	if o.Detour == 0 {
		o.Detour = 5 * time.Millisecond
	}
	return o
}

// longest is as long as a delay may be.
const longest = 10 * time.Second

func (o Options) validate() error {
	var errs []error
	if o.Delay < 0 || o.Delay > longest {
		errs = append(errs, fmt.Errorf("a delay of %v is not between 0 and %v", o.Delay, longest))
	}
	if !(o.Loss >= 0 && o.Loss <= 1) {
		errs = append(errs, fmt.Errorf("a loss of %v is not between 0 and 1", o.Loss))
	}
	if !(o.Reorder >= 0 && o.Reorder <= 1) {
		errs = append(errs, fmt.Errorf("a share of %v that comes out of order is not between 0 and 1", o.Reorder))
	}
	if o.Detour < 0 || o.Detour > longest {
		errs = append(errs, fmt.Errorf("a detour of %v is not between 0 and %v", o.Detour, longest))
	}
	if o.Rate < 0 {
		errs = append(errs, fmt.Errorf("a rate of %d bits a second is less than none", o.Rate))
	}
	if o.Queue < MTU {
		errs = append(errs, fmt.Errorf("a queue of %d bytes holds no packet of %d", o.Queue, MTU))
	}
	return errors.Join(errs...)
}

// A Link is two hosts with a line between them.
type Link struct {
	Client, Server *Host

	up, down counters // from the client, and from the server
}

// A Host is one end of a link: a network of its own, with a loopback device and
// one that leads to the other end.
type Host struct {
	IPv4, IPv6 netip.Addr

	namespace
}

// At4 returns the host's IPv4 address with a port, as a listener takes it.
func (h *Host) At4(port int) string { return h.IPv4.String() + ":" + strconv.Itoa(port) }

// At6 returns the host's IPv6 address with a port, as a listener takes it.
func (h *Host) At6(port int) string { return "[" + h.IPv6.String() + "]:" + strconv.Itoa(port) }

// New makes a link that lasts as long as the test. Where none can be made the
// test is skipped.
func New(t testing.TB, o Options) *Link {
	t.Helper()
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		t.Fatalf("the options of a link: %v", err)
	}
	return newLink(t, o)
}

// A Count says what became of the packets that were sent in one direction.
type Count struct {
	Packets int64 // all that were sent
	Bytes   int64 // of all that were sent
	Lost    int64 // packets lost on the way
	Full    int64 // packets dropped because the queue was full
	Late    int64 // packets that took a detour, and arrived
}

// Up returns what the client has sent until now.
func (l *Link) Up() Count { return l.up.read() }

// Down returns what the server has sent until now.
func (l *Link) Down() Count { return l.down.read() }

// counters is a Count that is being counted.
type counters struct{ packets, bytes, lost, full, late atomic.Int64 }

func (c *counters) read() Count {
	return Count{Packets: c.packets.Load(), Bytes: c.bytes.Load(), Lost: c.lost.Load(), Full: c.full.Load(), Late: c.late.Load()}
}

func (c *counters) add(size int, f fate) {
	c.packets.Add(1)
	c.bytes.Add(int64(size))
	switch f {
	case lost:
		c.lost.Add(1)
	case full:
		c.full.Add(1)
	case late:
		c.late.Add(1)
	case arrives:
	}
}
