package simnet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// client is net/http's, which finds every host at one address of a server.
func client(s *Server, to netip.Addr) *http.Client {
	httpPort, httpsPort := s.Ports()
	dial := func(port uint16) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(to, port).String())
		}
	}
	dialTLS := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		conn, err := dial(httpsPort)(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn, &tls.Config{RootCAs: s.Roots(), ServerName: host}), nil
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       3 * limit,
		Transport:     &http.Transport{DialContext: dial(httpPort), DialTLSContext: dialTLS},
	}
}

func TestControlsAlwaysAnswerEachInItsOwnNetwork(t *testing.T) {
	for _, profile := range []Profile{TonyWang2024, Quick, Hostile} {
		w := NewWorld(9, profile)
		s := begin(t, w, Config{})
		networks := map[netip.Prefix]bool{}
		for _, name := range w.Controls() {
			f, err := w.Fate(name)
			if err != nil {
				t.Fatal(err)
			}
			ip := f.Lookup.Addresses()[0]
			network := netip.PrefixFrom(ip, 24).Masked()
			if networks[network] {
				t.Errorf("%s shares %s", name, network)
			}
			networks[network] = true
			for _, url := range []string{"http://" + name, "https://" + name, "https://www." + name + "/"} {
				answer, err := client(s, ip).Get(url)
				if err != nil {
					t.Errorf("%v: %s: %v", profile, url, err)
					continue
				}
				body, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if answer.StatusCode != 200 || err != nil || !bytes.Contains(body, []byte("<title>Welcome to "+strings.TrimSuffix(url[strings.Index(url, "//")+2:], "/")+"</title>")) {
					t.Errorf("%v: %s: %d, %v, %.200s", profile, url, answer.StatusCode, err, body)
				}
			}
		}
	}
}

