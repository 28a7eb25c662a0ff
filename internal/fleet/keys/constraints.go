package keys

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"pennyfarthing/internal/mistake"
)

// Constraints say for what a CA may speak (RFC 5280 §4.2.1.10). What they do not
// name is forbidden.
type Constraints struct {
	Names    []string       // DNS names; each permits its subdomains as well
	Prefixes []netip.Prefix // addresses
}

// normalised returns c with names in lower case and prefixes masked, both sorted
// and without duplicates, or an error that names everything that cannot be
// meant.
func (c Constraints) normalised() (Constraints, error) {
	var out Constraints
	var wrong mistake.List
	for _, name := range c.Names {
		n, err := normalName(name)
		if err != nil {
			wrong.Add(&mistake.Error{What: err.Error()})
			continue
		}
		out.Names = append(out.Names, n)
	}
	for _, prefix := range c.Prefixes {
		p, ok := normalPrefix(prefix)
		if !ok {
			wrong.Add(&mistake.Error{What: fmt.Sprintf("%v is not a range of addresses", prefix)})
			continue
		}
		out.Prefixes = append(out.Prefixes, p)
	}
	if len(c.Names)+len(c.Prefixes) == 0 {
		return out, errors.New("a CA needs at least one name or address to speak for")
	}
	slices.Sort(out.Names)
	slices.SortFunc(out.Prefixes, netip.Prefix.Compare)
	out.Names, out.Prefixes = slices.Compact(out.Names), slices.Compact(out.Prefixes)
	return out, wrong.Err()
}

// normalPrefix masks a prefix, and writes one of IPv4-mapped addresses as IPv4:
// that is what certificates hold.
func normalPrefix(p netip.Prefix) (netip.Prefix, bool) {
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), p.IsValid()
}

// normalName checks a host name and returns it in lower case, without the final
// dot.
func normalName(name string) (string, error) {
	n := strings.ToLower(strings.TrimSuffix(name, "."))
	if _, err := netip.ParseAddr(n); err == nil {
		return "", fmt.Errorf("%q is an address, not a name", name)
	}
	if n == "" || len(n) > 253 {
		return "", fmt.Errorf("%q is not a host name", name)
	}
	for label := range strings.SplitSeq(n, ".") {
		if err := checkLabel(label); err != nil {
			return "", fmt.Errorf("%q is not a host name: %w", name, err)
		}
	}
	return n, nil
}

// checkLabel takes letters, digits, hyphens inside, and underscores: not what
// hosts should have (RFC 952), but what some do have.
func checkLabel(label string) error {
	if label == "" || len(label) > 63 {
		return errors.New("between dots there must be 1 to 63 characters")
	}
	for _, r := range label {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_':
		case r > 0x7f:
			return errors.New("write it in its xn-- form")
		default:
			return fmt.Errorf("it has the character %q", r)
		}
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return fmt.Errorf("%q begins or ends with a hyphen", label)
	}
	return nil
}

// permitsName reports whether c permits a normal name, which may begin with "*."
// for all its subdomains of one more label.
func (c Constraints) permitsName(name string) bool {
	name = strings.TrimPrefix(name, "*.")
	return slices.ContainsFunc(c.Names, func(permitted string) bool {
		return name == permitted || strings.HasSuffix(name, "."+permitted)
	})
}

// permitsPrefix reports whether c permits all addresses of a normal prefix.
func (c Constraints) permitsPrefix(p netip.Prefix) bool {
	return slices.ContainsFunc(c.Prefixes, func(permitted netip.Prefix) bool {
		return permitted.Bits() <= p.Bits() && permitted.Contains(p.Addr())
	})
}

// permitsAll reports whether c permits everything that other does. Both are normal.
func (c Constraints) permitsAll(other Constraints) bool {
	return !slices.ContainsFunc(other.Names, func(n string) bool { return !c.permitsName(n) }) &&
		!slices.ContainsFunc(other.Prefixes, func(p netip.Prefix) bool { return !c.permitsPrefix(p) })
}

// constrain writes c into the template of a CA.
//
// A kind of name of which nothing is permitted is not constrained at all (RFC
// 5280 §4.2.1.10: "the restrictions apply only when the specified name form is
// present"), so the whole kind is excluded then. Other kinds, such as mail
// addresses, are kept out by the extended key usage.
func (c Constraints) constrain(template *x509.Certificate) {
	template.PermittedDNSDomainsCritical = true
	template.PermittedDNSDomains = c.Names
	if len(c.Names) == 0 {
		template.ExcludedDNSDomains = []string{""}
	}
	var v4, v6 bool
	for _, p := range c.Prefixes {
		v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
		template.PermittedIPRanges = append(template.PermittedIPRanges, ipNet(p))
	}
	if !v4 {
		template.ExcludedIPRanges = append(template.ExcludedIPRanges, ipNet(netip.MustParsePrefix("0.0.0.0/0")))
	}
	if !v6 {
		template.ExcludedIPRanges = append(template.ExcludedIPRanges, ipNet(netip.MustParsePrefix("::/0")))
	}
}

// constraintsOf returns what a CA's certificate permits.
func constraintsOf(ca *x509.Certificate) Constraints {
	c := Constraints{Names: ca.PermittedDNSDomains}
	for _, n := range ca.PermittedIPRanges {
		addr, ok := netip.AddrFromSlice(n.IP)
		if ones, bits := n.Mask.Size(); ok && bits == addr.BitLen() {
			c.Prefixes = append(c.Prefixes, netip.PrefixFrom(addr, ones))
		}
	}
	return c
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
