package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"pennyfarthing/internal/serve/edge"
)

// ask makes a request that must be answered.
func (c *h3Client) ask(fields ...string) h3Answer {
	c.t.Helper()
	answer, err := c.request(h3Headers(fields...)).answer()
	if err != nil {
		c.t.Fatalf("%v: %v", fields, err)
	}
	return answer
}

func h3Talk(t *testing.T, e *h3Edge) *h3Client {
	t.Helper()
	c := h3Dial(t, e, nil)
	c.openControl(h3Settings())
	return c
}

func TestH3FilesComeByteForByte(t *testing.T) {
	e := h3Serve(t)
	c := h3Talk(t, e)
	for path, content := range e.files {
		answer := c.ask(h3Get(path)...)
		if answer.status != 200 || answer.fields["content-length"] != fmt.Sprint(len(content)) || !bytes.Equal(answer.body, content) {
			t.Errorf("%s: status %d, content-length %s, %d bytes, want 200 and the %d bytes of the file", path, answer.status, answer.fields["content-length"], len(answer.body), len(content))
		}
		if _, there := answer.fields["alt-svc"]; there {
			t.Errorf("%s: Alt-Svc over HTTP/3 itself", path)
		}
	}
}

func TestH3HeadHasTheFieldsOfGetAndNoDATA(t *testing.T) {
	e := h3Serve(t)
	c := h3Talk(t, e)
	for path := range e.files {
		get, head := c.ask(h3Get(path)...), c.ask(h3Request("HEAD", path)...)
		delete(get.fields, "date")
		delete(head.fields, "date")
		if head.datas != 0 || fmt.Sprint(head.fields) != fmt.Sprint(get.fields) {
			t.Errorf("%s: HEAD has %d DATA frames and fields %v, want none and %v", path, head.datas, head.fields, get.fields)
		}
	}
}

func TestH3ConditionsAndRanges(t *testing.T) {
	e := h3Serve(t)
	c := h3Talk(t, e)
	big := e.files["/big.bin"]
	tag := c.ask(h3Request("HEAD", "/big.bin")...).fields["etag"]
	for _, test := range []struct {
		name   string
		fields []string
		status int
		body   []byte
	}{
		{"a matching If-None-Match", []string{"if-none-match", tag}, 304, nil},
		{"another If-None-Match", []string{"if-none-match", `"another"`}, 200, big},
		{"a failing If-Match", []string{"if-match", `"another"`}, 412, nil},
		{"a range in the middle", []string{"range", "bytes=1000000-1000099"}, 206, big[1000000:1000100]},
		{"the last bytes", []string{"range", "bytes=-77"}, 206, big[len(big)-77:]},
		{"a range to the end", []string{"range", "bytes=70000-"}, 206, big[70000:]},
		{"a range beyond the end", []string{"range", "bytes=99999999-"}, 416, nil},
		{"a range of another version", []string{"range", "bytes=0-9", "if-range", `"another"`}, 200, big},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := c.ask(h3Request("GET", "/big.bin", test.fields...)...)
			if answer.status != test.status || test.body != nil && !bytes.Equal(answer.body, test.body) {
				t.Errorf("status %d, %d bytes, want %d and %d", answer.status, len(answer.body), test.status, len(test.body))
			}
			if test.status == 304 && answer.datas != 0 {
				t.Error("304 with DATA")
			}
		})
	}
}

func TestH3ServersControlStream(t *testing.T) {
	kind, payload, err := h3ReadFrame(h3Talk(t, h3Serve(t)).serverControl())
	if err != nil || kind != h3FrameSettings {
		t.Fatalf("the control stream begins with a frame of type %#x, %v, want SETTINGS (RFC 9114 §6.2.1)", kind, err)
	}
	settings := make(map[uint64]uint64)
	for in := bufio.NewReader(bytes.NewReader(payload)); ; {
		id, err := quicvarint.Read(in)
		if err != nil {
			break
		}
		if settings[id], err = quicvarint.Read(in); err != nil {
			t.Fatalf("value of setting %#x: %v", id, err)
		}
		if id != 1 && id < 6 {
			t.Errorf("setting %#x is HTTP/2's (RFC 9114 §7.2.4.1)", id)
		}
	}
	if settings[h3MaxFieldSectionSize] != 32<<10 || settings[h3QPACKMaxTableCapacity] != 0 {
		t.Errorf("settings are %v, want a field section of 32 KiB at most and no dynamic table", settings)
	}
}

