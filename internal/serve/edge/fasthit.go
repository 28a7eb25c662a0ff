package edge

import (
	"net/http"
	"strings"
	"unsafe"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h2"
	"pennyfarthing/internal/serve/site"
)

// statusWires are the statuses that prepared answers have.
var statusWires = map[int]*site.Wire{
	http.StatusOK:          {H1: []byte("HTTP/1.1 200 OK\r\n"), H2: []byte{0x80 | 8}},
	http.StatusNotModified: {H1: []byte("HTTP/1.1 304 Not Modified\r\n"), H2: []byte{0x80 | 11}},
	http.StatusNotFound:    {H1: []byte("HTTP/1.1 404 Not Found\r\n"), H2: []byte{0x80 | 13}},
}

// hitHTTP1 is for [h1.LoopOptions.Hit].
func (f *fastConn) hitHTTP1(head *h1.Head, raw []byte, h *h1.Hit) bool {
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
	h.Head[0] = statusWires[p.Status].H1
	for i := range p.Fields {
		h.Head[1+i] = p.Fields[i].H1
	}
	if f.visitor.secure {
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
	f, ok := c.Context.Value(fastConnKey{}).(*fastConn)
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead || len(r.Path) > f.server.limits.RequestLine {
		return false
	}
	q := site.Request{Method: r.Method}
	var other fastFields
	q.Path, q.Query, _ = strings.Cut(r.Path, "?")
	for i := range r.Fields {
		if !other.take(&q, r.Fields[i].Name, r.Fields[i].Value) {
			return false
		}
	}
	if other.hasHost && other.host != r.Authority || !f.find(&q, r.Authority, other.agent, other.referrer, other.forwarded) {
		return false
	}
	p := &f.prepared
	h.Blocks[0] = statusWires[p.Status].H2
	for i := range p.Fields {
		h.Blocks[1+i] = p.Fields[i].H2
	}
	h.Blocks[4] = f.altSvc.H2
	h.Body, h.Keep = p.Body, p.Keep
	return true
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
