package h2

import (
	"strconv"
	"sync"
	"time"
)

const (
	// flushAt is how much is gathered before it is written. More would leave the
	// processor's cache.
	flushAt = 64 << 10
	// inlineBody is the largest body that is sent at once; larger ones take turns.
	inlineBody = maxFrame
	// keepBuffer is the largest write buffer that goes back to the pool.
	keepBuffer = flushAt + 2*maxFrame
)

// A writeBuffer gathers frames. It is borrowed while there is something to write.
type writeBuffer struct{ b []byte }

var writeBuffers = sync.Pool{New: func() any { return &writeBuffer{make([]byte, 0, keepBuffer)} }}

// sendHit appends an answer that stands ready, and its body as far as it goes.
// mu is held.
func (c *conn) sendHit(id uint32, h *Hit) {
	date := c.server.date.get(c.now)
	n := len(date)
	for _, b := range h.Blocks {
		n += len(b)
	}
	var flags uint8 = flagEndHeaders
	if len(h.Body) == 0 {
		flags |= flagEndStream
	}
	c.begin(n, frameHeaders, flags, id)
	for _, b := range h.Blocks {
		c.out = append(c.out, b...)
	}
	c.out = append(c.out, date...)
	size := int64(len(h.Body))
	switch {
	case size == 0:
	case size <= inlineBody && size <= c.sendWindow && size <= c.peerWindow && len(c.queue) == 0:
		c.sendWindow -= size
		c.begin(len(h.Body), frameData, flagEndStream, id)
		c.out = append(c.out, h.Body...)
	default:
		st := &stream{conn: c, id: id, window: c.peerWindow, body: h.Body, keep: h.Keep, peerEnded: true}
		st.deadline = c.now.Add(c.allowed(size))
		c.streams[id] = st
		c.queue = append(c.queue, st)
	}
	if len(c.out) >= flushAt {
		c.flush()
	}
}

// allowed is how long a peer may take to read n bytes.
func (c *conn) allowed(n int64) time.Duration {
	o := &c.server.options
	return o.Grace + time.Duration(n/o.Rate)*time.Second
}

// send writes what has been gathered and then bodies that are ready. When there
// are more than fit one write, a goroutine goes on with them, so that the reader
// can hear of windows and resets meanwhile. mu is held.
func (c *conn) send() {
	if c.pumping {
		c.flush()
		return
	}
	more := c.pump()
	c.flush()
	if more {
		c.pumping = true
		go c.pumpOn()
	}
}

func (c *conn) pumpOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.pumping = false }()
	for !c.closed && c.pump() {
		c.flush()
	}
	c.flush()
	c.endIfDone()
}

// endIfDone wakes the reader when a connection that is leaving has nothing more
// to do. mu is held.
func (c *conn) endIfDone() {
	if c.leaving && len(c.streams) == 0 && !c.closed {
		c.closed = true
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// pump appends DATA frames of the bodies that are ready, one frame of each in
// turn, until enough is gathered. It reports whether there is more that could be
// sent. mu is held.
func (c *conn) pump() bool {
	blocked := 0
	for len(c.queue) > 0 && blocked < len(c.queue) {
		if len(c.out) >= flushAt {
			return true
		}
		st := c.queue[0]
		c.queue = append(c.queue[:0], c.queue[1:]...)
		n := min(int64(len(st.body)), maxFrame, c.sendWindow, st.window)
		if n <= 0 {
			c.queue = append(c.queue, st)
			blocked++
			continue
		}
		blocked = 0
		c.sendData(st, st.body[:n], int(n) == len(st.body))
		if st.body = st.body[n:]; len(st.body) == 0 {
			c.remove(st)
		} else {
			c.queue = append(c.queue, st)
		}
	}
	return false
}

// sendData appends one DATA frame, for which there is window. mu is held.
func (c *conn) sendData(st *stream, data []byte, last bool) {
	var flags uint8
	if last {
		flags = flagEndStream
	}
	c.sendWindow -= int64(len(data))
	st.window -= int64(len(data))
	c.begin(len(data), frameData, flags, st.id)
	c.out = append(c.out, data...)
}

// remove forgets a stream. mu is held.
func (c *conn) remove(st *stream) {
	delete(c.streams, st.id)
	if st.body != nil {
		for i, q := range c.queue {
			if q == st {
				c.queue = append(c.queue[:i], c.queue[i+1:]...)
				break
			}
		}
		st.body, st.keep = nil, nil
	}
	c.changed.Broadcast()
}

// begin appends the header of a frame, to a buffer that is borrowed if there is
// none. mu is held.
func (c *conn) begin(length int, kind frameType, flags uint8, stream uint32) {
	if c.buffer == nil {
		c.buffer = writeBuffers.Get().(*writeBuffer)
		c.out = c.buffer.b
	}
	c.out = appendHeader(c.out, length, kind, flags, stream)
}

// flush writes what has been gathered. If somebody is writing already, they go
// on with it. mu is held, but not while writing.
func (c *conn) flush() {
	if c.writing {
		return
	}
	c.writing = true
	for len(c.out) > 0 && !c.closed {
		out, buffer := c.out, c.buffer
		c.out, c.buffer = nil, nil
		until, due := c.writeDeadline(len(out))
		c.mu.Unlock()
		err := c.write(out, until, due)
		if cap(out) <= 2*keepBuffer {
			buffer.b = out[:0]
			writeBuffers.Put(buffer)
		}
		c.mu.Lock()
		if err != nil {
			c.closed = true
			_ = c.nc.Close() // wakes the reader
		}
		c.changed.Broadcast()
	}
	c.writing = false
}

func (c *conn) write(out []byte, until time.Time, due bool) error {
	if due {
		if err := c.nc.SetWriteDeadline(until); err != nil {
			return err
		}
	}
	_, err := c.nc.Write(out)
	return err
}

// writeDeadline returns the deadline of a write and whether it must be set: one
// that leaves at least half of the time that is due is good enough.
func (c *conn) writeDeadline(n int) (time.Time, bool) {
	now, allowed := time.Now(), c.allowed(int64(n))
	if left := c.wroteUntil.Sub(now); left > allowed/2 && left < 2*allowed {
		return c.wroteUntil, false
	}
	c.wroteUntil = now.Add(allowed)
	return c.wroteUntil, true
}

// answerError sends a status without a body. mu is held.
func (c *conn) answerError(id uint32, status int, ended bool) {
	c.encode(":status", strconv.Itoa(status))
	c.encode("content-length", "0")
	c.encode("cache-control", "no-store")
	c.sendEncoded(id, true)
	if !ended { // whoever goes on sending a body is told to stop
		c.begin(4, frameRSTStream, 0, id)
		c.out = appendUint32(c.out, uint32(NoError))
	}
}
