package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script is a peer that sends data in pieces of the given sizes, then closes. It keeps no time.
type script struct {
	data  []byte
	sizes []byte
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(s.data))
	if len(s.sizes) > 0 {
		n = min(n, int(s.sizes[0])+1)
		s.sizes = s.sizes[1:]
	}
	copy(p, s.data[:n])
	s.data = s.data[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// outcome is all that comes out of a Conn.
type outcome struct {
	Out     string
	Err     string
	Refused Reason
	Midway  bool // the peer ended within a body
}

// read reads until the end, with buffers of the given sizes.
func read(t *testing.T, in []byte, o Options, pieces, reads []byte) outcome {
	t.Helper()
	var got outcome
	o.OnRefusal = func(r Refusal) { got.Refused = r.Reason }
	c := Guard(&script{bytes.Clone(in), pieces}, o)
	var out []byte
	for {
		size := 4 << 10
		if len(reads) > 0 {
			size, reads = int(reads[0])+1, reads[1:]
		}
		p := make([]byte, size)
		n, err := c.Read(p)
		out = append(out, p[:n]...)
		if err != nil {
			got.Err = err.Error()
			break
		}
		if n == 0 {
			t.Fatal("Read returned nothing and no error")
		}
	}
	if c.held.mem != nil && c.held.empty() {
		t.Error("a buffer is kept for nothing")
	}
	got.Out = string(out)
	got.Midway = c.track.phase != phaseHead && c.track.phase != phaseOver
	return got
}

// checkMessages checks that out is whole requests one after the other, as net/http reads them; the last may be cut off when
// the guard said so.
func checkMessages(t *testing.T, got outcome) {
	t.Helper()
	br := bufio.NewReader(bytes.NewReader([]byte(got.Out)))
	for {
		if _, err := br.Peek(1); err == io.EOF {
			break
		}
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("net/http cannot read a request of %q: %v", got.Out, err)
		}
		if _, err = io.Copy(io.Discard, req.Body); err != nil {
			if _, more := br.Peek(1); got.Midway && more == io.EOF {
				break
			}
			t.Fatalf("net/http cannot read a body of %q: %v", got.Out, err)
		}
		if req.Method == refusedMethod && (got.Refused == ReasonNone || br.Buffered() > 0) {
			t.Fatalf("the synthetic request is not the end of %q", got.Out)
		}
	}
}

func FuzzGuard(f *testing.F) {
	for _, in := range realHeads {
		f.Add([]byte(in+in), []byte{3, 40}, []byte{0, 9}, false)
	}
	for _, a := range attacks {
		f.Add([]byte(good+a.in), []byte{60, 0, 20}, []byte{0, 0, 99}, false)
	}
	f.Add([]byte(preface+"anything\n"), []byte{0}, []byte{0}, true)
	f.Fuzz(func(t *testing.T, in, pieces, reads []byte, h2c bool) {
		o := Options{Limits: Limits{HeadBytes: 2 << 10, RequestLine: 256, Fields: 20}, H2C: h2c}
		got := read(t, in, o, pieces, reads)
		if want := read(t, in, o, nil, nil); got != want {
			t.Errorf("cut (-want +got):\n%s", cmp.Diff(want, got))
		}
		if h2c && bytes.HasPrefix(in, []byte(preface)) {
			if got.Out != string(in) {
				t.Errorf("HTTP/2 was changed: %q, want %q", got.Out, in)
			}
			return
		}
		checkMessages(t, got)
	})
}

func TestABufferIsHeldOnlyWhileBytesWait(t *testing.T) {
	c := Guard(&script{data: []byte(good + good[:10] + good[10:]), sizes: []byte{byte(len(good) + 9)}}, Options{})
	p := make([]byte, 4<<10)
	if n, err := c.Read(p); n != len(good) || err != nil {
		t.Fatal(n, err)
	}
	if c.held.empty() {
		t.Error("the beginning of a head is not held")
	}
	if n, err := c.Read(p); n != len(good) || err != nil {
		t.Fatal(n, err)
	}
	if c.held.mem != nil {
		t.Error("an idle connection holds a buffer")
	}
}

func TestABrokenBodyIsANamedError(t *testing.T) {
	c := Guard(&script{data: []byte(chunked + "2\r\nhix\r\n")}, Options{})
	_, err := io.ReadAll(c)
	broken, ok := errors.AsType[*BodyError](err)
	if !ok || broken.Refusal != ReasonChunkEnd.Refusal() {
		t.Errorf("error %v, want a BodyError for %v", err, ReasonChunkEnd)
	}
	if refusal, ok := c.Broken(); !ok || refusal != broken.Refusal {
		t.Errorf("Broken() = %v, %v", refusal, ok)
	}
}

func TestNothingIsReadBehindTheEnd(t *testing.T) {
	inner := &counting{script: script{data: []byte(post + "Content-Length: 9\r\n\r\nhi")}}
	c := Guard(inner, Options{})
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	reads := inner.reads
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || inner.reads != reads {
		t.Errorf("Read again = %v, with %d reads of the connection", err, inner.reads-reads)
	}
}

// counting is a script that counts how often it is read.
type counting struct {
	script
	reads int
}

func (c *counting) Read(p []byte) (int, error) {
	c.reads++
	return c.script.Read(p)
}

func TestNothingIsReadBehindTheLastAnswer(t *testing.T) {
	request := post + "Content-Length: 2\r\n\r\nhi"
	inner := &counting{script: script{data: []byte(request + good), sizes: []byte{byte(len(request) - 2)}}}
	c := Guard(inner, Options{})
	p := make([]byte, 4<<10)
	if n, err := c.Read(p); n != len(request)-1 || err != nil {
		t.Fatal(n, err)
	}
	c.Last()
	inner.sizes = []byte{0}
	if n, err := c.Read(p); n != 1 || err != nil {
		t.Errorf("the rest of the content: Read = %d, %v", n, err)
	}
	if n, err := c.Read(p); n != 0 || !errors.Is(err, io.EOF) || inner.reads != 2 {
		t.Errorf("behind it: Read = %d, %v, with %d reads of the connection, want 2", n, err, inner.reads)
	}
}

func TestManyTinyChunksAreRefused(t *testing.T) {
	body := bytes.Repeat([]byte("1;extension=of-some-length\r\nx\r\n"), 4096)
	var why Reason
	c := Guard(&script{data: append([]byte(chunked), body...)}, Options{OnRefusal: func(r Refusal) { why = r.Reason }})
	if _, err := io.ReadAll(c); err == nil || why != ReasonChunkOverhead {
		t.Errorf("error %v, refused %v; want %v", err, why, ReasonChunkOverhead)
	}
}

func TestWhatFollowsAClosingRequestIsThrownAway(t *testing.T) {
	last := "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"
	got := read(t, []byte(good+last+good+"\nbad"), Options{}, nil, nil)
	want := outcome{Out: good + last, Err: "EOF"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAGuardedConnectionLeadsToTheInnerOne(t *testing.T) {
	inner := &script{}
	c := Guard(inner, Options{})
	if c.NetConn() != net.Conn(inner) || c.ServerConn() != net.Conn(c) {
		t.Error("another connection comes out than went in")
	}
	if err := c.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite = %v where there is none", err)
	}
}
