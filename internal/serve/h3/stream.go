package h3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

var (
	// errReset is what a handler sees when the client has given its request up.
	errReset = errors.New("HTTP/3 stream reset by the client")
	// errHandlerDone is what those see who use a stream when its handler has returned.
	errHandlerDone = errors.New("HTTP/3 handler has returned")
)

const (
	// glance is how long the goroutine that takes the streams of a connection waits
	// for what has announced a stream to be there. As a rule it is: both came in one
	// packet.
	glance = 200 * time.Microsecond
	// endGlance is how long the end of a stream is waited for behind a head that has
	// not said whether there is a body. Some clients send it a moment later.
	endGlance = 5 * time.Millisecond
	// inlineAnswer is the largest answer, in bytes, that is written without a
	// goroutine. QUIC copies it; larger ones are taken from where they are.
	inlineAnswer = 4 << 10
	// oneWrite is what QUIC takes at once, in bytes: a packet.
	oneWrite = 1 << 10
)

// A stream is a request.
type stream struct {
	conn    *conn
	quic    bidi
	began   time.Time
	in      input
	framed  bool  // the header of HEADERS has come
	whole   bool  // so has all of it
	asked   bool  // whether an answer stands ready
	wrong   error // with the head
	section section
	out     []byte // frames of an answer that stands ready, but for body
	body    []byte
	keep    any

	priority priority // guarded by conn.mu, from when the stream is kept
	turns    bool     // so is this: the answer takes turns, whatever its priority is
	reserved int      // bytes that QUIC has taken since a Write has waited; of who writes

	mu      sync.Mutex // guards the fields below, of a handler's stream
	err     error      // why it was broken off
	headed  bool       // the answer's header section is on its way, so that it is too late for 100
	expects bool       // 100-continue is due when the body is first read
	until   time.Time  // the handler's deadline for writing
	timed   bool       // the handler has set a deadline for reading, so that our own does not count
}

// streams have served no handler: nobody else knows them.
var streams = sync.Pool{New: func() any {
	return &stream{in: input{buf: make([]byte, 0, firstRead)}, out: make([]byte, 0, inlineAnswer+oneWrite)}
}}

// Buffers that are kept with a stream, in bytes.
const (
	keepInput  = firstRead
	keepOutput = inlineAnswer + oneWrite
)

func (c *conn) newStream(s bidi) *stream {
	st := streams.Get().(*stream)
	st.out = st.out[:0]
	st.conn, st.quic, st.began = c, s, time.Now()
	st.in = input{from: s, buf: st.in.buf[:0]}
	st.section.options = &c.server.options
	st.section.reset(false)
	return st
}

// free gives a stream back that no handler has seen.
func (st *stream) free() {
	st.section.reset(false)
	if cap(st.in.buf) > keepInput {
		st.in.buf = make([]byte, 0, keepInput)
	}
	if cap(st.out) > keepOutput {
		st.out = make([]byte, 0, keepOutput)
	}
	*st = stream{in: input{buf: st.in.buf}, out: st.out, section: st.section}
	streams.Put(st)
}

// take begins with a stream, and ends with it if all of it is there and the answer,
// too.
func (c *conn) take(s bidi) {
	p, ok := c.admit(s.StreamID())
	if !ok {
		c.reject(s)
		return
	}
	st := c.newStream(s)
	st.priority = p
	if st.glance() {
		st.free()
		c.leave(s)
		return
	}
	c.keep(st)
	c.work.Go(func() { st.serve() })
}

// reject refuses a stream that nothing was done for (RFC 9114 §4.1.1).
func (c *conn) reject(s bidi) {
	s.CancelRead(quic.StreamErrorCode(RequestRejected))
	s.CancelWrite(quic.StreamErrorCode(RequestRejected))
	s.ReleaseStreamCredit()
	c.fail(c.spend(ResetsSent))
}

