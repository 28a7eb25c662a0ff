package edge

import (
	"net"
	"net/netip"
	"strings"
	"sync"
)

// clientCounter counts the open connections of each client: an IPv4 address or
// an IPv6 /64, which is what one customer has.
type clientCounter struct {
	most int

	mu   sync.Mutex // guards open
	open map[netip.Prefix]int
}

func newClientCounter(most int) *clientCounter {
	return &clientCounter{most: most, open: make(map[netip.Prefix]int)}
}

// enter counts a connection and reports whether it may stay; if so, leave must
// be called when it ends.
func (c *clientCounter) enter(addr netip.Addr) bool {
	key := clientKey(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[key] >= c.most {
		return false
	}
	c.open[key]++
	return true
}

func (c *clientCounter) leave(addr netip.Addr) {
	key := clientKey(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[key]--; c.open[key] <= 0 {
		delete(c.open, key)
	}
}

func clientKey(addr netip.Addr) netip.Prefix { return cut(addr, 32, 64) }

// cut returns the network of an address that is shared by many clients, which is
// all that is kept of it.
func cut(addr netip.Addr, bits4, bits6 int) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := bits6
	if addr.Is4() {
		bits = bits4
	}
	p, _ := addr.Prefix(bits) // the zero prefix for the zero address
	return p
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// trusted reports whether an address is a proxy of ours.
func trusted(proxies []netip.Prefix, addr netip.Addr) bool {
	for _, p := range proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// forwardedFor returns the client that trusted proxies speak for: the last
// address of X-Forwarded-For that is not a proxy's. What stands before it anyone
// may have written.
func forwardedFor(proxies []netip.Prefix, peer netip.Addr, field string) netip.Addr {
	for field != "" && trusted(proxies, peer) {
		i := strings.LastIndexByte(field, ',')
		addr, ok := parseForwarded(strings.TrimSpace(field[i+1:]))
		if !ok {
			return peer
		}
		peer, field = addr, field[:max(i, 0)]
	}
	return peer
}

// parseForwarded reads an address, which some proxies write with its port.
func parseForwarded(text string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap(), true
	}
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return addr.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}
