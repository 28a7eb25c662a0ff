package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// While the engine changes back and forth, visitors on connections of their own,
// new and old, get every answer.
func TestTheEngineChangesWithoutLosingARequest(t *testing.T) {
	r := start(t, setup{secure: true})
	stop := make(chan struct{})
	var visitors sync.WaitGroup
	answers := make([]int, 4)
	for i := range answers {
		visitors.Go(func() {
			c := []client{r.overHTTP1("localhost"), r.overHTTP2("localhost")}[i%2]
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := c.try("GET", "", "/", nil)
				if err != nil || got.StatusCode != http.StatusOK {
					t.Errorf("visitor %d, answer %d: %v, %v", i, answers[i], got.Response, err)
					return
				}
				answers[i]++
			}
		})
	}
	for i := range 20 {
		r.server.SetEngine([]Engine{Plain, Fast}[i%2])
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	visitors.Wait()
	for i, n := range answers {
		if n < 20 {
			t.Errorf("visitor %d got %d answers", i, n)
		}
	}
}

func TestLeavingTheFastEngineEndsItsHTTP2ConnectionsInGoodOrder(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Engine = Fast }})
	conn := r.dialH2("localhost")
	if got := conn.status(conn.open(true, h2Get("localhost", "/")...)); got != "200" {
		t.Fatal(got)
	}
	r.server.SetEngine(Plain)
	away := uint32(0)
	for {
		frame, err := conn.ReadFrame()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := frame.(*http2.GoAwayFrame); ok {
			if f.ErrCode != http2.ErrCodeNo {
				t.Errorf("GOAWAY with %v", f.ErrCode)
			}
			away = f.LastStreamID
		}
	}
	if away != 1 {
		t.Errorf("the last GOAWAY names stream %d, want 1", away)
	}
	eventually(t, "no connection is left", func() bool { return r.server.fast.h2.Connections() == 0 })
}

func TestTheAdminChangesTheEngine(t *testing.T) {
	r := start(t, setup{edit: func(o *Options) { o.Engine = Plain }})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeAdmin(ctx, ln, NewMetrics(), []*Server{r.server}) }()
	c := client{t, "http://" + ln.Addr().String(), &http.Transport{DisableKeepAlives: true}}
	for _, test := range []struct {
		method, body string
		fields       []string
		status       int
		contains     string
		then         Engine
	}{
		{"GET", "", nil, 200, "au plain\n", Plain},
		{"PUT", "fast\n", nil, 200, "au fast\n", Fast},
		{"GET", "", nil, 200, "au fast\n", Fast},
		{"PUT", "faster", nil, 400, "send plain or fast", Fast},
		{"PUT", strings.Repeat("plain", 100), nil, 400, "", Fast},
		{"POST", "plain", nil, 405, "", Fast},
		{"PUT", "plain", []string{"Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site"}, 403, "", Fast},
		{"PUT", "plain", nil, 200, "au plain\n", Plain},
	} {
		got, err := c.try(test.method, "", "/engine", strings.NewReader(test.body), test.fields...)
		if err != nil || got.StatusCode != test.status || !strings.Contains(got.text, test.contains) || r.server.Engine() != test.then {
			t.Errorf("%s %.20q: %v, %q, %v; the engine is %v", test.method, test.body, got.Response, got.text, err, r.server.Engine())
		}
	}
	cancel()
	ends(t, ended)
}

// Handshakes take turns; whoever begins one and is silent has none.
func TestSilentHandshakesKeepNobodyWaiting(t *testing.T) {
	r := start(t, setup{secure: true})
	for range 4 * cap(r.server.turns) {
		conn, err := net.Dial("tcp", r.secure)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		silent := &silentConn{Conn: conn}
		go func() { _ = tls.Client(silent, clientTLS("localhost")).HandshakeContext(t.Context()) }() // it never gets on
	}
	var visitors sync.WaitGroup
	for range 4 * cap(r.server.turns) {
		visitors.Go(func() {
			conn, err := tls.Dial("tcp", r.secure, clientTLS("localhost"))
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		})
	}
	visitors.Wait()
	eventually(t, "nobody has a turn", func() bool { return len(r.server.turns) == 0 })
}

// A silentConn says something, and then hears nothing for as long as it is open.
type silentConn struct{ net.Conn }

func (c *silentConn) Read(p []byte) (int, error) {
	for {
		if _, err := c.Conn.Read(p); err != nil {
			return 0, err
		}
	}
}

func TestAHandshakeWaitsForItsTurnNoLongerThanItMay(t *testing.T) {
	turns := make(chan struct{}, 1)
	turns <- struct{}{} // somebody has it
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		_ = tls.Client(far, clientTLS("localhost")).HandshakeContext(t.Context()) // it fails
	}()
	cert := newCertificate(t, "localhost")
	conn := newSecureConn(near, &tls.Config{Certificates: []tls.Certificate{*cert}}, turns, new(atomic.Int32))
	if err := conn.handshake(t.Context(), brief); !errors.Is(err, errSlowHandshake) {
		t.Errorf("got %v, want the deadline", err)
	}
	if len(turns) != 1 {
		t.Error("the turn of somebody else was ended")
	}
}