func TestH3AHundredRequestsAtOnce(t *testing.T) {
	e := h3Serve(t)
	c := h3Talk(t, e)
	var asking sync.WaitGroup
	defer asking.Wait()
	for i := range 100 {
		path := []string{"/", "/app.css", "/app.css", "/big.bin"}[i%4]
		if i%20 != 3 && path == "/big.bin" {
			path = "/"
		}
		s := c.request(h3Headers(h3Get(path)...)) // streams are opened here: Fatal is this goroutine's
		asking.Go(func() {
			answer, err := s.answer()
			if err != nil || answer.status != 200 || !bytes.Equal(answer.body, e.files[path]) {
				t.Errorf("%s: status %d, %d bytes, %v, want the file", path, answer.status, len(answer.body), err)
			}
		})
	}
}

func TestH3AStreamThatTheClientStopsHarmsNoOther(t *testing.T) {
	e := h3Serve(t)
	c := h3Talk(t, e)
	// More of them than the connection may have streams at once: each is given back.
	for range 300 {
		s := c.request(h3Headers(h3Get("/big.bin")...))
		if _, err := s.in.Peek(1); err != nil {
			t.Fatalf("wait for the answer: %v", err)
		}
		s.CancelRead(quic.StreamErrorCode(h3RequestCancelled))
	}
	if answer := c.ask(h3Get("/big.bin")...); !bytes.Equal(answer.body, e.files["/big.bin"]) {
		t.Errorf("%d bytes, want the file", len(answer.body))
	}
}

// TestH3ARequestIsAnsweredBeforeItsStreamEnds leaves the stream open: the answer
// comes, and the server says that it wants no more.
func TestH3ARequestIsAnsweredBeforeItsStreamEnds(t *testing.T) {
	e := h3ServeWith(t, edge.Limits{HeaderTimeout: h3Patience / 1000})
	c := h3Talk(t, e)
	for _, test := range []struct {
		name   string
		fields []string
		status int
	}{
		{"a GET that says it has no body", h3Request("GET", "/", "content-length", "0"), 200},
		{"a GET that does not say, and nothing comes", h3Get("/"), 408},
		{"a POST", h3Request("POST", "/"), 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := c.open(h3Headers(test.fields...))
			if answer, err := s.answer(); err != nil || answer.status != test.status {
				t.Fatalf("status %d, %v, want %d", answer.status, err, test.status)
			}
			if got := s.stopped(t); got != h3Reset(h3NoError) {
				t.Errorf("the stream was stopped with %s, want H3_NO_ERROR (RFC 9114 §4.1)", got)
			}
		})
	}
}

// stopped waits until the server does not want to read on.
func (s *h3Stream) stopped(t *testing.T) h3Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h3Patience)
	defer cancel()
	select {
	case <-s.Context().Done():
		return h3OutcomeOf(context.Cause(s.Context()))
	case <-ctx.Done():
		return "nothing"
	}
}

// TestH3AnEndlessBodyIsStopped sends DATA until the server has enough of it.
func TestH3AnEndlessBodyIsStopped(t *testing.T) {
	c := h3Talk(t, h3Serve(t))
	s := c.open(h3Headers(h3Get("/")...))
	data := h3Frame(h3FrameData, make([]byte, 16<<10))
	for range 1 << 12 {
		if _, err := s.Write(data); err != nil {
			if got := h3OutcomeOf(err); got != h3Reset(h3NoError) {
				t.Errorf("writing ended with %s, want H3_NO_ERROR", got)
			}
			return
		}
	}
	t.Error("the server took 64 MiB for a GET")
}

