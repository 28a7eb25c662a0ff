package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// WatchOptions say what a watched connection may do.
type WatchOptions struct {
	Head time.Duration // for the preface, a frame, or a header block of several
	Rate int64         // bytes a second, for which DATA frames get more time
	// Only refuses a connection that does not begin with HTTP/2's preface; others
	// pass unseen without it.
	Only bool
	// OnAbuse is told of a connection that was closed because it was too slow.
	OnAbuse func(Kind)
}

// Watch returns a connection for an engine that has no limit for how long the
// frames of one header section may take: net/http's. It follows the frames that
// are read and closes the connection when one has begun and does not end in time.
func Watch(nc net.Conn, o WatchOptions) *WatchedConn {
	c := &WatchedConn{Conn: nc, options: o}
	if o.Only {
		c.begin(0)
	}
	return c
}

// A WatchedConn is a connection that [Watch] watches.
type WatchedConn struct {
	net.Conn
	options WatchOptions
	written atomic.Int64

	// Only the reader touches these.
	begun   int  // bytes of the preface that have come
	unseen  bool // not HTTP/2
	refused bool // and that is not allowed
	header  [frameHeader]byte
	have    int   // of the frame's header
	payload int64 // bytes of the frame that are still to come
	block   bool  // a header block is open
	waiting bool  // something has begun; the timer runs

	mu    sync.Mutex // guards timer, which fires beside Close
	timer *time.Timer
}

// Read reads, and follows the frames. A client that agreed upon HTTP/2 and speaks
// something else has ended: net/http answers any other error over HTTP/1.1.
func (c *WatchedConn) Read(p []byte) (int, error) {
	if c.refused {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.unseen {
		c.follow(p[:n])
	}
	if c.refused {
		return 0, io.EOF
	}
	return n, err
}

// Close closes the connection.
func (c *WatchedConn) Close() error {
	c.disarm()
	return c.Conn.Close()
}

// CloseWrite lets the connection linger.
func (c *WatchedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Write writes.
func (c *WatchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// Written is how many bytes were written, in all.
func (c *WatchedConn) Written() int64 { return c.written.Load() }

// NetConn returns the connection that is watched.
func (c *WatchedConn) NetConn() net.Conn { return c.Conn }

// follow goes through what was read.
func (c *WatchedConn) follow(p []byte) {
	if c.begun < len(preface) {
		n := min(len(p), len(preface)-c.begun)
		if !bytes.Equal(p[:n], []byte(preface[c.begun:c.begun+n])) {
			c.disarm()
			c.unseen, c.refused = true, c.options.Only
			return
		}
		c.begun += n
		p = p[n:]
		if c.begun < len(preface) {
			c.begin(0)
			return
		}
		c.end()
	}
	for len(p) > 0 {
		p = c.frame(p)
	}
}

// frame takes what p has of the frame at hand.
func (c *WatchedConn) frame(p []byte) []byte {
	if c.have < frameHeader {
		n := copy(c.header[c.have:], p)
		c.have += n
		if c.have < frameHeader {
			c.begin(0)
			return nil
		}
		p = p[n:]
		c.payload = int64(binary.BigEndian.Uint32(c.header[:4]) >> 8)
	}
	n := min(int64(len(p)), c.payload)
	if c.payload -= n; c.payload > 0 {
		extra := time.Duration(0)
		if frameType(c.header[3]) == frameData {
			extra = time.Duration(c.payload/c.options.Rate) * time.Second
		}
		c.begin(extra)
		return nil
	}
	if t := frameType(c.header[3]); t == frameHeaders || t == frameContinuation {
		c.block = c.header[4]&flagEndHeaders == 0
	}
	c.have = 0
	if c.block {
		c.begin(0)
	} else {
		c.end()
	}
	return p[n:]
}

// begin notes that something has begun that must end in time.
func (c *WatchedConn) begin(extra time.Duration) {
	if !c.waiting {
		c.waiting = true
		c.arm(c.options.Head + extra)
	}
}

func (c *WatchedConn) end() {
	if c.waiting {
		c.waiting = false
		c.disarm()
	}
}

func (c *WatchedConn) arm(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		c.timer = time.AfterFunc(after, c.late)
		return
	}
	c.timer.Reset(after)
}

func (c *WatchedConn) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
}

func (c *WatchedConn) late() {
	if c.options.OnAbuse != nil {
		c.options.OnAbuse(SlowFrames)
	}
	_ = c.Conn.Close() // the engine's read ends
}
