package edge

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"pennyfarthing/internal/serve/h1"
)

// malformed returns the status for a request of HTTP/2 or 3 that the guard would
// not have let through over HTTP/1.1, and why; 0 for one that may go on.
func (x *exchange) malformed() (status int, why string) {
	if x.protocol < overHTTP2 {
		return 0, ""
	}
	s, r := x.server, x.r
	hosts := r.Header["Host"]
	switch {
	case s.tooManyFields(r):
		return http.StatusRequestHeaderFieldsTooLarge, h1.ReasonFieldCount.String()
	case s.tooLarge(r):
		return http.StatusRequestHeaderFieldsTooLarge, h1.ReasonHeadSize.String()
	case !httpguts.ValidHeaderFieldName(r.Method): // a method is a token, too
		return http.StatusBadRequest, h1.ReasonMethod.String()
	case len(r.RequestURI) > s.limits.RequestLine:
		return http.StatusRequestURITooLong, h1.ReasonRequestLineSize.String()
	case len(hosts) > 1:
		return http.StatusBadRequest, h1.ReasonTwoHosts.String()
	case !plainHost(r.Host) || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host): // RFC 9113 §8.3.1
		return http.StatusBadRequest, h1.ReasonHost.String()
	case !plainTarget(r.RequestURI), !strings.HasPrefix(r.RequestURI, "/") && r.Method != http.MethodConnect && (r.Method != http.MethodOptions || r.RequestURI != "*"):
		return http.StatusBadRequest, h1.ReasonTarget.String()
	}
	return 0, ""
}

// plainTarget reports whether a target has only bytes that the guard lets through:
// visible ASCII, and no fragment (RFC 9113 §8.3.1).
func plainTarget(target string) bool {
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// tooManyFields counts the fields; HTTP/1.1 was scanned before.
func (s *Server) tooManyFields(r *http.Request) bool {
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	return n > s.limits.HeaderFields
}

// tooLarge counts bytes as HTTP/2 and 3 do (RFC 9113 §6.5.2, RFC 9114 §4.2.2).
func (s *Server) tooLarge(r *http.Request) bool {
	const overhead = 32 // of a field
	n := len(":method"+":scheme"+":authority"+":path"+"https") + 4*overhead + len(r.Method) + len(r.Host) + len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + overhead
		}
	}
	return n > s.limits.HeaderBytes
}

// content is whether a request brings any.
type content uint8

const (
	contentNone content = iota
	contentSome
	contentLate // it said that there would be some, and nothing came
)

// content finds out whether there is a body. HTTP/2 and 3 need not say so in the
// head: then the next byte tells, or the end.
func (x *exchange) content() content {
	switch {
	case x.r.ContentLength == 0:
		return contentNone
	case x.r.ContentLength > 0 || x.protocol < overHTTP2:
		return contentSome
	}
	_ = http.NewResponseController(x.w).SetReadDeadline(x.start.Add(x.server.limits.HeaderTimeout)) // both engines have it
	var one [1]byte
	switch _, err := io.ReadFull(x.r.Body, one[:]); err {
	case nil:
		return contentSome
	case io.EOF: // bare: an end within a frame is none
		return contentNone
	}
	return contentLate
}

// refuse answers with a status and one line of text. why is one of a closed set,
// because it labels a metric.
func (x *exchange) refuse(status int, why string) {
	x.server.meters.refused(why)
	x.reject(status, why, "")
}

// refuseHead answers what the guard refused; it has been counted. The request at
// hand is the guard's own: nothing of it may look like the client's.
func (x *exchange) refuseHead(refusal h1.Refusal) {
	x.method, x.host, x.path, x.query = "", "", "", ""
	hint := ""
	if refusal.Reason == h1.ReasonTLS {
		hint = "hint: this port speaks plain HTTP; ask for http://, or use the port for https\n"
	}
	x.w.Header()["Connection"] = []string{"close"}
	x.reject(refusal.Status, refusal.Reason.String(), hint)
}

// dismiss sees to a body that nobody wants. What has been sent of it is read and
// thrown away, for a moment at most. Over HTTP/1 the connection ends, and a reset
// would destroy the answer; net/http reads what is left, but would wait for the
// rest, too. Over HTTP/2 and 3 only who reads is told that a body is not as long as
// its head said (RFC 9113 §8.1.1, RFC 9114 §4.1.2): the engine has reset the stream
// then.
func (x *exchange) dismiss() {
	if x.r.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(lingerTime)) // both engines have it
	if x.protocol >= overHTTP2 {
		_, _ = io.CopyN(io.Discard, x.r.Body, lingerBytes) // however it ends, the answer is the same
		return
	}
	x.w.Header()["Connection"] = []string{"close"}
	x.visitor.guard.Last() // what is pipelined behind is not read
}

// reject answers.
func (x *exchange) reject(status int, why, hint string) {
	text := strconv.Itoa(status) + " " + http.StatusText(status) + ": " + why + "\n" + hint
	h := x.w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	x.dismiss()
	x.pace(int64(len(text)))
	x.w.WriteHeader(status)
	sent := 0
	if x.method != http.MethodHead {
		sent, _ = io.WriteString(x.w, text) // the client may be gone
	}
	x.log(Record{Status: status, Bytes: int64(sent), Refused: why})
}
