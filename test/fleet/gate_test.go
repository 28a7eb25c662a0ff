package fleet_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/keys"
)

// A moment is when, in the life of one request, something happens.
type moment string

const (
	before moment = "before" // the agent sees nothing of the request
	during moment = "during" // the agent has the first half of the request's body
	after  moment = "after"  // the agent has answered, and nobody gets the answer
)

// A gate stands between whoever deploys and the agent of a POP. It has the keys of
// both, as only a test has, so that it sees every request by its name and not as
// bytes of TLS: it can hold one for as long as it takes to kill somebody.
type gate struct {
	addr   string
	client *http.Client

	passing sync.RWMutex // is held for reading by each request that is under way

	mu    sync.Mutex                              // guards what follows
	to    string                                  // address of the agent
	names []string                                // of the requests so far
	next  *stop                                   // nil: none
	lies  func(path string, answer []byte) []byte // changes answers; nil: nobody does
	// batches lets whoever deploys send several requests in one; otherwise the agent
	// seems to be one that does not take them, so that each step is a request.
	batches bool
	heads   []string // releases whose activation the agent has acknowledged
}

// A stop is a request that is held and then never answered.
type stop struct {
	name    string
	when    moment
	reached chan struct{} // closed when it is held
	goOn    chan struct{} // to be closed for its connection to be cut
}

func (s *stop) hold() {
	close(s.reached)
	<-s.goOn
}

// newGate opens a gate before a POP that shows the POP's certificate, and passes on
// to the agent in the owner's name.
func newGate(t *testing.T, owner *keys.Owner, pop string, leaf []byte, key *keys.Key) *gate {
	t.Helper()
	pair, err := keys.ParseLeaf(leaf, key, fleetOfFaults, pop)
	if err != nil {
		t.Fatal(err)
	}
	roster := func() *keys.Roster { r, _ := owner.Roster(); return r }
	g := &gate{client: &http.Client{Transport: http2Transport(t, keys.ClientTLS(owner.Identity(), pop, roster, time.Now))}}
	g.addr = serveTLS(t, keys.ServerTLS(tlsOf(pair), roster), g)
	return g
}

// serveTLS serves until the test ends, and returns the address.
func serveTLS(t *testing.T, config *tls.Config, h http.Handler) string {
	t.Helper()
	server := &http.Server{
		Handler: h, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0), // peers that are killed are what it is for
		ReadHeaderTimeout: time.Minute,
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.ServeTLS(l, "", "") // until it is closed
	}()
	t.Cleanup(func() {
		_ = server.Close() // a test's
		<-served
	})
	return l.Addr().String()
}

// step names what a request does, as events of a deploy do.
func step(r *http.Request) string {
	path := r.URL.Path
	last := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case last == "lease" && r.Method == http.MethodPut:
		return "lease"
	case last == "lease":
		return "unlease"
	case last == "pack":
		return "send"
	case last == "stage":
		return "stage"
	case last == "head" && r.Method == http.MethodPut:
		return "activate"
	case strings.Contains(path, "/releases/") && r.Method == http.MethodPut:
		return "offer"
	}
	return r.Method + " " + last
}

// stop holds the next request of a name.
func (g *gate) stop(name string, when moment) *stop {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.names = nil
	g.next = &stop{name: name, when: when, reached: make(chan struct{}), goOn: make(chan struct{})}
	return g.next
}

// lie changes what the agent answers, as who has stolen it may; nil ends that.
func (g *gate) lie(change func(path string, answer []byte) []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lies = change
}

// forget forgets the names of the requests so far.
func (g *gate) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.names = nil
}

// seen are the names of the requests since they were forgotten.
func (g *gate) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.names...)
}

// acknowledged is the release that the agent has last said to serve, "" for none. It
// waits for the requests that are under way.
func (g *gate) acknowledged() string {
	g.passing.Lock()
	defer g.passing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.heads) == 0 {
		return ""
	}
	return g.heads[len(g.heads)-1]
}

func (g *gate) lead(to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = to
}

// enter notes a request, and returns where it goes, and the stop that it is; one that has no
// moment if it goes through.
func (g *gate) enter(r *http.Request) (to string, s *stop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := step(r)
	g.names = append(g.names, name)
	if g.next == nil || g.next.name != name {
		return g.to, &stop{}
	}
	s, g.next = g.next, nil
	return g.to, s
}

// ServeHTTP passes a request on.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.passing.RLock()
	defer g.passing.RUnlock()
	to, stopped := g.enter(r)
	if stopped.when == before {
		stopped.hold()
		panic(http.ErrAbortHandler)
	}
	body := io.Reader(r.Body)
	if stopped.when == during {
		body = &broken{in: r.Body, then: stopped.hold}
	}
	// Whoever asked may be killed: what the agent answers is noted all the same.
	out, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, "https://"+to+r.URL.RequestURI(), body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Header, out.ContentLength = r.Header, r.ContentLength
	resp, err := g.client.Do(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	g.note(r, resp, answer)
	if stopped.when == after {
		stopped.hold()
		panic(http.ErrAbortHandler)
	}
	g.mu.Lock()
	lies, batches := g.lies, g.batches
	g.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/status") && !batches {
		answer = bytes.Replace(answer, []byte(`"batch":true,`), nil, 1)
		resp.Header.Del("Content-Length")
	}
	if lies != nil {
		answer = lies(r.URL.Path, answer)
		resp.Header.Del("Content-Length")
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, bytes.NewReader(answer)) // who asked may be gone
}

func (g *gate) note(r *http.Request, resp *http.Response, answer []byte) {
	var head struct{ Active string }
	if step(r) != "activate" || resp.StatusCode != http.StatusOK || json.Unmarshal(answer, &head) != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heads = append(g.heads, head.Active)
}

// broken is a body that ends in an error after its first piece, half of which gets
// through.
type broken struct {
	in   io.Reader
	then func()
	done bool
}

// Read reads half a piece, and then breaks.
func (b *broken) Read(p []byte) (int, error) {
	if b.done {
		b.then()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.in.Read(p)
	if n > 0 {
		b.done = true
		return max(1, n/2), nil
	}
	return 0, err
}
