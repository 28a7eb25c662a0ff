package h2

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// A section collects and checks the fields of a header section (RFC 9113 §8.2, §8.3).
type section struct {
	conn      *conn
	request   Request
	trailers  bool
	regulars  bool // a regular field has come
	tooLarge  bool
	size      int
	malformed string
	host      string
	hosts     int
	seen      uint8 // pseudo-header fields that have come
}

func (s *section) reset(trailers bool) {
	fields := s.request.Fields[:0]
	*s = section{conn: s.conn, request: Request{Fields: fields, length: -1}, trailers: trailers}
}

// keepFields is how many fields a connection keeps room for.
const keepFields = 32

// forget lets go of a request that has been dealt with.
func (s *section) forget() {
	if clear(s.request.Fields); cap(s.request.Fields) > keepFields {
		s.request.Fields = nil
	}
	s.reset(false)
}

// The pseudo-header fields, as bits of seen.
const (
	seenMethod = 1 << iota
	seenScheme
	seenAuthority
	seenPath
)

// add takes a field that was decoded.
func (s *section) add(f hpack.HeaderField) {
	o := &s.conn.server.options
	s.size += len(f.Name) + len(f.Value) + fieldOverhead
	if s.size > o.HeaderBytes || len(s.request.Fields) >= o.HeaderFields {
		s.tooLarge = true
		s.conn.reader.decoder.SetEmitEnabled(false) // what follows need not even be made
		return
	}
	if strings.HasPrefix(f.Name, ":") {
		s.pseudo(f)
		return
	}
	s.regulars = true
	if why := s.regularField(f); why != "" {
		s.malformed = why
		return
	}
	f.Sensitive = false
	s.request.Fields = append(s.request.Fields, f)
}

func (s *section) pseudo(f hpack.HeaderField) {
	r := &s.request
	var bit uint8
	var to *string
	switch f.Name {
	case ":method":
		bit, to = seenMethod, &r.Method
	case ":scheme":
		bit, to = seenScheme, &r.Scheme
	case ":authority":
		bit, to = seenAuthority, &r.Authority
	case ":path":
		bit, to = seenPath, &r.Path
	}
	switch {
	case bit == 0:
		s.malformed = "unknown pseudo-header field"
	case s.trailers || s.regulars || s.seen&bit != 0:
		s.malformed = "pseudo-header field in the wrong place"
	case !validValue(f.Value):
		s.malformed = "invalid pseudo-header field value"
	default:
		s.seen |= bit
		*to = f.Value
	}
}

// regularField returns what is wrong with a field, or "".
func (s *section) regularField(f hpack.HeaderField) string {
	if !validName(f.Name) {
		return "invalid field name"
	}
	if !validValue(f.Value) {
		return "invalid field value"
	}
	if s.trailers && !httpguts.ValidTrailerHeader(f.Name) {
		return "field that trailers may not have"
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return "connection-specific field"
	case "te":
		if f.Value != "" && !strings.EqualFold(f.Value, "trailers") { // an empty list says nothing
			return "TE other than trailers"
		}
	case "host":
		if s.hosts++; s.hosts > 1 {
			return "two Host fields"
		}
		s.host = f.Value
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if err != nil || s.request.length >= 0 && s.request.length != int64(n) {
			return "invalid Content-Length"
		}
		s.request.length = int64(n)
	}
	return ""
}

// check returns what is wrong with a whole request, or "".
func (s *section) check() string {
	r := &s.request
	switch {
	case s.malformed != "":
		return s.malformed
	case r.Method == http.MethodConnect:
		if s.seen&(seenScheme|seenPath) != 0 || r.Authority == "" {
			return "malformed CONNECT"
		}
		return ""
	case s.seen&(seenMethod|seenScheme|seenPath) != seenMethod|seenScheme|seenPath || !validToken(r.Method):
		return "missing pseudo-header fields"
	case r.Scheme != "https" && r.Scheme != "http": // as net/http has it
		return "unknown :scheme"
	case !strings.HasPrefix(r.Path, "/") && (r.Path != "*" || r.Method != http.MethodOptions):
		return "invalid :path"
	case s.hosts > 0 && r.Authority != "" && !strings.EqualFold(s.host, r.Authority):
		return "Host and :authority differ"
	case r.ended && r.length > 0:
		return "Content-Length without a body"
	}
	if r.Authority == "" {
		r.Authority = s.host
	}
	if strings.Contains(r.Authority, "@") || !httpguts.ValidHostHeader(r.Authority) {
		return "invalid :authority"
	}
	return ""
}

// regular returns the regular fields as an http.Header.
func (s *section) regular() http.Header {
	h := make(http.Header, len(s.request.Fields))
	for _, f := range s.request.Fields {
		name := http.CanonicalHeaderKey(f.Name)
		if name == "Cookie" && len(h[name]) > 0 { // may come in crumbs (RFC 9113 §8.2.3)
			h[name][0] += "; " + f.Value
			continue
		}
		h[name] = append(h[name], f.Value)
	}
	return h
}

// tokenBytes are those of a token (RFC 9110 §5.6.2).
var tokenBytes = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

func validToken(s string) bool {
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

// validPath accepts what URIs are made of, and no fragment (RFC 9113 §8.3.1). What
// else is no error of the protocol is for the handler to refuse, as with net/http.
func validPath(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// validName accepts tokens without upper case (RFC 9113 §8.2.1).
func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !tokenBytes[c] || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return s != ""
}

// validValue accepts what RFC 9113 §8.2.1 does: no NUL, CR or LF, no white space
// at either end; nor other controls, which RFC 9110 §5.5 forbids.
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return s == "" || s[0] > ' ' && s[len(s)-1] > ' '
}
