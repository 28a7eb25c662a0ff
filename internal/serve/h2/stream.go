package h2

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// errReset is what a handler sees when the client has reset its stream.
var errReset = errors.New("HTTP/2 stream reset by the client")

// A stream is a request that is being answered: with a body that is ready, or
// by a handler. All fields are guarded by conn.mu.
type stream struct {
	conn      *conn
	id        uint32
	window    int64 // what may be sent
	received  int64 // DATA since the last update of our window
	consumed  int64 // of it, what has been used up
	peerEnded bool
	deadline  time.Time // for the reader of the answer; zero is none
	err       error     // why the stream was broken off

	body []byte // what is left of a body that is ready
	keep any

	in     *requestBody // of a handler's stream
	cancel context.CancelFunc
}

// abort breaks a stream off. mu is held.
func (st *stream) abort(err error) {
	if st.err == nil {
		st.err = err
	}
	if st.cancel != nil {
		st.cancel()
	}
	st.conn.changed.Broadcast()
}

// take hands the bytes of a DATA frame to the handler. mu is held.
func (st *stream) take(data []byte, ends bool) error {
	st.peerEnded = st.peerEnded || ends
	b := st.in
	if b == nil {
		return nil
	}
	b.got += int64(len(data))
	if b.want >= 0 && (b.got > b.want || ends && b.got != b.want) {
		return &streamError{st.id, ProtocolError, "body and Content-Length differ"}
	}
	if b.closed {
		st.conn.credit(st, len(data))
	} else {
		b.data = append(b.data, data...)
	}
	st.conn.changed.Broadcast()
	return nil
}

// A requestBody is the body of a request, read by its handler.
type requestBody struct {
	st       *stream
	data     []byte // at most the window of the stream
	got      int64
	want     int64 // Content-Length, or -1
	closed   bool
	expects  bool // 100-continue is due when the body is first read
	trailers http.Header
	request  *http.Request
	deadline time.Time
}

// Read reads from the body.
func (b *requestBody) Read(p []byte) (int, error) {
	st, c := b.st, b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.expects && len(b.data) == 0 && !st.peerEnded {
		b.expects = false
		c.encode(":status", "100")
		c.sendEncoded(st.id, false)
		c.flush()
	}
	for len(b.data) == 0 {
		switch {
		case b.closed:
			return 0, http.ErrBodyReadAfterClose
		case st.err != nil:
			return 0, st.err
		case st.peerEnded:
			for name, values := range b.trailers {
				b.request.Trailer[name] = values
			}
			return 0, io.EOF
		}
		c.changed.Wait()
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	if len(b.data) == 0 {
		b.data = nil
	}
	c.credit(st, n)
	c.flush()
	return n, nil
}

// Close gives up the rest of the body.
func (b *requestBody) Close() error {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.closed {
		b.closed = true
		c.credit(b.st, len(b.data))
		b.data = nil
		c.flush()
	}
	return nil
}
