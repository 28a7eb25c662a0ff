package h3

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

func TestExchanges(t *testing.T) {
	big := string(letters(1 << 20))
	for _, test := range []struct {
		name string
		wire [][]byte
		open bool // the request does not end
		want []string
		body string
	}{
		{name: "a hit", wire: [][]byte{headers("GET", "/hit/5")}, want: []string{"200"}, body: "abcde"},
		{name: "a hit without a body", wire: [][]byte{headers("GET", "/hit/0")}, want: []string{"200"}},
		{name: "a hit of HEAD", wire: [][]byte{headers("HEAD", "/hit/5")}, want: []string{"200"}},
		{name: "a hit of some packets", wire: [][]byte{headers("GET", "/hit/3000")}, want: []string{"200"}, body: big[:3000]},
		{name: "a hit of a mebibyte", wire: [][]byte{headers("GET", "/hit/1048576")}, want: []string{"200"}, body: big},
		{name: "a hit is none with a body", wire: [][]byte{headers("GET", "/hit/5"), data("x")}, want: []string{"200"}},
		{name: "an answer of a handler", wire: [][]byte{headers("GET", "/host", "host", "a.example")}, want: []string{"200"}, body: "a.example [] HTTP/3.0 /host a.example true"},
		{name: "a body", wire: [][]byte{headers("POST", "/echo"), data("hello "), data(""), frame(0x21, []byte("grease")), data("you")}, want: []string{"200"}, body: "hello you"},
		{name: "a body of a length", wire: [][]byte{headers("POST", "/length", "content-length", "3"), data("1"), data("23")}, want: []string{"200"}, body: "3 of 3, <nil>"},
		{name: "a body without a length", wire: [][]byte{headers("POST", "/length"), data("123")}, want: []string{"200"}, body: "3 of -1, <nil>"},
		{name: "a body of a mebibyte", wire: [][]byte{headers("POST", "/length"), data(big)}, want: []string{"200"}, body: "1048576 of -1, <nil>"},
		{name: "a body too short", wire: [][]byte{headers("POST", "/length", "content-length", "4"), data("123")}, want: []string{resetWith(MessageError)}},
		{name: "a body too long", wire: [][]byte{headers("POST", "/length", "content-length", "4"), data("12345")}, want: []string{resetWith(MessageError)}},
		{name: "a length and no body", wire: [][]byte{headers("POST", "/length", "content-length", "4")}, want: []string{resetWith(MessageError)}},
		{name: "a body that is not read", wire: [][]byte{headers("POST", "/none"), data("12345")}, want: []string{"204"}},
		{name: "a request that does not end", wire: [][]byte{headers("POST", "/none")}, open: true, want: []string{"204"}},
		{name: "100 when the body is read", wire: [][]byte{headers("POST", "/deadlines", "expect", "100-continue")}, open: true, want: []string{"100", "200"}, body: "0, true"},
		{name: "no 100 when it is not", wire: [][]byte{headers("POST", "/none", "expect", "100-continue")}, open: true, want: []string{"204"}},
		{name: "answers of 1xx", wire: [][]byte{headers("GET", "/inform")}, want: []string{"103", "103", "200"}, body: "hello"},
		{name: "trailers both ways", wire: [][]byte{headers("POST", "/trailers", "trailer", "x-sum"), data("x"), fields("x-sum", "1", "x-other", "2")}, want: []string{"200", "x-more=more x-sum=got 1"}, body: "x"},
		{name: "trailers that are too large", wire: [][]byte{headers("POST", "/echo"), fields("x-sum", strings.Repeat("a", 32<<10))}, want: []string{resetWith(ExcessiveLoad)}},
		{name: "cookies in crumbs", wire: [][]byte{headers("GET", "/cookies", "cookie", "a=1", "cookie", "b=2")}, want: []string{"200"}, body: "[a=1; b=2]"},
		{name: "fields that HTTP/3 has not", wire: [][]byte{headers("GET", "/forbidden")}, want: []string{"200"}},
		{name: "an answer shorter than it says", wire: [][]byte{headers("GET", "/short")}, want: []string{resetWith(InternalError)}},
		{name: "an answer that is broken off", wire: [][]byte{headers("GET", "/abort")}, want: []string{"200", resetWith(InternalError)}, body: "begun"},
		{name: "a handler that panics", wire: [][]byte{headers("GET", "/panic")}, want: []string{resetWith(InternalError)}},
		{name: "a large answer", wire: [][]byte{headers("GET", "/big")}, want: []string{"200"}, body: big},
		{name: "a large answer to HEAD", wire: [][]byte{headers("HEAD", "/big")}, want: []string{"200"}},
		{name: "a target that is no URI", wire: [][]byte{headers("GET", "/%zz")}, want: []string{"400"}},
		{name: "a target with a space", wire: [][]byte{headers("GET", "/a b")}, want: []string{"400"}},
		{name: "CONNECT is a handler's", wire: [][]byte{fields(":method", "CONNECT", ":authority", "a.example:443")}, want: []string{"200"}},
		{name: "too large a head", wire: [][]byte{headers("GET", "/hit/5", "x-large", strings.Repeat("a", 32<<10))}, want: []string{"431"}},
		{name: "too many fields", wire: [][]byte{headers("GET", "/hit/5", strings.Split(strings.Repeat("x,y,", 129), ",")[:258]...)}, want: []string{"431"}},
		{name: "as many fields as may be", wire: [][]byte{headers("GET", "/hit/5", strings.Split(strings.Repeat("x,y,", 128), ",")[:256]...)}, want: []string{"200"}, body: "abcde"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := talkOptions()
			o.OnPanic = func(any) {}
			inBubble(t, o, func(c *client) {
				s := c.open(test.wire...)
				if !test.open {
					_ = s.Close()
				}
				words, body := s.answer()
				if strings.HasPrefix(words[len(words)-1], "reset") { // QUIC may throw away what came before
					words, test.want = words[len(words)-1:], test.want[len(test.want)-1:]
					body, test.body = "", ""
				}
				if diff := cmp.Diff(test.want, words); diff != "" || body != test.body {
					t.Errorf("body of %d bytes %.40q, want %d bytes %.40q; answer (-want +got):\n%s", len(body), body, len(test.body), test.body, diff)
				}
				if words, body := c.request(headers("GET", "/hit/1")).answer(); fmt.Sprint(words) != "[200]" || body != "a" {
					t.Errorf("afterwards: %v %q", words, body)
				}
			})
		})
	}
}

