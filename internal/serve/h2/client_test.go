package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/loop/looptest"
)

// A client is one end of a connection whose other end is the server's. It sends
// what it is told, and notes all frames that come.
type client struct {
	t      *testing.T
	server *Server
	nc     net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
	done   chan struct{} // the connection has ended

	mu     sync.Mutex
	frames []string          // what came, as describe says it
	bodies map[uint32][]byte // DATA
	eof    bool
	tap    func(block []byte) // sees header blocks as they came, if not nil
}

// A way is one of serving a connection.
type way struct {
	name   string
	called bool   // when there is something to read, as by a loop
	pace   uint64 // of what is read then
}

var ways = []way{{name: "read by a goroutine"}, {"called when there is something to read", true, 0}, {"called at an odd pace", true, 1}}

// inBubble runs f with a client that has sent its preface and SETTINGS, in a
// bubble of testing/synctest: there, whatever the server starts must end. It does
// so once for each way of serving.
func inBubble(t *testing.T, o Options, f func(c *client)) {
	t.Helper()
	inBubbleRaw(t, o, func(c *client) {
		c.write([]byte(preface))
		c.must(c.framer.WriteSettings())
		c.saw("SETTINGS", "SETTINGS ACK")
		f(c)
	})
}

// inBubbleRaw is inBubble without a preface.
func inBubbleRaw(t *testing.T, o Options, f func(c *client)) {
	t.Helper()
	eachWay(t, func(t *testing.T, on way) {
		c := dialPipe(t, o, on)
		go c.read()
		f(c)
		_ = c.nc.Close()
		<-c.done
	})
}

// eachWay runs f in a bubble for each way of serving.
func eachWay(t *testing.T, f func(t *testing.T, on way)) {
	t.Helper()
	for _, on := range ways {
		t.Run(on.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, on) })
		})
	}
}

// dialPipe starts a server and a client that has not sent anything yet.
func dialPipe(t *testing.T, o Options, on way) *client {
	here, there := net.Pipe()
	if on.called {
		there, o.Rest = looptest.Wrap(there, on.pace), time.Second
	}
	c := &client{t: t, server: NewServer(o), nc: here, done: make(chan struct{}), bodies: map[uint32][]byte{}}
	c.framer = http2.NewFramer(here, &tapped{Reader: here, c: c})
	c.framer.AllowIllegalWrites = true
	c.framer.SetMaxReadFrameSize(maxFrame)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.hpack = hpack.NewEncoder(&c.block)
	go func() {
		defer close(c.done)
		c.server.ServeConn(t.Context(), there)
		c.server.serving.Wait()
	}()
	return c
}

// tapped shows header blocks to client.tap. The framer reads the header of a
// frame, and then its payload.
type tapped struct {
	io.Reader
	c    *client
	kind byte
}

func (r *tapped) Read(p []byte) (int, error) {
	n, err := io.ReadFull(r.Reader, p)
	if len(p) == frameHeader {
		r.kind = p[3]
	} else if r.kind == byte(frameHeaders) && r.c.tap != nil {
		r.c.tap(bytes.Clone(p[:n]))
	}
	return n, err
}

// read notes frames until the connection ends.
func (c *client) read() {
	for {
		f, err := c.framer.ReadFrame()
		c.mu.Lock()
		if err != nil {
			c.eof = true
			c.mu.Unlock()
			return
		}
		if f, ok := f.(*http2.DataFrame); ok {
			c.bodies[f.StreamID] = append(c.bodies[f.StreamID], f.Data()...)
		}
		c.frames = append(c.frames, describe(f))
		c.mu.Unlock()
	}
}

// describe says in words what a frame is.
func describe(f http2.Frame) string {
	h := f.Header()
	words := []string{h.Type.String()}
	if h.StreamID != 0 {
		words = append(words, fmt.Sprint(h.StreamID))
	}
	ends := h.Flags.Has(http2.FlagDataEndStream)
	switch f := f.(type) {
	case *http2.DataFrame:
		words = append(words, fmt.Sprint(len(f.Data())))
	case *http2.MetaHeadersFrame:
		if status := f.PseudoValue("status"); status != "" {
			words = append(words, status)
		}
	case *http2.RSTStreamFrame:
		return strings.Join(append(words, f.ErrCode.String()), " ")
	case *http2.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %s", f.LastStreamID, f.ErrCode)
	case *http2.WindowUpdateFrame:
		return strings.Join(append(words, fmt.Sprint(f.Increment)), " ")
	case *http2.SettingsFrame, *http2.PingFrame:
		if ends {
			words = append(words, "ACK")
		}
		return strings.Join(words, " ")
	}
	if ends {
		words = append(words, "end")
	}
	return strings.Join(words, " ")
}

