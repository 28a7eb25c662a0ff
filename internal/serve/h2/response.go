package h2

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

// responseBuffer is how much of a handler's body is gathered before it is sent.
const responseBuffer = 4 << 10

// startHandler runs the handler for a request in a goroutine of its own. mu is held.
func (c *conn) startHandler(id uint32, r *Request) error {
	target, err := url.ParseRequestURI(r.Path)
	if err != nil {
		c.answerError(id, http.StatusBadRequest, r.ended)
		return nil
	}
	ctx, cancel := context.WithCancel(c.info.Context)
	st := &stream{conn: c, id: id, window: c.peerWindow, peerEnded: r.ended, cancel: cancel}
	c.streams[id] = st
	req := (&http.Request{
		Method: r.Method, URL: target, RequestURI: r.Path, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: c.reader.section.regular(), Host: r.Authority, RemoteAddr: c.info.RemoteAddr.String(), TLS: c.info.TLS, Body: http.NoBody,
	}).WithContext(ctx)
	delete(req.Header, "Host")
	if !r.ended {
		c.addBody(st, req, r.length)
	}
	w := &responseWriter{st: st, header: make(http.Header), method: r.Method, length: -1}
	go c.runHandler(w, req)
	return nil
}

// addBody gives a request its body, and the names of the trailers that it announces.
func (c *conn) addBody(st *stream, req *http.Request, length int64) {
	req.ContentLength = length
	req.Trailer = make(http.Header)
	for _, line := range req.Header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			req.Trailer[http.CanonicalHeaderKey(strings.TrimSpace(name))] = nil
		}
	}
	delete(req.Header, "Trailer")
	st.in = &requestBody{st: st, want: length, request: req, expects: strings.EqualFold(req.Header.Get("Expect"), "100-continue")}
	req.Body = st.in
}

func (c *conn) runHandler(w *responseWriter, r *http.Request) {
	defer func() {
		failure := recover()
		c.mu.Lock()
		if failure != nil {
			w.fail()
		} else {
			w.finish()
		}
		c.mu.Unlock()
		if failure != nil && failure != http.ErrAbortHandler { //nolint:errorlint // as net/http has it
			if c.server.options.OnPanic == nil {
				panic(failure)
			}
			c.server.options.OnPanic(failure)
		}
	}()
	c.server.options.Handler.ServeHTTP(w, r)
}

// A responseWriter is the http.ResponseWriter of one stream. Its handler's
// goroutine is the only one that uses it; what it shares is guarded by conn.mu.
type responseWriter struct {
	st       *stream
	header   http.Header
	method   string
	status   int      // 0 until WriteHeader
	sent     bool     // the header section is on its way
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
	case w.status != 0:
	case status >= 100 && status < 200:
		c := w.st.conn
		c.mu.Lock()
		defer c.mu.Unlock()
		c.encode(":status", strconv.Itoa(status))
		c.encodeAll(w.header)
		c.sendEncoded(w.st.id, false)
		c.flush()
	default:
		w.status = status
		w.announce()
	}
}

// announce notes what the header fields say of body and trailers.
func (w *responseWriter) announce() {
	if text := w.header.Get("Content-Length"); text != "" {
		if n, err := strconv.ParseUint(text, 10, 63); err == nil {
			w.length = int64(n)
		} else {
			w.header.Del("Content-Length")
		}
	}
	for _, line := range w.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			w.trailers = append(w.trailers, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
}

// bodiless reports whether the answer has no body (RFC 9110 §6.4.1).
func (w *responseWriter) bodiless() bool {
	return w.method == http.MethodHead || w.status == http.StatusNoContent || w.status == http.StatusNotModified
}

// Write writes to the body.
func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.bodiless() {
		if w.method == http.MethodHead {
			return len(p), nil
		}
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p))
	if w.length >= 0 && w.written > w.length {
		return 0, http.ErrContentLength
	}
	if len(w.buffer)+len(p) <= responseBuffer {
		w.buffer = append(w.buffer, p...)
		return len(p), nil
	}
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.drain(false); err != nil {
		return 0, err
	}
	return w.send(p)
}

// FlushError sends what has been gathered.
func (w *responseWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	err := w.drain(false)
	c.flush()
	return err
}

// Flush sends what has been gathered.
func (w *responseWriter) Flush() { _ = w.FlushError() } // http.Flusher has no error

// SetWriteDeadline bounds the time until the whole answer has been sent.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.st.conn.mu.Lock()
	defer w.st.conn.mu.Unlock()
	w.st.deadline = t
	return nil
}

