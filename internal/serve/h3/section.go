package h3

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/qpack"
)

// A Request is a request as its header section came: regular fields in Fields,
// pseudo-header fields beside them. All of it is valid until Hit returns.
type Request struct {
	Method    string
	Scheme    string
	Authority string // or the Host field's value where there is no :authority
	Path      string
	Fields    []hpack.HeaderField
	protocol  string // of an extended CONNECT (RFC 9220)
	ended     bool   // no body follows
	length    int64  // Content-Length, or -1
}

// fieldOverhead is added to each field of a section (RFC 9114 §4.2.2).
const fieldOverhead = 32

// A section collects and checks the fields of a header or trailer section (RFC
// 9114 §4.2, §4.3).
type section struct {
	options   *Options
	decoder   qpack.Decoder
	request   Request
	trailers  bool
	regulars  bool    // a regular field has come
	refusal   Refusal // it is too large
	size      int
	malformed string
	host      string
	hosts     int
	seen      uint8 // pseudo-header fields that have come
	priority  priority
}

func (s *section) reset(trailers bool) {
	fields := s.request.Fields[:0]
	clear(s.request.Fields)
	*s = section{options: s.options, decoder: s.decoder, request: Request{Fields: fields, length: -1}, trailers: trailers, priority: defaultPriority}
}

// The pseudo-header fields, as bits of seen.
const (
	seenMethod = 1 << iota
	seenScheme
	seenAuthority
	seenPath
	seenProtocol
)

// decode takes all fields of a section. Its error ends the connection; what else
// is wrong is noted.
func (s *section) decode(wire []byte) error {
	if err := s.decoder.Decode(wire, s.add); err != nil {
		return &connError{DecompressionFailed, err.Error()}
	}
	return nil
}

// add takes a field that was decoded, and returns false if that was too much.
func (s *section) add(f hpack.HeaderField) bool {
	s.size += len(f.Name) + len(f.Value) + fieldOverhead
	if s.size > s.options.HeaderBytes {
		s.refusal = HeadTooLarge
		return false
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		s.pseudo(f)
		return true
	}
	if len(s.request.Fields) >= s.options.HeaderFields {
		s.refusal = TooManyFields
		return false
	}
	s.regulars = true
	if why := s.regularField(f); why != "" {
		s.malformed = why
		return true
	}
	s.request.Fields = append(s.request.Fields, f)
	return true
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
	case ":protocol":
		bit, to = seenProtocol, &r.protocol
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
		if !strings.EqualFold(f.Value, "trailers") {
			return "TE other than trailers"
		}
	case "host":
		if s.hosts++; s.hosts > 1 {
			return "two Host fields"
		}
		s.host = f.Value
	case "priority":
		s.priority = parsePriority(f.Value)
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if err != nil || s.request.length >= 0 && s.request.length != int64(n) {
			return "invalid Content-Length"
		}
		s.request.length = int64(n)
	}
	return ""
}

// check returns what is wrong with a whole request, or "" (RFC 9114 §4.3.1, §4.4).
func (s *section) check() string {
	r := &s.request
	connect := r.Method == http.MethodConnect
	need := uint8(seenMethod | seenScheme | seenPath)
	switch {
	case s.malformed != "":
		return s.malformed
	case s.seen&seenProtocol != 0 && !connect:
		return ":protocol of what is not CONNECT" // RFC 8441 §4
	case connect && s.seen&seenProtocol == 0:
		if s.seen&(seenScheme|seenPath) != 0 || r.Authority == "" {
			return "malformed CONNECT"
		}
	case s.seen&need != need || !httpguts.ValidHeaderFieldName(r.Method) || r.Scheme == "":
		return "missing pseudo-header fields"
	case !strings.HasPrefix(r.Path, "/") && (r.Path != "*" || r.Method != http.MethodOptions):
		return "invalid :path"
	}
	return s.checkHost()
}

func (s *section) checkHost() string {
	r := &s.request
	switch {
	case s.hosts > 0 && s.seen&seenAuthority != 0 && !strings.EqualFold(s.host, r.Authority):
		return "Host and :authority differ"
	case r.ended && r.length > 0:
		return "Content-Length without a body"
	case s.seen&seenAuthority == 0:
		r.Authority = s.host
	}
	if r.Authority == "" || strings.IndexByte(r.Authority, '@') >= 0 || !httpguts.ValidHostHeader(r.Authority) {
		return "invalid :authority"
	}
	return ""
}

// regular returns the regular fields as an http.Header.
func (s *section) regular() http.Header {
	h := make(http.Header, len(s.request.Fields))
	for _, f := range s.request.Fields {
		name := http.CanonicalHeaderKey(f.Name)
		if name == "Cookie" && len(h[name]) > 0 { // may come in crumbs (RFC 9114 §4.2.1)
			h[name][0] += "; " + f.Value
			continue
		}
		h[name] = append(h[name], f.Value)
	}
	return h
}

// validName accepts tokens without upper case (RFC 9114 §4.2).
func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return httpguts.ValidHeaderFieldName(s)
}

// validValue accepts what RFC 9114 §10.3 does: no NUL, CR or LF, nor other
// controls, and no white space at either end, as RFC 9110 §5.5 has it.
func validValue(s string) bool {
	return httpguts.ValidHeaderFieldValue(s) && (s == "" || s[0] > ' ' && s[len(s)-1] > ' ')
}

// validPath accepts what URIs are made of, and no fragment (RFC 9114 §4.3.1).
func validPath(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}
