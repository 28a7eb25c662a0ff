//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
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
	wire    []byte // what the kernel has not taken yet
	waits   bool   // epoll tells when it takes more
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
		if state := c.tls.ConnectionState(); (state.NegotiatedProtocol == "h2") != order.H2 || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
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

// flush writes what is ready, as far as the kernel takes it; waits says that it is full and the rest must wait.
func (c *crowdConn) flush() (waits bool, err error) {
	if len(c.out) > 0 && c.tls != nil {
		if _, err := c.tls.Write(c.out); err != nil {
			return false, err
		}
		c.wire = append(c.wire, c.below.out...)
		c.below.out = c.below.out[:0]
	} else {
		c.wire = append(c.wire, c.out...)
	}
	c.out = c.out[:0]
	for len(c.wire) > 0 {
		n, err := syscall.Write(c.fd, c.wire)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return true, nil
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false, err
		default:
			c.wire = c.wire[:copy(c.wire, c.wire[n:])]
		}
	}
	return false, nil
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
	reading partH1
	line    []byte // the beginning of a head, or of a line between chunks, that came in pieces
	left    int64  // of the body, or of the chunk
	got     int64  // of a body in chunks
}

// partH1 is what comes next.
type partH1 int

const (
	readingHead partH1 = iota
	readingBody
	readingChunk     // the data of one
	readingChunkSize // its first line
	readingChunkEnd  // the empty line after its data
	readingLastLine  // the empty line after the last chunk; trailers are not expected
)

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
		var finished bool
		var err error
		if t.reading == readingBody || t.reading == readingChunk {
			n := min(t.left, int64(len(b)))
			t.left -= n
			b = b[n:]
			finished = t.consumed()
		} else if b, finished, err = t.text(b); err != nil {
			return done, out, err
		}
		if finished {
			done = append(done, t.current)
			t.current, t.reading, t.got = answer{}, readingHead, 0
		}
	}
	return done, out, nil
}

// consumed says whether the answer has ended with the bytes that were taken from its body.
func (t *talkH1) consumed() bool {
	if t.left > 0 {
		return false
	}
	if t.reading == readingChunk {
		t.reading = readingChunkEnd
		return false
	}
	return true
}

// text takes a head or a line, if it is complete, and returns what follows it.
func (t *talkH1) text(b []byte) (rest []byte, finished bool, err error) {
	if len(t.line) > 0 {
		b = append(t.line, b...)
		t.line = nil
	}
	mark := "\r\n"
	if t.reading == readingHead {
		mark = "\r\n\r\n"
	}
	end := bytes.Index(b, []byte(mark))
	if end < 0 {
		if len(b) > maxHead {
			return nil, false, errors.New("a head or a line does not end")
		}
		t.line = bytes.Clone(b)
		return nil, false, nil
	}
	if t.reading == readingHead {
		finished, err = t.begin(b[:end])
	} else {
		finished, err = t.between(b[:end])
	}
	return b[end+len(mark):], finished, err
}

// between handles a line of the chunked coding.
func (t *talkH1) between(line []byte) (finished bool, err error) {
	if t.reading == readingChunkSize {
		if t.left, err = strconv.ParseInt(string(line), 16, 32); err != nil {
			return false, fmt.Errorf("the size of a chunk: %w", err)
		}
		t.got += t.left
		t.reading = readingChunk
		if t.left == 0 {
			t.reading = readingLastLine
		}
		return false, nil
	}
	if len(line) > 0 {
		return false, fmt.Errorf("%q where a chunk should end", line)
	}
	if t.reading == readingChunkEnd {
		t.reading = readingChunkSize
		return false, nil
	}
	if want := t.current.request.Body; t.got != want {
		return false, fmt.Errorf("%s: %d bytes in chunks, not %d", t.current.request.Path, t.got, want)
	}
	return true, nil
}

// begin checks a head against what was expected.
func (t *talkH1) begin(head []byte) (finished bool, err error) {
	r := t.current.request
	h, err := readHead(head)
	if err != nil {
		return false, err
	}
	if h.status != r.Status {
		return false, fmt.Errorf("%s: status %d, not %d", r.Path, h.status, r.Status)
	}
	if h.status == http.StatusNotModified { // it may name the length of what it does not send
		return true, nil
	}
	if h.chunked {
		t.reading = readingChunkSize
		return false, nil
	}
	if h.length != r.Body {
		return false, fmt.Errorf("%s: Content-Length %d, not %d", r.Path, h.length, r.Body)
	}
	t.reading, t.left = readingBody, h.length
	return t.left == 0, nil
}

// headH1 is what concerns us of a head.
type headH1 struct {
	status  int
	length  int64 // -1 = not named
	chunked bool
}

// readHead reads a head without its last empty line.
func readHead(head []byte) (headH1, error) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return headH1{}, fmt.Errorf("status line %q", line)
	}
	n, err := decimal(line[9:12])
	if err != nil {
		return headH1{}, fmt.Errorf("status line %q", line)
	}
	h := headH1{status: int(n), length: -1}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if value, ok := valueOf(line, "content-length:"); ok {
			if h.length, err = decimal(value); err != nil {
				return headH1{}, err
			}
		}
		if value, ok := valueOf(line, "transfer-encoding:"); ok {
			h.chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
	return h, nil
}

// valueOf is the value of a line if its field is name, which ends with the colon.
func valueOf(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || line[len(name)-1] != ':' || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
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