// TestAnswersAreWhatNetHTTPUnderstands reads the answers of many hosts with it, over
// connections that are kept.
func TestAnswersAreWhatNetHTTPUnderstands(t *testing.T) {
	w := NewWorld(4, TonyWang2024)
	s := begin(t, w, Config{})
	c := client(s, netip.AddrFrom4(addressOf(bigHoster, 0))) // whoever is asked answers for every name
	lengths := map[int64]int{}
	for i := range 400 {
		name := w.Name(i)
		f := w.fate([]byte(name))
		if f.Front[HTTP].Manner != Proper {
			continue
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			want := f.Front[HTTP].Status
			if want == 0 {
				continue // no name that is served
			}
			request, err := http.NewRequestWithContext(t.Context(), method, "http://"+name+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := c.Do(request)
			if err != nil {
				t.Fatalf("%s %s: %v", method, name, err)
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != int(want) || method == http.MethodHead && len(body) > 0 {
				t.Errorf("%s %s (%s): %d, %d bytes, %v", method, name, f.Kind, answer.StatusCode, len(body), err)
			}
			if method == http.MethodGet && answer.ContentLength < 0 {
				lengths[-1]++ // chunked
			}
			if want := string(w.appendLocation(nil, f.Front[HTTP], HTTP, []byte(name), "/")); answer.Header.Get("Location") != want {
				t.Errorf("%s leads to %q, want %q", name, answer.Header.Get("Location"), want)
			}
		}
	}
	if lengths[-1] == 0 {
		t.Error("no answer was chunked")
	}
	if conns, requests := s.Stats().Connections, s.Stats().Requests; conns >= requests {
		t.Errorf("%d connections for %d requests: none is kept", conns, requests)
	}
}

func TestRobotsSayWhatTheFateSays(t *testing.T) {
	w := NewWorld(4, Hostile)
	s := newWeb(w, new(flakes).failsNow)
	seen := map[string]bool{}
	for i := range 200 {
		name := w.Name(i)
		f := w.fate([]byte(name))
		if f.Kind != "plain" {
			continue
		}
		r := request{host: []byte(name), path: "/robots.txt"}
		answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(s.reply(nil, &r, HTTP).data)), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(answer.StatusCode, " ", strings.Contains(string(body), "Disallow: /\n"))
		if want := [...]string{NoRobots: "404 false", RobotsAllow: "200 false", RobotsForbid: "200 true"}[f.Robots]; got != want {
			t.Errorf("%s says %s, want %s", name, got, want)
		}
		seen[got] = true
	}
	if len(seen) != 3 {
		t.Errorf("only %v were seen", seen)
	}
}

func TestARequestInPiecesIsAnswered(t *testing.T) {
	w := NewWorld(1, Quick)
	s := begin(t, w, Config{})
	port, _ := s.Ports()
	conn, err := net.Dial("tcp", "127.30.0.1:"+strconv.Itoa(int(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	for _, piece := range []string{"GET / HT", "TP/1.1\r\nHo", "st: CONTROL01.test:80\r\n", "Connection: close\r\n\r", "\n"} {
		if _, err := io.WriteString(conn, piece); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // so that most arrive alone; whether they do decides nothing
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		t.Errorf("the answer is %s", answer.Status)
	}
}

func TestParsingRequests(t *testing.T) {
	type parsed struct {
		Host, Path  string
		Head, Close bool
		Used        int
		OK          bool
	}
	for text, want := range map[string]parsed{
		"":                   {OK: true},
		"GET / HTTP/1.1\r\n": {OK: true},
		"GET / HTTP/1.1\r\nHost: A.com\r\n\r\nrest":                      {Host: "a.com", Path: "/", Used: 31, OK: true},
		"HEAD /x?y HTTP/1.1\r\nhost:a.com.\r\nconnection: Close\r\n\r\n": {Host: "a.com", Path: "/x?y", Head: true, Close: true, Used: 54, OK: true},
		"GET http://a.com/x HTTP/1.0\r\nHost: a.com:8080\r\n\r\n":        {Host: "a.com", Path: "/x", Close: true, Used: 49, OK: true},
		"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n":                       {Host: "[::1]", Path: "/", Used: 34, OK: true},
		"GET / HTTP/1.1\r\n\r\n":                                         {Path: "/", Used: 18},
		"GET / HTTP/1.1\r\nHost\r\n\r\n":                                 {Path: "/"},
		"GET /\r\n\r\n":                                                  {},
		"GET  HTTP/1.1\r\nHost: a.com\r\n\r\n":                           {},
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                               {},
		"\x16\x03\x01\r\n\r\n":                                           {},
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxRequest):        {},
	} {
		r, used, ok := parseRequest([]byte(text))
		got := parsed{Host: string(r.host), Path: r.path, Head: r.head, Close: r.close, Used: used, OK: ok}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%.60q: %s", text, d)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: control01.test\r\nConnection: close\r\n\r\n"))
	f.Add([]byte("HEAD http://www.example.com:80/hop/3 HTTP/1.0\r\nhost: a\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	s := newWeb(NewWorld(1, Hostile), new(flakes).failsNow)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, used, ok := parseRequest(bytes.Clone(text))
		if !ok || used == 0 {
			return
		}
		if used > len(text) || len(r.host) == 0 || r.path == "" || r.path[0] != '/' {
			t.Fatalf("%q was read as %+v, %d bytes", text, r, used)
		}
		for _, scheme := range []Scheme{HTTP, HTTPS} {
			reply := s.reply(nil, &r, scheme)
			if len(reply.data) == 0 && reply.then == thenKeep {
				t.Fatalf("%q is answered by nothing, and the connection is kept", text)
			}
		}
	})
}

func FuzzServerName(f *testing.F) {
	for _, name := range []string{"example.com", "www.example.co.uk", ""} {
		f.Add(helloOf(f, name))
	}
	f.Add([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 3})
	f.Fuzz(func(t *testing.T, record []byte) {
		name, ok := serverName(record)
		if name != "" && (!ok || !validSNI([]byte(name))) {
			t.Fatalf("%x names %q, %v", record, name, ok)
		}
	})
}

func TestServerNamesAreFoundInHellos(t *testing.T) {
	for _, name := range []string{"example.com", "www.example.co.uk", "UPPER.example", ""} {
		got, ok := serverName(helloOf(t, name))
		if !ok || got != name {
			t.Errorf("the hello to %q names %q, %v", name, got, ok)
		}
	}
	hello := helloOf(t, "example.com")
	for n := range len(hello) - 1 {
		if name, ok := serverName(hello[:n]); ok && name != "" && name != "example.com" {
			t.Errorf("the first %d bytes of a hello name %q", n, name)
		}
	}
}

// helloOf is the first record that package tls says to a server.
func helloOf(t testing.TB, name string) []byte {
	t.Helper()
	us, them := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(them, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	defer func() { <-done }()
	defer us.Close()
	record, err := readHello(us)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestCertificatesAreWhatTheFateSays(t *testing.T) {
	now := time.Now()
	a, err := newAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	for _, name := range []string{"example.com", "www.example.co.uk", "a.b", strings.Repeat("long.", 50) + "com"} {
		for h, want := range map[Handshake]string{Good: "", Expired: "expired", WrongName: "not " + name, SelfSigned: "unknown authority"} {
			c, err := a.certificate(h, name)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), DNSName: name}
			for _, der := range c.Certificate[1:] {
				above, err := x509.ParseCertificate(der)
				if err != nil {
					t.Fatal(err)
				}
				options.Intermediates.AddCert(above)
			}
			_, err = leaf.Verify(options)
			if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
				t.Errorf("%.40s: a certificate of fate %d is judged %q, want %q", name, h, got, want)
			}
			if h == Expired && leaf.VerifyHostname(name) != nil || h == SelfSigned && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) != nil {
				t.Errorf("%.40s: a certificate of fate %d has two faults", name, h)
			}
		}
	}
}
