package simnet

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnsupported is what [Start] says where there is no simulated internet to run:
// it stands on Linux's epoll, and on its loopback, all of whose addresses work.
var ErrUnsupported = errors.New("the simulated internet runs on Linux alone")

// Config is how a [World] runs.
type Config struct {
	DNS     netip.AddrPort // of the resolver, over UDP and TCP; port 0 for any
	HTTP    uint16         // the port that stands for 80; 0 for any
	HTTPS   uint16         // the port that stands for 443; 0 for any
	Latency float64        // of DNS and HTTP, times the real internet's; 0 for none
	Loss    float64        // the share of DNS packets that is lost, each way: 0 to 1
}

func (c *Config) validate() error {
	var errs []error
	if !c.DNS.Addr().IsLoopback() {
		errs = append(errs, fmt.Errorf("the resolver's address %s is not of the loopback", c.DNS))
	}
	if c.HTTP != 0 && c.HTTP == c.HTTPS {
		errs = append(errs, fmt.Errorf("port %d cannot be that of HTTP and of HTTPS", c.HTTP))
	}
	if c.Latency < 0 || c.Latency > 60 || c.Latency != c.Latency {
		errs = append(errs, fmt.Errorf("a latency of %v times the real one is not between 0 and 60", c.Latency))
	}
	if c.Loss < 0 || c.Loss >= 1 || c.Loss != c.Loss {
		errs = append(errs, fmt.Errorf("a loss of %v is not a share below 1", c.Loss))
	}
	return errors.Join(errs...)
}

// Stats are what a server has done since it started.
type Stats struct {
	DNS         int64 `json:"dns_queries"` // that were read
	Lost        int64 `json:"dns_lost"`    // packets of the DNS, both ways, by Loss and throttling
	Connections int64 `json:"connections"` // accepted; those that hang are not counted before they end
	Requests    int64 `json:"requests"`    // of HTTP, by both schemes
	Handshakes  int64 `json:"tls_handshakes"`
}

// counters are Stats that are being counted.
type counters struct{ dns, lost, connections, requests, handshakes atomic.Int64 }

func (c *counters) stats() Stats {
	return Stats{c.dns.Load(), c.lost.Load(), c.connections.Load(), c.requests.Load(), c.handshakes.Load()}
}

// Roots are the certificates that vouch for the sites of a server.
func (s *Server) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.root)
	return pool
}

// PEM is the certificate of [Server.Roots].
func (s *Server) PEM() []byte { return s.authority.pem() }

// Stats are what the server has done until now.
func (s *Server) Stats() Stats { return s.counters.stats() }

// ThrottleDNS lets the resolver answer so many queries a second and drop the rest;
// 0 is no limit.
func (s *Server) ThrottleDNS(perSecond int) { s.throttle.set(perSecond) }

// maxFlakes bounds what is remembered of hosts that fail every other time: those
// that failed last. Hosts beyond it do not fail.
const maxFlakes = 1 << 16

// What a name's flakes are kept apart by, a kind of query or a scheme added.
const (
	flakyDNS = 1 << 16
	flakyWeb = 2 << 16
	flakyTLS = 3 << 16
)

// flakes knows which hosts failed the last time.
type flakes struct {
	mu     sync.Mutex // guards failed
	failed map[uint64]struct{}
}

// failsNow is true every other time it is asked about a key, beginning with the first.
func (f *flakes) failsNow(key uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.failed[key]; ok {
		delete(f.failed, key)
		return false
	}
	if len(f.failed) >= maxFlakes {
		return false
	}
	if f.failed == nil {
		f.failed = map[uint64]struct{}{}
	}
	f.failed[key] = struct{}{}
	return true
}

// throttle is a bucket that holds a tenth of a second's tokens.
type throttle struct {
	limited atomic.Bool // so that most need no lock

	mu        sync.Mutex // guards the fields below
	perSecond float64
	tokens    float64
	filled    time.Time
}

func (t *throttle) set(perSecond int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.perSecond, t.tokens = float64(perSecond), 1
	t.limited.Store(perSecond > 0)
}

// allows takes a token, if there is one.
func (t *throttle) allows(now time.Time) bool {
	if !t.limited.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tokens = min(t.tokens+t.perSecond*now.Sub(t.filled).Seconds(), max(1, t.perSecond/10))
	t.filled = now
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

// losses decides which packets are lost.
type losses struct {
	share float64
	mu    sync.Mutex // guards dice
	dice  dice
}

func (l *losses) loses() bool {
	if l.share == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return float64(l.dice.roll(1<<32)) < l.share*(1<<32)
}
