//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// errAgain is what a read answers when there is nothing yet. It is temporary, so that crypto/tls goes on afterwards.
type errAgain struct{}

func (errAgain) Error() string   { return "nothing to read yet" }
func (errAgain) Timeout() bool   { return true }
func (errAgain) Temporary() bool { return true }

// below is the connection under crypto/tls: the kernel's while the handshake lasts, then two buffers, so that one event
// costs one read and one write.
type below struct {
	net.Conn // until the handshake is done
	done     bool
	in, out  []byte
}

func (b *below) Read(p []byte) (int, error) {
	if !b.done {
		return b.Conn.Read(p)
	}
	if len(b.in) == 0 {
		return 0, errAgain{}
	}
	n := copy(p, b.in)
	b.in = b.in[n:]
	return n, nil
}

func (b *below) Write(p []byte) (int, error) {
	if !b.done {
		return b.Conn.Write(p)
	}
	b.out = append(b.out, p...)
	return len(p), nil
}

// answer is a response that came and was right.
type answer struct {
	request *preparedRequest
	asked   time.Time
}

// dialogue is a protocol on a connection.
type dialogue interface {
	// ask appends a request to out.
	ask(out []byte, r *preparedRequest, now time.Time) ([]byte, error)
	// feed takes bytes as they came. It appends complete answers to done and what is to be sent to out.
	feed(b []byte, done []answer, out []byte) ([]answer, []byte, error)
}

// crowdConn is one connection of the crowd.
type crowdConn struct {
	fd      int
	tls     *tls.Conn // nil over plain TCP
	below   *below
	talk    dialogue
	out     []byte // not yet encrypted
	answers []answer
	done    int // answers while it counted
}

// dialCrowd makes a connection and takes it away from Go's own polling.
func dialCrowd(ctx context.Context, order crowdOrder, config *tls.Config, i int) (*crowdConn, error) {
	raw, err := (&net.Dialer{LocalAddr: crowdSource(i), Timeout: 10 * time.Second}).DialContext(ctx, "tcp", order.Address)
	if err != nil {
		return nil, err
	}
	defer raw.Close() // what stays is a copy
	if err := raw.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	c := &crowdConn{fd: -1, below: &below{Conn: raw}, talk: &talkH1{}}
	if order.TLS {
		c.tls = tls.Client(c.below, config)
		if err := c.tls.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if state := c.tls.ConnectionState(); state.NegotiatedProtocol != config.NextProtos[0] || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			return nil, fmt.Errorf("protocol %q, cipher %s", state.NegotiatedProtocol, tls.CipherSuiteName(state.CipherSuite))
		}
	}
	if order.H2 {
		var hello []byte
		c.talk, hello = newTalkH2(order.Address)
		c.out = append(c.out, hello...)
	}
	sys, err := raw.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var dupErr error
	if err := sys.Control(func(fd uintptr) { c.fd, dupErr = syscall.Dup(int(fd)) }); err != nil {
		return nil, err
	}
	c.below.done = true
	return c, dupErr
}

func (c *crowdConn) close() {
	if c.fd >= 0 {
		_ = syscall.Close(c.fd)
	}
}

// send makes a request ready to be flushed.
func (c *crowdConn) send(r *preparedRequest, now time.Time) error {
	var err error
	c.out, err = c.talk.ask(c.out, r, now)
	return err
}

// flush writes what is ready. Requests are small beside a socket's buffer: one that is full is an error.
func (c *crowdConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	ready := c.out
	if c.tls != nil {
		if _, err := c.tls.Write(c.out); err != nil {
			return err
		}
		ready = c.below.out
		c.below.out = c.below.out[:0]
	}
	c.out = c.out[:0]
	n, err := syscall.Write(c.fd, ready)
	if err == nil && n < len(ready) {
		err = io.ErrShortWrite
	}
	return err
}

// take reads once and returns the answers that are complete; they are valid until the next call.
func (c *crowdConn) take(read, plain []byte) ([]answer, error) {
	c.answers = c.answers[:0]
	n, err := syscall.Read(c.fd, read)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return nil, nil
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errors.New("the server closed the connection")
	}
	if c.tls == nil {
		c.answers, c.out, err = c.talk.feed(read[:n], c.answers, c.out)
		return c.answers, err
	}
	c.below.in = read[:n]
	for {
		n, err := c.tls.Read(plain)
		if errors.Is(err, errAgain{}) {
			return c.answers, nil
		}
		if err != nil {
			return nil, err
		}
		if c.answers, c.out, err = c.talk.feed(plain[:n], c.answers, c.out); err != nil {
			return nil, err
		}
	}
}

// maxHead bounds what a server may send before the end of a head.
const maxHead = 16 << 10

// talkH1 is HTTP/1.1 with one request in flight.
type talkH1 struct {
	current answer
	head    []byte // the beginning of a head that came in pieces
	left    int64  // of the body
}

func (t *talkH1) ask(out []byte, r *preparedRequest, now time.Time) ([]byte, error) {
	if t.current.request != nil {
		return out, errors.New("a request is in flight already")
	}
	t.current = answer{r, now}
	return append(out, r.h1...), nil
}

func (t *talkH1) feed(b []byte, done []answer, out []byte) ([]answer, []byte, error) {
	for len(b) > 0 {
		if t.current.request == nil {
			return done, out, fmt.Errorf("%d bytes that were not asked for", len(b))
		}
		if t.left > 0 {
			n := min(t.left, int64(len(b)))
			t.left -= n
			b = b[n:]
		} else {
			if len(t.head) > 0 {
				b = append(t.head, b...)
				t.head = nil
			}
			end := bytes.Index(b, []byte("\r\n\r\n"))
			if end < 0 {
				if len(b) > maxHead {
					return done, out, errors.New("the head does not end")
				}
				t.head = bytes.Clone(b)
				return done, out, nil
			}
			if err := t.begin(b[:end]); err != nil {
				return done, out, err
			}
			b = b[end+4:]
		}
		if t.left == 0 {
			done = append(done, t.current)
			t.current = answer{}
		}
	}
	return done, out, nil
}

// begin checks a head against what was expected.
func (t *talkH1) begin(head []byte) error {
	r := t.current.request
	status, length, err := readHead(head)
	if err != nil {
		return err
	}
	if status == 304 {
		length = 0 // it may name the length of what it does not send
	}
	if status != r.Status || length != r.Body {
		return fmt.Errorf("%s: status %d with %d bytes, not %d with %d", r.Path, status, length, r.Status, r.Body)
	}
	t.left = length
	return nil
}

// readHead finds the status and Content-Length, -1 if there is none, in a head without its last empty line.
func readHead(head []byte) (status int, length int64, err error) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("status line %q", line)
	}
	n, err := decimal(line[9:12])
	if err != nil {
		return 0, 0, fmt.Errorf("status line %q", line)
	}
	length = -1
	const name = "content-length:"
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if length, err = decimal(bytes.TrimSpace(line[len(name):])); err != nil {
				return 0, 0, err
			}
		}
	}
	return int(n), length, nil
}

func decimal(digits []byte) (int64, error) {
	if len(digits) == 0 || len(digits) > 15 {
		return 0, fmt.Errorf("%q is no number", digits)
	}
	var n int64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("%q is no number", digits)
		}
		n = 10*n + int64(d-'0')
	}
	return n, nil
}
