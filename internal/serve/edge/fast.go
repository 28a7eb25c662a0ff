package edge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h2"
	"pennyfarthing/internal/serve/site"
)

// A fastEngine serves connections on loops of our own ([loop.Group]). What they do
// not answer goes to the plain engine: over HTTP/1.1 the connection, with the bytes
// that were read; over HTTP/2 the request.
type fastEngine struct {
	server   *Server
	h2       *h2.Server
	altSvc   *site.Wire // nil without HTTP/3
	stopping atomic.Bool
	serving  sync.WaitGroup // the connections of HTTP/1.1, and goroutines of others

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

func newFastEngine(s *Server) *fastEngine {
	e := &fastEngine{server: s, conns: make(map[net.Conn]struct{})}
	if len(s.altSvc) > 0 {
		e.altSvc = site.WireOf("Alt-Svc", s.altSvc[0])
	}
	e.h2 = h2.NewServer(h2.Options{
		Handler: s, Hit: hitHTTP2, Answered: answeredHTTP2,
		HeaderBytes: s.limits.HeaderBytes, HeaderFields: s.limits.HeaderFields, Streams: s.limits.StreamsPerConnection,
		Head: s.limits.HeaderTimeout, Idle: s.limits.IdleTimeout, Rest: restAfter, Grace: s.limits.Grace, Rate: s.limits.MinRate,
		OnTooLarge: e.tooLarge, OnAbuse: s.abuse, OnCrash: s.crashed,
	})
	return e
}

// serveHTTP2 serves a connection, which a loop or a goroutine of its own then has:
// the stack of the one that made the handshake has grown.
func (e *fastEngine) serveHTTP2(ctx context.Context, conn *secureConn, state *tls.ConnectionState) {
	f := e.newConn(conn, state, overHTTP2)
	ctx = context.WithValue(context.WithoutCancel(ctx), visitorKey{}, &f.visitor)
	ctx = context.WithValue(ctx, fastConnKey{}, f)
	if conn.Waiter() != nil {
		e.h2.ServeConn(ctx, conn) // which does not wait
		return
	}
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
	l := &fastLoop{engine: e, conn: conn, waiter: loop.WaiterOf(conn)}
	options := h1.LoopOptions{
		Options: e.server.limits.guard(state == nil, e.server.meters.refusal),
		Hit:     f.hitHTTP1, Answered: f.answered, Stopping: &e.stopping, OnPanic: e.server.crashed,
	}
	l.run, l.again = func() *h1.Conn { return h1.Loop(conn, options) }, l.goOn
	if l.waiter == nil {
		go l.goOn()
		return
	}
	if options.OnRest = l.rests; !inLoop(l.waiter) {
		options.Rest = restAfter
	}
	l.waiter.Begin(l.again)
}

// inLoop reports whether it is a loop that waits: then a connection rests whenever
// nothing has come.
func inLoop(w loop.Waiter) bool {
	_, yes := w.(*loop.Conn)
	return yes
}

// restAfter is how long a connection is idle before it gives back what it need not
// keep: all buffers, and its goroutine's stack if it has one. Taking them again
// costs some microseconds.
const restAfter = time.Second

// A fastLoop is one connection of HTTP/1.1.
type fastLoop struct {
	engine *fastEngine
	conn   net.Conn
	waiter loop.Waiter // nil if nothing but a goroutine can wait for conn
	run    func() *h1.Conn
	again  func() // goOn
	rested bool
}

func (l *fastLoop) rests(resume func() *h1.Conn) { l.run, l.rested = resume, true }

// goOn serves the connection until it ends, hands over, or rests: it is then called
// again.
func (l *fastLoop) goOn() {
	l.rested = false
	rest := l.run()
	if l.rested {
		l.waiter.Await(l.again)
		return
	}
	e := l.engine
	e.leave(l.conn) // from here on a stop does not touch its deadline
	if rest != nil {
		e.server.handPlain(rest)
	}
	e.serving.Done()
}

func (e *fastEngine) newConn(conn net.Conn, state *tls.ConnectionState, over protocol) *fastConn {
	f := &fastConn{server: e.server, altSvc: e.altSvc, protocol: over, scheme: "http", visitor: visitor{peer: addrOf(conn.RemoteAddr())}}
	if state != nil {
		f.scheme, f.visitor.secure, f.visitor.serverName = "https", true, state.ServerName
	}
	return f
}

// tooLarge counts and logs a head over HTTP/2 that was answered 431. Nothing is
// known of it but that.
func (e *fastEngine) tooLarge(c *h2.ConnInfo, fields bool) {
	why := h1.ReasonHeadSize
	if fields {
		why = h1.ReasonFieldCount
	}
	s := e.server
	s.meters.refused(why.String())
	f := fastConnOf(c)
	if f == nil || s.options.AccessLog == nil {
		return
	}
	s.options.AccessLog.Add(Record{
		Time: time.Now(), POP: s.options.Name, Status: http.StatusRequestHeaderFieldsTooLarge,
		Protocol: f.protocol.String(), Cache: "none", Refused: why.String(), client: f.visitor.peer,
	})
}

// crashed tells of a panic that is contained to its connection.
func (s *Server) crashed(value any, input []byte) {
	const most = 4 << 10 // bytes that are worth looking at
	s.meters.panics.Inc()
	s.options.Log.Error("panic", slog.String("pop", s.options.Name), slog.Any("err", value), slog.String("input", string(input[:min(most, len(input))])), slog.String("stack", string(debug.Stack())))
}

// enter counts a connection of HTTP/1.1 among those that are served, unless the
// engine stops.
func (e *fastEngine) enter(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return false
	}
	e.conns[conn] = struct{}{}
	e.serving.Add(1)
	return true
}

