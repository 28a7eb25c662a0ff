package h1

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"pennyfarthing/internal/loop/looptest"
)

// pages are the answers that stand ready, by their targets. The edge's handler gives the same ones, byte for byte.
var pages = map[string][]byte{
	"/":      []byte("the front page\n"),
	"/good":  nil,
	"/probe": nil,
	"/page":  bytes.Repeat([]byte("0123456789abcdef"), 64),
	"/brim":  bytes.Repeat([]byte("brim "), (loopWrite-200)/5),
	"/large": bytes.Repeat([]byte("a large body of many letters; "), 10_000),
	"/huge":  bytes.Repeat([]byte("a huge body of very many letters; "), 60_000),
}

// hit answers with the pages.
func (e *edge) hit(head *Head, raw []byte, h *Hit) bool {
	target := string(head.Target.Of(raw))
	if strings.HasPrefix(target, "/panic") {
		panic(target)
	}
	page, ok := pages[target]
	if !ok {
		return false
	}
	e.note("%s %s %s %q", head.Method.Of(raw), head.Host.Of(raw), target, "")
	fillHit(h, page)
	return true
}

// fillHit makes h the answer that net/http gives to a handler that sets a type and a length, in the same order.
func fillHit(h *Hit, page []byte) {
	h.Head[0] = []byte("HTTP/1.1 200 OK\r\n")
	h.Head[1] = fmt.Appendf(nil, "Content-Length: %d\r\n", len(page))
	h.Head[3] = []byte("Content-Type: text/plain\r\n")
	h.Body = page
}

// panicked notes what the loop tells of a panic.
func (e *edge) panicked(value any, input []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.panics = append(e.panics, fmt.Sprintf("%v: %q", value, input))
}

// loopListener runs a loop on every connection, as an edge does, and yields those that are handed over.
type loopListener struct {
	net.Listener
	options LoopOptions
	called  bool          // loops are called when there is something to read
	pace    uint64        // of reading then
	rest    chan net.Conn // unbuffered: the loop's goroutine waits for Accept
	closed  chan struct{}

	mu   sync.Mutex // guards open
	open map[net.Conn]bool
}

func newLoopListener(l net.Listener, o LoopOptions) *loopListener {
	return &loopListener{Listener: l, options: o, rest: make(chan net.Conn), closed: make(chan struct{}), open: map[net.Conn]bool{}}
}

// run serves until the listener is closed, and waits for all loops.
func (l *loopListener) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { l.serve(c) })
	}
}

func (l *loopListener) serve(c net.Conn) {
	loop := func() *Conn { return Loop(c, l.options) }
	if _, secure := c.(*tls.Conn); l.called && !secure { // the handshake is still to be made
		waiting := looptest.Wrap(c, l.pace)
		c, loop = waiting, func() *Conn { return called(waiting, l.options) }
	}
	l.mu.Lock()
	l.open[c] = true
	l.mu.Unlock()
	rest := loop()
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	if rest == nil {
		return
	}
	select {
	case l.rest <- rest.ServerConn():
	case <-l.closed:
		_ = rest.Close()
	}
}

// called runs a loop that is called when there is something to read.
func called(c *looptest.Conn, o LoopOptions) (rest *Conn) {
	over := make(chan *Conn, 1) // the loop waits for nobody
	run, rests, turns := func() *Conn { return Loop(c, o) }, false, false
	o.Rest, o.OnRest = time.Second, func(resume func() *Conn, more bool) { run, rests, turns = resume, true, more }
	var turn func()
	turn = func() {
		rests = false
		rest := run()
		switch {
		case rests && turns:
			c.Begin(turn)
		case rests:
			c.Await(turn)
		default:
			over <- rest
		}
	}
	c.Begin(turn)
	return <-over
}

// stop ends the loops, as an edge that drains does. Those that are handed over are the server's.
func (l *loopListener) stop() {
	l.options.Stopping.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

func (l *loopListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.rest:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *loopListener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.closed)
	for c := range l.open {
		_ = c.Close()
	}
	return err
}

// get is a request for target with these field lines.
func get(target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\r\n" + host + strings.Join(append(fields, "\r\n"), "\r\n")
}
