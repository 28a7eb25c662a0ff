package fetch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

const agent = "penny-test (+mailto:test@example.org)"

// engines runs a test with either engine.
func engines(t *testing.T, c Config, test func(t *testing.T, fetch func(*Exchange) *Exchange)) {
	t.Helper()
	c.UserAgent = agent
	makers := map[string]func(*loop.Reactor) (Fetcher, error){"plain": func(r *loop.Reactor) (Fetcher, error) { return NewPlain(r, c), nil }}
	if loop.Supported {
		makers["fast"] = func(r *loop.Reactor) (Fetcher, error) { return NewFast(r, c) }
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
			t.Cleanup(func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				f.Close()
			})
			test(t, func(x *Exchange) *Exchange {
				done := make(chan *Exchange, 1)
				x.Done = func(x *Exchange) {
					x.Sample = bytes.Clone(x.Sample)
					done <- x
				}
				r.Post(func() { f.Fetch(x) })
				select {
				case x := <-done:
					return x
				case <-time.After(time.Minute):
					t.Fatal("the exchange never ended")
					return nil
				}
			})
		})
	}
}

func pump(ctx context.Context, r *loop.Reactor) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return ended
}

// script is a server's part of a connection, behind the head of the request.
type script func(c net.Conn, request *http.Request)

// serveScript serves a script on a loopback port.
func serveScript(t *testing.T, s script) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				request, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				s(c, request)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// serveScriptTLS serves a script over TLS.
func serveScriptTLS(t *testing.T, config *tls.Config, s script) netip.AddrPort {
	t.Helper()
	return serveRaw(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		s(conn, request)
	})
}

// says is a server that sends a text, whole or byte by byte, and closes.
func says(text string, drip bool) script {
	return func(c net.Conn, _ *http.Request) {
		if !drip {
			_, _ = io.WriteString(c, text)
			return
		}
		for i := range len(text) {
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				return
			}
			if i%16 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}
}

func exchange(addr netip.AddrPort) *Exchange {
	return &Exchange{
		Host: "example.org", Addr: addr, Method: "GET", Path: "/", Body: 4096, Connect: 5 * time.Second, Handshake: 5 * time.Second, FirstByte: 5 * time.Second, Total: 15 * time.Second,
	}
}

