package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"pennyfarthing/internal/serve/h3"
)

func TestAHitIsAnsweredInEarlyData(t *testing.T) {
	e := startEarly(t, setup{log: true, files: map[string]string{"small": "small", "large": strings.Repeat("large", 5000)}})
	for i, path := range []string{"/small", "/large"} {
		g, conn := e.early("localhost", e.ticket("localhost"))
		s := e.ask(conn, "GET", "localhost", path)
		eventually(t, path+" is answered to a client that has heard nothing", func() bool { return e.answered() == i+1 })
		if n := e.server.handshakes.inFlight.Load(); n != 1 {
			t.Errorf("%d handshakes are in flight, want 1", n)
		}
		if n := e.counter(`penny_connections{pop="au"}`); n != 0 {
			t.Errorf("%v connections count, want none", n)
		}
		if path == "/small" { // what fits behind the server's part of the handshake comes before it is complete
			g.hear()
			if got := e.outcome(s); got != "200" {
				t.Errorf("%s: %s", path, got)
			}
			if n := e.server.handshakes.inFlight.Load(); n != 1 {
				t.Errorf("%d handshakes are in flight, want 1", n)
			}
		}
		if state := e.complete(g, conn); !state.Used0RTT {
			t.Error("early data was not accepted")
		}
		if path == "/large" {
			if got := e.outcome(s); got != "200" {
				t.Errorf("%s: %s", path, got)
			}
		}
		eventually(t, "the connection counts", func() bool { return e.counter(`penny_connections{pop="au"}`) == 1 })
		_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
		eventually(t, "the connection does not count", func() bool { return e.counter(`penny_connections{pop="au"}`) == 0 })
	}
	if n := e.server.handshakes.early.Load(); n != 0 {
		t.Errorf("%d connections are still early", n)
	}
	if records := e.records(); len(records) != 2 || records[0].Protocol != "HTTP/3" || records[0].Path != "/small" {
		t.Errorf("the log has %v", records)
	}
}

// TestEarlyDataWaitsForTheHandshake: behind each request there is a hit, which is
// answered first, if it may be.
func TestEarlyDataWaitsForTheHandshake(t *testing.T) {
	for name, c := range map[string]struct {
		method, host, path string
		edit               func(*Options)
		full               bool // as many connections as may be are early
		want               string
		before             int // requests that are answered early, the hit included
	}{
		"POST":                          {method: "POST", host: hostA, path: "/", want: "405", before: 1},
		"OPTIONS":                       {method: "OPTIONS", host: hostA, path: "/", want: "204", before: 1},
		"a file that is not there":      {method: "GET", host: hostA, path: "/none", want: "404", before: 1},
		"a host of another certificate": {method: "GET", host: hostB, path: "/", want: "421", before: 1},
		"a host that nobody has":        {method: "GET", host: "c.example", path: "/", want: "421", before: 1},
		"a target that is no URI's":     {method: "GET", host: hostA, path: "/a b", want: "400", before: 1},
		"too many early connections":    {method: "GET", host: hostA, path: "/", full: true, want: "200"},
		"the plain engine":              {method: "GET", host: hostA, path: "/", want: "200", edit: func(o *Options) { o.Engine = Plain }},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEarly(t, setup{fleet: true, edit: c.edit})
			cache := e.ticket(hostA)
			if c.full {
				e.server.handshakes.early.Store(mostEarly)
			}
			g, conn := e.early(hostA, cache)
			s, hit := e.ask(conn, c.method, c.host, c.path), e.ask(conn, "GET", hostA, "/style.css")
			eventually(t, "the handshake is in flight", func() bool { return e.server.handshakes.inFlight.Load() == 1 })
			if c.before > 0 {
				eventually(t, "the hit is answered", func() bool { return e.answered() > 0 })
			}
			g.hear()
			eventually(t, "the server has answered the handshake", func() bool { return g.received.Load() > 0 })
			if n := e.answered(); n != c.before {
				t.Errorf("%d requests were answered early, want %d", n, c.before)
			}
			if state := e.complete(g, conn); !state.Used0RTT {
				t.Error("early data was not accepted")
			}
			if got := e.outcome(s); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if got := e.outcome(hit); got != "200" {
				t.Errorf("the hit: %s", got)
			}
		})
	}
}

func TestTheServerNameOfEarlyDataIsTheNewOne(t *testing.T) {
	e := startEarly(t, setup{fleet: true})
	g, conn := e.early(hostB, e.ticket(hostA))
	a, b := e.ask(conn, "GET", hostA, "/"), e.ask(conn, "GET", hostB, "/")
	eventually(t, "the host of the server name is answered", func() bool { return e.answered() == 1 })
	e.complete(g, conn)
	if got := e.outcome(a) + " " + e.outcome(b); got != "421 200" {
		t.Errorf("got %s, want 421 200", got)
	}
}

// again asks on a connection whose early data was not accepted.
func (e *earlyEdge) again(conn *quic.Conn) string {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	next, err := conn.NextConnection(ctx)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.outcome(e.ask(next, "GET", "localhost", "/"))
}

func TestATicketBringsEarlyDataOnce(t *testing.T) {
	e := startEarly(t, setup{})
	cache := e.ticket("localhost")
	for i, accepted := range []bool{true, false, false} {
		g, conn := e.early("localhost", cache)
		s := e.ask(conn, "GET", "localhost", "/")
		state := e.complete(g, conn)
		if state.Used0RTT != accepted || !state.TLS.DidResume {
			t.Errorf("connection %d: early data %v, want %v; resumed %v", i, state.Used0RTT, accepted, state.TLS.DidResume)
		}
		if accepted {
			if got := e.outcome(s); got != "200" {
				t.Errorf("connection %d: %s", i, got)
			}
			continue
		}
		if got := e.outcome(s); got != quic.Err0RTTRejected.Error() {
			t.Errorf("connection %d: %s", i, got)
		}
		if got := e.again(conn); got != "200" {
			t.Errorf("connection %d, again: %s", i, got)
		}
	}
	if n := e.answered(); n != 3 {
		t.Errorf("%d requests were answered, want 3", n)
	}
}

