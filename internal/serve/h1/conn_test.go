package h1

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestARefusalIsAnsweredInItsTurn(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		c := dial(t, e)
		defer c.close()
		var in strings.Builder
		for i := range 10 {
			fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\n%s\r\n", i, host)
		}
		c.send(in.String() + head + "Bad : field\r\n\r\n" + good)
		for i := range 10 {
			if status, _ := c.answer(); status != 200 {
				t.Fatalf("answer %d: status %d", i, status)
			}
		}
		status, body := c.answer()
		if status != 400 || !strings.Contains(body, "space before the colon") {
			t.Errorf("the last answer is %d %q", status, body)
		}
		c.wantEOF()
		saw, _ := e.sawSoFar()
		if len(saw) != 10 {
			t.Errorf("the handler saw %q, want ten requests", saw)
		}
	})
}

func TestALongBurstIsAnsweredInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		const n = 5000
		e := on.newEdge(t, Options{}, nil)
		c := dial(t, e)
		defer c.close()
		var in strings.Builder
		for i := range n {
			body := strings.Repeat("x", i%40) + fmt.Sprint(i)
			if i%2 == 0 {
				fmt.Fprintf(&in, "%sContent-Length: %d\r\n\r\n%s", post, len(body), body)
			} else {
				fmt.Fprintf(&in, "%s%x\r\n%s\r\n0\r\n\r\n", chunked, len(body), body)
			}
		}
		c.send(in.String())
		for i := range n {
			want := strings.Repeat("x", i%40) + fmt.Sprint(i)
			if status, got := c.answer(); status != 200 || got != want {
				t.Fatalf("answer %d: %d %q, want %q", i, status, got, want)
			}
		}
	})
}

// hashing answers with the hash of the body.
func hashing(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	_, _ = fmt.Fprintf(w, "%d %x %v", n, sum.Sum(nil), err)
}

func TestBodiesPassByteForByte(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, http.HandlerFunc(hashing))
		body := make([]byte, 3<<20+17)
		_, _ = rand.Read(body)
		want := fmt.Sprintf("%d %x <nil>", len(body), sha256.Sum256(body))
		framed := map[string]string{
			"with a length":         fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", post, len(body), body),
			"in chunks of one size": chunked + inChunks(body, func(int) int { return 8000 }),
			"in chunks of any size": chunked + inChunks(body, func(i int) int { return 1 + i*i%70001 }),
		}
		for name, in := range framed {
			t.Run(name, func(t *testing.T) {
				c := dial(t, e)
				defer c.close()
				c.send(in + in)
				for range 2 {
					if _, got := c.answer(); got != want {
						t.Errorf("answer %q, want %q", got, want)
					}
				}
			})
		}
	})
}

// inChunks is body as chunks of sizes that size tells.
func inChunks(body []byte, size func(i int) int) string {
	var out strings.Builder
	for i := 0; len(body) > 0; i++ {
		n := min(size(i), len(body))
		fmt.Fprintf(&out, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return out.String() + "0\r\n\r\n"
}

func TestAClientMayWaitFor100(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		c := dial(t, e)
		defer c.close()
		c.send(post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		if status, _ := c.answer(); status != http.StatusContinue {
			t.Fatalf("status %d, want 100", status)
		}
		c.send("hi" + good)
		for _, want := range []string{"hi", ""} {
			if status, body := c.answer(); status != 200 || body != want {
				t.Errorf("answer %d %q, want %q", status, body, want)
			}
		}
	})
}

func TestAPeerThatLeavesCancelsTheRequest(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		entered, left := make(chan struct{}), make(chan error, 1)
		e := on.newEdge(t, Options{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			select {
			case <-r.Context().Done():
				left <- nil
			case <-time.After(10 * time.Second):
				left <- errors.New("the context is still alive")
			}
		}))
		c := dial(t, e)
		c.send(good)
		<-entered
		c.close()
		if err := <-left; err != nil {
			t.Error(err)
		}
	})
}

// TestNoByteIsLostWhenAReadIsStopped cuts the second request anywhere: its first part comes while net/http watches the peer with a
// read of one byte, which it then stops by a deadline in the past.
func TestNoByteIsLostWhenAReadIsStopped(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		entered, leave := make(chan struct{}), make(chan struct{})
		e := on.newEdge(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/good" {
				entered <- struct{}{}
				<-leave
			}
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
		}))
		second := chunked + "2\r\nhi\r\n3\r\n-ho\r\n0\r\n\r\n"
		c := dial(t, e)
		defer c.close()
		for cut := range second {
			c.send(good)
			<-entered
			c.send(second[:cut])
			if cut%2 == 0 {
				c.wg.Wait() // the kernel has it; else it races with the stop
			}
			leave <- struct{}{}
			if status, _ := c.answer(); status != 200 {
				t.Fatalf("cut at %d: status %d", cut, status)
			}
			c.wg.Wait()
			c.send(second[cut:])
			if status, body := c.answer(); status != 200 || body != "hi-ho" {
				t.Fatalf("cut at %d: answer %d %q", cut, status, body)
			}
		}
	})
}

func TestADeadlineInThePastStopsAReadAtOnce(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := Guard(near, Options{})
	defer c.Close()
	for range 50 {
		got := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			got <- err
		}()
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read returned %v", err)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATunnelPassesEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nc, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			if err := FromContext(r.Context()).Tunnel(); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.CopyN(nc, rw, 7)
		}))
		c := dial(t, e)
		defer c.close()
		c.send("GET / HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: echo\r\n\r\n")
		resp, err := http.ReadResponse(c.br, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		_ = resp.Body.Close() // there is none
		c.send("\x00\n\xff no!")
		got, err := io.ReadAll(c.br)
		if err != nil || string(got) != "\x00\n\xff no!" {
			t.Errorf("echo %q, %v", got, err)
		}
	})
}

