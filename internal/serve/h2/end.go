package h2

import (
	"errors"
	"io"
	"time"
)

var errConnClosed = errors.New("HTTP/2 connection closed")

const (
	// lingerTime is how long a peer may take to read the last words.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// finish says why the connection ends, as far as there is something to say, and
// breaks off what is left. What has been gathered is still written.
func (c *conn) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	if protocol, ok := errors.AsType[*connError](err); ok && !c.closed {
		c.lastWords = true
		_ = c.nc.SetWriteDeadline(time.Now().Add(2 * lingerTime)) // also for a write that is stuck
		c.sendGoAway(min(c.opened, c.last), protocol.code, protocol.why)
	}
	c.flush()
	for c.writing && !c.closed {
		c.leave()
		c.room.Wait()
	}
	c.shut()
}

// shut breaks everything off. mu is held.
func (c *conn) shut() {
	c.closed = true
	for _, st := range c.streams {
		st.abort(errConnClosed)
	}
	c.room.Broadcast()
}

// linger lets the peer read the last words before the kernel answers unread bytes
// with RST, upon which some peers forget what they had received.
func (c *conn) linger(err error) {
	if _, ok := errors.AsType[*connError](err); !ok && !errors.Is(err, errConnClosed) {
		return
	}
	if c.waiter != nil {
		c.waiter.Block()
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.nc, lingerBytes)
	}
}

// goAway begins a graceful end: the peer is told to open no more streams, and
// when it has had a moment to hear of it, which it was that counted.
func (c *conn) goAway() {
	c.mu.Lock()
	if c.draining || c.ending || c.closed {
		c.mu.Unlock()
		return
	}
	c.draining = true
	c.sendGoAway(maxStreamID, NoError, "")
	c.flush()
	c.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-c.info.Context.Done():
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending || c.closed {
		return
	}
	c.leaving, c.last = true, min(c.last, c.opened)
	c.sendGoAway(c.last, NoError, "")
	c.endIfDone()
	c.flush()
}

// endIfDone ends a connection that is leaving when it has nothing more to do. mu is held.
func (c *conn) endIfDone() {
	if !c.leaving || len(c.streams) > 0 || c.ending {
		return
	}
	if c.last > c.opened { // the peer has not heard of it from us
		c.last = c.opened
		c.sendGoAway(c.last, NoError, "")
	}
	c.ending = true
	c.wakeReader(time.Unix(1, 0))
}

func (c *conn) sendGoAway(last uint32, code ErrCode, why string) {
	c.begin(8+len(why), frameGoAway, 0, 0)
	c.out = appendUint32(appendUint32(c.out, last), uint32(code))
	c.out = append(c.out, why...)
}
