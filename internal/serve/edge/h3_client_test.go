package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/edge"
	"pennyfarthing/internal/serve/site"
)

const (
	h3Host = "conformance.test"
	// h3Patience bounds waiting that must not be in vain: it only ends tests that
	// fail anyway.
	h3Patience = 20 * time.Second
	// h3Big is a size that a site serves from disk.
	h3Big = 2 << 20
)

// An h3Edge is a server with TLS and QUIC on loopback, and one site.
type h3Edge struct {
	addr  string
	roots *x509.CertPool
	files map[string][]byte // by path
	stop  func()            // begins the drain
	ended <-chan error      // what Run returned
}

// h3Serve runs a server until the test ends.
func h3Serve(t *testing.T) *h3Edge {
	t.Helper()
	return h3ServeOptions(t, edge.Options{})
}

// h3ServeWith runs a server with limits.
func h3ServeWith(t *testing.T, limits edge.Limits) *h3Edge {
	t.Helper()
	return h3ServeOptions(t, edge.Options{Limits: limits})
}

// h3ServeReset runs a server with a key for stateless resets.
func h3ServeReset(t *testing.T, key [32]byte) *h3Edge {
	t.Helper()
	return h3ServeOptions(t, edge.Options{ResetKey: key})
}

// h3ServeOptions runs a server with options that say nothing of what it serves.
func h3ServeOptions(t *testing.T, o edge.Options) *h3Edge {
	t.Helper()
	e := &h3Edge{files: map[string][]byte{
		"/":        []byte("<!doctype html><title>front</title><p>hello over QUIC\n"),
		"/app.css": bytes.Repeat([]byte("p { margin: 0 }\n"), 100),
		"/big.bin": h3Noise(h3Big),
	}}
	live := h3Site(t, e.files)
	ca, err := keys.OpenCA(t.TempDir(), "penny test", keys.Constraints{Names: []string{h3Host}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue([]string{h3Host}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.roots = x509.NewCertPool()
	e.roots.AddCert(ca.Certificate())
	certificates, err := edge.NewCertificates(true, pair)
	if err != nil {
		t.Fatal(err)
	}
	table, err := edge.NewTable(edge.Route{Hosts: []string{h3Host}, Site: live})
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := edge.Listen(t.Context(), true, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = listeners.QUIC[0].LocalAddr().String()
	o.Table, o.Certificates, o.Engine = table, certificates, edge.EngineUnderTest()
	server, err := edge.New(o, listeners)
	if err != nil {
		t.Fatal(err)
	}
	e.run(t, server)
	return e
}

// tls is what a client needs to trust the server.
func (e *h3Edge) tls() *tls.Config {
	return &tls.Config{RootCAs: e.roots, ServerName: h3Host, NextProtos: []string{"h3"}}
}

// run starts the server and sees to it that it has ended when the test has.
func (e *h3Edge) run(t *testing.T, server *edge.Server) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1) // Run's one result, whether or not somebody asks for it
	var running sync.WaitGroup
	running.Go(func() { ended <- server.Run(ctx) })
	e.stop, e.ended = cancel, ended
	t.Cleanup(func() {
		cancel()
		running.Wait()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		default: // the test has asked
		}
	})
}

func h3Site(t *testing.T, files map[string][]byte) *site.Live {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		if path == "/" {
			path = "/index.html"
		}
		if err := os.WriteFile(filepath.Join(dir, path), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	live, err := site.NewLive(t.Context(), site.Options{Dir: dir, Store: body.NewStore(t.TempDir())}, site.LiveOptions{Name: "conformance"})
	if err != nil {
		t.Fatal(err)
	}
	if n := live.Site().Summary().OnDisk; n != 1 {
		t.Fatalf("%d files are served from disk, want 1: the big one", n)
	}
	return live
}

// h3Noise returns n bytes that no coding makes smaller.
func h3Noise(n int) []byte {
	noise := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{'h', '3'}).Read(noise) // never fails
	return noise
}

// An h3Client is one QUIC connection whose HTTP/3 is written by hand.
type h3Client struct {
	t       *testing.T
	conn    *quic.Conn
	control *quic.SendStream // after openControl
	ends    bool             // the connection is expected to be ended by the server
}

// h3Dial connects without opening any stream.
func h3Dial(t *testing.T, e *h3Edge, config *quic.Config) *h3Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h3Patience)
	defer cancel()
	conn, err := quic.DialAddr(ctx, e.addr, e.tls(), config)
	if err != nil {
		t.Fatalf("dial %s: %v", e.addr, err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(h3NoError), "") })
	return &h3Client{t: t, conn: conn}
}

// openControl opens the control stream with what it begins with.
func (c *h3Client) openControl(wire ...[]byte) {
	c.t.Helper()
	c.control = c.openUni(h3ControlStream, wire...)
}

// openUni opens a unidirectional stream of a type and writes to it.
func (c *h3Client) openUni(kind uint64, wire ...[]byte) *quic.SendStream {
	c.t.Helper()
	s, err := c.conn.OpenUniStream()
	if err != nil {
		c.t.Fatalf("open a unidirectional stream: %v", err)
	}
	// The server may have refused the stream by its type already.
	_, _ = s.Write(append(quicvarint.Append(nil, kind), bytes.Join(wire, nil)...))
	return s
}

// An h3Stream is a request stream.
type h3Stream struct {
	*quic.Stream
	in *bufio.Reader
}

// open opens a request stream and writes to it.
func (c *h3Client) open(wire ...[]byte) *h3Stream {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), h3Patience)
	defer cancel()
	s, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		c.t.Fatalf("open a request stream: %v", err)
	}
	_ = s.SetDeadline(time.Now().Add(h3Patience))
	_, _ = s.Write(bytes.Join(wire, nil)) // what came of it is read
	return &h3Stream{Stream: s, in: bufio.NewReader(s)}
}

