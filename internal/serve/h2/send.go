package h2

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// littleAtOnce is how much is gathered before it is written, and muchAtOnce if
	// the peer takes it quickly: fewer system calls and wake-ups of the peer count
	// for more then than the processor's cache. Whoever is slow keeps less memory,
	// and only so many may keep more (mostLarge).
	littleAtOnce = 64 << 10
	muchAtOnce   = 512 << 10
	mostLarge    = 32
	// batchAtOnce is how much of small answers is gathered. The peer had better begin
	// with the first of them while the others are made.
	batchAtOnce = 96 << 10
	// quickly is how long a write takes at most that is no reason to do with less.
	quickly = 5 * time.Millisecond
	// turnBytes is how much one connection sends before the others of its loop have
	// their turns.
	turnBytes = 256 << 10
	// writesAtOnce is how many writes are made before a goroutine goes on. For a
	// peer that reads quickly they are over sooner than the goroutine starts.
	writesAtOnce = 4
	// inlineBody is the largest body that is sent at once; larger ones take turns.
	inlineBody = maxFrame
	// overshoot is how much more may be gathered.
	overshoot = 2 * maxFrame
)

// A writeBuffer gathers frames. It is borrowed while there is something to write.
type writeBuffer struct{ b []byte }

// The pools are caches and hold no state.
var (
	littleBuffers = sync.Pool{New: func() any { return &writeBuffer{make([]byte, 0, batchAtOnce+overshoot)} }}
	muchBuffers   = sync.Pool{New: func() any { return &writeBuffer{make([]byte, 0, muchAtOnce+overshoot)} }}
)

// takeBuffer borrows a buffer for so many bytes at once, or for fewer if there are
// enough large ones.
func (s *Server) takeBuffer(atOnce int) *writeBuffer {
	if atOnce > batchAtOnce {
		if s.large.Add(1) <= mostLarge {
			return muchBuffers.Get().(*writeBuffer)
		}
		s.large.Add(-1)
	}
	return littleBuffers.Get().(*writeBuffer)
}

// giveBack gives a buffer back, in which out lay, unless that has outgrown it.
func (s *Server) giveBack(w *writeBuffer, out []byte) {
	large := cap(w.b) == muchAtOnce+overshoot
	if large {
		s.large.Add(-1)
	}
	switch w.b = out[:0]; {
	case cap(out) == batchAtOnce+overshoot:
		littleBuffers.Put(w)
	case large && cap(out) == muchAtOnce+overshoot:
		muchBuffers.Put(w)
	}
}

// sendHit appends an answer that stands ready and is sendable, and its body if it
// is small. mu is held.
func (c *conn) sendHit(id uint32, h *Hit) {
	var flags uint8 = flagEndHeaders
	if len(h.Body) == 0 {
		flags |= flagEndStream
	}
	c.begin(0, frameHeaders, flags, id)
	start := len(c.out)
	c.out = c.appendStatus(c.table.Begin(c.out), h.Status)
	for _, b := range h.Blocks {
		if b != nil {
			c.out = c.table.Append(c.out, b)
		}
	}
	c.out = c.table.Append(c.out, c.server.date.get(c.now))
	setLength(c.out[start-frameHeader:], len(c.out)-start)
	size := int64(len(h.Body))
	switch {
	case size == 0:
	case size <= inlineBody && size <= c.sendWindow && size <= c.peerWindow && len(c.queue) == 0:
		c.sendWindow -= size
		c.begin(len(h.Body), frameData, flagEndStream, id)
		c.out = append(c.out, h.Body...)
		c.budget.earn(WindowUpdates, 2)
	default:
		st := &stream{conn: c, id: id, window: c.peerWindow, body: h.Body, last: true, keep: h.Keep, peerEnded: true, sentBefore: c.sent}
		st.priority = c.reader.section.priority
		c.streams[id] = st
		c.enqueue(st)
	}
}

// sendable reports whether the header section of a hit fits one frame.
func (h *Hit) sendable() bool {
	size := hitOverhead
	for _, b := range h.Blocks {
		if b != nil {
			size += b.Size()
		}
	}
	return size <= maxFrame
}

// hitOverhead is more than the table's updates, ":status" and Date take, in bytes.
const hitOverhead = 64

// remove forgets a stream. mu is held.
func (c *conn) remove(st *stream) {
	if c.streams[st.id] != st {
		return
	}
	delete(c.streams, st.id)
	st.gone = true
	c.unqueue(st)
	c.active = time.Now()
	c.endIfDone()
}

