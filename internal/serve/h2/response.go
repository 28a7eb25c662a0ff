package h2

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// responseBuffer is how much of a handler's body is gathered before it is sent.
const responseBuffer = 4 << 10

// A responseWriter is the http.ResponseWriter of one stream. Its handler's
// goroutine is the only one that uses it; what it shares is guarded by conn.mu.
type responseWriter struct {
	st       *stream
	header   http.Header
	final    http.Header // header as it was at WriteHeader
	method   string
	status   int      // 0 until WriteHeader
	sent     bool     // the header section is on its way
	ended    bool     // the end of the stream is on its way
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
	case status == http.StatusSwitchingProtocols: // HTTP/2 has none (RFC 9113 §8.6)
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
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.broken() != nil {
		return
	}
	if w.st.in != nil && status == http.StatusContinue {
		w.st.in.expects = false
	}
	h := w.header
	if _, has := h["Content-Length"]; has {
		h = h.Clone()
		delete(h, "Content-Length")
	}
	c.encode(":status", strconv.Itoa(status))
	c.encodeAll(h)
	c.sendEncoded(w.st.id, false)
	c.flush()
	c.awaitRoom()
}

// announce notes what the header fields say of body and trailers.
func (w *responseWriter) announce() {
	if w.connected() {
		w.final.Del("Content-Length")
		w.final.Del("Trailer")
	}
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
	if httpguts.ValidTrailerHeader(name) && !w.connected() && !slices.Contains(w.trailers, name) {
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
	fill := 0
	if len(w.buffer) > 0 {
		fill = responseBuffer - len(w.buffer)
		w.buffer = append(w.buffer, p[:fill]...)
	}
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.drain(p[fill:]); err != nil {
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
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	err := w.drain(nil)
	c.flush()
	return err
}

// Flush sends what has been gathered.
func (w *responseWriter) Flush() { _ = w.FlushError() } // http.Flusher has no error

// SetWriteDeadline bounds the time until the whole answer has been sent, with
// RST_STREAM after it. That a client may not keep us waiting for windows holds
// all the same.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	w.st.writeUntil = t
	c.deadlineSet(t)
	return nil
}

// SetReadDeadline bounds the time until the whole body has been read. Its zero
// value lets the client take any time; without a call there is Options.Rate. One
// that has passed is not extended, as http.ResponseController has it.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	c, b := w.st.conn, w.st.in
	c.mu.Lock()
	defer c.mu.Unlock()
	if b != nil && !b.expired(time.Now()) {
		b.until, b.timed = t, true
		w.st.wake.Broadcast()
		c.deadlineSet(t)
	}
	return nil
}

// EnableFullDuplex changes nothing: streams of HTTP/2 go both ways.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// drain sends the header section, if that is still to be done, the buffer, and
// more. mu is held, but not while waiting.
func (w *responseWriter) drain(more []byte) error {
	if err := w.broken(); err != nil {
		return err
	}
	if !w.sent {
		first := w.buffer
		if len(first) == 0 {
			first = more
		}
		w.sendHeader(first, false)
	}
	if err := w.send(w.buffer, false); err != nil {
		return err
	}
	w.buffer = w.buffer[:0]
	return w.send(more, false)
}

// sendHeader sends the header section. first is the beginning of the body and,
// if whole, all of it. mu is held.
func (w *responseWriter) sendHeader(first []byte, whole bool) {
	w.sent = true
	h := w.final
	if whole && !w.connected() && w.length < 0 && w.allowsBody() && (len(first) > 0 || w.method != http.MethodHead) {
		h.Set("Content-Length", strconv.Itoa(len(first)))
	}
	if _, typed := h["Content-Type"]; !typed && len(first) > 0 && !w.connected() && h.Get("Content-Encoding") == "" {
		h.Set("Content-Type", http.DetectContentType(first))
	}
	if _, dated := h["Date"]; !dated {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	c := w.st.conn
	if h.Get("Connection") == "close" && !c.draining && !c.closed { // as net/http does
		c.help(c.goAway)
	}
	w.st.respond(h)
	w.ended = w.bodiless() || whole && len(first) == 0 && len(w.trailers) == 0
	c.encode(":status", strconv.Itoa(w.status))
	c.encodeAll(h)
	c.sendEncoded(w.st.id, w.ended)
	if b := w.st.in; b != nil {
		b.expects = false // it is too late for 100
	}
}

// send has body bytes sent as windows and the peer allow, and waits until they
// have been taken. mu is held, but not while waiting.
func (w *responseWriter) send(p []byte, last bool) error {
	st, c := w.st, w.st.conn
	if err := w.broken(); err != nil {
		return err
	}
	if len(p) == 0 || w.ended {
		return nil
	}
	st.body, st.last = p, last
	c.enqueue(st)
	c.flush()
	for len(st.body) > 0 && w.broken() == nil {
		st.wake.Wait()
	}
	if err := w.broken(); err != nil {
		c.unqueue(st)
		return err
	}
	w.ended = last
	return nil
}

// broken returns why nothing can be sent any more, or nil. mu is held.
func (w *responseWriter) broken() error {
	if w.st.err == nil && w.st.conn.closed {
		return errConnClosed
	}
	return w.st.err
}

// finish ends an answer whose handler has returned. mu is held, but not while
// the rest of it is waited for.
func (w *responseWriter) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.length >= 0 && w.written != w.length && !w.bodiless() {
		w.fail()
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
	if w.broken() == nil && !w.sent {
		w.sendHeader(w.buffer, true)
	}
	if err := w.send(w.buffer, len(w.trailers) == 0); err != nil {
		w.fail()
		return
	}
	if !w.ended {
		w.end()
	}
	st, c := w.st, w.st.conn
	if !st.peerEnded { // nobody wants the rest of the body (RFC 9113 §8.1)
		c.reset(st.id, NoError, false)
	}
	w.leave()
}

// end sends END_STREAM, with trailers if there are any. mu is held.
func (w *responseWriter) end() {
	c := w.st.conn
	if len(w.trailers) == 0 {
		c.begin(0, frameData, flagEndStream, w.st.id)
		return
	}
	trailers := make(http.Header, len(w.trailers))
	for _, name := range w.trailers {
		trailers[name] = w.header[name]
	}
	c.encodeAll(trailers)
	c.sendEncoded(w.st.id, true)
}

// fail breaks an answer off. That is no fault of the client's and costs it no
// budget. mu is held.
func (w *responseWriter) fail() {
	if st, c := w.st, w.st.conn; !st.gone && !c.closed {
		c.reset(st.id, InternalError, st.peerEnded)
	}
	w.leave()
}

// leave is the end of a handler. mu is held.
func (w *responseWriter) leave() {
	st, c := w.st, w.st.conn
	c.handlers--
	c.remove(st)
	st.abort(errHandlerDone)
	if st.in != nil {
		st.in.closed = true
		st.in.discard()
	}
	c.flush()
}

var _ interface {
	http.ResponseWriter
	http.Flusher
} = (*responseWriter)(nil)
