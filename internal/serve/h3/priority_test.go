package h3

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

func TestPrioritiesAreRead(t *testing.T) {
	for value, want := range map[string]priority{
		"":                   {3, false, true},
		"u=0":                {0, false, true},
		"u=7, i":             {7, true, true},
		"i;x=1 ,\tu=5;y":     {5, true, true},
		"i=?1":               {3, true, true},
		"i, i=?0":            {3, false, true},
		"u=1, u=2":           {2, false, true},
		"u=8, i=1":           {3, false, true},
		"u=-1":               {3, false, true},
		"u=1.5":              {3, false, true},
		"u":                  {3, false, true},
		"U=1, I":             {3, false, true},
		"a=\"b\", u=4, c=()": {4, false, true},
		"\x00,,=,u=":         {3, false, true},
	} {
		if diff := cmp.Diff(want, parsePriority(value), cmp.AllowUnexported(priority{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", value, diff)
		}
	}
}

func FuzzParsePriority(f *testing.F) {
	for _, value := range []string{"", "u=1", "u=5, i", "i=?0;a, u=9", "u=1;x=\",u=2\""} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if p := parsePriority(value); p.urgency < 0 || p.urgency > 7 || !p.given {
			t.Errorf("%q is %v", value, p)
		}
		if p := parsePriority(value + ",u=6,i"); p.urgency != 6 || !p.incremental {
			t.Errorf("behind %q what comes last does not count: %v", value, p)
		}
	})
}

// update is PRIORITY_UPDATE of the request with this number.
func update(request uint64, value string) []byte {
	return frame(framePriorityRequest, append(quicvarint.Append(nil, 4*request), value...))
}

