package h2

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	// errReset is what a handler sees when the client has reset its stream.
	errReset = errors.New("HTTP/2 stream reset by the client")
	// errHandlerDone is what those see who use a stream when its handler has returned.
	errHandlerDone = errors.New("HTTP/2 handler has returned")
)

// A stream is a request that is being answered: with a body that is ready, or
// by a handler. All fields are guarded by conn.mu.
type stream struct {
	conn      *conn
	id        uint32
	window    int64 // what may be sent
	received  int64 // DATA since the last update of our window
	consumed  int64 // of it, what has been used up
	peerEnded bool
	gone      bool  // no longer among the connection's streams
	err       error // why the stream was broken off

	body       []byte // what waits to be sent; the stream is in conn.queue while there is any
	last       bool   // the stream ends with body
	priority   priority
	rank       uint8 // in conn.queue
	keep       any
	sentBefore int64         // conn.sent when the stream began
	stuck      time.Time     // since when no window lets body go on; zero is not at all
	waited     time.Duration // all the time that was spent like that
	writeUntil time.Time     // the deadline that the handler has set

	// Of a handler's stream:
	handled bool
	tunnel  bool      // see connect.go
	wake    sync.Cond // body was sent, in has got more, a deadline has passed, or err was set
	in      *requestBody
	cancel  context.CancelFunc
}

// abort breaks a stream off. mu is held.
func (st *stream) abort(err error) {
	if st.err == nil {
		st.err = err
	}
	if !st.handled {
		return
	}
	st.cancel()
	if st.in != nil && !st.peerEnded { // what came of the body is of no use
		st.in.discard()
	}
	st.wake.Broadcast()
}

// stalled reports whether the peer has kept a body waiting for windows longer
// than it may. What other streams have sent meanwhile counts: they share the
// connection's window, and its line. mu is held.
func (st *stream) stalled(now time.Time) bool {
	if st.tunnel {
		return !st.stuck.IsZero() && now.Sub(st.stuck) >= st.conn.server.options.Idle
	}
	return !st.stuck.IsZero() && st.waited+now.Sub(st.stuck) > st.conn.allowed(st.conn.sent-st.sentBefore)
}

// A broken is a stream that was reset here while its client may have been
// sending. What was on its way is no fault (RFC 9113 §5.4.2).
type broken struct {
	id   uint32
	left int // bytes, that may still come
}

// maxBroken is how many of them are remembered.
const maxBroken = 64

// reset sends RST_STREAM. ended says that the client had ended its side: nothing
// can be on its way then. mu is held.
func (c *conn) reset(id uint32, code ErrCode, ended bool) {
	c.begin(4, frameRSTStream, 0, id)
	c.out = appendUint32(c.out, uint32(code))
	if !ended {
		c.forgive(id)
	}
}

// forgive has frames of a stream ignored that its client sent too late. mu is held.
func (c *conn) forgive(id uint32) {
	if len(c.broken) == maxBroken {
		c.broken = append(c.broken[:0], c.broken[1:]...)
	}
	c.broken = append(c.broken, broken{id, initialWindow})
}

// forgiven reports whether a frame of n bytes is to be ignored. mu is held.
func (c *conn) forgiven(id uint32, n int) bool {
	for i := range c.broken {
		if b := &c.broken[i]; b.id == id && b.left > 0 {
			b.left -= max(n, 64) // so that small frames do not last forever
			return true
		}
	}
	return false
}

// resetStream answers an error of a stream with RST_STREAM. mu is held.
func (c *conn) resetStream(bad *streamError) error {
	ended := true
	if st := c.streams[bad.id]; st != nil {
		ended = st.peerEnded
		c.remove(st)
		st.abort(bad)
	}
	c.reset(bad.id, bad.code, ended)
	return c.spend(ResetsSent)
}
