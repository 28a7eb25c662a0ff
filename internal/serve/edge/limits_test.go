package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"pennyfarthing/internal/serve/h3"
)

// brief is a limit that a test waits out.
const brief = 100 * time.Millisecond

func TestHeadsAreLimitedOverEveryProtocol(t *testing.T) {
	r := start(t, setup{secure: true})
	r.everyProtocol(t, "localhost", func(t *testing.T, c client) {
		many := slices.Repeat([]string{"X-Field", "1"}, 120) // clients add some of their own
		long := "/" + strings.Repeat("x", 8<<10)
		for name, test := range map[string]struct {
			target string
			fields []string
			status int
		}{
			"an ordinary head": {"/", nil, 200}, "many fields": {"/", many, 200}, "too many": {"/", slices.Concat(many, many), 431},
			"a long target": {long[:8000], nil, 404}, "too long a target": {long, nil, 414},
		} {
			if got := c.do("GET", "", test.target, test.fields...); got.StatusCode != test.status {
				t.Errorf("%s: %d, want %d", name, got.StatusCode, test.status)
			}
		}
	})
	for name, c := range map[string]client{"HTTP/1.1": r.overHTTP1("localhost"), "HTTP/3": r.overHTTP3("localhost")} { // Go's client for HTTP/2 refuses to send it
		if got := c.do("GET", "", "/", "X-Large", strings.Repeat("x", 33<<10)); got.StatusCode != 431 {
			t.Errorf("a head of 33 KiB over %s: %d, want 431", name, got.StatusCode)
		}
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) {
		o.Limits.HeaderTimeout, o.Limits.IdleTimeout, o.Limits.Handshake = brief, brief, brief
	}})
	plain := start(t, setup{edit: func(o *Options) { o.Limits.HeaderTimeout, o.Limits.IdleTimeout = brief, brief }})
	t.Run("half a head over plain HTTP is answered 408", func(t *testing.T) {
		conn := plain.dial().send("GET / HTTP/1.1\r\nHost:")
		if got := conn.receive("GET"); got.StatusCode != 408 {
			t.Errorf("got %d", got.StatusCode)
		}
		conn.receiveEnd()
	})
	t.Run("half a head over TLS is answered 408", func(t *testing.T) {
		conn := r.dialTLS("localhost").send("G")
		if got := conn.receive("GET"); got.StatusCode != 408 {
			t.Errorf("got %d", got.StatusCode)
		}
		conn.receiveEnd()
	})
	t.Run("silence is not answered", func(t *testing.T) { plain.dial().receiveEnd() })
	t.Run("silence after an answer is not answered", func(t *testing.T) {
		conn := r.dialTLS("localhost").send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		conn.receive("GET")
		conn.receiveEnd()
	})
	t.Run("a handshake that does not begin", func(t *testing.T) {
		conn, err := net.Dial("tcp", r.secure)
		if err != nil {
			t.Fatal(err)
		}
		newRawConn(t, conn).receiveEnd()
	})
	t.Run("a handshake that does not go on", func(t *testing.T) {
		conn, err := net.Dial("tcp", r.secure)
		if err != nil {
			t.Fatal(err)
		}
		newRawConn(t, conn).send("\x16\x03\x01\x02\x00\x01\x00").receiveEnd()
	})
	eventually(t, "both handshakes are counted", func() bool {
		return r.counter(`penny_tls_handshakes_total{pop="au",result="failed"}`) == 2
	})
}

// bigSite is a site with a file that no buffer of a system holds.
func bigSite(t *testing.T) setup {
	t.Helper()
	return setup{edit: func(o *Options) {
		o.Limits.Grace, o.Limits.MinRate = brief, 1<<30
		s := newSite(t, "big", map[string]string{"index.html": "x"})
		file := filepath.Join(s.dir, "big.bin")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, 256<<20); err != nil {
			t.Fatal(err)
		}
		s = siteOf(t, "big", s.dir)
		o.Table = AnyHost(s.Live)
	}}
}

func TestAReaderThatIsTooSlowIsCutOff(t *testing.T) {
	o := bigSite(t)
	t.Run("over HTTP/1.1", func(t *testing.T) {
		r := start(t, o)
		conn := r.dial().send("GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
		eventually(t, "the reader is refused", func() bool {
			return r.counter(`penny_refusals_total{pop="au",reason="reader too slow"}`) == 1
		})
		if n, err := io.Copy(io.Discard, conn); err == nil && n >= 256<<20 {
			t.Errorf("it got all of %d bytes", n)
		}
	})
	o.secure = true
	t.Run("over HTTP/2", func(t *testing.T) {
		r := start(t, o)
		conn := r.dialH2("localhost")
		stream := conn.open(true, h2Get("localhost", "/big.bin")...)
		if got := conn.status(stream); got != "200" {
			t.Fatalf("got %s", got)
		}
		if got := conn.status(stream); got != "INTERNAL_ERROR" && got != "CANCEL" {
			t.Errorf("the answer ended with %s, want a reset", got)
		}
	})
	t.Run("over HTTP/3", func(t *testing.T) {
		r := start(t, o)
		res, err := r.overHTTP3("localhost").stream("/big.bin")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		eventually(t, "the request has ended", func() bool { return r.server.inFlight[overHTTP3].Load() == 0 })
		if n, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Errorf("it got all of %d bytes", n)
		}
	})
}

