package h2

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

const (
	// maxBlock bounds a header block as it is on the wire, in bytes. It is larger
	// than the header list that is taken, so that a list that is too large can be
	// answered 431: the block must be decoded for the state of HPACK.
	maxBlock = 128 << 10
	// fieldOverhead is added to each field of a list (RFC 9113 §10.5.1).
	fieldOverhead = 32
)

// A headerBlock is a header block that comes in several frames.
type headerBlock struct {
	stream uint32
	ends   bool // END_STREAM was set
	bytes  []byte
	frames int
}

// open reports whether CONTINUATION is due.
func (b *headerBlock) open() bool { return b.stream != 0 }

func (c *conn) handleHeaders(f *frame) error {
	if f.stream%2 == 0 {
		return &connError{ProtocolError, "HEADERS on a stream that a client cannot open"}
	}
	if err := f.unpad(); err != nil {
		return err
	}
	var self error
	if f.has(flagPriority) {
		if len(f.payload) < 5 {
			return &connError{FrameSizeError, "HEADERS without room for its priority"}
		}
		if binary.BigEndian.Uint32(f.payload)&maxStreamID == f.stream {
			self = &streamError{f.stream, ProtocolError, "a stream cannot depend on itself"}
		}
		f.payload = f.payload[5:]
	}
	if !f.has(flagEndHeaders) {
		c.reader.block = headerBlock{stream: f.stream, ends: f.has(flagEndStream), bytes: append(c.reader.block.bytes[:0], f.payload...)}
		return nil
	}
	if err := c.headers(f.stream, f.has(flagEndStream), f.payload); err != nil {
		return err
	}
	return self
}

func (c *conn) handleContinuation(f *frame) error {
	b := &c.reader.block
	if !b.open() {
		return &connError{ProtocolError, "CONTINUATION of nothing"}
	}
	if err := c.spend(Continuations); err != nil {
		return err
	}
	b.bytes = append(b.bytes, f.payload...)
	if len(b.bytes) > maxBlock {
		return &connError{EnhanceYourCalm, "header block too large"}
	}
	if !f.has(flagEndHeaders) {
		return nil
	}
	stream, ends, block := b.stream, b.ends, b.bytes
	b.stream = 0
	if cap(b.bytes) > largeRead {
		b.bytes = nil
	}
	return c.headers(stream, ends, block)
}

// headers acts on a whole header block: a request, or the trailers of one.
func (c *conn) headers(id uint32, ends bool, block []byte) error {
	s := &c.reader.section
	st := c.streams[id]
	trailers := st != nil
	s.reset(trailers)
	if _, err := c.reader.decoder.Write(block); err != nil {
		return &connError{CompressionError, "header block: " + err.Error()}
	}
	if err := c.reader.decoder.Close(); err != nil {
		return &connError{CompressionError, "header block: " + err.Error()}
	}
	switch {
	case trailers:
		return c.trailers(st, ends)
	case id <= c.opened:
		return &connError{StreamClosed, "HEADERS on a closed stream"}
	}
	if c.leaving {
		return nil // it is not among those that count
	}
	c.opened = id
	switch {
	case len(c.streams) >= c.server.options.Streams:
		return &streamError{id, RefusedStream, "too many streams"}
	case s.tooLarge:
		c.answerError(id, http.StatusRequestHeaderFieldsTooLarge, ends)
		return nil
	}
	s.request.ended = ends
	if why := s.check(); why != "" {
		return &streamError{id, ProtocolError, why}
	}
	return c.request(id, &s.request)
}

// request answers a request: at once if the answer stands ready.
func (c *conn) request(id uint32, r *Request) error {
	if r.Method == http.MethodConnect {
		c.answerError(id, http.StatusNotImplemented, r.ended)
		return nil
	}
	if r.ended && c.server.options.Hit != nil {
		h := &c.reader.hit
		*h = Hit{}
		if c.server.options.Hit(&c.info, r, h) {
			c.sendHit(id, h)
			return nil
		}
	}
	return c.startHandler(id, r)
}

// trailers ends the body of a request.
func (c *conn) trailers(st *stream, ends bool) error {
	s := &c.reader.section
	switch {
	case st.peerEnded:
		return &streamError{st.id, StreamClosed, "HEADERS after the end of the stream"}
	case !ends:
		return &streamError{st.id, ProtocolError, "trailers that do not end the stream"}
	case s.malformed != "":
		return &streamError{st.id, ProtocolError, s.malformed}
	}
	if st.in != nil {
		st.in.trailers = s.regular()
	}
	return st.take(nil, true)
}

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
	seen      uint8 // pseudo-header fields that have come
}

func (s *section) reset(trailers bool) {
	fields := s.request.Fields[:0]
	*s = section{conn: s.conn, request: Request{Fields: fields, length: -1}, trailers: trailers}
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
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return "connection-specific field"
	case "te":
		if !strings.EqualFold(f.Value, "trailers") {
			return "TE other than trailers"
		}
	case "host":
		if s.host != "" && s.host != f.Value {
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
	case !strings.HasPrefix(r.Path, "/") && (r.Path != "*" || r.Method != http.MethodOptions):
		return "invalid :path"
	case s.host != "" && r.Authority != "" && !strings.EqualFold(s.host, r.Authority):
		return "Host and :authority differ"
	case r.ended && r.length > 0:
		return "Content-Length without a body"
	}
	if r.Authority == "" {
		r.Authority = s.host
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
