package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// many has exchanges run at once, and waits for all.
func many(t *testing.T, fetch func(*Exchange) *Exchange, exchanges []*Exchange) {
	t.Helper()
	var all sync.WaitGroup
	for _, x := range exchanges {
		all.Go(func() { fetch(x) })
	}
	all.Wait()
}

func TestManyAtOnceGetEachItsOwnAnswer(t *testing.T) {
	a := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{a.leaf(t, "example.org", -time.Hour, time.Hour)}} //nolint:gosec // a server's default
	echo := func(c net.Conn, r *http.Request) {
		text := strings.Repeat(r.URL.Path+"\n", 1000)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nLocation: %s\r\nContent-Length: %d\r\n\r\n%s", r.URL.Path, len(text), text)
		_, _ = io.Copy(io.Discard, c)
	}
	plain, secure := serveScript(t, echo), serveScriptTLS(t, config, echo)
	engines(t, Config{Roots: a.pool, HandshakesAtOnce: 3}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
		var exchanges []*Exchange
		for i := range 300 {
			x := exchange(plain)
			if x.Path, x.Body = fmt.Sprintf("/%d", i), 64<<10; i%3 == 0 {
				x.Secure, x.Addr = true, secure
			}
			x.Connect, x.Handshake, x.FirstByte, x.Total = time.Minute, time.Minute, time.Minute, time.Minute // the machine may be busy
			exchanges = append(exchanges, x)
		}
		many(t, fetch, exchanges)
		for _, x := range exchanges {
			if x.Verdict != verdict.OK || x.Location != x.Path || string(x.Sample) != strings.Repeat(x.Path+"\n", 1000) || !x.Complete {
				t.Errorf("%s: %v (%s), location %q, %d bytes", x.Path, x.Verdict, x.Err, x.Location, len(x.Sample))
			}
		}
	})
}

func TestHandshakesThatWaitForTheirPeersHoldUpNobody(t *testing.T) {
	a := newAuthority(t)
	good := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{a.leaf(t, "example.org", -time.Hour, time.Hour)}}) //nolint:gosec // a server's default
	silent := serveRaw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	engines(t, Config{Roots: a.pool, HandshakesAtOnce: 1}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
		var exchanges []*Exchange
		for i := range 40 {
			x := exchange(silent)
			if x.Secure, x.Handshake = true, 2*time.Second; i%2 == 1 {
				x.Addr, x.Handshake = good, 10*time.Second
			}
			exchanges = append(exchanges, x)
		}
		many(t, fetch, exchanges)
		for i, x := range exchanges {
			if want := []verdict.Code{verdict.TLSTimeout, verdict.OK}[i%2]; x.Verdict != want {
				t.Errorf("%v (%s), want %v", x.Verdict, x.Err, want)
			}
		}
	})
}

func TestWantOfDescriptorsIsOurOwnFault(t *testing.T) {
	silent := serveScript(t, func(c net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, c) })
	engines(t, Config{Descriptors: 2}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
		var exchanges []*Exchange
		for range 5 {
			x := exchange(silent)
			x.FirstByte = 500 * time.Millisecond
			exchanges = append(exchanges, x)
		}
		many(t, fetch, exchanges)
		count := map[verdict.Code]int{}
		for _, x := range exchanges {
			count[x.Verdict]++
		}
		if count[verdict.HTTPTimeout] != 2 || count[verdict.SelfDescriptors] != 3 {
			t.Errorf("verdicts %v", count)
		}
		if x := fetch(exchange(serveScript(t, says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false)))); x.Verdict != verdict.OK {
			t.Errorf("afterwards %v (%s)", x.Verdict, x.Err)
		}
	})
}

func TestWhatCameInTimeIsNotLateBecauseWeAre(t *testing.T) {
	addr := serveScript(t, says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false))
	r, f := started(t, Config{})
	done := make(chan *Exchange, 1)
	x := exchange(addr)
	x.Connect, x.FirstByte, x.Total = 50*time.Millisecond, 50*time.Millisecond, 0
	x.Done = func(x *Exchange) { done <- x }
	r.Post(func() { f.Fetch(x) })
	for range 100 { // whichever phase it is in
		slept := make(chan struct{})
		r.Post(func() {
			time.Sleep(100 * time.Millisecond)
			close(slept)
		})
		<-slept
		select {
		case x := <-done:
			if x.Verdict != verdict.OK {
				t.Errorf("%v (%s)", x.Verdict, x.Err)
			}
			return
		default:
		}
	}
	t.Error("the exchange never ended")
}

