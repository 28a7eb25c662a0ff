package h3

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/http/httpguts"
)

// responseBuffer is how much of a handler's body is gathered before it is sent, in
// bytes.
const responseBuffer = 4 << 10

// A responseWriter is the http.ResponseWriter of one stream. Its handler's
// goroutine is the only one that uses it; what it shares with the body of the
// request is guarded by stream.mu.
type responseWriter struct {
	st       *stream
	in       *requestBody // nil if the request has none
	header   http.Header
	final    http.Header // header as it was at WriteHeader
	method   string
	status   int      // 0 until WriteHeader
	sent     bool     // the header section is on its way
	bare     bool     // the answer has no body
	length   int64    // Content-Length, or -1
	written  int64    // of the body, by the handler
	buffer   []byte   // not yet sent
	trailers []string // announced names
}

// Header returns the header fields.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader sets the status. Those of 1xx are sent at once, and any number may come.
func (w *responseWriter) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid WriteHeader code %d", status)) // as net/http has it
	case w.status != 0:
	case status == http.StatusSwitchingProtocols: // HTTP/3 has none (RFC 9114 §4.5)
	case status < 200:
		w.inform(status)
	default:
		w.status = status
		w.final = w.header.Clone()
		w.announce()
	}
}

// inform sends an answer of 1xx.
func (w *responseWriter) inform(status int) {
	st := w.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err != nil {
		return
	}
	if status == http.StatusContinue {
		st.expects = false
	}
	h := w.header
	if _, has := h["Content-Length"]; has {
		h = h.Clone()
		delete(h, "Content-Length")
	}
	st.deadline(time.Now().Add(st.conn.allowed(0)))
	st.breakOff(st.writeHeaders(func(e *encoder) {
		e.add(":status", strconv.Itoa(status))
		e.addAll(h)
	}))
}

// writeHeaders writes a HEADERS frame. mu is held.
func (st *stream) writeHeaders(fill func(e *encoder)) error {
	e := newEncoder()
	defer e.free()
	fill(e)
	e.endHeaders()
	n := 0
	var err error
	if !st.late() {
		n, err = st.reserve(e.bytes())
	}
	if n == 0 && err == nil {
		_, err = st.put(e.bytes())
	}
	return err
}

// put waits until QUIC has taken p, but for less than a packet.
func (st *stream) put(p []byte) (int, error) {
	n, err := st.quic.Write(p)
	if n > 0 {
		st.reserved = 0 // what was there before went first
	}
	if n == len(p) && isTimeout(err) { // the last moment was enough
		err = nil
	}
	return n, err
}

// breakOff notes why nothing can be sent any more, if there is a reason. mu is held.
func (st *stream) breakOff(err error) {
	if st.err == nil {
		st.err = err
	}
}

// write writes p for as long as the peer may take: what the connection has sent
// meanwhile counts, because its streams share the line. mu is not held.
func (st *stream) write(p []byte) (int, error) {
	c := st.conn
	began, before, written := time.Now(), c.sent.Load(), 0
	look := min(firstLook, c.server.options.Grace/4)
	window := p[:min(len(p), oneWrite)] // to look for
	for now := began; ; now = time.Now() {
		if !st.expired() {
			n, err := st.reserve(window)
			written += n
			c.sent.Add(int64(n))
			if err != nil || written == len(p) {
				return written, err
			}
		}
		// By and by, so that all streams tell in time how far they have come.
		until := now.Add(min(look, c.allowed(c.sent.Load()-before)-now.Sub(began)))
		st.mu.Lock()
		st.deadline(until)
		st.mu.Unlock()
		n, err := st.put(p[written:])
		written += n
		c.sent.Add(int64(n))
		if err == nil || !isTimeout(err) || st.expired() || time.Since(began) >= c.allowed(c.sent.Load()-before) {
			return written, err
		}
		look, window = c.server.options.Grace/4, p[written:written+1]
	}
}

// expired reports whether the deadline that the handler has set has passed.
func (st *stream) expired() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.late()
}

// late is expired with mu held.
func (st *stream) late() bool { return !st.until.IsZero() && !time.Now().Before(st.until) }

// deadline bounds the time of the next write, also by what the handler has set. mu
// is held.
func (st *stream) deadline(until time.Time) {
	if !st.until.IsZero() && st.until.Before(until) {
		until = st.until
	}
	_ = st.quic.SetWriteDeadline(until)
}

// announce notes what the header fields say of body and trailers.
func (w *responseWriter) announce() {
	if text := w.final.Get("Content-Length"); text != "" {
		if n, err := strconv.ParseUint(text, 10, 63); err == nil {
			w.length = int64(n)
			w.final["Content-Length"] = []string{text}
		} else {
			w.final.Del("Content-Length")
		}
	}
	for _, line := range w.final["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			w.addTrailer(textproto.TrimString(name))
		}
	}
}

func (w *responseWriter) addTrailer(name string) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if httpguts.ValidTrailerHeader(name) && !slices.Contains(w.trailers, name) {
		w.trailers = append(w.trailers, name)
	}
}

// allowsBody reports whether the status does (RFC 9110 §6.4.1).
func (w *responseWriter) allowsBody() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// bodiless reports whether the answer has no body.
func (w *responseWriter) bodiless() bool { return w.method == http.MethodHead || !w.allowsBody() }

