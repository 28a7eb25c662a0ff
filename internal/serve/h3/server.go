package h3

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// A Hit is an answer that stands ready.
type Hit struct {
	// Blocks are sent one after the other as the header section. They are field
	// lines of QPACK (RFC 9204 §4.5) without use of the dynamic table and without
	// the section's prefix, hold ":status" first, and no Date, which is added.
	Blocks [5][]byte
	// Body is what follows; HEAD answers have none.
	Body []byte
	// Keep is kept reachable until Body has been sent.
	Keep any
}

// A Refusal is why a head was not taken.
type Refusal uint8

// The refusals, with the statuses that they are answered with.
const (
	NotRefused    Refusal = iota
	SlowHead              // 408: it was not whole in time
	HeadTooLarge          // 431
	TooManyFields         // 431
	BadTarget             // 400: :path is no URI's
)

// Status is what a refusal is answered with.
func (r Refusal) Status() int {
	switch r {
	case SlowHead:
		return http.StatusRequestTimeout
	case HeadTooLarge, TooManyFields:
		return http.StatusRequestHeaderFieldsTooLarge
	case BadTarget:
		return http.StatusBadRequest
	case NotRefused:
	}
	return http.StatusOK
}

// Options are what a server is made of. Handler is required; other zero fields
// mean the defaults.
type Options struct {
	// Handler answers requests that are no hits.
	Handler http.Handler
	// Hit returns whether a GET or HEAD without a body has an answer that stands
	// ready, and fills it in. It is called for one request of a connection at a
	// time, and must be quick. The request may have come in early data, so that its
	// answer must change nothing and be for everybody. nil finds none.
	Hit func(c *ConnInfo, r *Request, h *Hit) bool
	// Refuse answers a request whose head was not taken. Of the client's, r has
	// only what belongs to the connection. nil answers with the bare status.
	Refuse       func(w http.ResponseWriter, r *http.Request, why Refusal)
	HeaderBytes  int           // of a field section, on the wire or decoded (RFC 9114 §4.2.2), 32 KiB; more is refused
	HeaderFields int           // without the pseudo-header fields, 128; more is refused
	Streams      int           // requests at once, their handlers included, 128; more are reset with H3_REQUEST_REJECTED
	Head         time.Duration // from a stream's beginning to the end of its head, 5 s; for SETTINGS, too
	Idle         time.Duration // without a request, 60 s; then the connection is closed with H3_NO_ERROR
	Grace        time.Duration // what a sender or reader may lag behind Rate, 10 s
	Rate         int64         // bytes a second, 1 KiB
	// Linger is how long a client has to close its connection after GOAWAY and the
	// last answer, 1 s: QUIC does not tell when an answer has arrived, and closing
	// would cut it off.
	Linger time.Duration
	// OnAbuse is told of connections that spent a budget; nil is not told. It must
	// be quick.
	OnAbuse func(Kind)
	// OnPanic is told of handlers that panicked with something other than
	// http.ErrAbortHandler; nil lets the panic go on, to OnCrash.
	OnPanic func(any)
	// OnCrash is told of panics outside of handlers, in Hit above all, and what of
	// the stream had arrived and was not yet worked off. The connection ends with
	// H3_INTERNAL_ERROR. nil lets the panic go on.
	OnCrash func(failure any, input []byte)
}

func (o Options) withDefaults() Options {
	o.HeaderBytes = cmp.Or(o.HeaderBytes, 32<<10)
	o.HeaderFields = cmp.Or(o.HeaderFields, 128)
	o.Streams = cmp.Or(o.Streams, 128)
	o.Head = cmp.Or(o.Head, 5*time.Second)
	o.Idle = cmp.Or(o.Idle, time.Minute)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.Rate = cmp.Or(o.Rate, 1<<10)
	o.Linger = cmp.Or(o.Linger, time.Second)
	if o.Refuse == nil {
		o.Refuse = func(w http.ResponseWriter, _ *http.Request, why Refusal) { w.WriteHeader(why.Status()) }
	}
	return o
}

// ConnInfo is what there is to know of a connection.
type ConnInfo struct {
	Context    context.Context //nolint:containedctx // of the connection, for requests
	RemoteAddr net.Addr
	LocalAddr  net.Addr
}

// A Server serves HTTP/3 connections.
type Server struct {
	options Options
	standIn http.Server // for http.ServerContextKey where the caller's context has none

	mu       sync.Mutex // guards conns and draining
	conns    map[*conn]struct{}
	draining bool
	serving  sync.WaitGroup
	date     dateLine
}

// NewServer returns a server.
func NewServer(o Options) *Server {
	o = o.withDefaults()
	return &Server{options: o, standIn: http.Server{Handler: o.Handler}, conns: make(map[*conn]struct{})}
}

// ServeConn serves one connection until it ends, and returns when all handlers of
// its requests have. Their contexts have the values of ctx. When ctx ends, the
// connection is closed with H3_NO_ERROR. The handshake may still be in flight.
func (s *Server) ServeConn(ctx context.Context, qc *quic.Conn) { s.serve(ctx, quicConn{qc}) }

func (s *Server) serve(ctx context.Context, qc transport) {
	c := newConn(ctx, s, qc)
	if !s.add(c) {
		c.close(NoError, goingAway)
		return
	}
	defer s.remove(c)
	defer context.AfterFunc(ctx, func() { c.close(NoError, goingAway) })()
	c.serve() //nolint:contextcheck // requests have the context of their stream, with the values of ctx
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.conns[c] = struct{}{}
	s.serving.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.serving.Done()
}

// goingAway is the reason of connections that end because the server does.
const goingAway = "the server is going away"

// Shutdown tells all connections to go away (RFC 9114 §5.2) and waits until their
// streams have ended and their clients have closed them, which they have
// Options.Linger for. When ctx ends it closes what is left, and returns the error
// of ctx. It returns when all calls of ServeConn have.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for c := range s.conns {
		c.goAway()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.serving.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.close(NoError, goingAway)
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

// Connections returns how many connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// A dateLine is the QPACK form of the Date field, made anew every second.
type dateLine struct {
	current atomic.Pointer[datedLine]
}

type datedLine struct {
	second int64
	line   []byte
}

// dateName is "literal field line with the name of static entry 6" (RFC 9204 §4.5.4).
const dateName = 0x50 | 6

func (d *dateLine) get(now time.Time) []byte {
	second := now.Unix()
	if b := d.current.Load(); b != nil && b.second == second {
		return b.line
	}
	value := now.UTC().Format(http.TimeFormat)
	b := &datedLine{second: second, line: append([]byte{dateName, byte(len(value))}, value...)}
	d.current.Store(b)
	return b.line
}
