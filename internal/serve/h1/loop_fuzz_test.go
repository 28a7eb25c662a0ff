package h1

import (
	"errors"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// talk is all that a client sees of a connection, and what happened behind it.
type talk struct {
	AtOnce  string        // what came before anybody lost patience
	Later   string        // what came after that
	Early   bool          // the server hung up at once
	Took    time.Duration // until the server hung up
	Saw     []string
	Refused []Refusal
}

// talkTo sends parts, one write each, and listens until the server hangs up. It runs in a bubble: time stands still
// unless everybody waits.
func talkTo(t *testing.T, on engine, o Options, parts ...string) (got talk) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		e := &edge{engine: on}
		e.start(t, l, o, nil)
		c := l.dial(t)
		defer c.close()
		start := time.Now()
		c.send(parts...)
		var mu sync.Mutex // guards out, ended
		var out strings.Builder
		ended := time.Duration(-1)
		c.wg.Go(func() {
			p := make([]byte, 64<<10)
			for {
				n, err := c.c.Read(p)
				mu.Lock()
				out.Write(p[:n])
				if err != nil {
					ended = time.Since(start)
					if !errors.Is(err, io.EOF) {
						t.Errorf("read: %v", err)
					}
					mu.Unlock()
					return
				}
				mu.Unlock()
			}
		})
		time.Sleep(time.Second) // longer than lingering, shorter than any patience
		synctest.Wait()
		mu.Lock()
		got.AtOnce, got.Early = out.String(), ended >= 0
		mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		got.Later, got.Took = out.String()[len(got.AtOnce):], ended
		mu.Unlock()
		got.Saw, got.Refused = e.sawSoFar()
	})
	if o.H2C && strings.HasPrefix(strings.Join(parts, ""), preface) {
		// net/http's HTTP/2 writes its frames in whatever order; the first one tells that it was HTTP/2.
		return talk{AtOnce: got.AtOnce[:min(len(got.AtOnce), 9)]}
	}
	return got
}

// cut cuts in into pieces of the given sizes, plus one; what remains is one piece.
func cut(in string, sizes []byte) (parts []string) {
	for _, size := range sizes {
		if n := int(size) + 1; n < len(in) {
			parts = append(parts, in[:n])
			in = in[n:]
		}
	}
	return append(parts, in)
}

// forgive makes two ends of a slow body alike. What comes in the read that ends a
// head does not count as received, so how n bytes are cut may give a body as much
// time as they take at the lowest rate.
func (want *talk) forgive(got *talk, n int) {
	slow := func(r Refusal) bool { return r.Reason == ReasonSlowBody }
	if late := (got.Took - want.Took).Abs(); !slices.ContainsFunc(got.Refused, slow) || late > atRate(int64(n), 1<<10) {
		return
	}
	if got.Took = want.Took; undated(got.Later) == undated(want.Later) {
		got.Later = want.Later
	}
}

// paceOf is another pace for other parts, and the same for the same.
func paceOf(parts []string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p)) // never fails
	}
	return h.Sum64()
}

// checkTalk checks that a client who sends parts cannot tell whether there is a loop.
func checkTalk(t *testing.T, o Options, parts ...string) talk {
	t.Helper()
	want := talkTo(t, engines[0], o, parts...)
	odd := engines[3]
	odd.pace = paceOf(parts)
	var got talk
	for _, on := range []engine{engines[1], engines[2], odd} {
		got = talkTo(t, on, o, parts...)
		if on.pace != 0 {
			want.forgive(&got, len(strings.Join(parts, "")))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the parts %q (-plain engine +%s, %d):\n%s", parts, on.name, on.pace, diff)
		}
	}
	return got
}

func FuzzLoop(f *testing.F) {
	for _, in := range realHeads {
		f.Add([]byte(in+good+in), []byte{30, 200}, false)
	}
	for _, a := range attacks {
		f.Add([]byte(good+a.in), []byte{}, false)
		f.Add([]byte(a.in+head), []byte{60, 0, 20}, false)
	}
	f.Add([]byte(preface+"anything\n"), []byte{0}, true)
	f.Add([]byte(good+preface), []byte{0}, true)
	f.Add([]byte(good+get("/page", "Connection: close")+good), []byte{0}, true)
	f.Add([]byte(get("/large")+good+get("/brim")+get("/x")+"HEAD /large"+get("/huge")[9:]+good[:9]), []byte{80}, false)
	f.Add([]byte(strings.Repeat(get("/page"), 60)+chunked+"2\r\nhi\r\n0\r\n\r\n"+good), []byte{255, 255, 255, 9}, false)
	f.Fuzz(func(t *testing.T, in, sizes []byte, h2c bool) {
		if len(in) > 16<<10 {
			return
		}
		o := Options{Limits: Limits{HeadBytes: 2 << 10, RequestLine: 256, Fields: 20}, H2C: h2c}
		checkTalk(t, o, cut(string(in), sizes)...)
	})
}
