package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A flaw is what is wrong with a value, and what to write instead.
type flaw struct{ what, hint string }

// parseLabel returns s, a DNS label in lower case: the name of a fleet or a POP.
func parseLabel(s string) (string, *flaw) {
	lower := strings.ToLower(s)
	why := labelFlaw(lower)
	switch {
	case why != "":
		return "", &flaw{fmt.Sprintf("the name %s %s", quote(s), why), "use letters, digits and hyphens, at most 63"}
	case lower != s:
		return "", &flaw{fmt.Sprintf("the name %s has capital letters", quote(s)), "write " + lower}
	}
	return s, nil
}

// labelFlaw returns why s is not a label of a host name in lower case, or "".
// See RFC 1123, section 2.1.
func labelFlaw(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > 63:
		return "is longer than 63 bytes"
	case s[0] == '-' || s[len(s)-1] == '-':
		return "begins or ends with a hyphen"
	}
	for _, b := range []byte(s) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return "has other characters than letters, digits and hyphens"
		}
	}
	return ""
}

// maxHost is how long a host name may be, in bytes, as text: RFC 1035, section
// 2.3.4, less what only the wire format needs.
const maxHost = 253

// parseHost returns a host name in lower case. It is a whole one, with a
// domain, or "localhost".
func parseHost(s string) (string, *flaw) {
	if f := hostShape(s); f != nil {
		return "", f
	}
	host := strings.ToLower(s)
	if why := nameFlaw(host); why != "" {
		return "", &flaw{fmt.Sprintf("%s is not a host name: %s", quote(s), why), ""}
	}
	if !strings.Contains(host, ".") && host != "localhost" {
		return "", &flaw{fmt.Sprintf("%s is not a whole host name", quote(s)), fmt.Sprintf("write it with its domain, as in %q", host+".example.org")}
	}
	return host, nil
}

// hostShape returns what is wrong with a host name that is something else.
func hostShape(s string) *flaw {
	if s == "" {
		return &flaw{"a host name is empty", ""}
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
		return &flaw{fmt.Sprintf("%s has letters outside ASCII", quote(s)), "write the ASCII form of the name, with xn--"}
	}
	if u, err := url.Parse(s); err == nil && strings.Contains(s, "://") {
		return &flaw{fmt.Sprintf("%s is a URL, not a host name", quote(s)), "write " + quote(u.Hostname())}
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return &flaw{fmt.Sprintf("%s is an address, not a host name", quote(s)), "write a name"}
	}
	if host, port, err := net.SplitHostPort(s); err == nil {
		return &flaw{fmt.Sprintf("%s has a port, %s", quote(s), quote(port)), "write " + quote(host)}
	}
	if host, ok := strings.CutSuffix(s, "."); ok {
		return &flaw{fmt.Sprintf("%s ends with a dot", quote(s)), "write " + quote(host)}
	}
	if strings.HasPrefix(s, "*.") {
		return &flaw{fmt.Sprintf("%s is a pattern; a site needs names", quote(s)), "list the names in `also`"}
	}
	return nil
}

// nameFlaw returns why host, which is in lower case, is not a name of one or
// more labels, or "".
func nameFlaw(host string) string {
	if len(host) > maxHost {
		return "it is longer than 253 bytes"
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if why := labelFlaw(label); why != "" {
			return "the part " + quote(label) + " " + why
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return "the part " + quote(last) + " is a number"
	}
	return ""
}

// parseHostPort returns s, the address or name of a host, and a port.
func parseHostPort(s string) (string, *flaw) {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return "", &flaw{fmt.Sprintf("%s is a URL, not a host and a port", quote(s)), "write " + quote(net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))}
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", &flaw{fmt.Sprintf("%s is not a host and a port", quote(s)), `write something like "127.0.0.1:8443" or "[::1]:8443"`}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "", &flaw{fmt.Sprintf("%s is not a port", quote(port)), "write a number from 1 to 65535"}
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.IsUnspecified() {
			return "", &flaw{fmt.Sprintf("%s is no address to connect to", quote(host)), "write a single address, or localhost"}
		}
		return s, nil
	}
	if why := nameFlaw(strings.ToLower(host)); why != "" {
		return "", &flaw{fmt.Sprintf("%s is neither an address nor a host name: %s", quote(host), why), ""}
	}
	return s, nil
}
