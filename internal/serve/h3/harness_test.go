package h3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/qpack"
)

// A packetConn is one end of a line in memory, without loss: QUIC over it needs no
// socket, so that it can run in a bubble of testing/synctest.
type packetConn struct {
	addr  net.Addr
	in    chan []byte // packets on their way here; so many that a window fits
	other *packetConn
	gone  chan struct{}
	once  sync.Once

	mu      sync.Mutex // guards the fields below
	until   time.Time
	changed chan struct{} // is closed when until changes
	rate    int           // bytes a second that can be sent; 0 is any number
}

func newLine() (here, there *packetConn) {
	end := func(port int) *packetConn {
		return &packetConn{addr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, in: make(chan []byte, 4096), gone: make(chan struct{}), changed: make(chan struct{})}
	}
	here, there = end(1), end(2)
	here.other, there.other = there, here
	return here, there
}

func (c *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		until, changed := c.until, c.changed
		c.mu.Unlock()
		var late <-chan time.Time
		if !until.IsZero() {
			left := time.Until(until)
			if left <= 0 {
				return 0, nil, os.ErrDeadlineExceeded
			}
			late = time.After(left)
		}
		select {
		case packet := <-c.in:
			return copy(p, packet), c.other.addr, nil
		case <-late:
		case <-changed:
		case <-c.gone:
			return 0, nil, net.ErrClosed
		}
	}
}

func (c *packetConn) WriteTo(p []byte, _ net.Addr) (int, error) {
	c.mu.Lock()
	rate := c.rate
	c.mu.Unlock()
	if rate > 0 {
		time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(rate)) // of a bubble
	}
	select {
	case c.other.in <- bytes.Clone(p):
	default: // lost
	}
	return len(p), nil
}

func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// slow makes the line thin in one direction.
func (c *packetConn) slow(rate int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate = rate
}

func (c *packetConn) Close() error                     { c.once.Do(func() { close(c.gone) }); return nil }
func (c *packetConn) LocalAddr() net.Addr              { return c.addr }
func (c *packetConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }

// serverTLS is a server's configuration, made once for a test.
func serverTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<37, 0), DNSNames: []string{"a.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{NextProto}}
}

func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", NextProtos: []string{NextProto}} //nolint:gosec // a test's own server
}

// serverQUIC is what the edge has, too.
func serverQUIC() *quic.Config {
	return &quic.Config{
		MaxIncomingStreams: 128, MaxIncomingUniStreams: 8, MaxIdleTimeout: time.Hour, RequireStreamCreditRelease: true,
		InitialStreamReceiveWindow: 64 << 10, MaxStreamReceiveWindow: 256 << 10,
	}
}

// A client is the other end of a connection. It sends what it is told.
type client struct {
	t      *testing.T
	server *Server
	conn   *quic.Conn
	served chan struct{} // ServeConn has returned
	line   *packetConn   // the server's end

	uniStreams []*quic.SendStream // that were opened
}

// inBubble runs f with a client that has sent SETTINGS, in a bubble of
// testing/synctest: there, whatever the server starts must end.
func inBubble(t *testing.T, o Options, f func(c *client)) {
	t.Helper()
	inBubbleWith(t, o, &quic.Config{MaxIdleTimeout: time.Hour, KeepAlivePeriod: 10 * time.Second}, func(c *client) {
		c.uni(streamControl, appendFrame(nil, frameSettings, 0))
		f(c)
	})
}

// inBubbleWith is inBubble with a client's configuration, and without SETTINGS.
func inBubbleWith(t *testing.T, o Options, config *quic.Config, f func(c *client)) {
	t.Helper()
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	secure := serverTLS(t)
	synctest.Test(t, func(t *testing.T) {
		here, there := newLine()
		transport := &quic.Transport{Conn: there}
		ln, err := transport.Listen(secure, serverQUIC())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, server: NewServer(o), served: make(chan struct{}), line: there}
		go func() {
			defer close(c.served)
			if conn, err := ln.Accept(t.Context()); err == nil {
				c.server.ServeConn(context.Background(), conn)
			}
		}()
		dialer := &quic.Transport{Conn: here}
		if c.conn, err = dialer.Dial(t.Context(), there.addr, clientTLS(), config); err != nil {
			t.Fatal(err)
		}
		f(c)
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(NoError), "")
		<-c.served
		_ = dialer.Close()
		_ = transport.Close()
		_, _ = here.Close(), there.Close()
	})
}

// uni opens a unidirectional stream and writes to it.
func (c *client) uni(kind uint64, wire ...[]byte) *quic.SendStream {
	c.t.Helper()
	s, err := c.conn.OpenUniStream()
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = s.Write(append(quicvarint.Append(nil, kind), bytes.Join(wire, nil)...)) // the server may have ended
	c.uniStreams = append(c.uniStreams, s)
	return s
}

// A clientStream is a request stream.
type clientStream struct {
	*quic.Stream
	t  *testing.T
	in *bufio.Reader
}