// glance answers a request that has come whole with an answer that is small and
// stands ready. It returns whether it did; if not, the rest is for serve.
func (st *stream) glance() bool {
	c := st.conn
	defer c.contain(&st.in)
	if c.server.options.Hit == nil {
		return false
	}
	_ = st.quic.SetReadDeadline(st.began.Add(glance))
	if err := st.readHead(); err != nil {
		if !isTimeout(err) {
			st.wrong = err
		}
		return false
	}
	if !st.ready() || !st.prepare() || len(st.out)+len(st.body) > inlineAnswer {
		return false
	}
	st.prioritize(true)
	st.out, st.body = append(st.out, st.body...), nil
	return st.writeAtOnce()
}

// writeAtOnce writes an answer if QUIC has room for it, and ends the stream.
func (st *stream) writeAtOnce() bool {
	var err error
	if len(st.out) <= oneWrite { // it is copied to where others may follow
		_, err = st.quic.Write(st.out)
	} else if err = st.quic.TryWriteAll(st.out); errors.Is(err, quic.ErrWouldBlock) {
		return false
	}
	runtime.KeepAlive(st.keep)
	if err != nil {
		st.gone(err)
		return true
	}
	_ = st.quic.Close() // of a stream that the client has stopped
	c := st.conn
	c.mu.Lock()
	c.since = st.began
	c.mu.Unlock()
	return true
}

// ready reports whether a request is whole: its head is good, and nothing follows.
func (st *stream) ready() bool {
	s := &st.section
	s.request.ended = st.in.over()
	return s.request.ended && s.refusal == NotRefused && s.check() == "" && validPath(s.request.Path)
}

// prepare asks for an answer that stands ready, and makes its frames.
func (st *stream) prepare() bool {
	c := st.conn
	hit, q := c.server.options.Hit, &st.section.request
	if hit == nil || st.asked || q.protocol != "" || q.Method != http.MethodGet && q.Method != http.MethodHead {
		return false // other methods may not be answered in early data
	}
	st.asked = true
	c.hitting.Lock()
	defer c.hitting.Unlock()
	h := &c.hit
	defer func() { *h = Hit{} }() // it would keep what is in it for as long as the connection is idle
	if !hit(&c.info, q, h) {
		return false
	}
	date := c.server.date.get(st.began)
	n := 2 + len(date)
	for _, b := range h.Blocks {
		n += len(b)
	}
	st.out = append(appendFrame(st.out, frameHeaders, uint64(n)), 0, 0)
	for _, b := range h.Blocks {
		st.out = append(st.out, b...)
	}
	st.out = append(st.out, date...)
	if len(h.Body) > 0 {
		st.out = appendFrame(st.out, frameData, uint64(len(h.Body)))
	}
	st.body, st.keep = h.Body, h.Keep
	return true
}

// readHead reads on until the header section has come whole, and decodes it. After
// a timeout it can be called again.
func (st *stream) readHead() error {
	in, s := &st.in, &st.section
	if st.wrong != nil || st.whole {
		return st.wrong
	}
	for !st.framed {
		kind, err := in.next()
		switch {
		case err == io.EOF: //nolint:errorlint // of next, between two frames
			return &streamError{RequestIncomplete, "no HEADERS"}
		case err != nil:
			return err
		}
		switch kind {
		case frameHeaders:
			st.framed = true
		case frameData:
			return &connError{FrameUnexpected, "DATA before HEADERS"}
		default:
			if err := st.conn.strangeFrame(kind); err != nil {
				return err
			}
		}
	}
	if in.left > uint64(s.options.HeaderBytes) {
		s.refusal, st.whole = HeadTooLarge, true
		return nil
	}
	wire, err := in.whole()
	if err != nil {
		return err
	}
	st.whole = true
	return s.decode(wire)
}

// strangeFrame judges a frame of a request stream that is neither DATA nor HEADERS:
// what has a meaning elsewhere is an error (RFC 9114 §7.2), what has none is
// ignored (§9).
func (c *conn) strangeFrame(kind uint64) error {
	switch kind {
	case frameCancelPush, frameSettings, framePushPromise, frameGoAway, frameMaxPushID, framePriorityRequest, framePriorityPush,
		http2Priority, http2Ping, http2WindowUpdate, http2Continuation:
		return &connError{FrameUnexpected, "a frame that request streams do not have"}
	}
	return c.spend(UnknownFrames)
}