// drain sends the header section, if that is still to be done, and the buffer.
// Whole says that the buffer is all there will be. mu is held.
func (w *responseWriter) drain(whole bool) error {
	if w.st.err != nil {
		return w.st.err
	}
	if !w.sent {
		w.sendHeader(whole)
	}
	if len(w.buffer) == 0 {
		return nil
	}
	_, err := w.send(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}

func (w *responseWriter) sendHeader(whole bool) {
	w.sent = true
	h := w.header
	if whole && w.length < 0 && !w.bodiless() && len(w.trailers) == 0 {
		h.Set("Content-Length", strconv.Itoa(len(w.buffer)))
	}
	if _, typed := h["Content-Type"]; !typed && len(w.buffer) > 0 && h.Get("Content-Encoding") == "" {
		h.Set("Content-Type", http.DetectContentType(w.buffer))
	}
	if _, dated := h["Date"]; !dated {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	c := w.st.conn
	c.encode(":status", strconv.Itoa(w.status))
	c.encodeAll(h)
	c.sendEncoded(w.st.id, whole && (len(w.buffer) == 0 || w.bodiless()) && len(w.trailers) == 0)
}

// send sends body bytes as windows and the buffer of the connection allow,
// waiting where they do not. mu is held, but not while waiting.
func (w *responseWriter) send(p []byte) (int, error) {
	st, c := w.st, w.st.conn
	total := 0
	for len(p) > 0 {
		if err := w.broken(); err != nil {
			return total, err
		}
		n := min(int64(len(p)), maxFrame, c.sendWindow, st.window)
		if n > 0 && len(c.out) < flushAt {
			c.sendData(st, p[:n], false)
			p, total = p[n:], total+int(n)
			continue
		}
		c.flush() // returns at once if somebody else is writing
		stuck := min(c.sendWindow, st.window) <= 0 || len(c.out) >= flushAt
		if stuck && w.broken() == nil {
			c.changed.Wait()
		}
	}
	return total, nil
}

// broken returns why nothing can be sent any more, or nil. mu is held.
func (w *responseWriter) broken() error {
	switch {
	case w.st.err != nil:
		return w.st.err
	case w.st.conn.closed:
		return errConnClosed
	case !w.st.deadline.IsZero() && time.Now().After(w.st.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// finish ends an answer whose handler has returned. mu is held.
func (w *responseWriter) finish() {
	st, c := w.st, w.st.conn
	if w.status == 0 {
		w.status = http.StatusOK
		w.announce()
	}
	short := w.length >= 0 && w.written != w.length && !w.bodiless()
	if short {
		w.fail()
		return
	}
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			w.trailers = append(w.trailers, name)
		}
	}
	first := !w.sent
	if err := w.drain(true); err != nil {
		w.fail()
		return
	}
	ended := first && (w.written == 0 || w.bodiless()) && len(w.trailers) == 0
	if !ended {
		w.end()
	}
	w.leave()
	if !st.peerEnded { // nobody wants the rest of the body (RFC 9113 §8.1)
		c.begin(4, frameRSTStream, 0, st.id)
		c.out = appendUint32(c.out, uint32(NoError))
	}
	c.flush()
	c.endIfDone()
}

// end sends END_STREAM, with trailers if there are any. mu is held.
func (w *responseWriter) end() {
	c := w.st.conn
	trailers := make(http.Header)
	for _, name := range w.trailers {
		if values := w.header[name]; len(values) > 0 {
			trailers[http.CanonicalHeaderKey(strings.TrimPrefix(name, http.TrailerPrefix))] = values
		}
	}
	if len(trailers) == 0 {
		c.begin(0, frameData, flagEndStream, w.st.id)
		return
	}
	c.encodeAll(trailers)
	c.sendEncoded(w.st.id, true)
}

// fail breaks an answer off. mu is held.
func (w *responseWriter) fail() {
	st, c := w.st, w.st.conn
	if c.streams[st.id] == st {
		_ = c.resetStream(&streamError{st.id, InternalError, "answer broken off"}) // our own fault costs the client no budget
		c.budget.counts[ResetsSent]--
	}
	w.leave()
	c.flush()
	c.endIfDone()
}

func (w *responseWriter) leave() {
	w.st.cancel()
	if b := w.st.in; b != nil && !b.closed {
		b.closed = true
		w.st.conn.credit(nil, len(b.data))
		b.data = nil
	}
	w.st.conn.remove(w.st)
}

// notSent are fields that HTTP/2 does not have (RFC 9113 §8.2.2).
var notSent = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"}

// encode appends one field to the header block that is being made. mu is held.
func (c *conn) encode(name, value string) {
	// The encoder writes to a buffer, which takes everything.
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
}

// encodeAll appends fields in the order of their names. mu is held.
func (c *conn) encodeAll(h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		if !strings.HasPrefix(name, http.TrailerPrefix) && !slices.Contains(notSent, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		lower := strings.ToLower(name)
		if !validName(lower) {
			continue
		}
		for _, value := range h[name] {
			if value = strings.Trim(value, " \t"); validValue(value) {
				c.encode(lower, value)
			}
		}
	}
}

// sendEncoded sends the header block that was made. mu is held.
func (c *conn) sendEncoded(id uint32, ends bool) {
	block := c.encoded.Bytes()
	kind := frameHeaders
	for {
		n := min(len(block), maxFrame)
		var flags uint8
		if n == len(block) {
			flags |= flagEndHeaders
		}
		if ends && kind == frameHeaders {
			flags |= flagEndStream
		}
		c.begin(n, kind, flags, id)
		c.out = append(c.out, block[:n]...)
		block, kind = block[n:], frameContinuation
		if len(block) == 0 {
			break
		}
	}
	c.encoded.Reset()
}

var _ interface {
	http.ResponseWriter
	http.Flusher
} = (*responseWriter)(nil)
