//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A floorConn is one connection, and what crypto/tls takes for one.
type floorConn struct {
	net.Conn        // nil: crypto/tls needs nothing but Read and Write
	floor           *floor
	fd              int
	drained, doubts bool          // reading finds nothing; a short read may not have taken all
	secure          *tls.Conn     // nil: without TLS
	shaken          bool          // the handshake has been made
	shaker          *handshaker   // is at it
	pending         []byte        // what the kernel has not taken yet
	in              [4 << 10]byte // requests, of which from..to are not answered
	from, to        int
}

// advance does what can be done after some events.
func (c *floorConn) advance(events uint32) error {
	if events&^unix.EPOLLOUT != 0 {
		c.drained = false
		c.doubts = c.doubts || events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	}
	if err := c.flush(); err != nil {
		return err
	}
	if c.secure != nil && !c.shaken {
		if err := c.shake(); err != nil || !c.shaken {
			return err
		}
	}
	for len(c.pending) == 0 {
		if err := c.answerOne(); err != nil {
			if !errors.Is(err, errAgain{}) {
				return err
			}
			return c.flush()
		}
	}
	return nil
}

// answerOne answers a request that has been read, or reads.
func (c *floorConn) answerOne() error {
	request := c.in[c.from:c.to]
	end := bytes.Index(request, []byte("\r\n\r\n"))
	if end < 0 {
		c.from, c.to = 0, copy(c.in[:], request)
		if c.to == len(c.in) {
			return errors.New("the request is too large")
		}
		var reader io.Reader = c
		if c.secure != nil {
			reader = c.secure
		}
		n, err := reader.Read(c.in[c.to:])
		c.to += n
		return err
	}
	c.from += end + len("\r\n\r\n")
	_, target, _ := bytes.Cut(request, []byte(" "))
	target, _, _ = bytes.Cut(target, []byte(" "))
	answer, ok := c.floor.answers[string(target)]
	if !ok {
		answer = notFound
	}
	if c.secure == nil {
		n, err := c.write(answer)
		c.pending = answer[n:]
		return err
	}
	if _, err := c.secure.Write(answer); err != nil {
		return err
	}
	return c.flush()
}

// Read reads without waiting, but for a handshake.
func (c *floorConn) Read(p []byte) (int, error) {
	for {
		if !c.drained {
			n, errno := rawIO(unix.SYS_READ, c.fd, p)
			switch {
			case errno == 0 && n == 0:
				return 0, io.EOF
			case errno == 0:
				c.drained = n < len(p) && !c.doubts
				return n, nil
			case errno != syscall.EAGAIN:
				return 0, errno
			}
			c.drained = true
		}
		if c.shaker == nil {
			return 0, errAgain{}
		}
		if err := c.flush(); err != nil {
			return 0, err
		}
		if !c.shaker.yield(false) {
			return 0, net.ErrClosed
		}
	}
}

// Write keeps records until the next flush.
func (c *floorConn) Write(p []byte) (int, error) {
	c.floor.out = append(c.floor.out, p...)
	return len(p), nil
}

// flush writes what the kernel takes.
func (c *floorConn) flush() error {
	if len(c.pending) > 0 {
		n, err := c.write(c.pending)
		if c.pending = c.pending[n:]; err != nil {
			return err
		}
	}
	out := c.floor.out
	if len(out) == 0 {
		return nil
	}
	c.floor.out = out[:0]
	var n int
	var err error
	if len(c.pending) == 0 {
		n, err = c.write(out)
	}
	c.pending = append(c.pending, out[n:]...)
	return err
}

func (c *floorConn) write(p []byte) (int, error) {
	n, errno := rawIO(unix.SYS_WRITE, c.fd, p)
	if errno != 0 && errno != syscall.EAGAIN {
		return 0, errno
	}
	return n, nil
}

func (c *floorConn) end() {
	if c.shaker != nil {
		c.shaker.stop()
	}
	c.floor.out = c.floor.out[:0] // a farewell that nobody reads
	delete(c.floor.open, c.fd)
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
}

// A handshaker is a coroutine that makes one handshake after the other: crypto/tls can break off reading between records,
// but not within a handshake.
type handshaker struct {
	conn  *floorConn
	next  func() (made, ok bool)
	stop  func()
	yield func(made bool) bool
	err   error
}

func newHandshaker() *handshaker {
	h := new(handshaker)
	h.next, h.stop = iter.Pull(func(yield func(bool) bool) {
		for h.yield = yield; ; {
			h.err = h.conn.secure.HandshakeContext(context.Background())
			if !yield(true) {
				return
			}
		}
	})
	return h
}

// shake goes on with the handshake until it is made, or must wait.
func (c *floorConn) shake() error {
	if f := c.floor; c.shaker == nil {
		if last := len(f.idle) - 1; last >= 0 {
			c.shaker, f.idle = f.idle[last], f.idle[:last]
		} else {
			c.shaker = newHandshaker()
		}
		c.shaker.conn = c
	}
	if made, _ := c.shaker.next(); !made {
		return nil
	}
	err := c.shaker.err
	c.floor.idle = append(c.floor.idle, c.shaker)
	c.shaken, c.shaker = true, nil
	return err
}

func rawIO(call uintptr, fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