// serve reads a request and answers it.
func (st *stream) serve() {
	c := st.conn
	defer c.leave(st.quic)
	defer c.contain(&st.in)
	if len(st.out) == 0 { // or else the answer stands ready, and was too large for glance
		err := st.receive()
		if len(st.out) == 0 && !c.proven() { // what is no hit, and be it only an error, may not be answered early
			return
		}
		if err != nil {
			st.fail(err)
			return
		}
	}
	st.prioritize(false)
	c.enter()
	defer c.exit()
	if len(st.out) > 0 {
		st.writeHit()
		c.forget(st.quic.StreamID()) // before it is another's
		st.free()
		return
	}
	st.answer()
}

// receive reads the head, in the time for it, and looks for an answer that stands
// ready. Its error is for fail.
func (st *stream) receive() error {
	s := &st.section
	_ = st.quic.SetReadDeadline(st.began.Add(s.options.Head))
	err := st.readHead()
	if isTimeout(err) {
		s.refusal = SlowHead
		return nil
	}
	if err != nil || s.refusal != NotRefused {
		return err
	}
	st.awaitEnd()
	s.request.ended = st.in.over()
	if why := s.check(); why != "" {
		return &streamError{MessageError, why}
	}
	if !validPath(s.request.Path) {
		s.refusal = BadTarget
		return nil
	}
	if s.request.ended {
		st.prepare()
	}
	return nil
}

// awaitEnd waits a moment for the end of a stream on which nothing has come behind
// a head that may be one of a hit.
func (st *stream) awaitEnd() {
	s := &st.section
	get := s.request.Method == http.MethodGet || s.request.Method == http.MethodHead
	if !get || s.request.length >= 0 || s.options.Hit == nil || st.in.ended || len(st.in.rest()) > 0 {
		return
	}
	_ = st.quic.SetReadDeadline(time.Now().Add(endGlance))
	_ = st.in.fill() // who reads next sees it, too
}

// fail ends a stream or its connection for an error of reading.
func (st *stream) fail(err error) {
	c := st.conn
	if bad, ok := errors.AsType[*streamError](err); ok {
		st.reset(bad.code)
		c.fail(c.spend(ResetsSent))
		return
	}
	if bad, ok := errors.AsType[*connError](err); ok {
		c.fail(bad)
		return
	}
	st.gone(err)
}

// gone ends a stream that the client has given up before an answer began, or whose
// connection has ended.
func (st *stream) gone(err error) {
	st.reset(RequestCancelled)
	if reset, ok := errors.AsType[*quic.StreamError](err); ok && reset.Remote {
		st.conn.fail(st.conn.spend(ResetsReceived))
	}
}

// reset ends both directions.
func (st *stream) reset(code ErrCode) {
	st.quic.CancelRead(quic.StreamErrorCode(code))
	st.quic.CancelWrite(quic.StreamErrorCode(code))
}

// writeHit writes an answer that stands ready, in the time for it.
func (st *stream) writeHit() {
	n, err := st.write(st.out)
	if err == nil && len(st.body) > 0 {
		var m int
		m, err = st.write(st.body)
		n += m
	}
	runtime.KeepAlive(st.keep)
	switch {
	case err == nil:
		st.close()
	case isTimeout(err):
		st.fail(&streamError{RequestCancelled, "reader too slow"})
	case n == 0:
		st.gone(err)
	default:
		st.reset(RequestCancelled)
	}
}

// allowed is how long a peer may take for n bytes.
func (c *conn) allowed(n int64) time.Duration {
	o := &c.server.options
	return o.Grace + time.Duration(n/o.Rate)*time.Second
}

// A requestContext ends with its stream, and has the values of its connection.
type requestContext struct {
	context.Context                 // of the stream
	values          context.Context //nolint:containedctx // it is a context itself
}

// Value returns the stream's value for a key, or else the connection's.
func (r requestContext) Value(key any) any {
	if v := r.Context.Value(key); v != nil {
		return v
	}
	return r.values.Value(key)
}
