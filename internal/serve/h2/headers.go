package h2

import (
	"encoding/binary"
	"net/http"
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
	ends   bool   // END_STREAM was set
	wrong  string // with the frame that it began with, or ""
	bytes  []byte
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
	wrong := ""
	if f.has(flagPriority) {
		if len(f.payload) < 5 {
			return &connError{FrameSizeError, "HEADERS without room for its priority"}
		}
		if binary.BigEndian.Uint32(f.payload)&maxStreamID == f.stream {
			wrong = "a stream cannot depend on itself"
		}
		f.payload = f.payload[5:]
	}
	if !f.has(flagEndHeaders) {
		c.reader.began = c.now
		c.reader.block = headerBlock{f.stream, f.has(flagEndStream), wrong, append([]byte(nil), f.payload...)}
		return nil
	}
	return c.headers(f.stream, f.has(flagEndStream), f.payload, wrong)
}

func (c *conn) handleContinuation(f *frame) error {
	b := &c.reader.block
	if !b.open() {
		return &connError{ProtocolError, "CONTINUATION of nothing"}
	}
	if err := c.spend(Continuations); err != nil {
		return err
	}
	if len(b.bytes)+len(f.payload) > maxBlock {
		return c.abuse(Continuations, "header block too large")
	}
	b.bytes = append(b.bytes, f.payload...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	whole := *b
	*b = headerBlock{}
	return c.headers(whole.stream, whole.ends, whole.bytes, whole.wrong)
}

// headers acts on a whole header block: a request, or the trailers of one. It is
// decoded in any case, for the state of HPACK.
func (c *conn) headers(id uint32, ends bool, block []byte, wrong string) error {
	s := &c.reader.section
	st := c.streams[id]
	defer s.forget()
	s.trailers, s.malformed = st != nil, wrong // it is empty: so was it left
	if err := c.reader.decoder.Decode(block, c.reader.addField); err != nil {
		return &connError{CompressionError, err.Error()}
	}
	switch {
	case st != nil:
		return c.trailers(st, ends)
	case id > c.opened:
		err := c.open(id, ends)
		if err != nil && !ends {
			c.forgive(id)
		}
		return err
	case c.forgiven(id, len(block)):
		return nil
	}
	return &connError{StreamClosed, "HEADERS on a closed stream"}
}

// open begins a stream with the request that has been decoded.
func (c *conn) open(id uint32, ends bool) error {
	s := &c.reader.section
	c.opened, c.active = id, c.now
	c.budget.earn(Priorities, 2)    // a browser may give each request its priority, and another one later
	c.budget.earn(UnknownFrames, 2) // some send one with each request, so that nobody gets used to there being none (RFC 9113 §5.5)
	if s.prioritized || c.schedule != nil {
		c.prioritizeRequest(id)
	}
	switch {
	case id > c.last || c.ending: // it is not among those that count
		c.forgive(id)
		return nil
	case len(c.streams) >= c.server.options.Streams:
		return &streamError{id, RefusedStream, "too many streams"}
	case s.tooLarge:
		if tell := c.server.options.OnTooLarge; tell != nil {
			tell(&c.info, s.size <= c.server.options.HeaderBytes)
		}
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
	if r.tunnelling() {
		return c.startHandler(id, r)
	}
	if r.Method == http.MethodConnect {
		c.answerError(id, http.StatusNotImplemented, r.ended)
		return nil
	}
	if r.ended && c.server.options.Hit != nil && validPath(r.Path) {
		h := &c.reader.hit
		found := c.server.options.Hit(&c.info, r, h) && h.sendable()
		if found {
			c.hits++
			c.sendHit(id, h)
		}
		*h = Hit{} // it would keep what is in it for as long as the connection is idle
		if found {
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
	case st.tunnel:
		return &streamError{st.id, ProtocolError, "HEADERS in a tunnel"} // RFC 9113 §8.5
	case !ends:
		return &streamError{st.id, ProtocolError, "trailers that do not end the stream"}
	case s.malformed != "":
		return &streamError{st.id, ProtocolError, s.malformed}
	case s.tooLarge:
		return &streamError{st.id, EnhanceYourCalm, "trailers too large"}
	}
	st.in.trailers = s.regular()
	return st.in.take(nil, true)
}
