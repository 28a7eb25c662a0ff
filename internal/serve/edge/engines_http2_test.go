package edge

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2Script is all that a client does on one connection of HTTP/2, but for the
// end: all windows are opened, everything unfinished is waited for, and a PING must
// be answered.
type h2Script struct {
	kind     rigType
	steps    []h2Step
	requests map[uint32]*h2Request
	settings int  // SETTINGS that were sent
	races    bool // a window was made smaller while it may have been used
	cancels  bool // some stream was reset by the client
}

// An h2Step is one write, after which the servers do what they can, and a pause.
type h2Step struct {
	frames []byte
	pause  time.Duration
	// What the client had allowed when it was sent:
	window  int64            // of the connection, in all
	initial int64            // SETTINGS_INITIAL_WINDOW_SIZE
	frame   int              // SETTINGS_MAX_FRAME_SIZE
	streams map[uint32]int64 // beyond initial
}

// An h2Request is what a stream asks for.
type h2Request struct {
	fields    []hpack.HeaderField
	trailers  []hpack.HeaderField
	content   int  // bytes of DATA
	ended     bool // with END_STREAM
	bare      bool // END_STREAM came with the head
	awaited   bool // its body is waited for, before there is an answer
	cancelled bool // by the client
}

// An h2Answer is what came on a stream.
type h2Answer struct {
	Early    []string
	Head     string
	Body     []byte
	Trailers string
	Ended    bool
	Reset    string
}

// outcome is an answer in a word: its status, or what came instead.
func (a *h2Answer) outcome() string {
	switch {
	case a == nil:
		return "nothing"
	case a.Reset == "PROTOCOL_ERROR", a.Reset != "" && !a.Ended:
		return a.Reset
	case a.Head != "":
		status, _, _ := strings.Cut(a.Head, "\n")
		return strings.TrimPrefix(status, ":status: ")
	}
	return "nothing"
}

// An h2View reads what a server sends and holds it to the protocol.
type h2View struct {
	t       *testing.T
	rig     *rig
	framer  *http2.Framer
	decoder *hpack.Decoder
	fields  []hpack.HeaderField // of the block that is being decoded
	block   []byte
	ends    bool // END_STREAM was set with it
	in      bytes.Buffer
	taken   int // bytes of rig.out
	answers map[uint32]*h2Answer
	others  []string // frames of the connection
	data    int64    // of all streams
	acks    int      // of SETTINGS
}

func newH2View(t *testing.T, r *rig) *h2View {
	v := &h2View{t: t, rig: r, answers: make(map[uint32]*h2Answer)}
	v.framer = http2.NewFramer(nil, &v.in)
	v.framer.SetMaxReadFrameSize(1<<24 - 1)
	v.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { v.fields = append(v.fields, f) })
	v.decoder.SetAllowedMaxDynamicTableSize(64 << 10)
	return v
}

// step reads what has come of a step.
func (v *h2View) step(s *h2Step) {
	v.rig.mu.Lock()
	v.in.Write(v.rig.out[v.taken:])
	v.taken = len(v.rig.out)
	v.rig.mu.Unlock()
	sent := make(map[uint32]bool)
	for v.in.Len() > 0 {
		frame, err := v.framer.ReadFrame()
		if err != nil {
			v.t.Fatalf("%s engine: the server's frames: %v", v.rig.engine, err)
		}
		v.take(frame, s)
		if frame.Header().Type == http2.FrameData {
			sent[frame.Header().StreamID] = true
		}
	}
	if v.data > s.window {
		v.t.Errorf("%s engine: %d bytes of DATA, and the connection's window was %d", v.rig.engine, v.data, s.window)
	}
	for id := range sent {
		if n := int64(len(v.answers[id].Body)); n > 0 && n > s.initial+s.streams[id] {
			v.t.Errorf("%s engine: %d bytes of DATA on stream %d, and its window was %d", v.rig.engine, n, id, s.initial+s.streams[id])
		}
	}
}

