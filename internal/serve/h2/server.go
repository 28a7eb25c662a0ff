package h2

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/serve/hpack"
)

// A Request is a request as its header section came: regular fields in Fields,
// pseudo-header fields beside them. All of it is valid until Hit returns.
type Request struct {
	Method    string
	Scheme    string
	Authority string // or the Host field's value where there is no :authority
	Path      string
	Fields    []hpack.Field
	ended     bool // no body follows
	length    int64
	protocol  string // of an extended CONNECT (RFC 8441), or ""
}

// A Hit is an answer that stands ready.
type Hit struct {
	Status int
	// Blocks are sent one after the other as the header section, behind ":status".
	// They hold no Date, which is added. nil is none.
	Blocks [4]*hpack.Block
	// Body is what follows; HEAD answers have none.
	Body []byte
	// Keep is kept reachable until Body has been sent.
	Keep any
}

// Options are what a server is made of. Handler is required; other zero fields
// mean the defaults.
type Options struct {
	// Handler answers requests that are no hits.
	Handler http.Handler
	// Hit returns whether a request without a body has an answer that stands
	// ready, and fills it in. It runs on the connection's goroutine and must be
	// quick. nil finds none.
	Hit func(c *ConnInfo, r *Request, h *Hit) bool
	// Answered is told of hits before they are written: how many, and how long
	// finding them took, all together. It must be quick; nil is not told.
	Answered     func(c *ConnInfo, hits int, took time.Duration)
	HeaderBytes  int           // of a decoded header list (RFC 9113 §10.5.1), 32 KiB; more is answered 431
	HeaderFields int           // 128; more is answered 431
	Streams      int           // at once, 128
	Head         time.Duration // for a frame, or a header block of several, from its first byte to its last, 5 s
	Idle         time.Duration // without a stream, 60 s
	// Rest is how long a connection has nothing to do until it rests, if it can be
	// waited for (loop.WaiterOf): it gives back all memory that it does not need,
	// and its goroutine if it has one. 0: it never does.
	Rest  time.Duration
	Grace time.Duration // what a reader may lag behind Rate, 10 s
	Rate  int64         // bytes a second, 1 KiB
	// ExtendedConnect has the handler open tunnels for other protocols (RFC 8441): it
	// is called with the method CONNECT and the protocol as Header[":protocol"], and
	// may write while it reads the body; http.ResponseController's Flush sends what
	// there is. See connect.go for how long a tunnel may be quiet. Any other CONNECT
	// is refused.
	ExtendedConnect bool
	// OnTooLarge is told of heads that were answered 431, and whether it was for
	// the number of their fields alone. It must be quick; nil is not told.
	OnTooLarge func(c *ConnInfo, fields bool)
	// OnAbuse is told of connections that spent a budget; nil is not told. It must
	// be quick.
	OnAbuse func(Kind)
	// OnPanic is told of handlers that panicked with something other than
	// http.ErrAbortHandler; nil lets the panic go on.
	OnPanic func(any)
	// OnCrash is told of panics outside of handlers, in Hit above all, and what
	// had been received and not yet been worked off, at most a few frames. The
	// connection ends. nil lets the panic go on.
	OnCrash func(failure any, input []byte)
}

// defaultHead is what Options.Head means by default.
const defaultHead = 5 * time.Second

func (o Options) withDefaults() Options {
	o.HeaderBytes = cmp.Or(o.HeaderBytes, 32<<10)
	o.HeaderFields = cmp.Or(o.HeaderFields, 128)
	o.Streams = cmp.Or(o.Streams, 128)
	o.Head = cmp.Or(o.Head, defaultHead)
	o.Idle = cmp.Or(o.Idle, time.Minute)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.Rate = cmp.Or(o.Rate, 1<<10)
	return o
}

// A Server serves HTTP/2 connections.
type Server struct {
	options Options
	large   atomic.Int32 // write buffers that are borrowed
	standIn http.Server  // for http.ServerContextKey where the caller's context has none

	mu       sync.Mutex // guards conns and draining
	conns    map[*conn]struct{}
	draining bool
	serving  sync.WaitGroup
	date     dateBlock
}

// NewServer returns a server.
func NewServer(o Options) *Server {
	o = o.withDefaults()
	return &Server{options: o, standIn: http.Server{Handler: o.Handler}, conns: make(map[*conn]struct{})}
}

// ServeConn serves one connection until it ends, and closes it. If the connection
// can be waited for, its loop serves it and ServeConn returns at once; otherwise
// it returns when the connection has ended.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) {
	c := newConn(ctx, s, nc)
	if !s.add(c) {
		c.cancel()
		_ = nc.Close()
		return
	}
	if c.waiter != nil {
		c.waiter.Begin(c.again)
		return
	}
	c.goOn() //nolint:contextcheck // requests have the context of their connection, which newConn got
}

// goOn serves the connection until it ends or rests.
func (c *conn) goOn() {
	switch c.serve() {
	case wantsMore:
		c.waiter.Await(c.again) // or else it would not rest
	case wantsTurn:
		c.waiter.Begin(c.again)
	case wantsNothing:
		c.server.remove(c)
	}
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

// GoAway tells the connections that are open to go away (RFC 9113 §6.8): what they
// have asked for is answered, and new connections are served.
func (s *Server) GoAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		go c.goAway()
	}
}

// Shutdown tells all connections to go away (RFC 9113 §6.8), waits until their
// streams have ended, and closes what is left when ctx ends, whose error it then
// returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for c := range s.conns {
		go c.goAway()
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
		go c.nc.Close() // TLS takes up to five seconds for a client that does not read
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

// A dateBlock is the HPACK form of the Date field, made anew every second.
type dateBlock struct {
	current atomic.Pointer[datedBlock]
}

type datedBlock struct {
	second int64
	block  *hpack.Block
}

func (d *dateBlock) get(now time.Time) *hpack.Block {
	second := now.Unix()
	if b := d.current.Load(); b != nil && b.second == second {
		return b.block
	}
	value := now.UTC().Format(http.TimeFormat)
	b := &datedBlock{second, hpack.NewBlock(false, hpack.Field{Name: "date", Value: value})}
	d.current.Store(b)
	return b.block
}