// Write writes to the body.
func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.allowsBody() {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+int64(len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if len(w.buffer)+len(p) <= responseBuffer {
		w.buffer = append(w.buffer, p...)
		return len(p), nil
	}
	if err := w.drain(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString writes to the body.
func (w *responseWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// FlushError sends what has been gathered.
func (w *responseWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.drain(nil, false)
}

// Flush sends what has been gathered.
func (w *responseWriter) Flush() { _ = w.FlushError() } // http.Flusher has no error

// SetWriteDeadline bounds the time until the whole answer has been sent; beyond it
// the stream is reset with H3_REQUEST_CANCELLED. That a client may not keep us
// waiting for longer than Options.Rate allows holds all the same.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	st := w.st
	st.mu.Lock()
	defer st.mu.Unlock()
	st.until = t
	if !t.IsZero() {
		_ = st.quic.SetWriteDeadline(t)
	}
	return nil
}

// SetReadDeadline bounds the time until the whole body has been read. Its zero
// value lets the client take any time; without a call there is Options.Rate.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	st := w.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if w.in != nil {
		st.timed = true
		_ = st.quic.SetReadDeadline(t)
	}
	return nil
}

// EnableFullDuplex changes nothing: streams of HTTP/3 go both ways.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// drain sends the header section, if that is still to be done, and the buffer and
// more as one DATA frame. last says that no body follows it.
func (w *responseWriter) drain(more []byte, last bool) error {
	st := w.st
	e := newEncoder()
	defer e.free()
	st.mu.Lock()
	if st.err == nil && !w.sent {
		w.encodeHeader(e, more, last)
		st.headed = true
	}
	n := len(w.buffer) + len(more)
	err := st.err
	st.mu.Unlock()
	if err != nil {
		return err
	}
	if n > 0 && !w.bare {
		e.data(n, w.buffer)
	} else {
		more = nil
	}
	w.buffer = w.buffer[:0]
	if first := e.bytes(); len(first) > 0 {
		_, err = st.write(first)
	}
	if err == nil && len(more) > 0 {
		_, err = st.write(more)
	}
	if err != nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.breakOff(err)
	}
	return err
}

// encodeHeader makes the header section. more is what follows the buffer, and is
// all of the body if last. mu is held.
func (w *responseWriter) encodeHeader(e *encoder, more []byte, last bool) {
	w.sent, w.bare = true, w.bodiless()
	h, first := w.final, w.buffer
	if len(first) == 0 {
		first = more
	}
	if last && w.length < 0 && w.allowsBody() && (len(first) > 0 || w.method != http.MethodHead) {
		h.Set("Content-Length", strconv.Itoa(len(w.buffer)+len(more)))
	}
	if _, typed := h["Content-Type"]; !typed && len(first) > 0 && h.Get("Content-Encoding") == "" {
		h.Set("Content-Type", http.DetectContentType(first))
	}
	if _, dated := h["Date"]; !dated {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	e.add(":status", strconv.Itoa(w.status))
	e.addAll(h)
	e.endHeaders()
}

// finish ends an answer whose handler has returned.
func (w *responseWriter) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.length >= 0 && w.written != w.length && !w.bodiless() {
		w.fail(InternalError)
		return
	}
	for name := range w.header {
		if after, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			w.header[textproto.CanonicalMIMEHeaderKey(after)] = w.header[name]
			w.addTrailer(after)
		}
	}
	slices.Sort(w.trailers)
	w.trailers = slices.DeleteFunc(w.trailers, func(name string) bool { return len(w.header[name]) == 0 })
	if err := w.drain(nil, true); err != nil {
		w.broken(err)
		return
	}
	w.end()
}

// end sends the trailers, if there are any, and ends the stream. What is left of
// the request nobody wants (RFC 9114 §4.1).
func (w *responseWriter) end() {
	st := w.st
	st.mu.Lock()
	var err error
	if len(w.trailers) > 0 && !w.bodiless() {
		trailers := make(http.Header, len(w.trailers))
		for _, name := range w.trailers {
			trailers[name] = w.header[name]
		}
		st.deadline(time.Now().Add(st.conn.allowed(0)))
		err = st.writeHeaders(func(e *encoder) { e.addAll(trailers) })
	}
	st.mu.Unlock()
	if err == nil && w.in != nil {
		err = w.in.arrived()
	}
	if err != nil {
		w.broken(err)
		return
	}
	st.close()
	w.leave()
	st.quic.CancelRead(quic.StreamErrorCode(NoError))
}

// broken ends an answer that could not be sent.
func (w *responseWriter) broken(err error) {
	st := w.st
	stopped, ok := errors.AsType[*quic.StreamError](err)
	switch {
	case isTimeout(err):
		st.fail(&streamError{RequestCancelled, "reader too slow"})
	case ok && stopped.Remote && w.written == 0:
		st.gone(err) // it was given up before it had cost the client anything
	}
	w.fail(RequestCancelled)
}

// fail breaks an answer off.
func (w *responseWriter) fail(code ErrCode) {
	w.leave()
	w.st.reset(code)
}

// leave is the end of a handler.
func (w *responseWriter) leave() {
	st := w.st
	st.mu.Lock()
	st.breakOff(errHandlerDone)
	st.mu.Unlock()
	if w.in != nil {
		w.in.closed.Store(true)
	}
}

var _ interface {
	http.ResponseWriter
	http.Flusher
} = (*responseWriter)(nil)