func TestATicketOfAKeyThatWasWithdrawnBringsAFullHandshake(t *testing.T) {
	e := startEarly(t, setup{})
	cache := e.ticket("localhost")
	for range ticketKeysKept {
		if err := e.server.tickets.rotate(); err != nil {
			t.Fatal(err)
		}
	}
	g, conn := e.early("localhost", cache)
	e.ask(conn, "GET", "localhost", "/")
	if state := e.complete(g, conn); state.Used0RTT || state.TLS.DidResume {
		t.Errorf("early data %v, resumed %v", state.Used0RTT, state.TLS.DidResume)
	}
	if got := e.again(conn); got != "200" {
		t.Errorf("got %s", got)
	}
}

// TestRecordedEarlyDataIsNotAnsweredAgain sends datagrams of somebody else.
func TestRecordedEarlyDataIsNotAnsweredAgain(t *testing.T) {
	e := startEarly(t, setup{edit: func(o *Options) { o.Limits.Handshake = time.Second }})
	g, conn := e.early("localhost", e.ticket("localhost"))
	s := e.ask(conn, "GET", "localhost", "/")
	eventually(t, "the request is answered", func() bool { return e.answered() == 1 })
	g.mu.Lock()
	recorded := g.first
	g.mu.Unlock()
	e.complete(g, conn)
	if got := e.outcome(s); got != "200" {
		t.Errorf("got %s", got)
	}
	_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
	eventually(t, "the connection has ended", func() bool { return e.server.h3.Connections() == 0 && e.server.handshakes.inFlight.Load() == 0 })
	somebody := listenUDP(t)
	replay := func() bool {
		for _, datagram := range recorded {
			if _, err := somebody.WriteTo(datagram, e.addr); err != nil {
				t.Fatal(err)
			}
		}
		return e.server.handshakes.inFlight.Load() > 0
	}
	eventually(t, "a handshake has begun", replay) // QUIC remembers the connection for a moment
	replay()                                       // what came before the beginning is lost
	eventually(t, "it has failed", func() bool { return e.server.handshakes.inFlight.Load() == 0 })
	if n := e.answered(); n != 1 {
		t.Errorf("%d requests were answered, want 1", n)
	}
}

// TestAnAddressThatIsNotProvenCostsLittle has a client that never completes its
// handshake, and asks for more than it can be sent.
func TestAnAddressThatIsNotProvenCostsLittle(t *testing.T) {
	const asked = 30
	e := startEarly(t, setup{edit: func(o *Options) { o.Limits.Handshake = time.Second }, files: map[string]string{"large": strings.Repeat("large", 5000)}})
	g, conn := e.early("localhost", e.ticket("localhost"))
	for range asked {
		e.ask(conn, "GET", "localhost", "/large")
	}
	eventually(t, "some are answered", func() bool { return e.answered() > 0 })
	g.hear()
	eventually(t, "the handshake has failed", func() bool { return e.server.handshakes.inFlight.Load() == 0 && e.server.h3.Connections() == 0 })
	if n := e.answered(); n == 0 || n > 16 {
		t.Errorf("%d requests were answered, want at most 16", n)
	}
	const datagram = 1452                                                               // quic-go asks before it sends one whether it has sent too much
	if sent, received := g.sent.Load(), g.received.Load(); received > 3*sent+datagram { // RFC 9000 §8.1
		t.Errorf("for %d bytes the client was sent %d", sent, received)
	}
}

func TestTheLimitOfAClientHoldsForEarlyConnections(t *testing.T) {
	e := startEarly(t, setup{edit: func(o *Options) { o.Limits.ConnectionsPerClient = 1 }})
	cache := e.ticket("localhost")
	e.dial(listenUDP(t), "localhost", &ticket{got: make(chan struct{})})
	eventually(t, "a connection counts", func() bool { return e.counter(`penny_connections{pop="au"}`) == 1 })
	g, conn := e.early("localhost", cache)
	e.ask(conn, "GET", "localhost", "/")
	g.shut.Store(false)
	g.hear()
	<-conn.Context().Done()
	if bad, ok := errors.AsType[*quic.ApplicationError](context.Cause(conn.Context())); !ok || bad.ErrorCode != quic.ApplicationErrorCode(h3.ExcessiveLoad) {
		t.Errorf("the connection ended with %v", context.Cause(conn.Context()))
	}
}

// TestGoClientsGetFilesInEarlyData is with the client that everybody has.
func TestGoClientsGetFilesInEarlyData(t *testing.T) {
	e := startEarly(t, setup{})
	g, conn := e.early("localhost", e.ticket("localhost"))
	r, err := http.NewRequestWithContext(t.Context(), http3.MethodGet0RTT, "https://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := new(http3.Transport).NewClientConn(conn)
	var asking sync.WaitGroup
	asking.Go(func() {
		res, err := client.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(text), "any") {
			t.Errorf("got %d %q, %v", res.StatusCode, text, err)
		}
	})
	eventually(t, "the request is answered", func() bool { return e.answered() == 1 })
	if state := e.complete(g, conn); !state.Used0RTT {
		t.Error("early data was not accepted")
	}
	asking.Wait()
}