func (v *h2View) take(frame http2.Frame, s *h2Step) {
	h := frame.Header()
	if h.StreamID == 0 {
		v.other(frame)
		return
	}
	a := v.answers[h.StreamID]
	if a == nil {
		a = new(h2Answer)
		v.answers[h.StreamID] = a
	}
	_, reset := frame.(*http2.RSTStreamFrame)
	if _, window := frame.(*http2.WindowUpdateFrame); window && a.Reset == "" {
		return
	}
	if f, ok := frame.(*http2.RSTStreamFrame); ok && v.rig.engine == Plain && (a.Reset != "" || a.Ended && f.ErrCode != http2.ErrCodeNo) {
		// net/http answers frames that come too late, and a write deadline that it
		// notices only when the stream has been closed goes off all the same.
		return
	}
	if a.Reset != "" || a.Ended && !reset {
		v.t.Errorf("%s engine: %v after the end of the stream: %s %v", v.rig.engine, h, a.Reset, a.Ended)
	}
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		v.ends, v.block = f.StreamEnded(), append(v.block, f.HeaderBlockFragment()...)
		v.head(a, f.HeadersEnded())
	case *http2.ContinuationFrame:
		v.block = append(v.block, f.HeaderBlockFragment()...)
		v.head(a, f.HeadersEnded())
	case *http2.DataFrame:
		if len(f.Data()) > s.frame || a.Head == "" {
			v.t.Errorf("%s engine: DATA of %d bytes after the head %q", v.rig.engine, len(f.Data()), a.Head)
		}
		v.data += int64(len(f.Data()))
		a.Body = append(a.Body, f.Data()...)
		a.Ended = f.StreamEnded()
	case *http2.RSTStreamFrame:
		a.Reset = f.ErrCode.String()
	default:
		v.t.Errorf("%s engine: %v", v.rig.engine, h)
	}
}

// head takes the header block that has been gathered, if it is whole.
func (v *h2View) head(a *h2Answer, whole bool) {
	if !whole {
		return
	}
	if err := v.decode(); err != nil {
		v.t.Fatalf("%s engine: header block %x: %v", v.rig.engine, v.block, err)
	}
	var lines []string
	status := ""
	for _, f := range v.fields {
		if f.Name == ":status" && status == "" && len(lines) == 0 {
			status = f.Value
			continue
		}
		if !httpguts.ValidHeaderFieldName(f.Name) || f.Name != strings.ToLower(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value) {
			v.t.Errorf("%s engine: the field %v", v.rig.engine, f)
		}
		lines = append(lines, f.Name+": "+f.Value)
	}
	v.block, v.fields = nil, nil
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	if trailers := a.Head != ""; trailers == (status != "") {
		v.t.Errorf("%s engine: the status %q after the head %q", v.rig.engine, status, a.Head)
	} else if trailers {
		a.Trailers, a.Ended = strings.Join(lines, "\n"), v.ends
		return
	}
	head := strings.Join(append([]string{":status: " + status}, lines...), "\n")
	if strings.HasPrefix(status, "1") {
		a.Early = append(a.Early, head)
		return
	}
	a.Head, a.Ended = head, v.ends
}

// decode decodes a header block. hpack takes only one update of the table's size in
// a block, where RFC 7541 §4.2 has two: each is decoded as a block of its own.
func (v *h2View) decode() error {
	block := v.block
	for len(block) > 0 && block[0]&0xe0 == 0x20 {
		n := 1
		if block[0]&0x1f == 0x1f {
			for n < len(block) && block[n]&0x80 != 0 {
				n++
			}
			n = min(n+1, len(block))
		}
		if _, err := v.decoder.Write(block[:n]); err != nil {
			return err
		}
		if err := v.decoder.Close(); err != nil {
			return err
		}
		block = block[n:]
	}
	if _, err := v.decoder.Write(block); err != nil {
		return err
	}
	return v.decoder.Close()
}

// other notes a frame of the connection. Settings and windows are the engine's own
// business.
func (v *h2View) other(frame http2.Frame) {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			v.acks++
		}
	case *http2.PingFrame:
		if f.IsAck() {
			v.others = append(v.others, fmt.Sprintf("PING %x acknowledged", f.Data))
		}
	case *http2.GoAwayFrame:
		v.others = append(v.others, fmt.Sprintf("GOAWAY %v %s", f.ErrCode, f.DebugData()))
	case *http2.WindowUpdateFrame:
	default:
		v.t.Errorf("%s engine: %v", v.rig.engine, frame.Header())
	}
}

// lastPing is what the PING says that ends a script.
var lastPing = [8]byte{'t', 'h', 'e', ' ', 'e', 'n', 'd'}

// ending are the last steps of a script: windows for everything, time for what is
// late, and the PING.
func (s *h2Script) ending() []h2Step {
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil)
	last := h2Step{window: 1 << 40, initial: 1 << 40, frame: 1<<24 - 1}
	// Writing to a buffer cannot fail.
	_ = framer.WriteWindowUpdate(0, 1<<28)
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 28})
	opened, ping := last, last
	opened.frames, opened.pause = bytes.Clone(out.Bytes()), 30*time.Second
	out.Reset()
	_ = framer.WritePing(false, lastPing)
	ping.frames = out.Bytes()
	return []h2Step{opened, ping}
}