// TestH3DrainFinishesWhatIsInFlight ends a server while an answer is on its way.
func TestH3DrainFinishesWhatIsInFlight(t *testing.T) {
	e := h3Serve(t)
	// A window far smaller than the file: the answer can't be sent before it is read.
	c := h3Dial(t, e, &quic.Config{InitialStreamReceiveWindow: 32 << 10, MaxStreamReceiveWindow: 32 << 10})
	c.openControl(h3Settings())
	control := c.serverControl()
	if _, _, err := h3ReadFrame(control); err != nil {
		t.Fatalf("read SETTINGS: %v", err)
	}
	inFlight := c.request(h3Headers(h3Get("/big.bin")...))
	if _, err := inFlight.in.Peek(1); err != nil {
		t.Fatalf("wait for the answer: %v", err)
	}

	e.stop()
	kind, payload, err := h3ReadFrame(control)
	if err != nil || kind != h3FrameGoAway {
		t.Fatalf("the control stream goes on with a frame of type %#x, %v, want GOAWAY", kind, err)
	}
	if id, _, err := quicvarint.Parse(payload); err != nil || id != uint64(inFlight.StreamID())+4 {
		t.Errorf("GOAWAY names stream %d, %v, want the one behind %d: that is accepted (RFC 9114 §5.2)", id, err, inFlight.StreamID())
	}
	if _, err := c.get("/"); err == nil || h3OutcomeOf(err) != h3Reset(h3RequestRejected) {
		t.Errorf("a request behind GOAWAY: %v, want H3_REQUEST_REJECTED", err)
	}
	e.refusesConnections(t)
	answer, err := inFlight.answer()
	if err != nil || !bytes.Equal(answer.body, e.files["/big.bin"]) {
		t.Fatalf("the request in flight: %d bytes, %v, want the file", len(answer.body), err)
	}
	_ = c.conn.CloseWithError(quic.ApplicationErrorCode(h3NoError), "")
	e.ends(t)
}

// refusesConnections dials a server that drains. One that is dialled in the first
// moment may get through, and is then not served.
func (e *h3Edge) refusesConnections(t *testing.T) {
	t.Helper()
	for range 20 {
		// It gives no answer at all: that is waited for.
		conn, err := quic.DialAddr(t.Context(), e.addr, e.tls(), &quic.Config{HandshakeIdleTimeout: h3Patience / 100})
		if err != nil {
			return
		}
		_ = conn.CloseWithError(quic.ApplicationErrorCode(h3NoError), "")
	}
	t.Error("a draining server goes on accepting connections")
}

// ends waits for the end of Run, for less than the limit of the drain: it must
// have noticed by itself that there is nothing left to wait for.
func (e *h3Edge) ends(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h3Patience)
	defer cancel()
	select {
	case err := <-e.ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-ctx.Done():
		t.Error("the server goes on, though nothing is in flight")
	}
}

func TestH3DrainDoesNotWaitForClientsThatHaveGone(t *testing.T) {
	e := h3Serve(t)
	c := h3Talk(t, e)
	c.ask(h3Get("/")...)
	_ = c.conn.CloseWithError(quic.ApplicationErrorCode(h3NoError), "")
	e.stop()
	e.ends(t)
}

func TestH3DrainEndsConnectionsThatStay(t *testing.T) {
	e := h3ServeWith(t, edge.Limits{Drain: h3Patience / 100})
	c := h3Talk(t, e)
	c.ask(h3Get("/")...)
	e.stop()
	if got := c.end(); got != h3Connection(h3NoError) {
		t.Errorf("the connection: %s, want an end with H3_NO_ERROR", got)
	}
	e.ends(t)
}

