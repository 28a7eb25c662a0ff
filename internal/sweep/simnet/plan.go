package simnet

import "net/netip"

// A Reach is what becomes of a connection to one port of one address.
type Reach uint8

// The reaches.
const (
	Serves      Reach = iota // accepted, and served
	Refuses                  // nobody listens
	Blackholes               // packets vanish
	Hangs                    // accepted, and never served
	Slams                    // accepted, and reset at the first word, which nobody reads
	Unreachable              // no route
	Resets                   // accepted, and reset before a word
)

// A Scheme is one of the two that a host is asked by.
type Scheme uint8

// The schemes.
const (
	HTTP Scheme = iota
	HTTPS
)

// String is the scheme as in a URL.
func (s Scheme) String() string { return [...]string{"http", "https"}[s] }

// address is one of IPv4.
type address [4]byte

// unreachable is the broadcast address of the loopback: connect says ENETUNREACH
// without a packet.
//
//nolint:gochecknoglobals // a constant
var unreachable = address{127, 255, 255, 255}

// The groups: each has its own second byte of 127.0.0.0/8.
const (
	bigHoster    = 10 // 40 addresses in 3 networks (/24)
	middleHoster = 11 // 4 addresses in each network
	smallHoster  = 12 // 1 address in each network; goes on in 13 and 14
	onlyHTTP     = 20 // HTTPS refuses
	onlyHTTPS    = 21 // HTTP refuses
	noHTTPS      = 22 // HTTPS blackholes
	noHTTP       = 23 // HTTP blackholes
	hungHTTPS    = 24
	hungHTTP     = 25
	blackhole    = 26
	hung         = 27
	slam         = 28
	closed       = 29 // nobody listens
	control      = 30
	resets       = 31
	withoutHTTPS = 30 // added to a hoster's group: the same hoster's addresses where HTTPS refuses
)

// reach is what becomes of a connection to a host's port at an address. The
// address alone decides.
func (a address) reach(s Scheme) Reach {
	if a == unreachable {
		return Unreachable
	}
	var both [2]Reach
	switch a[1] {
	case bigHoster, middleHoster, smallHoster, smallHoster + 1, smallHoster + 2, control:
	case onlyHTTP, bigHoster + withoutHTTPS, middleHoster + withoutHTTPS, smallHoster + withoutHTTPS:
		both[HTTPS] = Refuses
	case onlyHTTPS:
		both[HTTP] = Refuses
	case noHTTPS:
		both[HTTPS] = Blackholes
	case noHTTP:
		both[HTTP] = Blackholes
	case hungHTTPS:
		both[HTTPS] = Hangs
	case hungHTTP:
		both[HTTP] = Hangs
	case blackhole:
		both = [2]Reach{Blackholes, Blackholes}
	case hung:
		both = [2]Reach{Hangs, Hangs}
	case slam:
		both = [2]Reach{Slams, Slams}
	case resets:
		both = [2]Reach{Resets, Resets}
	default:
		both = [2]Reach{Refuses, Refuses}
	}
	return both[s]
}

// hosters says how many addresses the three kinds of hosters have.
type hosters struct{ big, middle, small int }

func (p Profile) hosters() hosters {
	if p == TonyWang2024 {
		return hosters{big: 40, middle: 120, small: 420}
	}
	return hosters{big: 40, middle: 24, small: 64} // so that it starts at once
}

// others are how many addresses each of the other groups has.
const others = 16

// addressOf is the i-th address of a group.
func addressOf(group byte, i int) address {
	switch group {
	case bigHoster:
		switch { // half of them in the first network
		case i < 20:
			return address{127, bigHoster, 0, byte(i + 1)}
		case i < 32:
			return address{127, bigHoster, 1, byte(i - 20 + 1)}
		}
		return address{127, bigHoster, 2, byte(i - 32 + 1)}
	case middleHoster:
		return address{127, middleHoster, byte(i / 4), byte(i%4*16 + 1)}
	case smallHoster:
		return address{127, smallHoster + byte(i/200), byte(i % 200), 1}
	}
	return address{127, group, byte(i), 1}
}

// hosted draws the address of a site that serves both schemes: 30 % of the names
// are on the big hoster's, 25 % on the middle ones'.
func (p Profile) hosted(d *dice) address {
	h := p.hosters()
	switch r := d.roll(100); {
	case r < 30:
		return addressOf(bigHoster, int(d.roll(uint64(h.big)))) //nolint:gosec // small, here and below
	case r < 55:
		return addressOf(middleHoster, int(d.roll(uint64(h.middle)))) //nolint:gosec // small
	}
	return addressOf(smallHoster, int(d.roll(uint64(h.small)))) //nolint:gosec // small
}

// plain is the address of the same hoster that refuses HTTPS.
func (a address) plain() address {
	a[1] += withoutHTTPS
	return a
}

// among draws an address of another group.
func among(d *dice, group byte) address {
	if group == closed {
		return address{127, closed, byte(d.roll(250)), byte(1 + d.roll(250))} //nolint:gosec // small
	}
	return addressOf(group, int(d.roll(others))) //nolint:gosec // small
}

// listening are all addresses where something listens, on one port at least.
func (p Profile) listening() []address {
	h := p.hosters()
	var all []address
	type group struct {
		group byte
		count int
	}
	groups := []group{
		{bigHoster, h.big},
		{middleHoster, h.middle},
		{smallHoster, h.small},
		{onlyHTTP, others},
		{onlyHTTPS, others},
		{noHTTPS, others},
		{noHTTP, others},
		{hungHTTPS, others},
		{hungHTTP, others},
		{blackhole, others},
		{hung, others},
		{slam, others},
		{control, numControls},
		{resets, others},
	}
	for _, g := range groups {
		for i := range g.count {
			a := addressOf(g.group, i)
			all = append(all, a)
			if p == Quick && g.group <= smallHoster {
				all = append(all, a.plain())
			}
		}
	}
	return all
}

// mayAsk reports whether a sweep of the simulated internet asks an address: there
// is nothing beyond the loopback.
func mayAsk(a netip.Addr) bool { return a.Unmap().IsLoopback() }