// started is the best engine of this system, on a reactor that runs.
func started(t *testing.T, c Config) (*loop.Reactor, Fetcher) {
	t.Helper()
	r, err := loop.NewReactor()
	if err != nil {
		t.Fatal(err)
	}
	f := NewPlain(r, c)
	if loop.Supported {
		f.Close()
		if f, err = NewFast(r, c); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := pump(ctx, r)
	t.Cleanup(func() {
		cancel()
		<-ended
		f.Close()
	})
	return r, f
}

func TestClosingEndsWhatIsUnderWayWithoutAWord(t *testing.T) {
	silent := serveRaw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	full := fullBacklog(t)
	makers := map[string]func(*loop.Reactor) (Fetcher, error){"plain": func(r *loop.Reactor) (Fetcher, error) { return NewPlain(r, Config{}), nil }}
	if loop.Supported {
		makers["fast"] = func(r *loop.Reactor) (Fetcher, error) { return NewFast(r, Config{HandshakesAtOnce: 2}) }
	}
	for name, newFetcher := range makers {
		t.Run(name, func(t *testing.T) {
			r, err := loop.NewReactor()
			if err != nil {
				t.Fatal(err)
			}
			f, err := newFetcher(r)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := pump(ctx, r)
			begun := make(chan struct{})
			r.Post(func() {
				for i := range 30 {
					x := exchange([]netip.AddrPort{silent, full}[i%2])
					x.Secure = i%3 == 0
					x.Connect, x.Handshake, x.FirstByte, x.Total = 0, 0, 0, 0
					x.Done = func(x *Exchange) { t.Errorf("%v (%s)", x.Verdict, x.Err) }
					f.Fetch(x)
				}
				close(begun)
			})
			<-begun
			time.Sleep(50 * time.Millisecond) // some are in each phase; the outcome does not depend on it
			cancel()
			<-ended
			f.Close() // ends what it has started, or never returns
		})
	}
}

// nginx serves files on two loopback ports, with and without TLS.
func nginx(t *testing.T, a *authority) (plain, secure netip.AddrPort) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed")
	}
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leaf := a.leaf(t, "example.org", -time.Hour, time.Hour)
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range leaf.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	write("chain.pem", chain)
	write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	write("index.html", []byte("<title>hello</title>"+strings.Repeat("x", 100<<10)))
	plain, secure = freePort(t), freePort(t)
	write("nginx.conf", fmt.Appendf(nil, `
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http {
	access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	types { text/html html; }
	server {
		listen %[2]s; listen %[3]s ssl; ssl_certificate %[1]s/chain.pem; ssl_certificate_key %[1]s/key.pem;
		root %[1]s;
		location /moved { return 301 https://example.org/; }
	}
}`, dir, plain, secure))
	cmd := exec.CommandContext(t.Context(), program, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "nginx.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // t.Context has ended it
	for range 500 {
		var d net.Dialer
		if c, err := d.DialContext(t.Context(), "tcp", secure.String()); err == nil {
			_ = c.Close()
			return plain, secure
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "error.log"))
	t.Fatalf("nginx does not listen: %s", text)
	return plain, secure
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestNginxIsUnderstood(t *testing.T) {
	a := newAuthority(t)
	plain, secure := nginx(t, a)
	engines(t, Config{Roots: a.pool}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
		for _, tls := range []bool{false, true} {
			for _, c := range []struct {
				method, path string
				status       int
				verdict      verdict.Code
				body         int
				length       int64
				whole        bool
			}{
				{"GET", "/", 200, verdict.OK, 102420, 102420, true},
				{"HEAD", "/", 200, verdict.OK, 0, 102420, true},
				{"GET", "/nothing", 404, verdict.HTTPStatus, -1, -2, true},
				{"GET", "/moved", 301, verdict.HTTPRedirect, -1, -2, true},
			} {
				x := exchange(plain)
				if x.Method, x.Path, x.Body, x.Secure = c.method, c.path, 200<<10, tls; tls {
					x.Addr = secure
				}
				fetch(x)
				if x.Verdict != c.verdict || x.Status != c.status || x.Complete != c.whole || c.body >= 0 && len(x.Sample) != c.body || c.length > -2 && x.ContentLength != c.length {
					t.Errorf("%s %s, TLS %v: %v (%s), status %d, %d bytes of %d, complete %v", c.method, c.path, tls, x.Verdict, x.Err, x.Status, len(x.Sample), x.ContentLength, x.Complete)
				}
				if !strings.HasPrefix(x.Server, "nginx") || x.ContentType != "text/html" || (x.Location != "") != (c.status == 301) {
					t.Errorf("server %q, type %q, location %q", x.Server, x.ContentType, x.Location)
				}
			}
			x := exchange(plain)
			if x.Body, x.Title, x.Secure = 200<<10, true, tls; tls {
				x.Addr = secure
			}
			if fetch(x); Title(x.Sample, x.ContentType) != "hello" || len(x.Sample) > 100 || x.Verdict != verdict.OK {
				t.Errorf("title %q in %d bytes, %v", Title(x.Sample, x.ContentType), len(x.Sample), x.Verdict)
			}
		}
	})
}