// request writes a whole request and returns its stream.
func (c *h3Client) request(wire ...[]byte) *h3Stream {
	c.t.Helper()
	s := c.open(wire...)
	_ = s.Close()
	return s
}

// An h3Answer is what came on a request stream.
type h3Answer struct {
	status int
	fields map[string]string
	body   []byte
	datas  int // DATA frames
}

// get makes one plain request.
func (c *h3Client) get(path string) (h3Answer, error) {
	c.t.Helper()
	return c.request(h3Headers(h3Get(path)...)).answer()
}

// answer reads to the end of the stream.
func (s *h3Stream) answer() (h3Answer, error) {
	var a h3Answer
	for {
		kind, payload, err := s.frame()
		switch {
		case err == io.EOF: //nolint:errorlint // of frame, between two frames
			if a.status == 0 {
				return a, errors.New("the stream ended without an answer")
			}
			return a, nil
		case err != nil:
			return a, err
		}
		switch kind {
		case h3FrameHeaders:
			if err := a.read(payload); err != nil {
				return a, err
			}
		case h3FrameData:
			a.body = append(a.body, payload...)
			a.datas++
		default:
			return a, fmt.Errorf("the server sent a frame of type %#x", kind)
		}
	}
}

// frame reads one frame; io.EOF is the stream's end before it.
func (s *h3Stream) frame() (kind uint64, payload []byte, err error) { return h3ReadFrame(s.in) }

func h3ReadFrame(in *bufio.Reader) (kind uint64, payload []byte, err error) {
	if kind, err = quicvarint.Read(in); err != nil {
		return 0, nil, err
	}
	n, err := quicvarint.Read(in)
	if err != nil {
		return kind, nil, fmt.Errorf("length of a frame: %w", err)
	}
	if n > h3Big {
		return kind, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	payload = make([]byte, n)
	if _, err = io.ReadFull(in, payload); err != nil {
		return kind, nil, fmt.Errorf("payload of a frame: %w", err)
	}
	return kind, payload, nil
}

// read takes over a field section.
func (a *h3Answer) read(section []byte) error {
	a.fields = make(map[string]string)
	for next := qpack.NewDecoder().Decode(section); ; {
		f, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("decode the answer's fields: %w", err)
		}
		if _, twice := a.fields[f.Name]; twice {
			return fmt.Errorf("the answer has two fields %q", f.Name)
		}
		a.fields[f.Name] = f.Value
		if f.Name == ":status" {
			if a.status, err = strconv.Atoi(f.Value); err != nil {
				return fmt.Errorf("status of the answer: %w", err)
			}
		}
	}
}

// serverControl waits for the server's control stream and returns it behind its
// type.
func (c *h3Client) serverControl() *bufio.Reader {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), h3Patience)
	defer cancel()
	for {
		s, err := c.conn.AcceptUniStream(ctx)
		if err != nil {
			c.t.Fatalf("wait for the server's control stream: %v", err)
		}
		_ = s.SetReadDeadline(time.Now().Add(h3Patience))
		in := bufio.NewReader(s)
		kind, err := quicvarint.Read(in)
		if err != nil {
			c.t.Fatalf("read the type of a server's stream: %v", err)
		}
		if kind == h3ControlStream {
			return in
		}
	}
}

// An h3Outcome is what became of something that was sent, as text.
type h3Outcome string

// h3Ignored means that the connection goes on as if nothing had been sent.
const h3Ignored h3Outcome = "ignored"

func h3Connection(code h3Code) h3Outcome { return h3Outcome("connection error " + code.String()) }
func h3Reset(code h3Code) h3Outcome      { return h3Outcome("stream error " + code.String()) }
func h3Status(status int) h3Outcome      { return h3Outcome("status " + strconv.Itoa(status)) }

// h3OutcomeOf says what an error of reading or writing tells of the server.
func h3OutcomeOf(err error) h3Outcome {
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok && e.Remote {
		return h3Connection(h3Code(e.ErrorCode))
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok && e.Remote {
		return h3Reset(h3Code(e.ErrorCode))
	}
	return h3Outcome("failure: " + err.Error())
}

// outcome reads the answer and asks the connection whether it survived.
func (c *h3Client) outcome(s *h3Stream) h3Outcome {
	c.t.Helper()
	answer, err := s.answer()
	got := h3Status(answer.status)
	if err != nil {
		got = h3OutcomeOf(err)
	}
	if c.ends {
		return c.end()
	}
	if after := c.usable(); after != h3Ignored && got != after {
		return got + ", then " + after
	}
	return got
}

// end waits until the server ends the connection.
func (c *h3Client) end() h3Outcome {
	c.t.Helper()
	select {
	case <-c.conn.Context().Done():
		return h3OutcomeOf(context.Cause(c.conn.Context()))
	case <-time.After(h3Patience):
		return h3Ignored
	}
}

// usable makes some requests, one after the other, so that the server has had
// its time for whatever else came on the connection.
func (c *h3Client) usable() h3Outcome {
	c.t.Helper()
	for range 3 {
		s, err := c.conn.OpenStream()
		if err != nil {
			return h3OutcomeOf(err)
		}
		_ = s.SetDeadline(time.Now().Add(h3Patience))
		_, _ = s.Write(h3Headers(h3Get("/")...))
		_ = s.Close()
		answer, err := (&h3Stream{Stream: s, in: bufio.NewReader(s)}).answer()
		if err != nil {
			return h3OutcomeOf(err)
		}
		if answer.status != 200 {
			return h3Status(answer.status)
		}
	}
	return h3Ignored
}
