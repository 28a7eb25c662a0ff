package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/serve/h3"
)

// Options are what a server is made of. Table is required, and Certificates for
// listeners with TLS.
type Options struct {
	// Name is the POP's, for logs and metrics; it may be empty.
	Name         string
	Table        *Table
	Certificates *Certificates
	Limits       Limits
	// TrustedProxies stand in front of this server. Their X-Forwarded-For says
	// who the client is, and the limit of connections does not bind them.
	TrustedProxies []netip.Prefix
	// ProxyProtocol demands a PROXY header, version 1 or 2, of connections from
	// TrustedProxies.
	ProxyProtocol bool
	// Engine serves what stands ready; see [Server.SetEngine].
	Engine Engine
	// Loops wait for the connections of the fast engine. They must run as long as
	// the server does. nil: the server has its own, one for each processor, where
	// the system has any.
	Loops *loop.Group
	// ResetKey is a secret that stays over restarts and that no other server has. With
	// it a server that has lost its HTTP/3 connections, because it was killed, says so
	// to those who still use them (RFC 9000 §10.3), and they need not wait until they
	// give up. Zero: it is silent.
	ResetKey [32]byte
	// ServerTiming adds Server-Timing to answers.
	ServerTiming bool
	AccessLog    *AccessLog   // nil writes none
	Metrics      *Metrics     // nil counts for nobody
	Log          *slog.Logger // nil logs nothing

	noLoops bool // for tests: what other systems do
}

func (o Options) withDefaults() Options {
	o.Limits = o.Limits.withDefaults()
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// A Server serves the sites of a table on its listeners. [Server.Run] does all
// the work and waits for all goroutines; the other methods may be called
// concurrently.
type Server struct {
	options      Options
	limits       Limits
	listeners    Listeners
	altSvc       []string // value of Alt-Svc, nil without HTTP/3
	redirectPort int      // of HTTPS, where plain HTTP only redirects to it
	table        atomic.Pointer[Table]
	certificates atomic.Pointer[Certificates]
	clients      *clientCounter
	meters       *popMeters
	sites        sync.Map                // name -> *siteMeters
	inFlight     [protocols]atomic.Int64 // requests that are being answered

	engine   atomic.Uint32
	fast     *fastEngine
	loops    *loop.Group // nil: each connection has a goroutine
	ownLoops bool
	tickets  *ticketKeys
	turns    chan struct{} // holds one for each TLS handshake over TCP that is being worked on
	large    atomic.Int32  // buffers for many records that are borrowed
	plain    *http.Server  // HTTP/1.1 and 2
	accepted chanListener
	h3       *h3.Server

	handshakes handshakes
	advice     func(context.Context, net.PacketConn) // on what the kernel does for UDP
}

// New returns a server that owns the listeners.
func New(o Options, l Listeners) (*Server, error) {
	o = o.withDefaults()
	s := &Server{options: o, limits: o.Limits, listeners: l, clients: newClientCounter(o.Limits.ConnectionsPerClient), meters: o.Metrics.pop(o.Name)}
	if o.Table == nil {
		return nil, errors.New("edge: no table of hosts")
	}
	if o.Certificates == nil && len(l.TLS)+len(l.QUIC) > 0 {
		return nil, errors.New("edge: listeners with TLS but no certificate")
	}
	s.table.Store(o.Table)
	s.certificates.Store(o.Certificates)
	if len(l.TLS) > 0 && len(l.Plain) > 0 {
		s.redirectPort = addrPort(l.TLS[0].Addr())
	}
	tickets, err := newTicketKeys()
	if err != nil {
		return nil, err
	}
	s.tickets, s.turns = tickets, newTurns()
	s.accepted = newChanListener()
	s.plain = s.plainEngine()
	if len(l.QUIC) > 0 {
		s.altSvc = []string{fmt.Sprintf(`h3=":%d"; ma=86400`, addrPort(l.QUIC[0].LocalAddr()))}
		s.h3 = s.h3Engine()
		s.advice = s.udpAdvice()
	}
	s.fast = newFastEngine(s)
	if err := s.takeLoops(); err != nil {
		return nil, err
	}
	s.engine.Store(uint32(o.Engine))
	return s, nil
}

// takeLoops makes loops if none were given.
func (s *Server) takeLoops() error {
	if s.options.noLoops {
		return nil
	}
	if s.loops = s.options.Loops; s.loops != nil {
		return nil
	}
	if !loop.Supported {
		return nil
	}
	own, err := loop.NewGroup(runtime.GOMAXPROCS(0), false)
	if err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	s.loops, s.ownLoops = own, true
	return nil
}

// SetTable swaps the table; requests that have begun keep theirs.
func (s *Server) SetTable(t *Table) { s.table.Store(t) }

// SetCertificates swaps the certificates for new handshakes.
func (s *Server) SetCertificates(c *Certificates) { s.certificates.Store(c) }

// plainEngine is net/http behind the strict scanner.
func (s *Server) plainEngine() *http.Server {
	var speaks http.Protocols
	speaks.SetHTTP1(true)
	speaks.SetHTTP2(true)
	speaks.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: s, Protocols: &speaks, ConnContext: s.plainContext,
		MaxHeaderBytes:               2 * s.limits.HeaderBytes, // over HTTP/2, so that the handler refuses what is too large, and tells of it
		IdleTimeout:                  s.limits.IdleTimeout,
		DisableGeneralOptionsHandler: true,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: s.limits.StreamsPerConnection,
			WriteByteTimeout:     s.limits.Grace,
			SendPingTimeout:      s.limits.IdleTimeout / 2,
			// net/http changes the table of its encoder when SETTINGS come, also while
			// another goroutine encodes with it: "concurrent map read and map write" ends
			// the process. A table that nothing fits in has no entries to be changed.
			MaxEncoderHeaderTableSize: 1,
		},
		ErrorLog: slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug), // of clients; panics are told by the handler
	}
}

// siteMeters returns the counters of a site.
func (s *Server) siteMeters(name string) *siteMeters {
	if m, ok := s.sites.Load(name); ok {
		return m.(*siteMeters)
	}
	m, _ := s.sites.LoadOrStore(name, s.options.Metrics.site(s.options.Name, name))
	return m.(*siteMeters)
}

// Addresses returns the bound addresses, for people: "127.0.0.1:8080".
func (s *Server) Addresses() string {
	var all []string
	for _, ln := range slices.Concat(s.listeners.Plain, s.listeners.TLS) {
		all = append(all, ln.Addr().String())
	}
	return strings.Join(all, ", ")
}

// A chanListener yields connections that were accepted elsewhere.
type chanListener struct {
	conns chan net.Conn // unbuffered: net/http takes a connection at once
	done  chan struct{}
	once  *sync.Once
}

func newChanListener() chanListener {
	return chanListener{conns: make(chan net.Conn), done: make(chan struct{}), once: new(sync.Once)}
}

// Accept waits for the next connection.
func (l chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// hand passes a connection on, or closes it when nobody takes any more.
func (l chanListener) hand(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		_ = c.Close()
	}
}

// Close ends Accept. net/http calls it at the beginning of a shutdown.
func (l chanListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is nobody's.
func (l chanListener) Addr() net.Addr { return &net.TCPAddr{} }

// acceptPause is how long accepting rests when the process has no descriptors left.
const acceptPause = 50 * time.Millisecond
