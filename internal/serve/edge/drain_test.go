package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// slowSite has a file that is in flight until it is read: no buffer holds it.
const slowSize = 32 << 20

func slowSite(t *testing.T, o setup) setup {
	t.Helper()
	dir := t.TempDir()
	for name, size := range map[string]int64{"index.html": 10, "big.bin": slowSize} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, size); err != nil {
			t.Fatal(err)
		}
	}
	live := siteOf(t, "slow", dir)
	if o.keepDir != nil {
		*o.keepDir = dir
	}
	edit := o.edit
	o.edit = func(options *Options) {
		options.Table = AnyHost(live.Live)
		if edit != nil {
			edit(options)
		}
	}
	return o
}

// draining begins to stop a server and returns where the result of Run comes.
func (r *running) draining() <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	return ended
}

// ends waits for the end of Run.
func ends(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not end")
	}
}

func refusesTCP(t *testing.T, address string) {
	t.Helper()
	eventually(t, "new connections are refused", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

func TestDrainFinishesAnswersOverHTTP1AndClosesIdleConnections(t *testing.T) {
	for scheme, o := range map[string]setup{"plain": {}, "TLS": {secure: true}} {
		t.Run(scheme, func(t *testing.T) {
			o.edit = func(options *Options) { options.Limits.Drain, options.Limits.Grace = time.Hour, time.Hour }
			r := start(t, slowSite(t, o))
			dial, address := r.dial, r.plain
			if o.secure {
				dial, address = func() *rawConn { return r.dialTLS("localhost") }, r.secure
			}
			idle := dial().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			idle.receive("GET")
			busy := dial().send("GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
			if _, err := busy.in.Peek(1); err != nil {
				t.Fatal(err)
			}
			ended := r.draining()
			idle.receiveEnd()
			refusesTCP(t, address)
			if got := busy.receive("GET"); len(got.text) != slowSize {
				t.Errorf("the answer in flight has %d bytes, want %d", len(got.text), slowSize)
			}
			busy.receiveEnd()
			ends(t, ended)
		})
	}
}

func TestDrainSendsGOAWAYAndFinishesAnswersOverHTTP2(t *testing.T) {
	r := start(t, slowSite(t, setup{secure: true, edit: func(o *Options) { o.Limits.Drain, o.Limits.Grace = time.Hour, time.Hour }}))
	conn := r.dialH2("localhost")
	stream := conn.open(true, h2Get("localhost", "/big.bin")...)
	if got := conn.status(stream); got != "200" {
		t.Fatalf("got %s", got)
	}
	ended := r.draining()
	away, received := false, 0
	for received < slowSize {
		switch frame := conn.read().(type) {
		case *http2.GoAwayFrame:
			away = true // until now the answer could not end: there was no window
			conn.must(conn.WriteWindowUpdate(0, slowSize))
			conn.must(conn.WriteWindowUpdate(stream, slowSize))
			if frame.ErrCode != http2.ErrCodeNo {
				t.Errorf("GOAWAY with %s", frame.ErrCode)
			}
		case *http2.DataFrame:
			if frame.StreamID == stream {
				received += len(frame.Data())
			}
		case *http2.RSTStreamFrame:
			t.Fatalf("reset with %s after %d bytes", frame.ErrCode, received)
		}
	}
	ends(t, ended)
	if !away {
		t.Error("there was no GOAWAY")
	}
}

func TestDrainFinishesAnswersOverHTTP3(t *testing.T) {
	r := start(t, slowSite(t, setup{secure: true, edit: func(o *Options) { o.Limits.Drain, o.Limits.Grace = time.Hour, time.Hour }}))
	res, err := r.overHTTP3("localhost").stream("/big.bin")
	if err != nil {
		t.Fatal(err)
	}
	ended := r.draining()
	refusesTCP(t, r.secure)
	got := read(t, res)
	if len(got.text) != slowSize {
		t.Errorf("the answer in flight has %d bytes, want %d", len(got.text), slowSize)
	}
	ends(t, ended)
}

func TestDrainHasALimit(t *testing.T) {
	r := start(t, slowSite(t, setup{secure: true, edit: func(o *Options) { o.Limits.Drain, o.Limits.Grace = brief, time.Hour }}))
	h1 := r.dialTLS("localhost").send("GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := h1.in.Peek(1); err != nil {
		t.Fatal(err)
	}
	h2 := r.dialH2("localhost")
	h2.status(h2.open(true, h2Get("localhost", "/big.bin")...))
	h3, err := r.overHTTP3("localhost").stream("/big.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer h3.Body.Close()
	ends(t, r.draining())
	for p := range protocols {
		if n := r.server.inFlight[p].Load(); n != 0 {
			t.Errorf("%d requests are in flight over %s", n, p)
		}
	}
	if n, err := io.Copy(io.Discard, h3.Body); err == nil {
		t.Errorf("over HTTP/3 all of %d bytes came", n)
	}
}

func TestNothingIsLeftWhenRunHasReturned(t *testing.T) {
	r := start(t, setup{plain: true, secure: true, log: true})
	r.everyProtocol(t, "localhost", func(t *testing.T, c client) { c.do("GET", "", "/") })
	conn, err := net.Dial("tcp", r.secure) // a handshake in flight
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var stacks string
	eventually(t, "goroutines of the server are gone", func() bool {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		for goroutine := range strings.SplitSeq(stacks, "\n\n") {
			ours := strings.Contains(goroutine, "edge.(*Server)") || strings.Contains(goroutine, "edge.(*AccessLog)") || strings.Contains(goroutine, "http.(*conn).serve")
			if ours {
				return false
			}
		}
		return true
	})
}

func TestAListenerThatFailsEndsTheServer(t *testing.T) {
	for name, breakOne := range map[string]func(Listeners){
		"plain": func(l Listeners) { l.Plain[0].Close() },
		"TLS":   func(l Listeners) { l.TLS[0].Close() },
		"QUIC":  func(l Listeners) { l.QUIC[0].Close() },
	} {
		t.Run(name, func(t *testing.T) {
			live := newSite(t, "one", nil)
			l, err := Listen(t.Context(), true, "127.0.0.1:0", "[::1]:0")
			if err != nil {
				t.Fatal(err)
			}
			plain, err := Listen(t.Context(), false, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l.Plain = plain.Plain
			server, err := New(Options{Table: AnyHost(live.Live), Certificates: certificates(t, false, newCertificate(t, "localhost"))}, l)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- server.Run(context.Background()) }()
			silent, err := net.Dial("tcp", l.TLS[1].Addr().String()) // a handshake in flight must not delay it
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			breakOne(l)
			select {
			case err := <-ended:
				if !errors.Is(err, net.ErrClosed) || strings.Count(err.Error(), net.ErrClosed.Error()) != 1 {
					t.Errorf("Run: %v, want that one listener was closed", err)
				}
			case <-time.After(patience):
				t.Fatal("Run does not end")
			}
		})
	}
}

func TestAServerThatIsStoppedBeforeItRunsEnds(t *testing.T) {
	live := newSite(t, "one", nil)
	l, err := Listen(t.Context(), true, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(Options{Table: AnyHost(live.Live), Certificates: certificates(t, false, newCertificate(t, "localhost"))}, l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	ends(t, ended)
}
