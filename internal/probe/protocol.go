package probe

import (
	"fmt"
	"strings"
)

// A Protocol is a version of HTTP.
type Protocol uint8

// The protocols.
const (
	HTTP1 Protocol = iota + 1 // HTTP/1.1 (RFC 9112)
	HTTP2                     // HTTP/2 over TLS (RFC 9113)
	HTTP3                     // HTTP/3 (RFC 9114)
)

// Protocols are all of them.
func Protocols() []Protocol { return []Protocol{HTTP1, HTTP2, HTTP3} }

// String is the name that the protocol has in ALPN's registry, but h1 for HTTP/1.1.
func (p Protocol) String() string {
	switch p {
	case HTTP1:
		return "h1"
	case HTTP2:
		return "h2"
	case HTTP3:
		return "h3"
	}
	return fmt.Sprintf("Protocol(%d)", uint8(p))
}

// ParseProtocol reads a protocol's name.
func ParseProtocol(name string) (Protocol, error) {
	for _, p := range Protocols() {
		if strings.EqualFold(name, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%q is no protocol; there are h1, h2 and h3", name)
}

// MarshalText writes the name.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the name.
func (p *Protocol) UnmarshalText(text []byte) (err error) {
	*p, err = ParseProtocol(string(text))
	return err
}
