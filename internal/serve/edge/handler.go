package edge

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h2"
	"pennyfarthing/internal/serve/site"
)

// ServeHTTP answers a request of any protocol version.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := s.exchange(w, r)
	defer x.end()
	x.answer()
}

// exchange begins one, for which end must be called.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) exchange {
	x := exchange{
		server: s, visitor: visitorOf(r), w: w, r: r, start: time.Now(), protocol: protocolOf(r), meters: s.meters.nobody,
		method: r.Method, host: normalHost(r.Host),
	}
	x.path, x.query = splitTarget(r.RequestURI)
	s.inFlight[x.protocol].Add(1)
	return x
}

// An exchange is one request and what became of it.
type exchange struct {
	server   *Server
	visitor  *visitor
	w        http.ResponseWriter
	r        *http.Request
	start    time.Time
	protocol protocol
	meters   *siteMeters
	pacer    *pacer // nil where the engine does it

	// Of the request, as the log has them.
	method, host, path, query string
}

// end is deferred. A panic is told here, because the engines would keep it to
// themselves; the client sees the answer break off.
func (x *exchange) end() {
	p := recover()
	x.pacer.end()
	x.server.inFlight[x.protocol].Add(-1)
	if p == nil {
		return
	}
	if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		x.server.meters.panics.Inc()
		x.server.options.Log.Error("panic", slog.String("pop", x.server.options.Name),
			slog.String("path", x.path), slog.Any("err", p), slog.String("stack", string(debug.Stack())))
	}
	panic(http.ErrAbortHandler)
}

func (x *exchange) answer() {
	s, r := x.server, x.r
	if refusal, ok := x.visitor.guard.Refused(r); ok {
		x.refuseHead(refusal)
		return
	}
	if status, why := x.malformed(); status != 0 {
		x.refuse(status, why)
		return
	}
	live := s.table.Load().lookup(x.host)
	if live == nil {
		x.refuse(http.StatusMisdirectedRequest, "host not served")
		return
	}
	if x.misdirected() {
		x.refuse(http.StatusMisdirectedRequest, "host not covered by the certificate")
		return
	}
	x.meters = s.siteMeters(live.Name())
	switch {
	case r.Method == http.MethodOptions && x.path == "*":
		x.options()
	case !x.visitor.secure && s.redirectPort != 0:
		x.toHTTPS()
	case r.Method == http.MethodOptions:
		x.options()
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		x.w.Header()["Allow"] = []string{allowed}
		x.refuse(http.StatusMethodNotAllowed, "method not allowed")
	default:
		x.file(live)
	}
}

// allowed are the methods that files have.
const allowed = "GET, HEAD, OPTIONS"

// misdirected reports whether the certificate of the connection does not cover
// the host.
func (x *exchange) misdirected() bool {
	if !x.visitor.secure {
		return false
	}
	certs := x.server.certificates.Load()
	return certs != nil && certs.misdirected(x.visitor.serverName, x.host)
}

func (x *exchange) options() {
	h := x.w.Header()
	h["Allow"] = []string{allowed}
	h["Cache-Control"] = []string{"no-store"}
	x.empty(http.StatusNoContent)
}

// toHTTPS redirects to the same target on the TLS port. It is not stored: ports
// and certificates come and go while a fleet is tried out.
func (x *exchange) toHTTPS() {
	if x.host == "" { // HTTP/1.0
		x.refuse(http.StatusBadRequest, "no Host")
		return
	}
	host := x.host
	if strings.IndexByte(host, ':') >= 0 {
		host = "[" + host + "]"
	}
	if x.server.redirectPort != 443 {
		host = net.JoinHostPort(x.host, strconv.Itoa(x.server.redirectPort))
	}
	target := x.path
	if x.query != "" {
		target += "?" + x.query
	}
	if x.method == http.MethodConnect {
		target = "/"
	}
	h := x.w.Header()
	h["Location"] = []string{"https://" + host + target}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{"0"}
	x.empty(http.StatusPermanentRedirect)
}

// empty answers without a body.
func (x *exchange) empty(status int) {
	x.dismiss()
	x.pace(0)
	x.w.WriteHeader(status)
	x.log(Record{Status: status})
}

// file answers GET and HEAD.
func (x *exchange) file(live *site.Live) {
	switch x.content() {
	case contentSome:
		x.refuse(http.StatusRequestEntityTooLarge, "request body")
		return
	case contentLate:
		x.refuse(http.StatusRequestTimeout, h1.ReasonSlowBody.String())
		return
	case contentNone:
	}
	q := x.request()
	answer := live.Site().Respond(&q)
	if answer.Check() != nil { // gone, or replaced a moment ago
		live.Poke()
		x.w.Header()["Retry-After"] = []string{"1"}
		x.refuse(http.StatusServiceUnavailable, "file changed")
		return
	}
	took := time.Since(x.start)
	x.server.meters.made(1, took)
	x.fields(&answer, took)
	x.pace(answer.Length)
	x.w.WriteHeader(answer.Status)
	sent, err := x.write(&answer)
	x.log(Record{Status: answer.Status, Bytes: sent, Cache: cacheOf(answer.Stored)})
	if err != nil && sent < answer.Length {
		x.broken(live, err)
	}
}

