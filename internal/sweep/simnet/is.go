package simnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Is reports whether all of these resolvers, of which there must be one, are those of a
// simulated internet: they are on loopback, and know its controls, which no real
// resolver can (RFC 6761 §6.2).
func Is(ctx context.Context, resolvers []netip.AddrPort) bool {
	for _, addr := range resolvers {
		if !addr.Addr().IsLoopback() || !knows(ctx, addr, NewWorld(0, Quick).Controls()[0]) {
			return false
		}
	}
	return len(resolvers) > 0
}

// knows reports whether a resolver has an address on loopback for a name. Where packets
// are lost it is asked again.
func knows(ctx context.Context, resolver netip.AddrPort, name string) bool {
	const tries, patience = 8, 400 * time.Millisecond
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", resolver.String())
	}}
	for range tries {
		once, cancel := context.WithTimeout(ctx, patience)
		addrs, err := r.LookupNetIP(once, "ip4", name+".")
		cancel()
		if err == nil {
			return len(addrs) > 0 && addrs[0].IsLoopback()
		}
		if failure, ok := errors.AsType[*net.DNSError](err); !ok || !failure.Timeout() {
			return false
		}
	}
	return false
}
