package h2

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"pennyfarthing/internal/serve/hpack"
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

	prioritized bool // a Priority field has come
	priority    priority
}

func (s *section) reset() {
	fields := s.request.Fields[:0]
	*s = section{conn: s.conn, request: Request{Fields: fields, length: -1}, priority: defaultPriority}
}

// keepFields is how many fields a connection keeps room for.
const keepFields = 32

// forget lets go of a request that has been dealt with.
func (s *section) forget() {
	if clear(s.request.Fields); cap(s.request.Fields) > keepFields {
		s.request.Fields = nil
	}
	s.reset()
}

// The pseudo-header fields, as bits of seen.
const (
	seenMethod = 1 << iota
	seenScheme
	seenAuthority
	seenPath
	seenProtocol
)

// Classes of fields. Those from classMalformed on are malformed wherever they
// stand.
const (
	classOther uint8 = iota
	classHost
	classContentLength
	classMethod
	classScheme
	classAuthority
	classPath
	classProtocol
	classPriority  // and the priority
	classMalformed = classPriority + uint8(priorities)
)

// whyMalformed says what is wrong with fields of the classes from classMalformed on.
var whyMalformed = [...]string{
	"unknown pseudo-header field", "invalid pseudo-header field value", "invalid field name", "invalid field value", "connection-specific field",
	"TE other than trailers", "invalid Content-Length",
}

var fieldClasses = hpack.NewClassifier(func(name, value string) uint8 {
	class, why := classify(name, value)
	if why != "" {
		return classMalformed + uint8(slices.Index(whyMalformed[:], why))
	}
	return class
})

// classify looks at one field by itself, and says what is wrong with it if
// anything is.
func classify(name, value string) (class uint8, why string) {
	if strings.HasPrefix(name, ":") {
		switch {
		case name != ":method" && name != ":scheme" && name != ":authority" && name != ":path" && name != ":protocol":
			return 0, "unknown pseudo-header field"
		case !validValue(value):
			return 0, "invalid pseudo-header field value"
		}
	} else if !validName(name) {
		return 0, "invalid field name"
	} else if !validValue(value) {
		return 0, "invalid field value"
	}
	switch name {
	case ":method":
		return classMethod, ""
	case ":scheme":
		return classScheme, ""
	case ":authority":
		return classAuthority, ""
	case ":path":
		return classPath, ""
	case ":protocol":
		return classProtocol, ""
	case "host":
		return classHost, ""
	case "content-length":
		if _, err := strconv.ParseUint(value, 10, 63); err != nil {
			return 0, "invalid Content-Length"
		}
		return classContentLength, ""
	case "priority":
		return classPriority + uint8(defaultPriority.with(value)), ""
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return 0, "connection-specific field"
	case "te":
		if value != "" && !strings.EqualFold(value, "trailers") { // an empty list says nothing
			return 0, "TE other than trailers"
		}
	}
	return classOther, ""
}

// add takes a field that was decoded, and reports whether it wants more of them.
func (s *section) add(f *hpack.Field) bool {
	o := &s.conn.server.options
	s.size += len(f.Name) + len(f.Value) + fieldOverhead
	if s.size > o.HeaderBytes || len(s.request.Fields) >= o.HeaderFields {
		s.tooLarge = true
		return false // what follows need not even be made
	}
	r := &s.request
	switch f.Class {
	case classMethod:
		s.pseudo(seenMethod, &r.Method, f)
		return true
	case classScheme:
		s.pseudo(seenScheme, &r.Scheme, f)
		return true
	case classAuthority:
		s.pseudo(seenAuthority, &r.Authority, f)
		return true
	case classPath:
		s.pseudo(seenPath, &r.Path, f)
		return true
	case classProtocol:
		if s.pseudo(seenProtocol, &r.protocol, f); !o.ExtendedConnect {
			s.malformed = "unknown pseudo-header field"
		}
		return true
	}
	s.regulars = true
	if f.Class != classOther || s.trailers {
		if why := s.special(f); why != "" {
			s.malformed = why
			return true
		}
	}
	r.Fields = append(r.Fields, *f)
	return true
}

func (s *section) pseudo(bit uint8, to *string, f *hpack.Field) {
	if s.trailers || s.regulars || s.seen&bit != 0 {
		s.malformed = "pseudo-header field in the wrong place"
		return
	}
	s.seen |= bit
	*to = f.Value
}

// special returns what is wrong with a field that is not just any, or "".
func (s *section) special(f *hpack.Field) string {
	if f.Class >= classMalformed {
		return whyMalformed[f.Class-classMalformed]
	}
	if s.trailers && !httpguts.ValidTrailerHeader(f.Name) {
		return "field that trailers may not have"
	}
	switch f.Class {
	case classOther:
	case classHost:
		if s.hosts++; s.hosts > 1 {
			return "two Host fields"
		}
		s.host = f.Value
	case classContentLength:
		n, err := strconv.ParseInt(f.Value, 10, 64)
		if err != nil || s.request.length >= 0 && s.request.length != n {
			return "invalid Content-Length"
		}
		s.request.length = n
	default:
		s.prioritize(f)
	}
	return ""
}

// prioritize takes a Priority field. Lines of it are one (RFC 9110 §5.3).
func (s *section) prioritize(f *hpack.Field) {
	if !s.prioritized {
		s.prioritized, s.priority = true, priority(f.Class-classPriority)
		return
	}
	var lines []string
	for _, before := range s.request.Fields {
		if before.Class >= classPriority {
			lines = append(lines, before.Value)
		}
	}
	s.priority = defaultPriority.with(strings.Join(append(lines, f.Value), ", "))
}

// check returns what is wrong with a whole request, or "".
func (s *section) check() string {
	r := &s.request
	switch {
	case s.malformed != "":
		return s.malformed
	case r.Method == http.MethodConnect && s.seen&seenProtocol == 0:
		if s.seen&(seenScheme|seenPath) != 0 || r.Authority == "" {
			return "malformed CONNECT"
		}
		return ""
	case s.seen&(seenMethod|seenScheme|seenPath) != seenMethod|seenScheme|seenPath || !validToken(r.Method):
		return "missing pseudo-header fields"
	case s.seen&seenProtocol != 0 && (r.Method != http.MethodConnect || !validToken(r.protocol)):
		return "malformed extended CONNECT"
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

// regular returns the regular fields as an http.Header of its own.
func (s *section) regular() http.Header {
	h := make(http.Header, len(s.request.Fields))
	for _, f := range s.request.Fields {
		name := strings.Clone(http.CanonicalHeaderKey(f.Name))
		if name == "Cookie" && len(h[name]) > 0 { // may come in crumbs (RFC 9113 §8.2.3)
			h[name][0] += "; " + f.Value
			continue
		}
		h[name] = append(h[name], strings.Clone(f.Value))
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