// serveLoopback serves with a server on loopback until the test ends, and returns
// its address.
func serveLoopback(t *testing.T, s *Server) string {
	t.Helper()
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: pc}
	ln, err := transport.Listen(serverTLS(t), serverQUIC())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept(ctx)
			if err != nil {
				return
			}
			serving.Go(func() { s.ServeConn(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		_ = transport.Close()
		_ = pc.Close()
	})
	return pc.LocalAddr().String()
}

// TestExchangesWithAnotherClient has quic-go's client talk to the server, over
// sockets.
func TestExchangesWithAnotherClient(t *testing.T) {
	address := serveLoopback(t, NewServer(talkOptions()))
	transport := &http3.Transport{TLSClientConfig: clientTLS()}
	defer transport.Close()
	big := string(letters(1 << 20))
	for _, test := range []struct {
		method, path, body, want string
		status                   int
	}{
		{"GET", "/hit/5", "", "abcde", 200},
		{"HEAD", "/hit/5", "", "", 200},
		{"GET", "/hit/0", "", "", 200},
		{"GET", "/hit/1000", "", big[:1000], 200},
		{"GET", "/hit/20000", "", big[:20000], 200},
		{"GET", "/hit/1048576", "", big, 200},
		{"GET", "/big", "", big, 200},
		{"POST", "/echo", big, big, 200},
		{"POST", "/none", big, "", 204},
		{"POST", "/trailers", "x", "x", 200},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			var body io.Reader
			if test.body != "" {
				body = strings.NewReader(test.body)
			}
			req, err := http.NewRequestWithContext(t.Context(), test.method, "https://"+address+test.path, body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != test.status || string(got) != test.want {
				t.Errorf("%d, %d bytes, %v; want %d, %d bytes", res.StatusCode, len(got), err, test.status, len(test.want))
			}
			if when, err := http.ParseTime(res.Header.Get("Date")); err != nil || when.IsZero() {
				t.Errorf("Date: %v", err)
			}
			if test.path == "/trailers" && res.Trailer.Get("X-Sum") != "got" {
				t.Errorf("trailers are %v", res.Trailer)
			}
		})
	}
	t.Run("answers of 1xx", func(t *testing.T) {
		hints := 0
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 && h.Get("Link") != "" {
				hints++
			}
			return nil
		}}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "https://"+address+"/inform", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if hints != 2 || res.StatusCode != 200 {
			t.Errorf("%d hints and %d, want 2 and 200", hints, res.StatusCode)
		}
	})
}
