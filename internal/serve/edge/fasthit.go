package edge

import (
	"net/http"
	"strings"
	"time"
	"unsafe"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h2"
	"pennyfarthing/internal/serve/h3"
	"pennyfarthing/internal/serve/site"
)

// statusLines are those of the statuses that prepared answers have.
var statusLines = map[int][]byte{
	http.StatusOK:          []byte("HTTP/1.1 200 OK\r\n"),
	http.StatusNotModified: []byte("HTTP/1.1 304 Not Modified\r\n"),
	http.StatusNotFound:    []byte("HTTP/1.1 404 Not Found\r\n"),
}

// statusLinesH3 are the same as indexes of QPACK's static table (RFC 9204 appendix A).
var statusLinesH3 = map[int][]byte{http.StatusOK: {0xc0 | 25}, http.StatusNotModified: {0xc0 | 26}, http.StatusNotFound: {0xc0 | 27}}

// hitHTTP1 is for [h1.LoopOptions.Hit].
func (f *fastConn) hitHTTP1(head *h1.Head, raw []byte, h *h1.Hit) bool {
	if f.server.Engine() != Fast {
		return false
	}
	var q site.Request
	var other fastFields
	q.Method = methodOf(head)
	q.Path, q.Query, _ = strings.Cut(view(head.Target.Of(raw)), "?")
	for name, value := range head.Each(raw) {
		if !other.take(&q, view(name), view(value)) {
			return false
		}
	}
	if other.hasHost && len(other.host) != head.Host.End-head.Host.Start {
		return false
	}
	if !f.find(&q, view(head.Host.Of(raw)), other.agent, other.referrer, other.forwarded) {
		return false
	}
	p := &f.prepared
	h.Head[0] = statusLines[p.Status]
	for i, w := range p.Fields {
		if w != nil {
			h.Head[1+i] = w.H1
		}
	}
	if f.visitor.secure && f.altSvc != nil {
		h.Head[4] = f.altSvc.H1
	}
	h.Body, h.Keep = p.Body, p.Keep
	return true
}

func methodOf(head *h1.Head) string {
	if head.Kind == h1.MethodHead {
		return http.MethodHead
	}
	return http.MethodGet
}

// view is b as a string, good for as long as b is not changed. What is made of it
// must not be kept.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// hitHTTP2 is for [h2.Options.Hit].
func hitHTTP2(c *h2.ConnInfo, r *h2.Request, h *h2.Hit) bool {
	f := fastConnOf(c)
	var w wanted
	if f == nil || !f.wants(&w, r.Method, r.Path) {
		return false
	}
	for i := range r.Fields {
		if !w.other.take(&w.Request, r.Fields[i].Name, r.Fields[i].Value) {
			return false
		}
	}
	if !f.findWanted(&w, r.Authority) {
		return false
	}
	p := &f.prepared
	h.Status = p.Status
	for i, w := range p.Fields {
		if w != nil {
			h.Blocks[i] = w.H2
		}
	}
	if f.altSvc != nil {
		h.Blocks[3] = f.altSvc.H2
	}
	h.Body, h.Keep = p.Body, p.Keep
	return true
}

// answeredHTTP2 is for [h2.Options.Answered].
func answeredHTTP2(c *h2.ConnInfo, hits int, took time.Duration) {
	if f := fastConnOf(c); f != nil {
		f.answered(hits, took)
	}
}

// fastConnOf returns what a connection of HTTP/2 was begun with.
func fastConnOf(c *h2.ConnInfo) *fastConn {
	f, ok := c.Data.(*fastConn)
	if !ok {
		f, _ = c.Context.Value(fastConnKey{}).(*fastConn)
		c.Data = f
	}
	return f
}

// hitHTTP3 is for [h3.Options.Hit].
func hitHTTP3(c *h3.ConnInfo, r *h3.Request, h *h3.Hit) bool {
	f, ok := c.Context.Value(fastConnKey{}).(*fastConn)
	var w wanted
	if !ok || !f.wants(&w, r.Method, r.Path) {
		return false
	}
	start := time.Now()
	for i := range r.Fields {
		if !w.other.take(&w.Request, r.Fields[i].Name, r.Fields[i].Value) {
			return false
		}
	}
	if !f.findWanted(&w, r.Authority) {
		return false
	}
	f.answered(1, time.Since(start))
	p := &f.prepared
	h.Blocks[0] = statusLinesH3[p.Status]
	for i, wire := range p.Fields {
		if wire != nil {
			h.Blocks[1+i] = wire.H3
		}
	}
	h.Body, h.Keep = p.Body, p.Keep
	return true
}

// A wanted is a request of HTTP/2 or 3.
type wanted struct {
	site.Request
	other fastFields
}

// wants reports whether a request may be a hit, and begins w.
func (f *fastConn) wants(w *wanted, method, path string) bool {
	switch method { // which may lie in a buffer, and the log keeps it
	case http.MethodGet:
		w.Method = http.MethodGet
	case http.MethodHead:
		w.Method = http.MethodHead
	default:
		return false
	}
	w.Path, w.Query, _ = strings.Cut(path, "?")
	return len(path) <= f.server.limits.RequestLine
}

// findWanted is find for a request whose fields have been taken.
func (f *fastConn) findWanted(w *wanted, authority string) bool {
	o := &w.other
	return (!o.hasHost || o.host == authority) && f.find(&w.Request, authority, o.agent, o.referrer, o.forwarded)
}

// fastFields are the fields of a request that a site does not ask for.
type fastFields struct {
	agent, referrer, forwarded, host string
	hasHost                          bool
}

// take notes a field. It returns false where the fast path would have to guess: a
// field that matters and comes twice, or has no value and may.
func (o *fastFields) take(q *site.Request, name, value string) bool {
	var to *string
	switch len(name) {
	case 4:
		if is(name, "Host") {
			o.host, o.hasHost = value, true
		}
		return true
	case 5:
		if is(name, "Range") {
			to = &q.Range
		}
	case 7:
		if is(name, "Referer") {
			to = &o.referrer
		}
	case 8:
		switch {
		case is(name, "If-Match"):
			to = &q.IfMatch
		case is(name, "If-Range"):
			to = &q.IfRange
		}
	case 10:
		if is(name, "User-Agent") {
			to = &o.agent
		}
	case 13:
		if is(name, "If-None-Match") {
			to = &q.IfNoneMatch
		}
	case 15:
		switch {
		case is(name, "Accept-Encoding"):
			if q.HasAcceptEncoding {
				return false
			}
			q.AcceptEncoding, q.HasAcceptEncoding = value, true
		case is(name, "X-Forwarded-For"):
			to = &o.forwarded
		}
	case 17:
		if is(name, "If-Modified-Since") {
			to = &q.IfModifiedSince
		}
	case 19:
		if is(name, "If-Unmodified-Since") {
			to = &q.IfUnmodifiedSince
		}
	}
	if to == nil {
		return true
	}
	if *to != "" || value == "" {
		return false
	}
	*to = value
	return true
}

// is compares a field's name, whose length is right, without regard to case.
func is(name, canonical string) bool { return name == canonical || strings.EqualFold(name, canonical) }