func (e *fastEngine) leave(conn net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, conn)
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
	for c := range e.conns {
		do(c)
	}
}

type fastConnKey struct{}

// A fastConn finds the answers of one connection. Only the connection's goroutine
// uses it.
type fastConn struct {
	server   *Server
	visitor  visitor
	altSvc   *site.Wire // nil: none
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
	tally    tally
}

// A tally is what is to be counted of some hits that are alike.
type tally struct {
	meters *siteMeters
	class  int // of status
	hits   int
	bytes  int64
}

// count counts a hit, with those that are alike.
func (f *fastConn) count(status int, bytes int64) {
	t := &f.tally
	if class := status / 100; t.meters != f.meters || t.class != class {
		f.settle()
		t.meters, t.class = f.meters, class
	}
	t.hits++
	t.bytes += bytes
}

// settle counts the hits of the tally.
func (f *fastConn) settle() {
	if t := &f.tally; t.hits > 0 {
		t.meters.add(f.protocol, t.class, t.hits, t.bytes)
		t.hits, t.bytes = 0, 0
	}
}

// answered counts hits that were found together: each took its share of the time.
func (f *fastConn) answered(hits int, took time.Duration) {
	f.settle()
	f.server.meters.made(hits, took)
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
	var start time.Time
	logging := s.options.AccessLog != nil && s.options.AccessLog.Wants()
	if logging {
		start = time.Now()
	}
	answer := f.live.Site().Respond(q)
	if !answer.Prepared(&f.prepared) {
		return false
	}
	f.count(f.prepared.Status, int64(len(f.prepared.Body)))
	if logging {
		f.log(q, start, agent, referrer, forwarded)
	}
	return true
}

// log hands the access log a record. Its strings are copied, because they may lie
// in the connection's buffer.
func (f *fastConn) log(q *site.Request, start time.Time, agent, referrer, forwarded string) {
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
		Bytes: int64(len(f.prepared.Body)), Duration: float64(time.Since(start)) / float64(time.Millisecond),
		Protocol: f.protocol.String(), Cache: cache,
		Agent: copied(agent, mostAgent), Referrer: copied(withoutQuery(referrer), mostReferrer), client: client,
	})
}

func copied(s string, most int) string { return string(append([]byte(nil), s[:min(len(s), most)]...)) }
