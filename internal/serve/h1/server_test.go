package h1

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guardListener yields guarded connections, as an edge does.
type guardListener struct {
	net.Listener
	options Options
}

func (l guardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Guard(c, l.options).ServerConn(), nil
}

// engine is what serves the connections of a test.
type engine struct {
	name   string
	looped bool   // a Loop stands before net/http
	called bool   // it is called when there is something to read
	pace   uint64 // of what is read then
}

var engines = []engine{
	{name: "the plain engine"},
	{name: "the loop before the plain engine", looped: true},
	{name: "the loop that is called", looped: true, called: true},
	{name: "the loop that is called at an odd pace", looped: true, called: true, pace: 1},
}

// onBoth runs f with each engine: whatever holds for the one holds for the other.
func onBoth(t *testing.T, f func(t *testing.T, on engine)) {
	t.Helper()
	for _, on := range engines {
		t.Run(on.name, func(t *testing.T) { f(t, on) })
	}
}

// edge is a real net/http server behind the guard.
type edge struct {
	engine
	addr string
	hits func(*Head, []byte, *Hit) bool // of the loop; nil: the pages, for the edge's own handler

	mu      sync.Mutex // guards the fields below
	saw     []string
	refused []Refusal
	panics  []string

	stopping atomic.Bool
	stop     func() // the loops
}

// sawSoFar returns what the handler saw and the guard refused, and forgets it.
func (e *edge) sawSoFar() (saw []string, refused []Refusal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	saw, refused = e.saw, e.refused
	e.saw, e.refused = nil, nil
	return saw, refused
}

func (e *edge) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.saw = append(e.saw, fmt.Sprintf(format, args...))
}

// ServeHTTP answers with what it saw.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal, ok := FromContext(r.Context()).Refused(r); ok {
		refusal.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		status := http.StatusInternalServerError
		if refusal, ok := FromContext(r.Context()).Broken(); ok {
			status, err = refusal.Status, &BodyError{refusal}
		}
		e.note("%s %s %s error %v", r.Method, r.Host, r.RequestURI, err)
		http.Error(w, err.Error(), status)
		return
	}
	e.note("%s %s %s %q", r.Method, r.Host, r.RequestURI, body)
	if page, ok := pages[r.RequestURI]; ok && len(body) == 0 && (r.Method == "GET" || r.Method == "HEAD") {
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		w.Header().Set("Content-Type", "text/plain")
		body = page
	}
	_, _ = w.Write(body)
}

// start serves handler, or e itself when it is nil, on l.
func (e *edge) start(t testing.TB, l net.Listener, o Options, handler http.Handler) {
	t.Helper()
	hook := o.OnRefusal
	o.OnRefusal = func(r Refusal) {
		e.mu.Lock()
		e.refused = append(e.refused, r)
		e.mu.Unlock()
		if hook != nil {
			hook(r)
		}
	}
	if handler == nil {
		handler, e.hits = e, e.hit
	}
	if e.hits == nil {
		e.hits = func(*Head, []byte, *Hit) bool { return false }
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(o.H2C)
	server := &http.Server{
		Handler:     handler,
		ConnContext: ConnContext,
		Protocols:   protocols,
		ErrorLog:    log.New(io.Discard, "", 0),
	}
	e.addr = l.Addr().String()
	var wg sync.WaitGroup
	if e.looped {
		looped := newLoopListener(l, LoopOptions{Options: o, Hit: e.hits, Stopping: &e.stopping, OnPanic: e.panicked})
		looped.called, looped.pace = e.called, e.pace
		wg.Go(looped.run)
		e.stop = looped.stop
		l = looped
	} else {
		l = guardListener{l, o}
	}
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
}

// newEdge starts an edge on loopback.
func (on engine) newEdge(t testing.TB, o Options, handler http.Handler) *edge {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{engine: on}
	e.start(t, l, o, handler)
	return e
}

// client is one raw connection to an edge.
type client struct {
	t  testing.TB
	c  net.Conn
	br *bufio.Reader
	wg sync.WaitGroup
}

func dial(t testing.TB, e *edge) *client {
	t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

// newClient takes c over. Nothing here takes longer than its deadline.
func newClient(t testing.TB, c net.Conn) *client {
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, c: c, br: bufio.NewReader(c)}
}

// send writes the parts from a goroutine of its own; the server may close early.
func (c *client) send(parts ...string) {
	c.wg.Go(func() {
		for _, p := range parts {
			if _, err := io.WriteString(c.c, p); err != nil {
				return
			}
		}
	})
}

// answer reads one answer.
func (c *client) answer() (status int, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("read answer: %v", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read answer's body: %v", err)
	}
	return resp.StatusCode, string(b)
}

// wantEOF checks that the server closed the connection, in peace.
func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Errorf("after the last answer: byte %q, error %v; want EOF", b, err)
	}
}

// close ends the connection and waits for what was being sent.
func (c *client) close() {
	_ = c.c.Close()
	c.wg.Wait()
}