func TestHTTP2PassesWhereItIsSpoken(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{H2C: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, refused := FromContext(r.Context()).Refused(r)
			_, _ = fmt.Fprintf(w, "%s %v %v", r.Proto, FromContext(r.Context()).IsH2(), refused)
		}))
		for _, tt := range []struct {
			h2     bool
			method string
			want   string
		}{{true, "GET", "HTTP/2.0 true false"}, {true, refusedMethod, "HTTP/2.0 true false"}, {false, "GET", "HTTP/1.1 false false"}} {
			protocols := new(http.Protocols)
			protocols.SetHTTP1(!tt.h2)
			protocols.SetUnencryptedHTTP2(tt.h2)
			transport := &http.Transport{Protocols: protocols}
			defer transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+e.addr, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = refusedHost
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(body) != tt.want {
				t.Errorf("answer %q, %v; want %q", body, err, tt.want)
			}
		}
	})
}

func TestSniffTellsTheProtocolAndLosesNothing(t *testing.T) {
	tests := []struct {
		name string
		in   string
		h2c  bool
		want Protocol
		out  string
	}{
		{"HTTP/2 with prior knowledge", preface + "frames", true, ProtocolHTTP2, preface + "frames"},
		{"a GET", good, true, ProtocolHTTP1, good},
		{"a POST, whose first letter is the preface's", chunked + "0\r\n\r\n", true, ProtocolHTTP1, chunked + "0\r\n\r\n"},
		{"nearly the preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", true, ProtocolHTTP1, refusedRequest},
		{"TLS", "\x16\x03\x01\x02", true, ProtocolHTTP1, refusedRequest},
		{"HTTP/2 where none is spoken", preface, false, ProtocolHTTP1, refusedRequest},
	}
	for _, tt := range tests {
		for size := range 3 {
			t.Run(fmt.Sprintf("%s in pieces of %d", tt.name, size+1), func(t *testing.T) {
				pieces := strings.Repeat(string(rune(size)), 60)
				c := Guard(&script{[]byte(tt.in), []byte(pieces)}, Options{H2C: tt.h2c})
				got, err := c.Sniff(t.Context())
				if err != nil || got != tt.want || c.IsH2() != (got == ProtocolHTTP2) {
					t.Errorf("Sniff = %v, %v; IsH2 = %v", got, err, c.IsH2())
				}
				if out, err := io.ReadAll(c); err != nil || string(out) != tt.out {
					t.Errorf("then %q, %v; want %q", out, err, tt.out)
				}
			})
		}
	}
}

func TestSniffEndsWithItsContext(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	defer near.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("shutting down")
	cancel(why)
	if _, err := Guard(near, Options{H2C: true}).Sniff(ctx); !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}

// selfSigned is a TLS configuration for a server that nobody should trust.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}
}

// tlsListener yields connections that have finished their handshake.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tc := tls.Server(c, l.config)
	return tc, tc.HandshakeContext(context.Background())
}

func TestOverTLS(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		e := &edge{engine: on}
		e.start(t, tlsListener{l, selfSigned(t)}, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS == nil || !r.TLS.HandshakeComplete {
				t.Errorf("Request.TLS = %v", r.TLS)
			}
			e.ServeHTTP(w, r)
		}))
		nc, err := tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, nc)
		defer c.close()
		c.send(strings.Split(good+head+"Bad : field\r\n\r\n"+good, "")...)
		for _, want := range []int{200, 400} {
			if status, _ := c.answer(); status != want {
				t.Errorf("status %d, want %d", status, want)
			}
		}
		c.wantEOF()
	})
}

func TestPlainRequestsHaveNoTLS(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.TLS != nil {
				t.Error("Request.TLS is set")
			}
		}))
		c := dial(t, e)
		defer c.close()
		c.send(good)
		c.answer()
	})
}

// TestALateAnswerSurvivesALongRequest sends so much after a bad head that closing at once would reset the connection.
func TestALateAnswerSurvivesALongRequest(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		for range 20 {
			c := dial(t, e)
			c.send(head+"Bad : field\r\n\r\n", strings.Repeat("x", 60<<10))
			if status, _ := c.answer(); status != 400 {
				t.Errorf("status %d", status)
			}
			c.wantEOF()
			c.close()
		}
	})
}

func TestARequestIsTheGuardsOwnOnlyWhenTheGuardSaysSo(t *testing.T) {
	own := &http.Request{Method: refusedMethod, Host: refusedHost}
	if _, ok := FromContext(t.Context()).Refused(own); ok {
		t.Error("a request without a Conn counts as refused")
	}
	c := Guard(&script{}, Options{})
	if _, ok := FromContext(NewContext(t.Context(), c)).Refused(own); ok {
		t.Error("a request on a good connection counts as refused")
	}
	c = Guard(&script{data: []byte("\n")}, Options{})
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	if refusal, ok := c.Refused(own); !ok || refusal != ReasonBareLF.Refusal() {
		t.Errorf("Refused = %v, %v", refusal, ok)
	}
	if _, ok := c.Refused(&http.Request{Method: "GET", Host: "a.test"}); ok {
		t.Error("an earlier request counts as refused")
	}
	if ConnContext(t.Context(), &net.TCPConn{}) != t.Context() {
		t.Error("a foreign connection changes the context")
	}
}
