package ask

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/sweep/target"
)

// HTTPS says which schemes a target without one is asked with.
type HTTPS uint8

// The ways, as --https names them.
const (
	First HTTPS = iota // https; http when that was not answered
	Only               // https
	Never              // http
	Both               // both
)

//nolint:gochecknoglobals // a table
var httpsNames = [...]string{First: "first", Only: "only", Never: "never", Both: "both"}

// String is the name: first, only, never, both.
func (h HTTPS) String() string { return httpsNames[h] }

// Set reads a name.
func (h *HTTPS) Set(text string) error {
	for i, name := range httpsNames {
		if name == text {
			*h = HTTPS(i) //nolint:gosec // four
			return nil
		}
	}
	return fmt.Errorf("%q is none of first, only, never, both", text)
}

// Type names the value in help.
func (HTTPS) Type() string { return "mode" }

// Timeouts are the longest that each phase may take.
type Timeouts struct {
	Connect   time.Duration
	TLS       time.Duration
	FirstByte time.Duration // and the head
	Total     time.Duration // of one try, without waiting for a turn
}

// A Policy is what is asked.
type Policy struct {
	HTTPS        HTTPS
	WWW          bool // ask for the other name, with or without www., before a name is called dead
	Follow       int  // redirects
	Retries      int
	Pause        time.Duration // before a retry
	Method       string
	Body         int  // bytes of the body that are kept as a sample
	Title        bool // the sample is for the title alone
	Robots       bool
	AllowPrivate bool
	OnlyLoopback bool   // nothing but 127.0.0.0/8 and ::1 is asked: the internet is simulated
	Agent        string // the product that robots.txt knows us by
	Timeouts     Timeouts
	Ports        map[uint16]uint16 // asked instead of others
	DNSOnly      bool              // resolve, and ask nobody
	NoIPv6       bool              // this machine has no route for it
	Vantage      string
}

// A start is a chain's first request.
type start struct {
	place
	other bool // of the other name
}

// A place is what is asked for: a URL without what is the same for all.
type place struct {
	secure bool
	host   string // a name, or an address without brackets
	port   uint16
	path   string
	ip     bool
}

func (p *place) scheme() string {
	if p.secure {
		return "https"
	}
	return "http"
}

// hostport is the host as it stands in the Host field.
func (p *place) hostport() string {
	host := p.host
	if p.ip && strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p.port == defaultPort(p.secure) {
		return host
	}
	return host + ":" + strconv.Itoa(int(p.port))
}

// url is the place as text.
func (p *place) url() string { return p.scheme() + "://" + p.hostport() + p.path }

func defaultPort(secure bool) uint16 {
	if secure {
		return 443
	}
	return 80
}

// start is the chain of a target with this number, in order, if there is one.
func (p *Policy) start(t *target.Target, n int) (start, bool) {
	path := t.Path
	if path == "" {
		path = "/"
	}
	if t.Kind == target.URL {
		secure := t.Scheme == "https"
		return start{place: place{secure, t.Host, portOr(t.Port, secure), path, t.IsIP}}, n == 0
	}
	https, http := p.HTTPS != Never, p.HTTPS != Only
	switch t.Port {
	case 80:
		https, http = false, true
	case 443:
		https, http = true, false
	}
	each := int(btoi(https) + btoi(http)) // chains of a group
	secure := https && n%each == 0
	host := t.Host
	switch other := n >= each; {
	case n >= 2*each:
		return start{}, false
	case other:
		name, ok := otherName(t.Host)
		if !p.WWW || t.Kind != target.Name || t.IsIP || !ok {
			return start{}, false
		}
		host = name
	}
	return start{place{secure, host, portOr(t.Port, secure), path, t.IsIP}, n >= each}, true
}

func btoi(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// portOr is a port, or the scheme's where it is 0.
func portOr(port uint16, secure bool) uint16 {
	if port == 0 {
		return defaultPort(secure)
	}
	return port
}

// otherName is the name with www. before it, or without it.
func otherName(name string) (string, bool) {
	const www = "www."
	if len(name) > len(www) && name[:len(www)] == www {
		rest := name[len(www):]
		for i := range len(rest) {
			if rest[i] == '.' {
				return rest, true
			}
		}
		return "", false
	}
	if len(name)+len(www) > 253 {
		return "", false
	}
	return www + name, true
}