// TestAnswersComeInTheOrderOfTheirPriorities has two large answers on their way at
// the same time.
func TestAnswersComeInTheOrderOfTheirPriorities(t *testing.T) {
	for name, c := range map[string]struct {
		before       []byte // on the control stream
		first, other []string
		after        []byte // when the answers have begun
		want         []string
	}{
		"none is given":                         {want: []string{"first", "other"}},
		"the other is more urgent":              {first: []string{"priority", "u=5"}, other: []string{"priority", "u=1"}, want: []string{"other", "first"}},
		"the other is more urgent than usual":   {other: []string{"priority", "u=2"}, want: []string{"other", "first"}},
		"the first is more urgent":              {first: []string{"priority", "u=1"}, other: []string{"priority", "u=5"}, want: []string{"first", "other"}},
		"an update comes before its request":    {before: update(0, "u=7"), want: []string{"other", "first"}},
		"an update goes before the field":       {before: update(1, "u=7"), other: []string{"priority", "u=0"}, want: []string{"first", "other"}},
		"an update comes when answers are sent": {after: update(1, "u=0"), want: []string{"other", "first"}},
		"an update of what will never be asked": {before: update(127, "u=0"), want: []string{"first", "other"}},
	} {
		for _, path := range []string{"/big", "/hit/1048576"} {
			t.Run(name+" for "+path, func(t *testing.T) {
				inBubble(t, talkOptions(), func(cl *client) {
					control := cl.uniStreams[0]
					_, _ = control.Write(c.before)
					synctest.Wait()
					streams := map[string]*clientStream{}
					for _, s := range []struct {
						name   string
						fields []string
					}{{"first", c.first}, {"other", c.other}} {
						streams[s.name] = cl.request(headers("GET", path, s.fields...))
					}
					synctest.Wait() // windows are full
					_, _ = control.Write(c.after)
					synctest.Wait()
					if diff := cmp.Diff(c.want, ends(streams)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

// TestAnswersKeepTheirOrderOverAThinLine: they wait for the line, longer than a write
// waits until it looks at its window, and their windows are wide.
func TestAnswersKeepTheirOrderOverAThinLine(t *testing.T) {
	wide := &quic.Config{
		MaxIdleTimeout: time.Hour, KeepAlivePeriod: 10 * time.Second,
		InitialStreamReceiveWindow: 4 << 20, MaxStreamReceiveWindow: 4 << 20,
		InitialConnectionReceiveWindow: 16 << 20, MaxConnectionReceiveWindow: 16 << 20,
	}
	for _, path := range []string{"/big", "/hit/1048576"} {
		t.Run(path, func(t *testing.T) {
			inBubbleWith(t, talkOptions(), wide, func(c *client) {
				c.uni(streamControl, appendFrame(nil, frameSettings, 0))
				c.line.slow(100 << 10) // ten seconds for each answer
				var got [3]atomic.Int64
				var reading sync.WaitGroup
				for i := range got {
					s := c.request(headers("GET", path))
					reading.Go(func() {
						buf := make([]byte, 4<<10)
						for {
							n, err := s.Read(buf)
							got[i].Add(int64(n))
							if err != nil {
								break
							}
						}
						for later := i + 1; later < len(got); later++ {
							if n := got[later].Load(); n > 64<<10 {
								t.Errorf("of answer %d have come %d bytes when answer %d ends", later, n, i)
							}
						}
					})
				}
				reading.Wait()
			})
		})
	}
}

// ends reads streams, by turns, and returns the order in which they end.
func ends(streams map[string]*clientStream) (order []string) {
	var mu sync.Mutex // guards order
	var reading sync.WaitGroup
	for name, s := range streams {
		reading.Go(func() {
			_, _ = io.Copy(io.Discard, s.in)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		})
	}
	reading.Wait()
	return slices.Clone(order)
}

// TestAnAnswerThatNobodyReadsHoldsNoOtherUp has an answer whose client has left it no
// window, beside others of the same urgency.
func TestAnAnswerThatNobodyReadsHoldsNoOtherUp(t *testing.T) {
	const window = 8 << 10
	config := &quic.Config{
		MaxIdleTimeout: time.Hour, KeepAlivePeriod: 10 * time.Second,
		InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
	}
	o := talkOptions()
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/pieces" {
			talk(w, r)
			return
		}
		for range 70 { // a little more than the window, and no end
			_, _ = w.Write(letters(window / 64))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond) // it is sent
		}
		<-r.Context().Done()
	})
	for name, c := range map[string]struct {
		path   string
		fields []string
		after  []byte // on the control stream, when the window is used up
	}{
		"a large hit":                            {path: "/hit/1048576"},
		"a hit of which a packet is left":        {path: "/hit/9000"},
		"a handler's":                            {path: "/big"},
		"a handler's, of which a packet is left": {path: "/nine"},
		"a handler's, in small pieces":           {path: "/pieces"},
		"one that is to take turns no more":      {path: "/big", fields: []string{"priority", "i"}, after: update(0, "i=?0")},
		"one that becomes as urgent as others":   {path: "/big", fields: []string{"priority", "u=5"}, after: update(0, "u=3")},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbleWith(t, o, config, func(cl *client) {
				control := cl.uni(streamControl, appendFrame(nil, frameSettings, 0))
				cl.request(headers("GET", c.path, c.fields...))
				time.Sleep(3 * time.Second) // writes begin anew meanwhile
				_, _ = control.Write(c.after)
				synctest.Wait()
				for _, path := range []string{"/hit/7000", "/host"} {
					s := cl.request(headers("GET", path))
					_ = s.SetReadDeadline(time.Now().Add(time.Second))
					if words, body := s.answer(); len(words) != 1 || words[0] != "200" || body == "" {
						t.Errorf("of %s came %v and %d bytes of body", path, words, len(body))
					}
				}
			})
		})
	}
}

// A narrow is a feed with a window.
type narrow struct {
	feed
	window int
	tried  int    // bytes that TryWriteAll has taken since Write has
	most   int    // that tried ever was
	turns  []bool // what SetPriority was told, one after the other
	late   error  // of Write, with everything written
}

func (n *narrow) TryWriteAll(p []byte) error {
	if len(p) > n.window {
		return quic.ErrWouldBlock
	}
	n.window -= len(p)
	n.tried += len(p)
	n.most = max(n.most, n.tried)
	return nil
}

func (n *narrow) Write(p []byte) (int, error) {
	n.tried = 0
	return len(p), n.late
}

func (n *narrow) SetPriority(_ int8, incremental bool) { n.turns = append(n.turns, incremental) }

// writes returns a stream that writes to n.
func (n *narrow) writes(t *testing.T) *stream {
	n.feed = feed{ctx: t.Context(), discard: true}
	st := newConn(t.Context(), NewServer(talkOptions()), &n.feed).newStream(n)
	st.prioritize(false)
	return st
}

func TestAnAnswerTakesItsPlaceAgainWhenItHasAWindow(t *testing.T) {
	n := &narrow{window: 200}
	st := n.writes(t)
	for _, window := range []int{200, 0, 0, 200} {
		n.window = window
		if got, err := st.write(letters(100)); got != 100 || err != nil {
			t.Errorf("%d bytes, %v", got, err)
		}
	}
	st.close()
	if diff := cmp.Diff([]bool{false, true, false, true}, n.turns); diff != "" {
		t.Errorf("taking turns (-want +got):\n%s", diff)
	}
}

// TestSmallPiecesAreHeldBackHoweverWideTheWindowIs: the client says how wide it is,
// and need not let anything through.
func TestSmallPiecesAreHeldBackHoweverWideTheWindowIs(t *testing.T) {
	n := &narrow{window: 1 << 30}
	st := n.writes(t)
	for _, size := range []int{1, 1000, oneWrite, 5000} {
		for range 20000 / size {
			if got, err := st.write(letters(size)); got != size || err != nil {
				t.Fatalf("%d bytes, %v", got, err)
			}
		}
	}
	if n.most == 0 || n.most > mostReserved {
		t.Errorf("%d bytes were written without waiting, want %d at most", n.most, mostReserved)
	}
}

func TestAWriteThatEndsWithItsTimeIsWhole(t *testing.T) {
	n := &narrow{late: errTimeout}
	if got, err := n.writes(t).write(letters(5000)); got != 5000 || err != nil {
		t.Errorf("%d bytes, %v", got, err)
	}
}

func TestPrioritiesAreForgottenWithTheirRequests(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		for i := range 3 {
			_, _ = c.uniStreams[0].Write(append(update(uint64(2*i), "u=1"), update(uint64(2*i+1), "i")...))
			for _, path := range []string{"/hit/1", "/hit/65536"} {
				c.request(headers("GET", path)).answer()
			}
		}
		synctest.Wait()
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		for conn := range c.server.conns {
			conn.mu.Lock()
			if len(conn.live) > 0 || len(conn.announced) > 1 {
				t.Errorf("%d streams and %d priorities are kept", len(conn.live), len(conn.announced))
			}
			conn.mu.Unlock()
		}
	})
}
