package edge

import (
	"fmt"
	"net/netip"
	"strings"

	"pennyfarthing/internal/serve/site"
)

// A Table maps hosts to sites. It is immutable.
type Table struct {
	hosts map[string]*site.Live
	any   *site.Live
}

// A Route names the hosts of a site: lower case, without ports. Literal
// addresses are hosts too, IPv6 ones without brackets.
type Route struct {
	Hosts []string
	Site  *site.Live
}

// NewTable returns a table of routes. A host that two routes name is an error.
func NewTable(routes ...Route) (*Table, error) {
	t := &Table{hosts: make(map[string]*site.Live)}
	for _, r := range routes {
		for _, host := range r.Hosts {
			host = normalHost(host)
			if other, taken := t.hosts[host]; taken && other != r.Site {
				return nil, fmt.Errorf("host %s belongs to %s and to %s", host, other.Name(), r.Site.Name())
			}
			t.hosts[host] = r.Site
		}
	}
	return t, nil
}

// AnyHost returns a table in which one site answers for every host.
func AnyHost(s *site.Live) *Table { return &Table{any: s} }

// lookup returns the site of a host, or nil.
func (t *Table) lookup(host string) *site.Live {
	if s, ok := t.hosts[host]; ok {
		return s
	}
	return t.any
}

// normalHost returns the host of a Host field or :authority, lower case, without
// a port, brackets or the dot of a fully qualified name; IPv6 addresses as RFC
// 5952 writes them.
func normalHost(authority string) string {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 && (host[0] == '[' || strings.IndexByte(host, ':') == i) {
		host = host[:i]
	}
	if len(host) >= 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if strings.IndexByte(host, ':') >= 0 {
		if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
			return addr.String()
		}
	}
	if len(host) > 1 && host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	return strings.ToLower(host) // allocates only for upper case
}

// plainHost reports whether an authority has only bytes that hosts and ports are
// made of (RFC 3986 §3.2.2): user information, slashes and controls have no place
// in one, and would change the meaning of a redirect. HTTP/1.1 was scanned before.
func plainHost(authority string) bool {
	for _, c := range []byte(authority) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("-._~!$&'()*+,;=:[]", c) < 0 {
			return false
		}
	}
	return authority != ""
}

// splitTarget returns the path and the query of a request target as on the wire.
// An absolute target names its host in front, which has been looked at already.
func splitTarget(target string) (path, query string) {
	if !strings.HasPrefix(target, "/") {
		if i := strings.Index(target, "://"); i >= 0 {
			target = target[i+3:]
			target = target[indexAnyOrEnd(target, "/?"):]
		}
		if target == "" || target[0] == '?' {
			target = "/" + target
		}
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

func indexAnyOrEnd(s, chars string) int {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return i
	}
	return len(s)
}
