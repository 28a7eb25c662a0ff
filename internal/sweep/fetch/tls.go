package fetch

import (
	"crypto/tls"
	"net"
	"runtime"
	"strings"
	"time"
)

// clientConfig is for one handshake. X25519 alone is offered at first, because a
// share of ML-KEM doubles what a handshake costs and nothing here stays secret; a
// server that wants another curve asks for it. Sessions are not kept, and servers are
// not asked for tickets.
func clientConfig(name string) *tls.Config {
	return &tls.Config{
		ServerName:             name,
		InsecureSkipVerify:     true, //nolint:gosec // what is wrong is recorded: see Exchange.certified
		MinVersion:             tls.VersionTLS12,
		CurvePreferences:       []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true,
	}
}

// serverName is the host without its port and brackets.
func serverName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// certified takes what a handshake has found into the exchange.
func (x *Exchange) certified(state *tls.ConnectionState, j *judge) {
	x.TLSVersion = state.Version
	if len(state.PeerCertificates) > 0 {
		x.NotAfter = state.PeerCertificates[0].NotAfter.UTC()
		x.Certificate = j.verdict(state.PeerCertificates, serverName(x.Host), time.Now())
	}
}

// handshakesAtOnce is how many handshakes may be computed at a time.
func (c *Config) handshakesAtOnce() int {
	if c.HandshakesAtOnce > 0 {
		return c.HandshakesAtOnce
	}
	return runtime.GOMAXPROCS(0)
}