func TestH3NoHandlerOutlivesItsConnection(t *testing.T) {
	e := h3Serve(t)
	for range 10 {
		c := h3Dial(t, e, &quic.Config{InitialStreamReceiveWindow: 16 << 10, MaxStreamReceiveWindow: 16 << 10})
		c.openControl(h3Settings())
		for range 20 { // answers that wait for the client to read, and heads that wait for their end
			if _, err := c.request(h3Headers(h3Get("/big.bin")...)).in.Peek(1); err != nil {
				t.Fatalf("wait for the answer: %v", err)
			}
			c.open(h3FrameOfLength(h3FrameHeaders, 1000), h3Section())
		}
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(h3NoError), "")
	}
	e.stop()
	e.ends(t)
	stacks := make([]byte, 1<<20)
	if all := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(all, "edge.(*exchange)") || strings.Contains(all, "h3.(*stream)") {
		t.Errorf("Run has ended, requests have not:\n%s", all)
	}
}

// h3Flood is how many requests a client makes to use up the memory of a server.
const h3Flood = 1000

// TestH3SectionsThatExpandCostLittle is the bomb of QPACK without a dynamic
// table: 32 KiB of references of one byte each stand for three megabytes. What
// decoding may allocate is bounded by the limit for heads, not by the expansion.
func TestH3SectionsThatExpandCostLittle(t *testing.T) {
	e := h3Serve(t)
	c := h3Talk(t, e)
	for _, test := range []struct {
		name    string
		section []byte
		want    int
		times   int
	}{
		{"references to the static table", h3Bomb(31 << 10), 431, h3Flood},
		{"many fields with big literals", h3Section(h3Lines(h3Get("/")...), bytes.Repeat(h3Lines("x-large", strings.Repeat("x", 4<<10)), 7)), 200, h3Flood},
		{"one field in Huffman codes", h3HuffmanBomb(30 << 10), 431, h3Flood / 5},
		{"a head over the limit", h3Section(h3Lines(append(h3Get("/"), "x-large", strings.Repeat("x", 33<<10))...)), 431, h3Flood},
		{"more fields than are allowed", h3Section(h3Lines(h3Get("/")...), bytes.Repeat(h3Lines("x", "y"), 600)), 431, h3Flood},
	} {
		t.Run(test.name, func(t *testing.T) {
			head := h3Frame(h3FrameHeaders, test.section)
			c.flood(t, head, test.want, 20) // what is allocated once and kept
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c.flood(t, head, test.want, test.times)
			runtime.ReadMemStats(&after)
			// Client and server are one process, and both copy the head some times.
			if each := (after.TotalAlloc - before.TotalAlloc) / uint64(test.times); each > 512<<10 {
				t.Errorf("%d KiB are allocated for each request of %d KiB", each>>10, len(head)>>10)
			}
			if grown := int64(after.Sys) - int64(before.Sys); grown > 32<<20 {
				t.Errorf("the process has grown by %d MiB", grown>>20)
			}
		})
	}
	if got := c.usable(); got != h3Ignored {
		t.Errorf("afterwards: %s", got)
	}
}

// flood makes n requests, a hundred at once.
func (c *h3Client) flood(t *testing.T, head []byte, want, n int) {
	t.Helper()
	for n > 0 {
		var asking sync.WaitGroup
		for range min(n, 100) {
			s := c.open(head)
			asking.Go(func() {
				_ = s.Close()
				if answer, err := s.answer(); err != nil || answer.status != want {
					t.Errorf("status %d, %v, want %d", answer.status, err, want)
				}
			})
		}
		asking.Wait()
		n -= 100
	}
}

// h3HuffmanBomb is a section with one value of n bytes whose codes have the
// fewest bits: five for each letter.
func h3HuffmanBomb(n int) []byte {
	n -= n % 5 // eight letters in five bytes, without padding
	line := h3Prefixed([]byte{0x21, 'x'}, h3HuffmanValue, 7, uint64(n))
	return h3Section(h3Lines(h3Get("/")...), append(line, make([]byte, n)...)) // 00000 is a zero
}