func TestAnswersAndWhatIsNone(t *testing.T) {
	long := strings.Repeat("x", HeadLimit)
	a := newAuthority(t)
	server := &tls.Config{Certificates: []tls.Certificate{a.leaf(t, "example.org", -time.Hour, time.Hour)}} //nolint:gosec // a server's default
	for _, c := range []struct {
		name    string
		answer  string
		verdict verdict.Code
		status  int
		body    string
		whole   bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", verdict.OK, 200, "hello", true},
		{"more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", verdict.OK, 200, "hello", true},
		{"until the end", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello", verdict.OK, 200, "hello", true},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", verdict.OK, 200, "hello", true},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", verdict.OK, 200, "", true},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", verdict.OK, 200, "hi", true},
		{"folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi", verdict.OK, 200, "hi", true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n", verdict.OK, 200, "hello world", true},
		{"chunked beats a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", verdict.OK, 200, "hello", true},
		{"interim", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", verdict.OK, 200, "hi", true},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", verdict.OK, 204, "", true},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", verdict.HTTPStatus, 304, "", true},
		{"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nhi", verdict.OK, 200, "hi", true},
		{"not found", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", verdict.HTTPStatus, 404, "no", true},
		{"a rare status", "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", verdict.HTTPStatus, 999, "", true},
		{"redirect", "HTTP/1.1 301 Moved\r\nLocation: https://example.org/\r\nContent-Length: 0\r\n\r\n", verdict.HTTPRedirect, 301, "", true},
		{"too short for its length", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", verdict.HTTPTruncated, 200, "hello", false},
		{"a chunk that ends early", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", verdict.HTTPTruncated, 200, "hel", false},
		{"no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n", verdict.HTTPTruncated, 200, "", false},
		{"a chunk without its end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n", verdict.HTTPTruncated, 200, "hello", false},
		{"more than is wanted", "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("y", 9000), verdict.OK, 200, strings.Repeat("y", 4096), false},
		{"nothing", "", verdict.HTTPClosed, 0, "", false},
		{"half a head", "HTTP/1.1 200 OK\r\nServer: x\r\n", verdict.HTTPClosed, 0, "", false},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", verdict.HTTPMalformed, 0, "", false},
		{"HTTP/0.9", "<html>hello</html>", verdict.HTTPMalformed, 0, "", false},
		{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"status 099", "HTTP/1.1 099 OK\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", verdict.HTTPMalformed, 0, "", false},
		{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi", verdict.HTTPMalformed, 0, "", false},
		{"a space before the colon", "HTTP/1.1 200 OK\r\nServer : x\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"no colon", "HTTP/1.1 200 OK\r\nServer x\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"NUL in a value", "HTTP/1.1 200 OK\r\nServer: a\x00b\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"CR in a value", "HTTP/1.1 200 OK\r\nServer: a\rb\r\n\r\n", verdict.HTTPMalformed, 0, "", false},
		{"interim for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), verdict.HTTPMalformed, 0, "", false},
		{"a long head", "HTTP/1.1 200 OK\r\nX: " + long + "\r\n\r\n", verdict.HTTPTooLarge, 0, "", false},
		{"a head without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 20000), verdict.HTTPTooLarge, 0, "", false},
		{"many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", fieldLimit+1) + "\r\n", verdict.HTTPTooLarge, 0, "", false},
	} {
		for _, how := range []string{"whole", "drip", "TLS", "TLS drip"} {
			drip, secure := strings.HasSuffix(how, "drip"), strings.HasPrefix(how, "TLS")
			if drip && len(c.answer) > 4000 {
				continue
			}
			t.Run(c.name+"/"+how, func(t *testing.T) {
				answers := func(conn net.Conn, r *http.Request) {
					says(c.answer, drip)(conn, r)
					_ = conn.(interface{ CloseWrite() error }).CloseWrite() // TLS: close_notify
					_, _ = io.Copy(io.Discard, conn)                        // no reset overtakes what was said
				}
				serve := serveScript
				if secure {
					serve = func(t *testing.T, s script) netip.AddrPort { return serveScriptTLS(t, server, s) }
				}
				addr := serve(t, answers)
				engines(t, Config{Roots: a.pool}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
					x := exchange(addr)
					x.Secure = secure
					fetch(x)
					if x.Verdict != c.verdict || x.Status != c.status || string(x.Sample) != c.body || x.Complete != c.whole {
						t.Errorf("%v (%s), status %d, %d bytes %.20q, complete %v", x.Verdict, x.Err, x.Status, len(x.Sample), x.Sample, x.Complete)
					}
					if (x.Err == "") != (x.Verdict == verdict.OK || x.Verdict == verdict.HTTPStatus || x.Verdict == verdict.HTTPRedirect) {
						t.Errorf("%v says %q", x.Verdict, x.Err)
					}
					if x.ConnectTook <= 0 || x.TotalTook < x.ConnectTook || (x.BytesIn > 0) != (x.FirstByteTook > 0) || x.BytesOut == 0 {
						t.Errorf("connect %v, first byte %v, total %v; %d bytes out, %d in", x.ConnectTook, x.FirstByteTook, x.TotalTook, x.BytesOut, x.BytesIn)
					}
				})
			})
		}
	}
}

func TestTheRequestSaysWhoAsks(t *testing.T) {
	requests := make(chan *http.Request, 2)
	addr := serveScript(t, func(c net.Conn, r *http.Request) {
		requests <- r
		says("HTTP/1.1 200 OK\r\nServer: nginx/1.22\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n", false)(c, r)
	})
	engines(t, Config{}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
		x := exchange(addr)
		x.Host, x.Path, x.Method = "example.org:8080", "/a?b=c", "HEAD"
		fetch(x)
		r := <-requests
		if r.Host != "example.org:8080" || r.URL.String() != "/a?b=c" || r.Method != "HEAD" || r.UserAgent() != agent || !r.Close || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("asked %s %s %v", r.Method, r.URL, r.Header)
		}
		if x.Server != "nginx/1.22" || x.ContentType != "text/html" || x.ContentLength != 0 {
			t.Errorf("server %q, type %q, length %d", x.Server, x.ContentType, x.ContentLength)
		}
	})
}

func TestPeersThatDoNotAnswer(t *testing.T) {
	const patience = 300 * time.Millisecond
	silent := serveScript(t, func(c net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, c) })
	half := serveScript(t, func(c net.Conn, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nServer:")
		_, _ = io.Copy(io.Discard, c)
	})
	slow := serveScript(t, func(c net.Conn, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
		_, _ = io.Copy(io.Discard, c)
	})
	endless := serveScript(t, func(c net.Conn, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for {
			if _, err := io.WriteString(c, "x: y\r\n"); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	reset := serveScript(t, func(c net.Conn, _ *http.Request) { _ = c.(*net.TCPConn).SetLinger(0) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := l.Addr().(*net.TCPAddr).AddrPort()
	_ = l.Close()
	for _, c := range []struct {
		name    string
		addr    netip.AddrPort
		verdict verdict.Code
		status  int
	}{
		{"silent", silent, verdict.HTTPTimeout, 0},
		{"half a head", half, verdict.HTTPTimeout, 0},
		{"a head without end", endless, verdict.HTTPTimeout, 0},
		{"half a body", slow, verdict.HTTPSlow, 200},
		{"reset", reset, verdict.HTTPReset, 0},
		{"refused", refused, verdict.TCPRefused, 0},
		{"unreachable", netip.MustParseAddrPort("127.255.255.255:80"), verdict.TCPUnreachable, 0},
		{"full", fullBacklog(t), verdict.TCPTimeout, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			engines(t, Config{}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
				x := exchange(c.addr)
				x.Connect, x.FirstByte = patience, patience
				fetch(x)
				if x.Verdict != c.verdict || x.Status != c.status || x.Err == "" {
					t.Errorf("%v (%s), status %d, want %v", x.Verdict, x.Err, x.Status, c.verdict)
				}
			})
		})
	}
}

// fullBacklog is an address whose queue of connections is full and stays so.
func fullBacklog(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	shrinkBacklog(t, l.(*net.TCPListener))
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		var d net.Dialer
		if c, err := d.DialContext(ctx, "tcp", addr.String()); err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
		cancel()
	}
	return addr
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) leaf(t *testing.T, name string, from, to time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to), DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

func TestWhatTLSSays(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	good := a.leaf(t, "example.org", -time.Hour, time.Hour)
	over := func(c *tls.Config) netip.AddrPort { return serveTLS(t, c) }
	raw := func(f func(c net.Conn)) netip.AddrPort { return serveRaw(t, f) }
	with := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} } //nolint:gosec // a server's default
	refuse := with(good)
	refuse.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
	old := with(good)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 //nolint:gosec // that is what is tested
	twelve := with(good)
	twelve.MaxVersion = tls.VersionTLS12
	strict := with(good)
	strict.ClientAuth = tls.RequireAnyClientCert
	other := with(good)
	other.NextProtos = []string{"acme-tls/1"}
	split := func(n int) netip.AddrPort { // every record in pieces of n bytes
		return serveRaw(t, func(c net.Conn) {
			conn := tls.Server(pieces{c, n}, with(good))
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
				_, _ = io.Copy(io.Discard, conn)
			}
		})
	}
	eager := serveRaw(t, func(c net.Conn) { // answers before it was asked, behind its Finished
		conn := tls.Server(c, with(good))
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"); err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	})
	cut := serveRaw(t, func(c net.Conn) { // in the middle of a record
		conn := tls.Server(c, with(good))
		if conn.Handshake() == nil {
			_, _ = c.Write([]byte{23, 3, 3, 0, 100, 1, 2, 3})
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}
	})
	forged := serveRaw(t, func(c net.Conn) {
		conn := tls.Server(c, with(good))
		if conn.Handshake() == nil {
			_, _ = c.Write(append([]byte{23, 3, 3, 0, 100}, make([]byte, 100)...))
			_, _ = io.Copy(io.Discard, c)
		}
	})
	p256 := with(good)
	p256.CurvePreferences = []tls.CurveID{tls.CurveP256}
	for _, c := range []struct {
		name    string
		addr    netip.AddrPort
		verdict verdict.Code
		status  int
		version uint16
	}{
		{"good", over(with(good)), verdict.OK, 200, tls.VersionTLS13},
		{"1.2", over(twelve), verdict.OK, 200, tls.VersionTLS12},
		{"in pieces of a byte", split(1), verdict.OK, 200, tls.VersionTLS13},
		{"in pieces of 700 bytes", split(700), verdict.OK, 200, tls.VersionTLS13},
		{"eager", eager, verdict.OK, 200, tls.VersionTLS13},
		{"cut record", cut, verdict.HTTPClosed, 0, tls.VersionTLS13},
		{"forged record", forged, verdict.TLSMalformed, 0, tls.VersionTLS13},
		{"wants a certificate", over(strict), verdict.TLSAlert, 0, tls.VersionTLS13},
		{"only another protocol", serveScriptTLS(t, other, says("", false)), verdict.TLSAlert, 0, 0},
		{"another curve", over(p256), verdict.OK, 200, tls.VersionTLS13},
		{"expired", over(with(a.leaf(t, "example.org", -2*time.Hour, -time.Hour))), verdict.TLSExpired, 200, tls.VersionTLS13},
		{"not yet valid", over(with(a.leaf(t, "example.org", time.Hour, 2*time.Hour))), verdict.TLSExpired, 200, tls.VersionTLS13},
		{"another name", over(with(a.leaf(t, "example.com", -time.Hour, time.Hour))), verdict.TLSName, 200, tls.VersionTLS13},
		{"untrusted", over(with(stranger.leaf(t, "example.org", -time.Hour, time.Hour))), verdict.TLSUntrusted, 200, tls.VersionTLS13},
		{"old", over(old), verdict.TLSVersion, 0, 0},
		{"refused", over(refuse), verdict.TLSAlert, 0, 0},
		{"plain HTTP", raw(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}), verdict.TLSMalformed, 0, 0},
		{"garbage", raw(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = c.Write(bytes.Repeat([]byte{0x16, 3, 3, 0, 4, 99, 0, 0, 0}, 20))
			_, _ = io.Copy(io.Discard, c)
		}), verdict.TLSMalformed, 0, 0},
		{"closes", raw(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 8192))
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}), verdict.TLSClosed, 0, 0},
		{"resets", raw(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
		}), verdict.TLSClosed, 0, 0},
		{"silent", raw(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), verdict.TLSTimeout, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			engines(t, Config{Roots: a.pool}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
				for range 2 { // what is known of issuers must not change anything
					x := exchange(c.addr)
					x.Secure = true
					if c.name == "silent" {
						x.Handshake = 300 * time.Millisecond
					}
					fetch(x)
					if x.Verdict != c.verdict || x.Status != c.status || x.TLSVersion != c.version {
						t.Errorf("%v (%s), status %d, version %x", x.Verdict, x.Err, x.Status, x.TLSVersion)
					}
					if (x.TLSTook > 0) != (c.version > 0) || x.NotAfter.IsZero() != (c.version == 0) {
						t.Errorf("handshake %v, certificate until %v", x.TLSTook, x.NotAfter)
					}
				}
			})
		})
	}
}