// open opens a request stream and writes to it.
func (c *client) open(wire ...[]byte) *clientStream {
	c.t.Helper()
	s, err := c.conn.OpenStreamSync(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = s.Write(bytes.Join(wire, nil)) // what came of it is read
	return &clientStream{s, c.t, bufio.NewReader(s)}
}

// request is open, and the end of the request.
func (c *client) request(wire ...[]byte) *clientStream {
	c.t.Helper()
	s := c.open(wire...)
	_ = s.Close()
	return s
}

// headers is a HEADERS frame of a request, with more names and values.
func headers(method, path string, more ...string) []byte {
	return fields(append([]string{":method", method, ":scheme", "https", ":authority", "a.example", ":path", path}, more...)...)
}

// fields is a HEADERS frame of names and values.
func fields(pairs ...string) []byte {
	wire := qpack.AppendPrefix(nil)
	for i := 0; i+1 < len(pairs); i += 2 {
		wire = qpack.AppendField(wire, pairs[i], pairs[i+1])
	}
	return frame(frameHeaders, wire)
}

func frame(kind uint64, payload []byte) []byte {
	return append(appendFrame(nil, kind, uint64(len(payload))), payload...)
}

func data(text string) []byte { return frame(frameData, []byte(text)) }

// answer reads to the end and returns what came: each header section as its status,
// or its fields if it is trailers, and the body.
func (s *clientStream) answer() (words []string, body string) {
	s.t.Helper()
	var content strings.Builder
	for {
		kind, payload, err := s.frame()
		switch {
		case errors.Is(err, io.EOF):
			return words, content.String()
		case err != nil:
			return append(words, outcome(err)), content.String()
		case kind == frameHeaders:
			words = append(words, describe(s.t, payload))
		case kind == frameData:
			content.Write(payload)
		default:
			s.t.Fatalf("frame of type %#x", kind)
		}
	}
}

func (s *clientStream) frame() (kind uint64, payload []byte, err error) {
	if kind, err = quicvarint.Read(s.in); err != nil {
		return 0, nil, err
	}
	n, err := quicvarint.Read(s.in)
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(s.in, payload)
	return kind, payload, err
}

// describe is the status of a header section, or what trailers there are.
func describe(t *testing.T, section []byte) string {
	t.Helper()
	var all []string
	if err := new(qpack.Decoder).Decode(section, func(f hpack.HeaderField) bool {
		if f.Name == ":status" {
			all = []string{f.Value}
			return false
		}
		all = append(all, strings.Clone(f.Name+"="+f.Value))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Clone(strings.Join(all, " "))
}

// outcome is an error of a stream or connection as text.
func outcome(err error) string {
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return fmt.Sprintf("closed with 0x%x", uint64(e.ErrorCode))
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		return fmt.Sprintf("reset with 0x%x", uint64(e.ErrorCode))
	}
	return err.Error()
}

func resetWith(code ErrCode) string  { return fmt.Sprintf("reset with 0x%x", uint64(code)) }
func closedWith(code ErrCode) string { return fmt.Sprintf("closed with 0x%x", uint64(code)) }

// end waits for the end of the connection.
func (c *client) end() string {
	<-c.conn.Context().Done()
	return outcome(context.Cause(c.conn.Context()))
}

// newReader buffers a stream.
func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// letters is n bytes of content.
func letters(n int) []byte {
	return bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz012345"), n/32+1)[:n]
}

// talkOptions are those of a server that answers in as many ways as there are.
func talkOptions() Options {
	content := letters(1 << 20)
	return Options{
		Handler: http.HandlerFunc(talk),
		Hit: func(_ *ConnInfo, r *Request, h *Hit) bool {
			n, err := strconv.Atoi(strings.TrimPrefix(r.Path, "/hit/"))
			if err != nil {
				return false
			}
			h.Blocks[0] = []byte{0xc0 | 25} // :status 200
			h.Blocks[1] = qpack.AppendField(nil, "content-length", strconv.Itoa(n))
			if h.Body = content[:n]; r.Method == http.MethodHead {
				h.Body = nil
			}
			return true
		},
	}
}

// talk answers by the path.
func talk(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	switch r.URL.Path {
	case "/echo":
		if _, err := io.Copy(w, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	case "/length":
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d of %d, %v", n, r.ContentLength, err)
	case "/wait":
		<-r.Context().Done()
	case "/inform":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "hello")
	case "/trailers":
		w.Header().Set("Trailer", "X-Sum, X-None")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "got "+r.Trailer.Get("X-Sum"))
		w.Header().Set(http.TrailerPrefix+"X-More", "more")
	case "/short":
		w.Header().Set("Content-Length", "10")
		fmt.Fprint(w, "short")
	case "/abort":
		fmt.Fprint(w, "begun")
		_ = control.Flush()
		panic(http.ErrAbortHandler)
	case "/panic":
		panic("oh")
	case "/cookies":
		fmt.Fprint(w, r.Header["Cookie"])
	case "/host":
		fmt.Fprint(w, r.Host, " ", r.Header["Host"], " ", r.Proto, " ", r.RequestURI, " ", r.TLS.ServerName, " ", r.Context().Value(http.LocalAddrContextKey) != nil)
	case "/none":
		w.WriteHeader(http.StatusNoContent)
	case "/forbidden":
		w.Header().Set("Connection", "close")
		w.Header().Set("Upgrade", "h2c")
		w.Header().Set("X-Good", "  yes ")
		w.Header()["X-Bad"] = []string{"a\nb"}
	case "/big":
		_, _ = w.Write(letters(1 << 20))
	case "/nine":
		_, _ = w.Write(letters(9000))
	case "/twenty":
		_, _ = w.Write(letters(20000))
	case "/deadlines":
		_ = control.SetReadDeadline(time.Now().Add(time.Second))
		_ = control.EnableFullDuplex()
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d, %v", n, errors.Is(err, os.ErrDeadlineExceeded))
	}
}