// begin appends the header of a frame, to a buffer that is borrowed if there is
// none. mu is held.
func (c *conn) begin(length int, kind frameType, flags uint8, stream uint32) {
	if c.buffer == nil {
		c.buffer = c.server.takeBuffer(c.atOnce)
		c.out = c.buffer.b
	}
	c.out = appendHeader(c.out, length, kind, flags, stream)
}

// flush writes what has been gathered, and what bodies there are to send with it.
// If somebody is writing already, they go on with it. What a few writes do not
// take is left to a goroutine, so that the reader can hear of windows and resets,
// and a handler is not kept for others. mu is held, but not while writing.
func (c *conn) flush() {
	if c.writing || c.closed {
		return
	}
	if c.pump(); len(c.out) == 0 {
		return
	}
	c.writing = true
	for range writesAtOnce {
		c.write()
		if c.pump(); len(c.out) == 0 || c.closed {
			c.writing = false
			c.room.Broadcast()
			return
		}
	}
	c.help(c.writeOn)
}

// flushTurn is flush for who reads, where other connections wait for their turns:
// what is left after a turn is for the next one. mu is held, but not while writing.
func (c *conn) flushTurn() {
	if !c.turns {
		c.flush()
		return
	}
	if c.writing || c.closed {
		return
	}
	c.pump()
	c.writing = len(c.out) > 0
	for c.writing {
		c.turn += len(c.out)
		c.write()
		switch {
		case c.closed:
			c.writing = false
		case c.turn >= turnBytes:
			c.writing, c.more = false, c.more || len(c.out) > 0 || c.queued()
		default:
			c.pump()
			c.writing = len(c.out) > 0
		}
	}
	c.room.Broadcast()
}

// writeOn is the writer until there is nothing more to write.
func (c *conn) writeOn() {
	defer c.containWriter()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > 0 && !c.closed {
		c.write()
		c.pump()
	}
	c.writing = false
	c.room.Broadcast()
}

// containWriter ends the connection whose writer has panicked.
func (c *conn) containWriter() {
	failure := recover()
	if failure == nil {
		return
	}
	c.crashed(failure, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut()
	c.wakeReader(time.Unix(1, 0))
}

// awaitRoom keeps whoever adds to out from doing so faster than the peer reads.
// mu is held, but not while waiting.
func (c *conn) awaitRoom() {
	if len(c.out) < c.atOnce {
		return
	}
	c.settle()
	c.flush()
	for c.writing && len(c.out) >= c.atOnce && !c.closed {
		c.leave()
		c.room.Wait()
	}
}

// leave lets the loop, if there is one, go on without whoever waits here.
func (c *conn) leave() {
	if c.waiter != nil {
		c.waiter.Leave()
	}
}

// write writes out. mu is held, but not while writing.
func (c *conn) write() {
	out, buffer := c.out, c.buffer
	c.out, c.buffer = nil, nil
	much := len(out) >= c.atOnce
	c.setWriteDeadline(len(out))
	var began time.Time
	if much {
		began = time.Now()
	}
	c.writeUnlocked(out)
	c.server.giveBack(buffer, out)
	switch {
	case !much:
	case time.Since(began) > quickly || !c.paced: // one deadline for more would leave a reader that is stuck too much time
		c.atOnce = littleAtOnce
	default:
		c.atOnce = muchAtOnce
	}
	c.room.Broadcast()
}

func (c *conn) writeUnlocked(out []byte) {
	written := false
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		if !written {
			c.shut()
		}
	}()
	if _, err := c.nc.Write(out); err != nil {
		_ = c.nc.Close() // wakes the reader
		return
	}
	written = true
}

// setWriteDeadline gives n bytes the time that they may take. A deadline that
// leaves at least half of it is good enough. mu is held.
func (c *conn) setWriteDeadline(n int) {
	if c.paced || c.lastWords {
		return
	}
	now, allowed := c.settled, c.allowed(int64(n))
	if now.IsZero() {
		now = time.Now()
	}
	c.settled = time.Time{}
	if left := c.wroteUntil.Sub(now); left > allowed/2 && left < 2*allowed {
		return
	}
	c.wroteUntil = now.Add(allowed)
	_ = c.nc.SetWriteDeadline(c.wroteUntil) // a connection on which this fails is closed
}

// answerError sends a status without a body. mu is held.
func (c *conn) answerError(id uint32, status int, ended bool) {
	c.encode(":status", strconv.Itoa(status))
	c.encode("content-length", "0")
	c.encode("cache-control", "no-store")
	c.encode("date", c.now.UTC().Format(http.TimeFormat)) // RFC 9110 §6.6.1
	c.sendEncoded(id, true)
	if !ended { // whoever goes on sending a body is told to stop
		c.reset(id, NoError, false)
	}
}
