package probe_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"pennyfarthing/internal/probe"
	"pennyfarthing/internal/verdict"
)

const host = "probe.test"

// patience only ends tests that fail anyway.
const patience = 20 * time.Second

// issue makes a certificate for the host that is its own issuer.
func issue(t *testing.T, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// serve answers over a protocol until the test ends, and returns the address.
func serve(t *testing.T, protocol probe.Protocol, pair tls.Certificate, handler http.Handler) string {
	t.Helper()
	if protocol == probe.HTTP3 {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http3.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, QUICConfig: &quic.Config{}}
		var wait sync.WaitGroup
		wait.Go(func() { _ = srv.Serve(conn) }) // it ends when closed
		t.Cleanup(func() {
			_ = srv.Close()  // a test's
			_ = conn.Close() // as above
			wait.Wait()
		})
		return conn.LocalAddr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler, Protocols: new(http.Protocols), TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	srv.Protocols.SetHTTP1(protocol == probe.HTTP1)
	srv.Protocols.SetHTTP2(protocol == probe.HTTP2)
	var wait sync.WaitGroup
	wait.Go(func() { _ = srv.ServeTLS(l, "", "") }) // it ends when closed
	t.Cleanup(func() {
		_ = srv.Close() // a test's
		wait.Wait()
	})
	return l.Addr().String()
}

func client(t *testing.T, c probe.Config) *probe.Client {
	t.Helper()
	p := probe.New(c)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func get(t *testing.T, p *probe.Client, path string) probe.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return p.Ask(ctx, probe.Request{URL: &url.URL{Scheme: "https", Host: host, Path: path}})
}

func TestEveryProtocolSaysWhatCameAndHowLongItTook(t *testing.T) {
	pair, roots := issue(t, host, time.Now().Add(time.Hour))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page":
			if r.Host != host || r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("User-Agent") != "penny" {
				t.Errorf("asked %s with %v", r.Host, r.Header)
			}
			_, _ = w.Write([]byte("hello")) // the client may be gone
		case "/moved":
			http.Redirect(w, r, "/page", http.StatusMovedPermanently)
		default:
			http.NotFound(w, r)
		}
	})
	for protocol, spoken := range map[probe.Protocol]string{probe.HTTP1: "HTTP/1.1", probe.HTTP2: "HTTP/2.0", probe.HTTP3: "HTTP/3.0"} {
		t.Run(protocol.String(), func(t *testing.T) {
			p := client(t, probe.Config{Address: serve(t, protocol, pair, handler), Protocol: protocol, Roots: roots})
			a := get(t, p, "/page")
			if a.Verdict != verdict.OK || a.Certificate != verdict.OK || a.Protocol != spoken || a.Status != 200 || a.Bytes != 5 || a.SHA256 != sha256.Sum256([]byte("hello")) {
				t.Fatalf("got %+v", a)
			}
			if a.Times.TLS <= 0 || a.Times.FirstByte <= 0 || a.Times.Total < a.Times.FirstByte || (protocol != probe.HTTP3) != (a.Times.Connect > 0) {
				t.Errorf("the phases took %+v", a.Times)
			}
			if again := get(t, p, "/page"); again.Times.TLS != 0 || again.Times.Connect != 0 || again.Verdict != verdict.OK {
				t.Errorf("the connection was not kept: %+v", again)
			}
			if a := get(t, p, "/moved"); a.Verdict != verdict.HTTPRedirect || a.Status != 301 || a.Header.Get("Location") != "/page" {
				t.Errorf("a redirect is %+v", a)
			}
			if a := get(t, p, "/nothing"); a.Verdict != verdict.HTTPStatus || a.Status != 404 {
				t.Errorf("what is not there is %+v", a)
			}
		})
	}
}

func TestACertificateIsJudgedBesideTheAnswer(t *testing.T) {
	good, roots := issue(t, host, time.Now().Add(time.Hour))
	old, oldRoots := issue(t, host, time.Now().Add(-time.Minute))
	other, otherRoots := issue(t, "other.test", time.Now().Add(time.Hour))
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		name  string
		pair  tls.Certificate
		roots *x509.CertPool
		want  verdict.Code
	}{
		{"one that is good", good, roots, verdict.OK},
		{"one of an unknown issuer", good, otherRoots, verdict.TLSUntrusted},
		{"one that has expired", old, oldRoots, verdict.TLSExpired},
		{"one for another name", other, otherRoots, verdict.TLSName},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, protocol := range probe.Protocols() {
				p := client(t, probe.Config{Address: serve(t, protocol, c.pair, handler), Protocol: protocol, Roots: c.roots})
				if a := get(t, p, "/"); a.Verdict != verdict.OK || a.Certificate != c.want {
					t.Errorf("%s: got %v, certificate %v (%s); want certificate %v", protocol, a.Verdict, a.Certificate, a.Err, c.want)
				}
			}
		})
	}
}

// raw accepts connections and hands each to do.
func raw(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				do(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // a test's
		wait.Wait()
	})
	return l.Addr().String()
}

