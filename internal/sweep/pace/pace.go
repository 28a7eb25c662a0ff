// Package pace keeps a sweep polite: it says when the next request to an address, a
// network or a domain may begin.
//
// A [Pacer] only computes. Whoever asks waits, with [Pacer.Next] again and again
// until it says now. It belongs to one goroutine.
package pace

import (
	"net/netip"
	"time"

	"github.com/zeebo/xxh3"
)

// Limits are rates in requests a second. 0 is no limit.
type Limits struct {
	All     float64 // of the whole run
	Address float64 // to one address
	Network float64 // to one network: /24 of IPv4, /48 of IPv6
	Domain  float64 // to one registrable domain
}

// Networks are as large as these prefixes.
const (
	Network4 = 24
	Network6 = 48
)

// NetworkOf is the network that an address is in.
func NetworkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := Network6
	if addr.Is4() {
		bits = Network4
	}
	p, _ := addr.WithZone("").Prefix(bits) // it cannot fail for an address
	return p
}

// A Pacer hands out turns. The zero value has no limits; use [New].
type Pacer struct {
	limits                   Limits
	all                      line
	address, network, domain lines
	waiting                  map[netip.Prefix]int
	busiest                  netip.Prefix
}

// New returns a pacer.
func New(limits Limits) *Pacer {
	return &Pacer{
		limits:  limits,
		all:     line{every: every(limits.All)},
		address: newLines(limits.Address),
		network: newLines(limits.Network),
		domain:  newLines(limits.Domain),
		waiting: map[netip.Prefix]int{},
	}
}

// Limits are what the pacer was made with.
func (p *Pacer) Limits() Limits { return p.limits }

// A Turn is one request's way through the lines. The zero value begins it.
type Turn struct {
	stage  stage
	key    uint64 // of the address
	net    uint64
	domain uint64
	prefix netip.Prefix
}

type stage uint8

const (
	outside stage = iota
	forAddress
	forNetwork
	forAll
)

// Next returns when t may go on, in nanoseconds; when that is not after now the
// request may begin, and its turn is over. Otherwise Next must be called again
// then. The request waits in one line after the other, so that who waits for its
// address does not keep the network from others. addr may be the zero Addr, and
// domain empty.
func (p *Pacer) Next(t *Turn, now int64, addr netip.Addr, domain string) int64 {
	if t.stage == outside {
		p.enter(t, addr, domain)
		t.stage = forAddress
		if at := max(p.address.join(t.key, now), p.domain.join(t.domain, now)); at > now {
			return at
		}
	}
	if t.stage == forAddress {
		t.stage = forNetwork
		if at := p.network.join(t.net, now); at > now {
			return at
		}
	}
	if t.stage == forNetwork {
		t.stage = forAll
		if at := p.all.join(now); at > now {
			return at
		}
	}
	// Lines that differ in length may have brought two of one address together.
	if at := max(p.address.pass(t.key, now), p.domain.pass(t.domain, now)); at > now {
		return at
	}
	p.leave(t)
	return now
}

// Abandon takes a turn out of the lines.
func (p *Pacer) Abandon(t *Turn) {
	if t.stage != outside {
		p.leave(t)
	}
}

func (p *Pacer) enter(t *Turn, addr netip.Addr, domain string) {
	t.key, t.net, t.domain, t.prefix = 0, 0, 0, netip.Prefix{}
	if addr.IsValid() && (p.limits.Address > 0 || p.limits.Network > 0) {
		t.prefix = NetworkOf(addr)
		b := addr.As16()
		t.key = xxh3.Hash(b[:]) | 1
		b = t.prefix.Addr().As16()
		t.net = xxh3.Hash(b[:]) | 1
		p.waiting[t.prefix]++
		if !p.busiest.IsValid() || p.waiting[t.prefix] > p.waiting[p.busiest] {
			p.busiest = t.prefix
		}
	}
	if domain != "" && p.limits.Domain > 0 {
		t.domain = xxh3.HashString(domain) | 1
	}
}

func (p *Pacer) leave(t *Turn) {
	if t.prefix.IsValid() {
		if p.waiting[t.prefix]--; p.waiting[t.prefix] == 0 {
			delete(p.waiting, t.prefix)
		}
	}
	*t = Turn{}
}

// Busiest is the network that most requests wait for, with their number.
func (p *Pacer) Busiest() (netip.Prefix, int) {
	most := p.waiting[p.busiest]
	for prefix, n := range p.waiting {
		if n > most {
			p.busiest, most = prefix, n
		}
	}
	return p.busiest, most
}

// Floor is how long n requests to one network take at least.
func (p *Pacer) Floor(n int) time.Duration {
	if p.limits.Network <= 0 {
		return 0
	}
	return time.Duration(float64(n) / p.limits.Network * float64(time.Second))
}

func every(rate float64) int64 {
	if rate <= 0 {
		return 0
	}
	return int64(float64(time.Second) / rate)
}

// A line has places that are a fixed time apart.
type line struct {
	every int64
	next  int64 // the first that is free
}

// join takes the next place.
func (l *line) join(now int64) int64 {
	at := max(now, l.next)
	l.next = at + l.every
	return at
}

// lines are many, by hashes; the few that share one wait for each other.
type lines struct {
	every int64
	by    map[uint64]places
	sweep int // how large by may become before what is over is dropped
}

type places struct {
	next   int64 // the first that is free
	passed int64 // when somebody may pass next: every after the last has
}

func newLines(rate float64) lines {
	return lines{every: every(rate), by: map[uint64]places{}, sweep: 1 << 12}
}

func (l *lines) join(key uint64, now int64) int64 {
	if l.every == 0 || key == 0 {
		return now
	}
	p := l.by[key]
	at := max(now, p.next)
	p.next = at + l.every
	l.by[key] = p
	if len(l.by) > l.sweep {
		l.tidy(now)
	}
	return at
}

// pass returns now and notes it, or when it may be.
func (l *lines) pass(key uint64, now int64) int64 {
	if l.every == 0 || key == 0 {
		return now
	}
	p := l.by[key]
	if p.passed > now {
		return p.passed
	}
	p.passed = now + l.every
	p.next = max(p.next, p.passed)
	l.by[key] = p
	return now
}

// tidy drops lines that nobody is in.
func (l *lines) tidy(now int64) {
	for key, p := range l.by {
		if p.next <= now {
			delete(l.by, key)
		}
	}
	l.sweep = max(1<<12, 2*len(l.by))
}
