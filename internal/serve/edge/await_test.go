//go:build unix

package edge

import (
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// waitingAndServing counts goroutines: those that wait for connections that rest, and
// those that serve connections.
func waitingAndServing() (waiting, serving int) {
	var dump strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&dump, 2) // a Builder takes everything
	for stack := range strings.SplitSeq(dump.String(), "\n\n") {
		switch {
		case strings.Contains(stack, "(*countedConn).awaitReadable("):
			waiting++
		case strings.Contains(stack, "internal/serve/h1") || strings.Contains(stack, "internal/serve/h2"):
			serving++
		}
	}
	return waiting, serving
}

// rests waits until the only connection of a server rests: with loops it has no
// goroutine, without them a small one.
func (r *running) rests(t *testing.T) {
	t.Helper()
	want := 1
	if r.server.loops != nil {
		want = 0
	}
	eventually(t, "the connection rests", func() bool {
		waiting, serving := waitingAndServing()
		return waiting == want && serving == 0
	})
	if got := r.counter(`penny_connections{pop="au"}`); got != 1 {
		t.Errorf("%v connections rest", got)
	}
}

// An idle connection rests, goes on where it was, rests again, and ends.
func TestAnIdleConnectionRestsAndGoesOn(t *testing.T) {
	for _, loops := range []bool{false, true} {
		t.Run(map[bool]string{false: "in a goroutine", true: "on a loop"}[loops], func(t *testing.T) {
			idleConnectionsRest(t, loops)
		})
	}
}

func idleConnectionsRest(t *testing.T, loops bool) {
	for name, c := range map[string]struct {
		secure bool
		begin  func(r *running) (ask func(), end io.Reader)
	}{
		"HTTP/1.1": {false, func(r *running) (func(), io.Reader) {
			conn := r.dial()
			return func() { conn.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").receive("GET") }, conn.in
		}},
		"HTTP/1.1 over TLS": {true, func(r *running) (func(), io.Reader) {
			conn := r.dialTLS("localhost")
			return func() { conn.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").receive("GET") }, conn.in
		}},
		"HTTP/1.1, half a head at a time": {true, func(r *running) (func(), io.Reader) {
			conn := r.dialTLS("localhost")
			return func() {
				conn.send("GET / HTTP/1.1\r\nHo")
				time.Sleep(10 * time.Millisecond)
				conn.send("st: localhost\r\n\r\n").receive("GET")
			}, conn.in
		}},
		"HTTP/2": {true, func(r *running) (func(), io.Reader) {
			conn := r.dialH2("localhost")
			return func() {
				stream := conn.open(true, h2Get("localhost", "/")...)
				if got := conn.status(stream); got != "200" {
					conn.tb.Errorf("got %s", got)
				}
				for {
					if f, ok := conn.read().(*http2.DataFrame); ok && f.StreamID == stream && f.StreamEnded() {
						return
					}
				}
			}, conn.conn
		}},
	} {
		for _, end := range []string{"until it is idle for too long", "until the server stops"} {
			t.Run(name+", "+end, func(t *testing.T) {
				r := start(t, setup{plain: !c.secure, secure: c.secure, edit: func(o *Options) {
					o.Engine, o.noLoops = Fast, !loops
					if end == "until it is idle for too long" {
						o.Limits.IdleTimeout = 3 * restAfter
					}
				}})
				if loops && r.server.loops == nil {
					t.Skip("loops need epoll, which Linux has")
				}
				ask, rest := c.begin(r)
				for range 2 {
					ask()
					r.rests(t)
				}
				began := time.Now()
				if end == "until the server stops" {
					if err := r.stop(); err != nil {
						t.Error(err)
					}
				}
				if _, err := io.Copy(io.Discard, rest); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the connection ended with %v", err)
				}
				if took := time.Since(began); took > patience/2 {
					t.Errorf("it took %v", took)
				}
				eventually(t, "nothing is left", func() bool {
					waiting, serving := waitingAndServing()
					return waiting+serving == 0
				})
			})
		}
	}
}

// What is on its way when a connection is about to rest is not lost.
func TestNothingIsLostWhenAConnectionRests(t *testing.T) {
	for _, noLoops := range []bool{false, true} {
		r := start(t, setup{secure: true, edit: func(o *Options) { o.Engine, o.noLoops = Fast, noLoops }})
		clients := []client{r.overHTTP1("localhost"), r.overHTTP2("localhost")}
		for i := range 5 {
			time.Sleep(restAfter + time.Duration(i-2)*20*time.Millisecond)
			for _, c := range clients {
				if got := c.do("GET", "", "/"); got.StatusCode != http.StatusOK {
					t.Errorf("request %d: %d", i, got.StatusCode)
				}
			}
		}
	}
}
