package edge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h2"
	"pennyfarthing/internal/serve/site"
)

// A fastEngine serves connections on loops of our own. What they do not answer
// goes to the plain engine: over HTTP/1.1 the connection, with the bytes that were
// read; over HTTP/2 the request.
type fastEngine struct {
	server   *Server
	h2       *h2.Server
	altSvc   site.Wire
	stopping atomic.Bool
	serving  sync.WaitGroup

	mu    sync.Mutex // guards loops
	loops map[net.Conn]struct{}
}

func newFastEngine(s *Server) *fastEngine {
	e := &fastEngine{server: s, loops: make(map[net.Conn]struct{})}
	if len(s.altSvc) > 0 {
		e.altSvc = site.WireOf("Alt-Svc", s.altSvc[0])
	}
	e.h2 = h2.NewServer(h2.Options{
		Handler: s, Hit: hitHTTP2,
		HeaderBytes: s.limits.HeaderBytes, HeaderFields: s.limits.HeaderFields, Streams: s.limits.StreamsPerConnection,
		Idle: s.limits.IdleTimeout, Grace: s.limits.Grace, Rate: s.limits.MinRate,
		OnAbuse: func(k h2.Kind) { s.meters.refused("HTTP/2: " + k.String()) }, OnCrash: e.panicked,
	})
	return e
}

// serveHTTP2 serves a connection in a goroutine of its own: the stack of the one
// that made the handshake has grown.
func (e *fastEngine) serveHTTP2(ctx context.Context, conn *secureConn, state *tls.ConnectionState) {
	f := e.newConn(conn, state, overHTTP2)
	ctx = context.WithValue(context.WithoutCancel(ctx), visitorKey{}, &f.visitor)
	ctx = context.WithValue(ctx, fastConnKey{}, f)
	e.serving.Go(func() { e.h2.ServeConn(ctx, conn) })
}

// serveHTTP1 serves a connection, with TLS if there is a state, until it ends or
// asks for something that does not stand ready.
func (e *fastEngine) serveHTTP1(_ context.Context, conn net.Conn, state *tls.ConnectionState) {
	f := e.newConn(conn, state, overHTTP11)
	if !e.enter(conn) {
		_ = conn.Close()
		return
	}
	e.serving.Go(func() {
		rest := h1.Loop(conn, h1.LoopOptions{
			Options: e.server.limits.guard(state == nil, e.server.meters.refusal),
			Hit:     f.hitHTTP1, Stopping: &e.stopping, OnPanic: e.panicked,
		})
		e.leave(conn)
		if rest != nil {
			e.server.accepted.hand(rest.ServerConn())
		}
	})
}

func (e *fastEngine) newConn(conn net.Conn, state *tls.ConnectionState, over protocol) *fastConn {
	f := &fastConn{server: e.server, altSvc: &e.altSvc, protocol: over, scheme: "http", visitor: visitor{peer: addrOf(conn.RemoteAddr())}}
	if state != nil {
		f.scheme, f.visitor.secure, f.visitor.serverName = "https", true, state.ServerName
	}
	return f
}

// panicked contains a panic to its connection.
func (e *fastEngine) panicked(value any, input []byte) {
	const most = 4 << 10 // bytes that are worth looking at
	e.server.meters.panics.Inc()
	e.server.options.Log.Error("panic", slog.String("pop", e.server.options.Name), slog.Any("err", value), slog.String("input", string(input[:min(most, len(input))])))
}

func (e *fastEngine) enter(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return false
	}
	e.loops[conn] = struct{}{}
	return true
}

func (e *fastEngine) leave(conn net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.loops, conn)
}

// finish ends idle connections, waits for answers in flight, and closes what is
// left when ctx ends.
func (e *fastEngine) finish(ctx context.Context) {
	e.stopping.Store(true)
	e.each(func(c net.Conn) { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	stop := context.AfterFunc(ctx, func() { e.each(func(c net.Conn) { _ = c.Close() }) })
	defer stop()
	if err := e.h2.Shutdown(ctx); err != nil {
		e.server.options.Log.LogAttrs(ctx, slog.LevelWarn, "requests broken off", slog.String("pop", e.server.options.Name), slog.Any("err", err))
	}
	e.serving.Wait()
}

func (e *fastEngine) each(do func(net.Conn)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.loops {
		do(c)
	}
}

type fastConnKey struct{}

// A fastConn finds the answers of one connection. Only the connection's goroutine
// uses it.
type fastConn struct {
	server   *Server
	visitor  visitor
	altSvc   *site.Wire
	protocol protocol
	scheme   string

	// Of the last request: as a rule the next one is for the same host.
	host     string // as it was spelled
	name     string // normal
	table    *Table
	certs    *Certificates
	live     *site.Live // nil if the host is not served here
	meters   *siteMeters
	prepared site.Prepared
}

// route finds the site of a host.
func (f *fastConn) route(host string) bool {
	s := f.server
	table, certs := s.table.Load(), s.certificates.Load()
	if host == f.host && table == f.table && certs == f.certs && f.name != "" {
		return f.live != nil
	}
	f.host = string(append([]byte(nil), host...)) // host may lie in a buffer
	f.name, f.table, f.certs, f.live = normalHost(f.host), table, certs, nil
	if !plainHost(f.host) || f.visitor.secure && certs != nil && certs.misdirected(f.visitor.serverName, f.name) {
		return false
	}
	if f.live = table.lookup(f.name); f.live != nil {
		f.meters = s.siteMeters(f.live.Name())
	}
	return f.live != nil
}

// find looks for an answer that stands ready, of which q says all but the scheme
// and the host. What is found is in f.prepared, counted and logged.
func (f *fastConn) find(q *site.Request, host string, agent, referrer, forwarded string) bool {
	s := f.server
	if s.options.ServerTiming || !f.visitor.secure && s.redirectPort != 0 || !f.route(host) {
		return false
	}
	q.Scheme, q.Host = f.scheme, f.name
	start := time.Now()
	answer := f.live.Site().Respond(q)
	if !answer.Prepared(&f.prepared) {
		return false
	}
	took := time.Since(start)
	s.meters.made(took)
	length := int64(len(f.prepared.Body))
	f.meters.count(f.protocol, f.prepared.Status, length)
	if s.options.AccessLog != nil {
		f.log(q, start, took, agent, referrer, forwarded)
	}
	return true
}

// log hands the access log a record. Its strings are copied, because they may lie
// in the connection's buffer.
func (f *fastConn) log(q *site.Request, start time.Time, took time.Duration, agent, referrer, forwarded string) {
	o := &f.server.options
	client := f.visitor.peer
	if forwarded != "" && trusted(o.TrustedProxies, client) {
		client = forwardedFor(o.TrustedProxies, client, forwarded)
	}
	cache := "none"
	if f.prepared.Keep != nil || q.Method == http.MethodHead && f.prepared.Status != http.StatusNotModified {
		cache = "hit"
	}
	o.AccessLog.Add(Record{
		Time: start, POP: o.Name, Host: f.name, Method: q.Method, Path: copied(q.Path, mostPath), Status: f.prepared.Status,
		Bytes: int64(len(f.prepared.Body)), Duration: float64(took) / float64(time.Millisecond), Protocol: f.protocol.String(), Cache: cache,
		Agent: copied(agent, mostAgent), Referrer: copied(withoutQuery(referrer), mostReferrer), client: client,
	})
}

func copied(s string, most int) string { return string(append([]byte(nil), s[:min(len(s), most)]...)) }