func TestWhatGoesWrongHasItsCode(t *testing.T) {
	pair, roots := issue(t, host, time.Now().Add(time.Hour))
	secure := func(do func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
			if s.Handshake() == nil {
				do(s)
			}
		}
	}
	asked := func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) } // whatever it is
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close() // its port is what is wanted
	over := make(chan struct{})
	silent := func(net.Conn) { <-over }
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("short")) // the rest never comes
	})
	short := probe.Config{Connect: time.Second, Handshake: time.Second, FirstByte: time.Second / 2, Total: patience}
	for _, c := range []struct {
		name     string
		protocol probe.Protocol
		address  string
		path     string
		limit    bool // with short limits
		want     verdict.Code
	}{
		{"nobody listens", probe.HTTP1, closed.Addr().String(), "/", false, verdict.TCPRefused},
		{"nobody listens over UDP", probe.HTTP3, closed.Addr().String(), "/", true, verdict.TLSTimeout},
		{"not TLS", probe.HTTP1, raw(t, func(c net.Conn) { asked(c); _, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) }), "/", false, verdict.TLSMalformed},
		{"closed in the handshake", probe.HTTP1, raw(t, func(c net.Conn) { asked(c) }), "/", false, verdict.TLSClosed},
		{"silent in the handshake", probe.HTTP1, raw(t, silent), "/", true, verdict.TLSTimeout},
		{"no HTTP/2", probe.HTTP2, serve(t, probe.HTTP1, pair, handler), "/", false, verdict.TLSVersion},
		{"closed without an answer", probe.HTTP1, raw(t, secure(asked)), "/", false, verdict.HTTPClosed},
		{"silent", probe.HTTP1, raw(t, secure(silent)), "/", true, verdict.HTTPTimeout},
		{"no HTTP", probe.HTTP1, raw(t, secure(func(c net.Conn) { asked(c); _, _ = c.Write([]byte("220 mail ready\r\n\r\n")) })), "/", false, verdict.HTTPMalformed},
		{"cut in the body", probe.HTTP1, serve(t, probe.HTTP1, pair, handler), "/cut", false, verdict.HTTPTruncated},
		{"cut in the body over HTTP/2", probe.HTTP2, serve(t, probe.HTTP2, pair, handler), "/cut", false, verdict.HTTPTruncated},
		{"cut in the body over HTTP/3", probe.HTTP3, serve(t, probe.HTTP3, pair, handler), "/cut", false, verdict.HTTPTruncated},
		{"a stream reset", probe.HTTP2, serve(t, probe.HTTP2, pair, handler), "/abort", false, verdict.HTTPReset},
		{"a stream reset over HTTP/3", probe.HTTP3, serve(t, probe.HTTP3, pair, handler), "/abort", false, verdict.HTTPReset},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := probe.Config{}
			if c.limit {
				config = short
			}
			config.Address, config.Protocol, config.Roots = c.address, c.protocol, roots
			a := get(t, client(t, config), c.path)
			if a.Verdict != c.want || a.Err == "" || a.SHA256 != [32]byte{} {
				t.Errorf("got %v (%s), hash %x; want %v", a.Verdict, a.Err, a.SHA256, c.want)
			}
		})
	}
	close(over)
}

func TestABodyOverTheLimitIsNotReadToItsEnd(t *testing.T) {
	pair, roots := issue(t, host, time.Now().Add(time.Hour))
	address := serve(t, probe.HTTP2, pair, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", 100))) // the client may be gone
	}))
	if a := get(t, client(t, probe.Config{Address: address, Protocol: probe.HTTP2, Roots: roots, MaxBody: 99}), "/"); a.Verdict != verdict.HTTPTooLarge {
		t.Errorf("got %+v", a)
	}
	if a := get(t, client(t, probe.Config{Address: address, Protocol: probe.HTTP2, Roots: roots, MaxBody: 100}), "/"); a.Verdict != verdict.OK {
		t.Errorf("got %+v", a)
	}
}

func TestAskingIsSharedAndEndsWithItsContext(t *testing.T) {
	pair, roots := issue(t, host, time.Now().Add(time.Hour))
	waiting, over := make(chan struct{}), make(chan struct{})
	address := serve(t, probe.HTTP2, pair, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			close(waiting)
			<-over
		}
	}))
	p := client(t, probe.Config{Address: address, Protocol: probe.HTTP2, Roots: roots})
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if a := get(t, p, "/"); a.Verdict != verdict.OK {
				t.Errorf("got %+v", a)
			}
		})
	}
	wait.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-waiting
		cancel()
	}()
	if a := p.Ask(ctx, probe.Request{URL: &url.URL{Scheme: "https", Host: host, Path: "/wait"}}); a.Verdict != verdict.SelfOther {
		t.Errorf("a request that was given up is %v (%s), want a fault of our own", a.Verdict, a.Err)
	}
	close(over)
}

func TestAProtocolHasOneName(t *testing.T) {
	for _, p := range probe.Protocols() {
		var got probe.Protocol
		if text, err := p.MarshalText(); err != nil || got.UnmarshalText(text) != nil || got != p {
			t.Errorf("%v is written %q and read %v, %v", p, text, got, err)
		}
	}
	if _, err := probe.ParseProtocol("spdy"); err == nil {
		t.Error("spdy is a protocol")
	}
}