// compareHTTP2 runs a script with both engines.
func (e *engines) compareHTTP2(t *testing.T, s *h2Script) {
	t.Helper()
	how := servingOf(s.steps, func(step *h2Step) []byte { return step.frames })
	e.inBubble(t, how, s.kind, "h2", func(plain, fast *rig) {
		views := []*h2View{newH2View(t, plain), newH2View(t, fast)}
		for _, v := range views {
			v.rig.reading.Go(v.rig.read)
		}
		for _, step := range append(slices.Clip(s.steps), s.ending()...) {
			for _, v := range views {
				_, _ = v.rig.client.Write(step.frames) // the server may have closed
			}
			synctest.Wait()
			for _, v := range views {
				v.step(&step)
			}
			if !s.cancels && !s.races && !s.excused() && views[0].data != views[1].data {
				t.Errorf("plain has sent %d bytes of DATA, fast %d", views[0].data, views[1].data)
			}
			if time.Sleep(step.pause); step.pause > 0 {
				synctest.Wait()
				for _, v := range views {
					v.step(&step)
				}
			}
		}
		s.judge(t, views[0], views[1])
		if t.Failed() {
			return
		}
		if s.cancels || s.excused() {
			return
		}
		if diff := gocmp.Diff(plain.counted(), fast.counted()); diff != "" {
			t.Errorf("what was counted as refused (-plain +fast):\n%s", diff)
		}
		want, got := sortedRecords(plain), sortedRecords(fast)
		if slices.Equal(want, got) {
			return
		}
		if diff := gocmp.Diff(want, got, gocmp.Comparer(sameAddr), gocmp.AllowUnexported(Record{})); diff != "" {
			t.Errorf("the access log (-plain +fast):\n%s", diff)
		}
	})
}

// sortedRecords are the records without their durations: fast does not count how
// long an answer that stands ready waits for windows.
func sortedRecords(r *rig) []Record {
	all := r.records()
	for i := range all {
		all[i].Duration = 0
	}
	slices.SortFunc(all, func(a, b Record) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status),
			strings.Compare(a.Host, b.Host), strings.Compare(a.Agent+a.Referrer, b.Agent+b.Referrer), a.client.Compare(b.client), cmp.Compare(a.Bytes, b.Bytes))
	})
	return all
}

// judge compares what came.
func (s *h2Script) judge(t *testing.T, plain, fast *h2View) {
	t.Helper()
	if diff := gocmp.Diff(plain.others, fast.others); diff != "" {
		t.Errorf("frames of the connection (-plain +fast):\n%s", diff)
	}
	// net/http answers several SETTINGS that come together once, where RFC 9113
	// §6.5.3 has one answer for each.
	if n := s.settings + 1; fast.acks != n || plain.acks > n {
		t.Errorf("%d SETTINGS were acknowledged %d times by plain, %d times by fast", n, plain.acks, fast.acks)
	}
	for id, q := range s.requests {
		if q.cancelled {
			continue
		}
		want, got := plain.answers[id], fast.answers[id]
		if overlook(q, want, got); s.allows(q, want, got) {
			continue
		}
		if !want.same(got) {
			t.Errorf("stream %d: %s with %d bytes, ended %v:\nplain %s\nfast  %s", id, describeFields(q.fields), q.content, q.ended, want, got)
		}
	}
}

// same reports whether two answers are the same but for the boundary of ranges.
func (a *h2Answer) same(b *h2Answer) bool {
	if a == nil || b == nil {
		return a == b
	}
	head, body := a.normal()
	otherHead, otherBody := b.normal()
	return slices.Equal(a.Early, b.Early) && head == otherHead && bytes.Equal(body, otherBody) &&
		a.Trailers == b.Trailers && a.Ended == b.Ended && a.Reset == b.Reset
}

func (a *h2Answer) normal() (head string, body []byte) {
	before, after, multipart := strings.Cut(a.Head, "boundary=")
	if !multipart {
		return a.Head, a.Body
	}
	boundary, after, _ := strings.Cut(after, "\n")
	return before + "boundary=B\n" + after, bytes.ReplaceAll(a.Body, []byte(boundary), []byte("B"))
}

// String is the answer, for people.
func (a *h2Answer) String() string {
	if a == nil {
		return "nothing"
	}
	return fmt.Sprintf("%q %q with %d bytes %.60q %q, ended %v, reset %q", a.Early, a.Head, len(a.Body), a.Body, a.Trailers, a.Ended, a.Reset)
}

func describeFields(fields []hpack.HeaderField) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%q: %.80q, ", f.Name, f.Value)
	}
	return b.String()
}

func FuzzEnginesHTTP2(f *testing.F) {
	e := newEngines(f)
	fields := engineFields(e.tags)
	for i := range 24 {
		f.Add([]byte(strings.Repeat(string([]byte{byte(i), byte(i * 7), byte(i * 31)}), 12)))
		f.Add([]byte(noise(byte(i), 60+5*i)))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 2<<10 {
			return
		}
		s := newH2Writer(&dice{program}, fields).script()
		e.compareHTTP2(t, s)
	})
}
