package edge

import (
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/site"
)

// ServeHTTP answers a request of any protocol version.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchange{server: s, w: w, r: r, start: time.Now(), protocol: protocolOf(r), meters: s.meters.nobody}
	x.host = normalHost(r.Host)
	x.answer()
}

// An exchange is one request and what became of it.
type exchange struct {
	server   *Server
	w        http.ResponseWriter
	r        *http.Request
	start    time.Time
	protocol protocol
	host     string
	meters   *siteMeters
}

func (x *exchange) answer() {
	s, r := x.server, x.r
	if refusal, ok := h1.FromContext(r.Context()).Refused(r); ok {
		refusal.ServeHTTP(x.w, r)
		x.log(refusal.Status, 0, "")
		return
	}
	live := s.table.Load().lookup(x.host)
	switch {
	case r.ProtoMajor > 1 && s.tooManyFields(r):
		x.refuse(http.StatusRequestHeaderFieldsTooLarge, "too many header fields")
	case live == nil || x.misdirected():
		x.refuse(http.StatusMisdirectedRequest, "this host is not served on this connection")
	case r.TLS == nil && s.redirectPort != 0:
		x.toHTTPS()
	case r.Method == http.MethodOptions:
		x.options()
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		x.w.Header().Set("Allow", allowed)
		x.refuse(http.StatusMethodNotAllowed, "files are read with GET and HEAD")
	case r.ContentLength != 0:
		x.refuse(http.StatusRequestEntityTooLarge, "a request for a file has no body")
	default:
		x.meters = s.siteMeters(live.Name())
		x.site(live)
	}
}

// allowed are the methods that files have.
const allowed = "GET, HEAD, OPTIONS"

// misdirected reports whether the certificate of the connection does not cover
// the host.
func (x *exchange) misdirected() bool {
	if x.r.TLS == nil {
		return false
	}
	certs := x.server.certificates.Load()
	return certs != nil && certs.misdirected(x.r.TLS.ServerName, x.host)
}

// tooManyFields counts the fields of HTTP/2 and 3; HTTP/1.1 was scanned before.
func (s *Server) tooManyFields(r *http.Request) bool {
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	return n > s.limits.HeaderFields
}

// refuse answers with a status and one line of text. A body that nobody wants is
// not read: over HTTP/1 the connection ends.
func (x *exchange) refuse(status int, why string) {
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if x.r.ContentLength != 0 && x.r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	text := strconv.Itoa(status) + " " + why + "\n"
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = fmt.Fprint(x.w, text) // the client may be gone
	}
	x.server.meters.refused(strconv.Itoa(status))
	x.log(status, int64(len(text)), "")
}

func (x *exchange) options() {
	h := x.w.Header()
	h.Set("Allow", allowed)
	h.Set("Cache-Control", "no-store")
	if x.r.ContentLength != 0 && x.r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	x.w.WriteHeader(http.StatusNoContent)
	x.log(http.StatusNoContent, 0, "")
}

// toHTTPS redirects to the same target on the TLS port. It is not stored: ports
// and certificates come and go while a fleet is tried out.
func (x *exchange) toHTTPS() {
	host := x.host
	if strings.IndexByte(host, ':') >= 0 {
		host = "[" + host + "]"
	}
	if x.server.redirectPort != 443 {
		host = net.JoinHostPort(x.host, strconv.Itoa(x.server.redirectPort))
	}
	target := x.r.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = x.r.URL.RequestURI()
	}
	h := x.w.Header()
	h["Location"] = []string{"https://" + host + target}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusPermanentRedirect)
	x.log(http.StatusPermanentRedirect, 0, "")
}

// site answers with a file.
func (x *exchange) site(live *site.Live) {
	q := x.request()
	answer := live.Site().Respond(&q)
	if err := answer.Check(); err != nil {
		live.Poke()
		x.w.Header().Set("Retry-After", "1")
		x.refuse(http.StatusServiceUnavailable, "the file has just changed; ask again")
		return
	}
	took := time.Since(x.start)
	x.server.meters.made(took)
	h := x.w.Header()
	for f := range answer.Fields() {
		h[f.Name] = append(h[f.Name], f.Values...)
	}
	x.addOwnFields(h, took)
	if x.protocol >= overHTTP2 { // HTTP/1 is paced by the guard
		_ = http.NewResponseController(x.w).SetWriteDeadline(x.start.Add(x.server.limits.writeTime(answer.Length)))
	}
	x.w.WriteHeader(answer.Status)
	sent, err := x.write(&answer)
	x.meters.count(x.protocol, answer.Status, sent)
	x.log(answer.Status, sent, answer.Stored)
	if err != nil && sent < answer.Length {
		live.Poke()
		panic(http.ErrAbortHandler) // the client must see that the answer is broken
	}
}

func (x *exchange) write(answer *site.Answer) (int64, error) {
	if data, keep := answer.Memory(); data != nil {
		n, err := x.w.Write(data)
		runtime.KeepAlive(keep)
		return int64(n), err
	}
	return answer.WriteTo(x.w)
}

func (x *exchange) addOwnFields(h http.Header, took time.Duration) {
	if x.r.TLS != nil && x.protocol < overHTTP3 && x.server.altSvc != nil {
		h["Alt-Svc"] = x.server.altSvc
	}
	if x.server.options.ServerTiming {
		h.Add("Server-Timing", fmt.Sprintf("answer;dur=%.3f", float64(took)/float64(time.Millisecond)))
	}
}

// request tells a site what it needs to know.
func (x *exchange) request() site.Request {
	r := x.r
	q := site.Request{Method: r.Method, Scheme: "http", Host: x.host}
	if r.TLS != nil {
		q.Scheme = "https"
	}
	if strings.HasPrefix(r.RequestURI, "/") {
		q.Path, q.Query, _ = strings.Cut(r.RequestURI, "?")
	} else { // absolute-form
		q.Path, q.Query = r.URL.EscapedPath(), r.URL.RawQuery
	}
	if q.Path == "" {
		q.Path = "/"
	}
	q.AcceptEncoding, q.HasAcceptEncoding = joined(r.Header["Accept-Encoding"])
	q.IfMatch, _ = joined(r.Header["If-Match"])
	q.IfNoneMatch, _ = joined(r.Header["If-None-Match"])
	q.IfModifiedSince, _ = joined(r.Header["If-Modified-Since"])
	q.IfUnmodifiedSince, _ = joined(r.Header["If-Unmodified-Since"])
	q.Range, _ = joined(r.Header["Range"])
	q.IfRange, _ = joined(r.Header["If-Range"])
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

// log hands the access log a record.
func (x *exchange) log(status int, bytes int64, stored string) {
	if x.meters == x.server.meters.nobody {
		x.meters.count(x.protocol, status, bytes)
	}
	if x.server.options.AccessLog == nil {
		return
	}
	cache := map[string]string{"memory": "hit", "disk": "disk"}[stored]
	if cache == "" {
		cache = "none"
	}
	path, _, _ := strings.Cut(x.r.RequestURI, "?")
	x.server.options.AccessLog.Add(Record{
		Time: x.start, POP: x.server.options.Name, Host: x.host, Method: x.r.Method, Path: path, Status: status, Bytes: bytes,
		Duration: float64(time.Since(x.start)) / float64(time.Millisecond), Protocol: x.protocol.String(), Cache: cache,
		Agent: x.r.UserAgent(), Referrer: x.r.Referer(), client: x.client(),
	})
}