func TestConnectionsOfOneClientAreLimited(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.ConnectionsPerClient = 2 }})
	open := func() float64 { return r.counter(`penny_connections{pop="au"}`) }
	refused := func() float64 {
		return r.counter(`penny_refusals_total{pop="au",reason="connections per client"}`)
	}
	tcp := r.dialTLS("localhost")
	overQUIC, err := r.dialQUIC(nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are counted", func() bool { return open() == 2 })

	if conn, err := tls.Dial("tcp", r.secure, clientTLS("localhost")); err == nil {
		conn.Close()
		t.Error("a third connection, over TCP, was let in")
	}
	third, err := r.dialQUIC(nil)
	if err == nil {
		<-third.Context().Done()
		err = context.Cause(third.Context())
	}
	app, isApp := errors.AsType[*quic.ApplicationError](err)
	transport, isTransport := errors.AsType[*quic.TransportError](err) // within a handshake the code is hidden (RFC 9000 §10.2.3)
	if !(isApp && app.ErrorCode == quic.ApplicationErrorCode(h3.ExcessiveLoad)) && !(isTransport && transport.ErrorCode == quic.ApplicationErrorErrorCode) {
		t.Errorf("a third connection, over QUIC: %v, want H3_EXCESSIVE_LOAD", err)
	}
	if got := refused(); got != 2 {
		t.Errorf("%v refusals are counted, want 2", got)
	}

	tcp.Close()
	eventually(t, "the one that was closed is no longer counted", func() bool { return open() == 1 })
	r.dialTLS("localhost").send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").receive("GET")
	_ = overQUIC.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
	eventually(t, "nor is that over QUIC", func() bool { return open() == 1 })
	r.overHTTP3("localhost").do("GET", "", "/")
}

func TestEveryWayOutOfAConnectionCountsItDown(t *testing.T) {
	r := start(t, setup{secure: true, plain: true, edit: func(o *Options) { o.Limits.Handshake = brief }})
	for _, text := range []string{"", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "garbage", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		for _, address := range []string{r.plain, r.secure} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			newRawConn(t, conn).send(text).Close()
		}
	}
	r.dialTLS("localhost").send("x").Close()
	r.dialH2("localhost").conn.Close()
	eventually(t, "no connection is counted", func() bool { return r.counter(`penny_connections{pop="au"}`) == 0 })
	r.server.clients.mu.Lock()
	defer r.server.clients.mu.Unlock()
	if n := len(r.server.clients.open); n != 0 {
		t.Errorf("%d clients are remembered", n)
	}
}

func TestStreamsOverQUICAreLimited(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.StreamsPerConnection = 3 }})
	conn, err := r.dialQUIC(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := conn.OpenStream(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.OpenStream(); err == nil {
		t.Error("a fourth stream was opened")
	}
}

// A client that keeps its connection awake with PING and never ends a head.
func TestAQUICConnectionWithoutARequestIsClosed(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.IdleTimeout = 4 * brief }})
	conn, err := r.dialQUIC(&quic.Config{KeepAlivePeriod: brief / 4})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{1, 0x40, 100, 0}); err != nil { // HEADERS of 100 bytes, one of which comes
		t.Fatal(err)
	}
	select {
	case <-conn.Context().Done():
	case <-time.After(patience):
		t.Fatal("it stays open")
	}
	if e, ok := errors.AsType[*quic.ApplicationError](context.Cause(conn.Context())); !ok || e.ErrorCode != quic.ApplicationErrorCode(h3.NoError) {
		t.Errorf("it ended with %v, want H3_NO_ERROR", context.Cause(conn.Context()))
	}
}

func (r *running) dialQUIC(config *quic.Config) (*quic.Conn, error) {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := quic.DialAddr(ctx, r.secure, clientTLS("localhost", h3.NextProto), config)
	if err == nil {
		r.tb.Cleanup(func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "") })
	}
	return conn, err
}

func TestLimitsAreOnByDefault(t *testing.T) {
	got := Limits{}.withDefaults()
	want := Limits{
		HeaderBytes: 32768, HeaderFields: 128, RequestLine: 8192, HeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, Handshake: 10 * time.Second,
		Grace: 10 * time.Second, MinRate: 1024, ConnectionsPerClient: 1024, StreamsPerConnection: 128, Drain: 30 * time.Second,
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := want.writeTime(1 << 20); got != 10*time.Second+1024*time.Second {
		t.Errorf("a mebibyte may take %v", got)
	}
}
