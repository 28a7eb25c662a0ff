package h2

import (
	"io"
	"net/http"
	"os"
	"time"
)

var errTimeout = os.ErrDeadlineExceeded

// A requestBody is the body of a request, read by its handler.
type requestBody struct {
	st        *stream
	request   *http.Request
	want      int64 // Content-Length, or -1
	gotBefore int64 // conn.got when the stream began

	// Guarded by conn.mu:
	data     []byte // at most the window of the stream
	got      int64
	closed   bool
	expects  bool // 100-continue is due when the body is first read
	trailers http.Header
	waiting  time.Time     // since when a Read waits; zero is not at all
	waited   time.Duration // all the time that Reads have waited
	heard    time.Time     // when there was last DATA, in either direction if it is a tunnel's
	until    time.Time     // the deadline that the handler has set
	timed    bool          // it has set one, so that our own does not count
}

// take hands the bytes of a DATA frame to the handler. mu is held.
func (b *requestBody) take(data []byte, ends bool) error {
	st := b.st
	b.got += int64(len(data))
	if b.want >= 0 && (b.got > b.want || ends && b.got != b.want) {
		return &streamError{st.id, ProtocolError, "body and Content-Length differ"}
	}
	if len(data) > 0 {
		b.heard = st.conn.now
	}
	st.peerEnded = ends
	if b.closed {
		st.conn.credit(st, len(data))
	} else {
		b.data = append(b.data, data...)
	}
	st.wake.Broadcast()
	return nil
}

// discard gives up what was not read. mu is held.
func (b *requestBody) discard() {
	n := len(b.data)
	b.data = nil
	b.st.conn.credit(b.st, n)
}

// late reports whether the body has come too slowly. What has come for other
// streams counts: they share the connection's window, and its line. mu is held.
func (b *requestBody) late(now time.Time) bool {
	c := b.st.conn
	if b.timed {
		return b.expired(now)
	}
	if b.st.tunnel {
		return b.quiet(now)
	}
	return !b.waiting.IsZero() && b.waited+now.Sub(b.waiting) > c.allowed(c.got-b.gotBefore)
}

// expired reports whether the deadline that the handler has set has passed. mu is held.
func (b *requestBody) expired(now time.Time) bool {
	return b.timed && !b.until.IsZero() && !now.Before(b.until)
}

// Read reads from the body.
func (b *requestBody) Read(p []byte) (int, error) {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	b.sendContinue()
	if done, err := b.await(); done {
		return 0, err
	}
	n := copy(p, b.data)
	if b.data = b.data[n:]; len(b.data) == 0 {
		b.data = nil
	}
	c.credit(b.st, n)
	c.flush()
	return n, nil
}

// sendContinue asks for a body that the client holds back. mu is held.
func (b *requestBody) sendContinue() {
	st, c := b.st, b.st.conn
	if !b.expects || len(b.data) > 0 || st.peerEnded || st.err != nil || c.closed {
		return
	}
	b.expects = false
	c.encode(":status", "100")
	c.sendEncoded(st.id, false)
	c.flush()
}

// await waits until there is something to be read, or there will be no more. mu
// is held, but not while waiting.
func (b *requestBody) await() (done bool, err error) {
	st := b.st
	defer func() {
		if !b.waiting.IsZero() {
			b.waited, b.waiting = b.waited+time.Since(b.waiting), time.Time{}
		}
	}()
	for len(b.data) == 0 {
		switch now := time.Now(); {
		case b.closed:
			return true, http.ErrBodyReadAfterClose
		case st.peerEnded:
			b.endTrailers()
			return true, io.EOF
		case st.err != nil:
			return true, st.err
		case b.late(now):
			return true, errTimeout
		case b.waiting.IsZero():
			b.waiting = now
		}
		st.wake.Wait()
	}
	return false, nil
}

// endTrailers hands over the trailers that were announced, as net/http does.
func (b *requestBody) endTrailers() {
	for name, values := range b.trailers {
		if _, announced := b.request.Trailer[name]; announced {
			b.request.Trailer[name] = values
		}
	}
	b.trailers = nil
}

// Close gives up the rest of the body.
func (b *requestBody) Close() error {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.discard()
		c.flush()
	}
	return nil
}
