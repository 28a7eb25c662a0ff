// Package block knows whom a sweep must not ask: addresses that are not of the
// public internet, and those on lists.
package block

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"pennyfarthing/internal/mistake"
)

// Private reports whether an address is not of the public internet: private,
// loopback, link-local (cloud metadata), multicast, reserved, documentation, or one
// that leads to such an address by translation (RFC 6890, RFC 6052, RFC 3056).
func Private(addr netip.Addr) bool {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Zone() != "" {
		return true
	}
	for _, p := range special {
		if p.Contains(addr) {
			return true
		}
	}
	if addr.Is6() {
		b := addr.As16()
		switch {
		case nat64.Contains(addr): // 64:ff9b::/96
			return Private(netip.AddrFrom4([4]byte(b[12:16])))
		case sixToFour.Contains(addr): // 2002::/16
			return Private(netip.AddrFrom4([4]byte(b[2:6])))
		}
		return !global6.Contains(addr)
	}
	return false
}

//nolint:gochecknoglobals // tables
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
	global6   = netip.MustParsePrefix("2000::/3")
	special   = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
	)
)

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// A List has networks and names. A name stands for all names below it. Networks and
// addresses of IPv4 that are written in IPv6, below ::ffff:0:0/96 (RFC 4291 §2.5.5.2),
// are those of IPv4. The zero value is empty, and so is nil.
type List struct {
	networks []netip.Prefix
	names    map[string]bool
}

// maxLine is the longest line of a list.
const maxLine = 4 << 10

// Read adds the lines of a list in the format of zmap's block lists: a network, an
// address or a name a line, and # before what is for people. name is the file's,
// for errors.
func (l *List) Read(r io.Reader, name string) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text, _, _ := strings.Cut(lines.Text(), "#")
		text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
		if text == "" {
			continue
		}
		if err := l.add(text); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: read: %w", name, n+1, err)
	}
	l.sort()
	return nil
}

// ReadFiles reads several lists into one. What is wrong with them is a [mistake.Error].
func ReadFiles(names []string) (*List, error) {
	l := new(List)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, &mistake.Error{File: name, What: fmt.Sprintf("cannot be read: %v", errors.Unwrap(err)), Hint: "it must have a network or a name a line"}
		}
		err = l.Read(f, name)
		_ = f.Close()
		if err != nil {
			return nil, &mistake.Error{What: err.Error(), Hint: "write a network such as 192.0.2.0/24, or a name, on each line"}
		}
	}
	return l, nil
}

func (l *List) add(text string) error {
	if p, err := netip.ParsePrefix(text); err == nil {
		p, err = unmap(p)
		l.networks = append(l.networks, p.Masked())
		return err
	}
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		l.networks = append(l.networks, netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(strings.TrimPrefix(text, "*.")), ".")
	if strings.ContainsAny(name, "/ \t,:") || strings.Trim(name, "0123456789.") == "" || len(name) > 253 {
		return fmt.Errorf("%.60q is no network, address or name; write 192.0.2.0/24, 192.0.2.7 or example.com", text)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) { // it would meet no target
		return fmt.Errorf("%.60q has letters outside ASCII; write the name in its xn-- form", text)
	}
	if l.names == nil {
		l.names = map[string]bool{}
	}
	l.names[name] = true
	return nil
}

// unmap is the network of IPv4 that a network of IPv6 maps, or the network itself. One
// that is written so and has fewer bits than all of IPv4 has surely another length than
// was meant, and would block nobody of IPv4.
func unmap(p netip.Prefix) (netip.Prefix, error) {
	const mapped = 96 // bits of ::ffff:0:0/96
	switch {
	case !p.Addr().Is4In6():
		return p, nil
	case p.Bits() < mapped:
		return p, fmt.Errorf("%q is no network of IPv4 in IPv6, which have %d bits and more; write it as one of IPv4, such as 192.0.2.0/24", p, mapped)
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped), nil
}

// sort makes the list ready to be searched: without networks that lie in others.
func (l *List) sort() {
	slices.SortFunc(l.networks, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	kept := l.networks[:0]
	for _, p := range l.networks {
		if n := len(kept); n == 0 || !kept[n-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	l.networks = kept
}

// Len is the number of networks and names.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.networks) + len(l.names)
}

// Address reports whether an address is on the list.
func (l *List) Address(addr netip.Addr) bool {
	if l == nil || len(l.networks) == 0 {
		return false
	}
	addr = addr.Unmap()
	i, found := slices.BinarySearchFunc(l.networks, addr, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return found || i > 0 && l.networks[i-1].Contains(addr)
}

// Name reports whether a name, or one above it, is on the list. It must be in lower
// case, without a dot at its end.
func (l *List) Name(name string) bool {
	if l == nil || len(l.names) == 0 {
		return false
	}
	for {
		if l.names[name] {
			return true
		}
		_, above, more := strings.Cut(name, ".")
		if !more {
			return false
		}
		name = above
	}
}
