package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// headOf is a request for target whose head has n bytes.
func headOf(n int, target string) string {
	return get(target, "X: "+strings.Repeat("\xe4", n-len(get(target, "X: "))))
}

// exchanges are what well-behaved and other clients send; each part is one write.
var exchanges = []struct {
	name  string
	parts []string
}{
	{"a thousand hits come in one packet", []string{strings.Repeat(get("/page"), 1000)}},
	{"a thousand hits come with a non-hit behind", []string{strings.Repeat(good, 1000) + get("/other") + good}},
	{"hits and non-hits alternate", []string{strings.Repeat(good+get("/other")+get("/page")+chunked+"2\r\nhi\r\n0\r\n\r\n", 5)}},
	{"half a head follows a hit, then the rest", []string{good + good[:20], good[20:] + get("/page")}},
	{"half a head follows a hit, and no rest", []string{good + good[:20]}},
	{"half a non-hit follows a hit, then the rest", []string{good + chunked[:20], chunked[20:] + "0\r\n\r\n" + good}},
	{"half a head follows a non-hit", []string{get("/other") + good[:20], good[20:]}},
	{"large bodies stand in the middle", []string{good + get("/large") + get("/huge") + get("/brim") + get("/page") + get("/brim") + good}},
	{"bodies fill the buffer to the brim", []string{strings.Repeat(get("/brim"), 4)}},
	{"HEAD asks for a small and a large one", []string{strings.Replace(get("/page")+get("/large"), "GET", "HEAD", -1) + good}},
	{"Connection says close in the middle", []string{good + get("/page", "Connection: close") + good + "rubbish"}},
	{"Connection says close on a large one", []string{get("/large", "connection: x, CLOSE"), good}},
	{"HTTP/1.0 follows a hit", []string{good + "GET /good HTTP/1.0\r\n\r\n" + good}},
	{"HTTP/1.0 keeps alive between hits", []string{good + "GET /good HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + good}},
	{"an absolute target stands between hits", []string{good + get("http://b.test/good") + good}},
	{"a value is obs-text", []string{get("/page", "X: \xe4\xf6\xfc")}},
	{"a head is as large as allowed", []string{headOf(32<<10, "/page") + good}},
	{"two heads are as large as allowed", []string{headOf(32<<10, "/page") + headOf(32<<10, "/good"), good}},
	{"a head is one byte too large", []string{good + headOf(32<<10+1, "/page") + good}},
	{"heads are as large as the buffers", []string{headOf(loopRead, "/page"), headOf(smallBuffer, "/page") + headOf(loopRead, "/good"), headOf(largeBuffer, "/")}},
	{"a hit has an empty line before it", []string{"\r\n" + good + "\r\n" + good + "\r"}},
	{"a GET has a body", []string{get("/good", "Content-Length: 5") + "GET /" + good}},
	{"a GET has a body of no bytes", []string{get("/good", "Content-Length: 0") + good}},
	{"a GET is chunked", []string{get("/good", "Transfer-Encoding: chunked") + "0\r\n\r\n" + good}},
	{"a GET waits for 100", []string{get("/good", "Expect: 100-continue", "Content-Length: 2"), "hi" + good}},
	{"a GET would upgrade", []string{good + webSocketHead + good}},
	{"a bad head follows a hit", []string{good + head + "Bad : field\r\n\r\n" + good}},
	{"the preface of HTTP/2 follows a hit", []string{good + preface}},
	{"the preface of HTTP/2 comes first", []string{preface[:9], preface[9:]}},
	{"the preface of HTTP/2 stops in the middle", []string{preface[:9]}},
	{"the client says nothing", []string{""}},
}

// TestNobodyCanTellWhetherThereIsALoop compares all that a client sees, the times included, with the plain engine.
func TestNobodyCanTellWhetherThereIsALoop(t *testing.T) {
	for _, x := range exchanges {
		t.Run(x.name, func(t *testing.T) {
			in := strings.Join(x.parts, "")
			checkTalk(t, Options{}, x.parts...)
			checkTalk(t, Options{H2C: true}, x.parts...)
			checkTalk(t, Options{}, in)
			if len(in) < 2<<10 {
				checkTalk(t, Options{}, strings.Split(in, "")...)
			}
			for i := 1; i < len(in) && len(in) < 300 && !strings.Contains(in, "/huge"); i++ {
				checkTalk(t, Options{H2C: i%2 == 0}, in[:i], in[i:])
			}
		})
	}
}

// wire is a peer that sends what is scripted, notes what it gets, and may fail.
type wire struct {
	script
	out    bytes.Buffer
	writes int  // calls
	room   int  // for so many bytes writes succeed; 0: for all
	halved bool // the writing half is closed
	closed bool // for good
}

var errWire = errors.New("the wire is cut")

func (w *wire) Write(p []byte) (int, error) {
	w.writes++
	if w.room > 0 && w.out.Len()+len(p) > w.room {
		n, _ := w.out.Write(p[:w.room-w.out.Len()])
		return n, errWire
	}
	return w.out.Write(p)
}

func (w *wire) CloseWrite() error { w.halved = true; return nil }
func (w *wire) Close() error      { w.closed = true; return nil }

// buffersWire is a wire that takes several buffers at once.
type buffersWire struct {
	wire
	vectors []int // the length of every write of several buffers
}

func (w *buffersWire) WriteBuffers(buffers ...[]byte) error {
	all := bytes.Join(buffers, nil)
	w.vectors = append(w.vectors, len(all))
	_, err := w.out.Write(all)
	return err
}

// listen runs a loop over nc that answers with the pages.
func listen(nc net.Conn) (rest *Conn, e *edge) {
	e = &edge{}
	return Loop(nc, LoopOptions{Hit: e.hit, OnPanic: e.panicked}), e
}

// answerTo is what a loop answers to requests that are all hits.
func answerTo(requests ...string) string {
	w := &wire{script: script{data: []byte(strings.Join(requests, ""))}}
	if rest, _ := listen(w); rest != nil {
		panic("no hit")
	}
	return undated(w.out.String())
}

// undated is out without its Date fields.
func undated(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Date: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestAllThatHaveArrivedIsAnsweredInOneWrite(t *testing.T) {
	w := &wire{script: script{data: []byte(strings.Repeat(get("/page"), 20))}}
	if rest, e := listen(w); rest != nil || len(e.saw) != 20 || w.writes != 1 {
		t.Errorf("%d hits in %d writes, handed over: %v", len(e.saw), w.writes, rest != nil)
	}
}

func TestMuchIsReadAtOnce(t *testing.T) {
	const n = 10_000
	w := &wire{script: script{data: []byte(strings.Repeat(good, n))}}
	rest, e := listen(w)
	if rest != nil || len(e.saw) != n || strings.Count(w.out.String(), "HTTP/1.1 200 OK\r\n") != n {
		t.Errorf("%d hits, handed over: %v", len(e.saw), rest != nil)
	}
	// Reads of 32 KiB, and writes of 64 KiB.
	if most := n*len(good)/largeBuffer + w.out.Len()/loopWrite + 4; w.writes > most {
		t.Errorf("%d writes, want at most %d", w.writes, most)
	}
}

func TestSeveralBuffersAreWrittenAtOnceWhereThatIsPossible(t *testing.T) {
	in := get("/page") + get("/large") + get("/page") + get("/huge", "Connection: close")
	w := &buffersWire{wire: wire{script: script{data: []byte(in)}}}
	if rest, _ := listen(w); rest != nil {
		t.Error("handed over")
	}
	if got, want := undated(w.out.String()), answerTo(in); got != want {
		t.Errorf("other bytes than with a plain connection: %d, want %d", len(got), len(want))
	}
	if diff := cmp.Diff([]int{writePiece, writePiece}, w.vectors); diff != "" {
		t.Errorf("the writes of head and body together (-want +got):\n%s", diff)
	}
	if small := (w.out.Len() - 2*writePiece + writePiece - 1) / writePiece; w.writes < small || w.writes > small+2 {
		t.Errorf("%d writes for the rest", w.writes)
	}
}

// TestAPeerMayLeaveAtAnyByte cuts a conversation off everywhere: every whole request is answered, or handed over with
// all that follows it.
func TestAPeerMayLeaveAtAnyByte(t *testing.T) {
	hits := []string{good, get("/page"), "\r\n" + get("/"), headOf(loopRead+10, "/good")}
	in, want := strings.Join(hits, ""), ""
	next, whole := 0, 0
	for i := range len(in) + 1 {
		if next < len(hits) && i == whole+len(hits[next]) {
			whole = i
			want += answerTo(hits[next])
			next++
		}
		for _, sizes := range []string{"", strings.Repeat("\x00", i), "\x50\x03\xff"} {
			w := &wire{script: script{data: []byte(in[:i]), sizes: []byte(sizes)}}
			if rest, _ := listen(w); rest != nil || !w.closed || undated(w.out.String()) != want {
				t.Fatalf("after %d bytes: handed over: %v; closed: %v; got %.300q, want %.300q", i, rest != nil, w.closed, undated(w.out.String()), want)
			}
		}
	}
}

func TestWhatIsHandedOverIsNeitherLostNorDoubled(t *testing.T) {
	tail := post + "Content-Length: 3\r\n\r\nabc" + good + chunked + "2\r\nhi\r\n0\r\n\r\n" + get("/large")
	for _, before := range []string{"", good, strings.Repeat(get("/page"), 100), get("/huge"), headOf(30_000, "/page")} {
		for _, sizes := range []string{"", strings.Repeat("\x00", 200), "\x50\x03\xff\x10\x10"} {
			w := &wire{script: script{data: []byte(before + tail), sizes: []byte(sizes)}}
			rest, _ := listen(w)
			if rest == nil {
				t.Fatal("nothing was handed over")
			}
			if got, err := io.ReadAll(rest); err != nil || string(got) != tail {
				t.Errorf("handed over %q, %v; want %q", got, err, tail)
			}
			if got := undated(w.out.String()); got != answerTo(before) {
				t.Errorf("answered %.300q before", got)
			}
		}
	}
}

// TestAWriteMayFailAtAnyByte also sees to it that nobody is asked for an answer that nobody takes.
func TestAWriteMayFailAtAnyByte(t *testing.T) {
	in := good + get("/page") + get("/large") + good + get("/page") + get("/other")
	all := &wire{script: script{data: []byte(in)}}
	if rest, _ := listen(all); rest == nil {
		t.Fatal("nothing was handed over")
	}
	for room := 1; room < all.out.Len(); room += 1 + room/50 {
		for _, sizes := range []string{"", "\x50\x50\x50"} {
			w := &wire{script: script{data: []byte(in), sizes: []byte(sizes)}, room: room}
			rest, e := listen(w)
			if rest != nil || !w.closed || w.halved || undated(w.out.String()+"\n") != undated(all.out.String()[:w.out.Len()]+"\n") || w.out.Len() != room {
				t.Fatalf("room for %d: handed over: %v; closed: %v; %d bytes", room, rest != nil, w.closed, w.out.Len())
			}
			if room < 90_000 && len(e.saw) > 3 {
				t.Errorf("room for %d: the answers to %q were asked for", room, e.saw)
			}
		}
	}
	checkPools(t)
}

func TestAConnectionThatFailedIsClosedAtOnce(t *testing.T) {
	w := &wire{script: script{data: []byte(get("/large", "Connection: close"))}, room: 100}
	if rest, _ := listen(w); rest != nil || !w.closed || w.halved {
		t.Errorf("handed over: %v; closed: %v; first only half: %v", rest != nil, w.closed, w.halved)
	}
}

// TestOnlySimpleRequestsAreAskedFor has a Hit that has an answer to everything.
func TestOnlySimpleRequestsAreAskedFor(t *testing.T) {
	for name, in := range map[string]string{
		"another method":                post + "\r\n",
		"a method in lower case":        "get / HTTP/1.1\r\n" + host + "\r\n",
		"an asterisk":                   "OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		"an absolute target":            get("http://a.test/"),
		"HTTP/1.0":                      "GET / HTTP/1.0\r\n" + host + "\r\n",
		"HTTP/1.0 that keeps alive":     abHead,
		"a body":                        get("/", "Content-Length: 2") + "hi",
		"a body of no bytes":            get("/", "Content-Length: 0"),
		"chunks":                        get("/", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"an expectation":                get("/", "Expect: 100-continue"),
		"another protocol":              webSocketHead,
		"another protocol, not for now": get("/", "Upgrade: h2c"),
		"a bad field":                   get("/", "X : y"),
	} {
		t.Run(name, func(t *testing.T) {
			rest := Loop(&wire{script: script{data: []byte(in)}}, LoopOptions{Hit: func(_ *Head, raw []byte, _ *Hit) bool {
				t.Errorf("asked for %q", raw)
				return true
			}})
			if rest == nil {
				t.Error("not handed over")
			}
		})
	}
}

// checkPools checks that no buffer is in a pool twice: then two connections would have it.
func checkPools(t *testing.T) {
	t.Helper()
	seen := map[unsafe.Pointer]bool{}
	for range 200 {
		small, large, out := takeMemory(smallBuffer), takeMemory(largeBuffer), loopBuffers.Get().(*loopBuffer)
		if len(small) != smallBuffer || len(large) != largeBuffer || len(out.b) != 0 || cap(out.b) != loopWrite+loopSlack {
			t.Fatalf("buffers of %d, %d, %d of %d", len(small), len(large), len(out.b), cap(out.b))
		}
		for _, p := range []unsafe.Pointer{unsafe.Pointer(&small[0]), unsafe.Pointer(&large[0]), unsafe.Pointer(&out.b[:1][0])} {
			if seen[p] {
				t.Fatal("a buffer is in its pool twice")
			}
			seen[p] = true
		}
	}
}

// spy is a peer that looks at the loop whenever that reads.
type spy struct {
	buffersWire
	look func()
}

func (s *spy) Read(p []byte) (int, error) { s.look(); return s.buffersWire.Read(p) }

func TestAnIdleConnectionHoldsNoBuffer(t *testing.T) {
	parts := []string{strings.Repeat(good, 5000), headOf(3000, "/large"), headOf(30_000, "/huge") + good, good + good[:30], good[30:], good}
	s := &spy{buffersWire: buffersWire{wire: wire{script: script{data: []byte(strings.Join(parts, ""))}}}}
	e := &edge{}
	o := LoopOptions{Options: Options{}.withDefaults(), Hit: e.hit}
	l := &serving{nc: s, o: &o}
	idle := 0
	s.look = func() {
		if l.out != nil || l.hit.Body != nil || l.vector[1] != nil {
			t.Error("something to write is held while reading")
		}
		if len(l.buf) > largeBuffer {
			t.Errorf("a buffer of %d bytes", len(l.buf))
		}
		if l.have > 0 {
			return
		}
		idle++
		if len(l.buf) != loopRead {
			t.Errorf("a buffer of %d bytes is held for nothing", len(l.buf))
		}
	}
	if rest := l.run(); rest != nil || len(e.saw) != 5006 || idle < 2 {
		t.Errorf("handed over: %v; %d hits; %d times idle", rest != nil, len(e.saw), idle)
	}
}

func TestAHitMayNotReachIntoTheNextRequest(t *testing.T) {
	e := &edge{}
	w := &wire{script: script{data: []byte(good + get("/page"))}}
	rest := Loop(w, LoopOptions{Hit: func(head *Head, raw []byte, h *Hit) bool {
		_ = append(raw, "XXXXXX"...)
		return e.hit(head, raw, h)
	}})
	if rest != nil || len(e.saw) != 2 {
		t.Errorf("handed over: %v; %q", rest != nil, e.saw)
	}
}

func TestLongFieldLinesDoNotStayInThePool(t *testing.T) {
	long := []byte("Link: " + strings.Repeat("x", 2*loopWrite) + "\r\n")
	w := &wire{script: script{data: []byte(good + good)}}
	Loop(w, LoopOptions{Hit: func(_ *Head, _ []byte, h *Hit) bool {
		fillHit(h, []byte("body"))
		h.Head[2] = long
		return true
	}})
	if got, want := undated(w.out.String()), fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n%sContent-Type: text/plain\r\n\r\nbody", long); got != want+want {
		t.Errorf("%d bytes, want twice %d", len(got), len(want))
	}
	checkPools(t)
}

func TestDateIsTheCurrentOne(t *testing.T) {
	var d dateLine
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	for _, tt := range []struct {
		name string
		now  time.Time
		want string
	}{
		{"the first", now, "Date: Fri, 02 Jan 2026 02:04:05 GMT\r\n"},
		{"within the same second", now.Add(time.Second - 1), "Date: Fri, 02 Jan 2026 02:04:05 GMT\r\n"},
		{"in the next second", now.Add(time.Second), "Date: Fri, 02 Jan 2026 02:04:06 GMT\r\n"},
		{"after the clock was set back", now, "Date: Fri, 02 Jan 2026 02:04:05 GMT\r\n"},
	} {
		if got := string(d.line(tt.now)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