// took waits until nothing more happens, and returns the frames that have come
// since it last did, with "EOF" if that is the end of them.
func (c *client) took() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := c.frames
	c.frames = nil
	if c.eof {
		frames = append(frames, "EOF")
	}
	return frames
}

// saw compares what has come with what should have.
func (c *client) saw(want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.took()); diff != "" {
		c.t.Errorf("frames (-want +got):\n%s", diff)
	}
}

// body waits until nothing more happens, and returns the DATA of a stream.
func (c *client) body(id uint32) []byte {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bodies[id])
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_, err := c.nc.Write(b)
	c.must(err)
}

// must fails the test at an error that is not the server's closing.
func (c *client) must(err error) {
	c.t.Helper()
	if err != nil && err != io.ErrClosedPipe { //nolint:errorlint // io.Pipe's own
		c.t.Fatal(err)
	}
}

// encode returns the header block of a request: pairs come after its
// pseudo-header fields.
func (c *client) encode(method, path string, pairs ...string) []byte {
	return c.fields(append([]string{":method", method, ":scheme", "https", ":authority", "a.example", ":path", path}, pairs...)...)
}

func (c *client) fields(pairs ...string) []byte {
	c.block.Reset()
	for pair := range slices.Chunk(pairs, 2) {
		c.must(c.hpack.WriteField(hpack.HeaderField{Name: pair[0], Value: pair[1]}))
	}
	return bytes.Clone(c.block.Bytes())
}

// get sends a request without a body.
func (c *client) get(id uint32, path string, pairs ...string) {
	c.t.Helper()
	c.headers(id, true, c.encode("GET", path, pairs...))
}

// post sends the header section of a request with a body.
func (c *client) post(id uint32, path string, pairs ...string) {
	c.t.Helper()
	c.headers(id, false, c.encode("POST", path, pairs...))
}

func (c *client) headers(id uint32, ends bool, block []byte) {
	c.t.Helper()
	c.must(c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: ends, EndHeaders: true}))
}

// sendBlock sends a header block in as many frames as it takes.
func (c *client) sendBlock(id uint32, ends bool, block []byte) {
	c.t.Helper()
	n := min(len(block), maxFrame)
	c.must(c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndStream: ends, EndHeaders: n == len(block)}))
	for block = block[n:]; len(block) > 0; block = block[n:] {
		n = min(len(block), maxFrame)
		c.must(c.framer.WriteContinuation(id, n == len(block), block[:n]))
	}
}

func (c *client) data(id uint32, ends bool, data []byte) {
	c.t.Helper()
	c.must(c.framer.WriteData(id, ends, data))
}

func (c *client) open(id, n uint32) {
	c.t.Helper()
	c.must(c.framer.WriteWindowUpdate(id, n))
}

// hits makes answers stand ready: the body of "/hit/N" are the first N bytes of content.
func hits(content []byte) func(*ConnInfo, *Request, *Hit) bool {
	return func(_ *ConnInfo, r *Request, h *Hit) bool {
		var n int
		if _, err := fmt.Sscanf(r.Path, "/hit/%d", &n); err != nil || n < 0 || n > len(content) {
			return false
		}
		h.Status, h.Body = http.StatusOK, content[:n]
		return true
	}
}

// letters returns n bytes that do not repeat soon.
func letters(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%26 ^ i/26%32)
	}
	return b
}

// serveTLS starts a server on loopback, with the certificate of httptest.
func serveTLS(t testing.TB, o Options) (url string, s *Server) {
	t.Helper()
	borrowed := httptest.NewTLSServer(http.NotFoundHandler())
	certificates := borrowed.TLS.Certificates
	borrowed.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	s = NewServer(o)
	accept(t, ln, s, func(nc net.Conn) error { return nc.(*tls.Conn).HandshakeContext(t.Context()) })
	return "https://" + ln.Addr().String(), s
}

// accept serves what comes to ln until the test ends.
func accept(t testing.TB, ln net.Listener, s *Server, prepare func(net.Conn) error) {
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				if err := prepare(nc); err != nil {
					_ = nc.Close()
					return
				}
				s.ServeConn(context.Background(), nc)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // whoever is still connected is cut off
		_ = s.Shutdown(ctx)
		serving.Wait()
	})
}
