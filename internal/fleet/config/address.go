package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// parseAddress returns an address that visitors can be sent to.
func parseAddress(s string) (netip.Addr, *flaw) {
	addr, f := parseBind(s)
	switch {
	case f != nil:
		return netip.Addr{}, f
	case addr.IsUnspecified():
		return netip.Addr{}, &flaw{fmt.Sprintf("%s stands for every address of a machine; visitors need one of them", quote(s)), "what to listen on belongs in `bind`"}
	case addr.IsLinkLocalUnicast():
		return netip.Addr{}, &flaw{fmt.Sprintf("%s is a link-local address; visitors cannot reach it", quote(s)), "write the machine's public address"}
	}
	return addr, nil
}

// parseBind returns an address that a machine can listen on.
func parseBind(s string) (netip.Addr, *flaw) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, addressShape(s)
	case addr.Zone() != "":
		return netip.Addr{}, &flaw{fmt.Sprintf("%s has a zone", quote(s)), "write an address without %"}
	case addr.Is4In6():
		return netip.Addr{}, &flaw{fmt.Sprintf("%s is an IPv4 address written as IPv6", quote(s)), "write " + quote(addr.Unmap().String())}
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, &flaw{fmt.Sprintf("%s is not the address of one machine", quote(s)), "write the machine's own address"}
	}
	return addr, nil
}

// addressShape says what s, which is not an address, seems to be.
func addressShape(s string) *flaw {
	if host, _, err := net.SplitHostPort(s); err == nil && isAddress(host) {
		return &flaw{fmt.Sprintf("%s has a port", quote(s)), "write " + quote(host)}
	}
	if host, _, ok := strings.Cut(s, "/"); ok && isAddress(host) {
		return &flaw{fmt.Sprintf("%s is a network, not an address", quote(s)), "write " + quote(host)}
	}
	if inner := strings.Trim(s, "[]"); inner != s && isAddress(inner) {
		return &flaw{fmt.Sprintf("%s has brackets", quote(s)), "write " + quote(inner)}
	}
	if inner := strings.TrimSpace(s); inner != s && isAddress(inner) {
		return &flaw{fmt.Sprintf("%s has spaces", quote(s)), "write " + quote(inner)}
	}
	return &flaw{fmt.Sprintf("%s is not an IP address", quote(s)), `write something like "203.0.113.10" or "2001:db8::10"`}
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// parseProxy returns the network, or the single address, of proxies.
func parseProxy(s string) (netip.Prefix, *flaw) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, &flaw{fmt.Sprintf("%s is neither a network nor an address", quote(s)), `write something like "10.0.0.0/8"`}
	case p.Bits() == 0:
		return netip.Prefix{}, &flaw{fmt.Sprintf("%s is everybody, and every visitor could claim any address", quote(s)), "name the networks of your proxies"}
	case p.Masked() != p:
		return netip.Prefix{}, &flaw{fmt.Sprintf("%s has bits behind its length", quote(s)), "write " + quote(p.Masked().String())}
	}
	return p, nil
}