// pieces writes in pieces.
type pieces struct {
	net.Conn
	n int
}

func (p pieces) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += p.n {
		if n, err := p.Conn.Write(b[i:min(i+p.n, len(b))]); err != nil {
			return i + n, err
		}
	}
	return len(b), nil
}

func serveTLS(t *testing.T, c *tls.Config) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<title>hi</title>") }), TLSConfig: c,
		ReadHeaderTimeout: 20 * time.Second, ErrorLog: nil,
	}
	s.ErrorLog = discard()
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.ServeTLS(l, "", "") }()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func serveRaw(t *testing.T, f func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				f(c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestTheTitleIsEnough(t *testing.T) {
	page := "<html><head><TITLE lang=en>\n A &amp; B\u200b </TITLE></head>" + strings.Repeat("<p>much</p>", 5000)
	addr := serveScript(t, says("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: "+fmt.Sprint(len(page))+"\r\n\r\n"+page, false))
	engines(t, Config{}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
		x := exchange(addr)
		x.Body, x.Title = 16<<10, true
		fetch(x)
		if title := Title(x.Sample, x.ContentType); title != "A & B" || x.Verdict != verdict.OK {
			t.Errorf("title %q, %v", title, x.Verdict)
		}
	})
}

func TestTitles(t *testing.T) {
	for page, want := range map[string]string{
		"<title>plain</title>": "plain", "<title></title>": "", "": "", "<title": "", "<titles>x</titles>": "",
		"<TITLE>\r\n a\t b \n</TITLE >": "a b", "<title>a<b>c</title>": "a<b>c", "<title>&lt;&#233;&nbsp;x&#0;</title>": "<é x\ufffd",
		"<title>cut off": "cut off", "<svg><title>first</title></svg><title>second</title>": "first",
		"<title>" + strings.Repeat("é", 300) + "</title>":      strings.Repeat("é", 256),
		"<meta charset=iso-8859-1><title>caf\xe9</title>":      "café",
		"<meta charset=shift_jis><title>\x93\xfa\x96{</title>": "日本",
		"<title>bad \xff utf-8</title><meta charset=utf-8>":    "bad \ufffd utf-8",
		"<title>\x1b]0;evil\x07</title>":                       "]0;evil",
	} {
		contentType := "text/html"
		if strings.Contains(page, "charset=utf-8") {
			contentType = "text/html; charset=utf-8"
		}
		if got := Title([]byte(page), contentType); got != want {
			t.Errorf("%q has the title %q, want %q", page, got, want)
		}
	}
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
