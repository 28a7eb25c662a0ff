package edge

import (
	"fmt"
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
// a port, brackets or the dot of a fully qualified name.
func normalHost(authority string) string {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 && (host[0] == '[' || strings.IndexByte(host, ':') == i) {
		host = host[:i]
	}
	if len(host) >= 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if len(host) > 1 && host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	return strings.ToLower(host) // allocates only for upper case
}