// broken ends an answer that is incomplete, so that the client can tell. Only a
// fault of the file is worth looking at the directory: clients hang up all day.
func (x *exchange) broken(live *site.Live, err error) {
	if _, ofDisk := errors.AsType[*fs.PathError](err); ofDisk || errors.Is(err, site.ErrChanged) {
		live.Poke()
		x.server.options.Log.Warn("answer broken off",
			slog.String("pop", x.server.options.Name), slog.String("site", live.Name()), slog.Any("err", err))
	}
	panic(http.ErrAbortHandler)
}

func (x *exchange) write(answer *site.Answer) (int64, error) {
	if data, keep := answer.Memory(); data != nil {
		n, err := x.w.Write(data)
		runtime.KeepAlive(keep)
		return int64(n), err
	}
	return answer.WriteTo(x.w)
}

// buffered is the largest body that net/http sends when the handler has returned.
const buffered = 4 << 10

// pace sees to it that the client takes the answer, which begins now and has n
// bytes, no more slowly than it may. HTTP/1 is paced by the guard, and our own
// engines pace by themselves.
func (x *exchange) pace(n int64) {
	if x.protocol != overHTTP2 || x.visitor.watched == nil {
		return
	}
	control, limits := http.NewResponseController(x.w), &x.server.limits
	if n > buffered {
		x.pacer = newPacer(control, x.visitor.watched, limits)
		return
	}
	// Nobody is there to watch it any more: all streams may have such an answer.
	_ = control.SetWriteDeadline(x.start.Add(limits.writeTime(n * int64(limits.StreamsPerConnection)))) // net/http has it
}

// A pacer resets a stream of net/http's whose connection takes its answers more
// slowly than it may. What is written for other streams counts, because they share
// the line; a client that opens no window, and has nothing else sent, is cut off
// when the time of grace is over.
type pacer struct {
	control *http.ResponseController
	conn    *h2.WatchedConn
	limits  *Limits
	start   time.Time
	before  int64 // that were written to conn at the start

	mu    sync.Mutex // guards the fields below
	timer *time.Timer
	ended bool // the handler is about to return: its control must not be used any more
}

func newPacer(control *http.ResponseController, conn *h2.WatchedConn, limits *Limits) *pacer {
	p := &pacer{control: control, conn: conn, limits: limits, start: time.Now(), before: conn.Written()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(limits.Grace, p.check)
	return p
}

func (p *pacer) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if left := p.limits.writeTime(p.conn.Written()-p.before) - time.Since(p.start); left > 0 {
		p.timer.Reset(left)
		return
	}
	_ = p.control.SetWriteDeadline(time.Unix(1, 0)) // net/http has it
}

// end is called before the handler returns. A nil pacer does nothing.
func (p *pacer) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
}

// fields sets the fields of an answer. A site's values are shared by all answers:
// nothing may be appended to them.
func (x *exchange) fields(answer *site.Answer, took time.Duration) {
	h := x.w.Header()
	for f := range answer.Fields() {
		if have := h[f.Name]; have != nil {
			h[f.Name] = append(slices.Clip(have), f.Values...)
		} else {
			h[f.Name] = f.Values
		}
	}
	if x.visitor.secure && x.protocol < overHTTP3 && x.server.altSvc != nil {
		h["Alt-Svc"] = x.server.altSvc
	}
	if x.server.options.ServerTiming {
		have := h["Server-Timing"]
		h["Server-Timing"] = append(slices.Clip(have), serverTiming(took))
	}
}

// serverTiming is a metric of Server-Timing, in milliseconds.
func serverTiming(took time.Duration) string {
	value := append(make([]byte, 0, 24), "answer;dur="...)
	return string(strconv.AppendFloat(value, float64(took)/float64(time.Millisecond), 'f', 3, 64))
}

// request tells a site what it needs to know.
func (x *exchange) request() site.Request {
	h := x.r.Header
	q := site.Request{Method: x.method, Scheme: "http", Host: x.host, Path: x.path, Query: x.query}
	if x.visitor.secure {
		q.Scheme = "https"
	}
	q.AcceptEncoding, q.HasAcceptEncoding = joined(h["Accept-Encoding"])
	q.IfMatch, _ = joined(h["If-Match"])
	q.IfNoneMatch, _ = joined(h["If-None-Match"])
	q.IfModifiedSince, _ = joined(h["If-Modified-Since"])
	q.IfUnmodifiedSince, _ = joined(h["If-Unmodified-Since"])
	q.Range, _ = joined(h["Range"])
	q.IfRange, _ = joined(h["If-Range"])
	return q
}

// joined returns the value of a field that may have come in several lines.
func joined(values []string) (string, bool) {
	switch len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], true
	}
	return strings.Join(values, ", "), true
}
