package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Certificates are what a server shows. They are immutable: new ones are a new
// value (see [Server.SetCertificates]).
type Certificates struct {
	names    map[string]*certificate // exact names, and "*.example.org" for wildcards
	fallback *certificate
	strict   bool
}

// A certificate is one chain with what it covers.
type certificate struct {
	tls    *tls.Certificate
	leaf   *x509.Certificate
	covers map[string]bool // names, wildcards as they stand, and addresses
}

// NewCertificates returns a set. The first certificate is shown to clients that
// name no server, or one that is not covered. If strict is true, requests for a
// host that the certificate of their connection does not cover are answered 421.
func NewCertificates(strict bool, certs ...*tls.Certificate) (*Certificates, error) {
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	set := &Certificates{names: make(map[string]*certificate), strict: strict}
	for _, c := range certs {
		leaf := c.Leaf
		if leaf == nil {
			parsed, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				return nil, fmt.Errorf("parse certificate: %w", err)
			}
			leaf = parsed
		}
		set.add(&certificate{tls: c, leaf: leaf, covers: coverage(leaf)})
	}
	return set, nil
}

func (s *Certificates) add(c *certificate) {
	if s.fallback == nil {
		s.fallback = c
	}
	for name := range c.covers {
		if _, taken := s.names[name]; !taken {
			s.names[name] = c
		}
	}
}

func coverage(leaf *x509.Certificate) map[string]bool {
	covers := make(map[string]bool)
	for _, name := range leaf.DNSNames {
		covers[strings.ToLower(name)] = true
	}
	for _, ip := range leaf.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			covers[addr.Unmap().String()] = true
		}
	}
	return covers
}

// find returns the certificate for a server name, which may be empty.
func (s *Certificates) find(name string) *certificate {
	name = normalHost(name)
	if c, ok := s.names[name]; ok {
		return c
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		if c, ok := s.names["*"+name[i:]]; ok {
			return c
		}
	}
	return s.fallback
}

// misdirected reports whether host is not covered by the certificate that a
// connection with this server name was shown.
func (s *Certificates) misdirected(serverName, host string) bool {
	if !s.strict || host == serverName && s.names[host] != nil {
		return false
	}
	covers := s.find(serverName).covers
	if covers[host] {
		return false
	}
	i := strings.IndexByte(host, '.')
	return i <= 0 || !covers["*"+host[i:]]
}

// tlsConfig returns the configuration for TCP. current is asked at every
// handshake, so that certificates can be swapped.
func tlsConfig(current func() *Certificates, tickets *ticketKeys) *tls.Config {
	return &tls.Config{
		WrapSession: tickets.wrap, UnwrapSession: tickets.unwrap,
		DynamicRecordSizingDisabled: true, // answers are written whole
		MinVersion:                  tls.VersionTLS12,
		CipherSuites: []uint16{ // AEAD with forward secrecy only; TLS 1.3 has no others
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return current().find(hello.ServerName).tls, nil
		},
	}
}
