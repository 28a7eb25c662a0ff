package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A flood is 20,000 frames of a kind, on one connection.
type flood struct {
	name  string
	kind  string // that the server counts
	frame func(c *client, i uint32)
	first func(c *client)
}

func floods() []flood {
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(*client, uint32) {
		return func(c *client, _ uint32) { c.must(c.framer.WriteRawFrame(kind, flags, id, []byte(payload))) }
	}
	wait := func(c *client) { c.post(1, "/wait") }
	return []flood{
		{name: "requests that are reset", kind: "resets received", frame: func(c *client, i uint32) {
			c.get(2*i+1, "/wait")
			c.must(c.framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
		}},
		{name: "requests that are reset by us, for a window of nothing", kind: "resets sent", frame: func(c *client, i uint32) {
			c.get(2*i+1, "/wait")
			c.open(2*i+1, 0)
		}},
		{name: "requests that are reset by us, for their fields", kind: "resets sent", frame: func(c *client, i uint32) { c.get(2*i+1, "/", "BAD", "") }},
		{name: "requests that are refused", kind: "resets sent", frame: func(c *client, i uint32) { c.post(2*i+1, "/wait") }},
		{name: "PING", kind: "pings", frame: raw(http2.FramePing, 0, 0, "12345678")},
		{name: "answers to no PING", kind: "pings", frame: raw(http2.FramePing, 1, 0, "12345678")},
		{name: "SETTINGS", kind: "settings", frame: raw(http2.FrameSettings, 0, 0, "")},
		{name: "SETTINGS full of windows", kind: "settings", frame: raw(http2.FrameSettings, 0, 0, strings.Repeat("\x00\x04\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff", 80))},
		{name: "answers to no SETTINGS", kind: "settings", frame: raw(http2.FrameSettings, 1, 0, "")},
		{name: "empty DATA", kind: "empty data", first: wait, frame: raw(http2.FrameData, 0, 1, "")},
		{name: "DATA of padding", kind: "empty data", first: wait, frame: raw(http2.FrameData, 8, 1, "\x03abc")},
		{name: "window by the byte", kind: "window updates", first: wait, frame: raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x01")},
		{name: "a body by the byte", kind: "window updates", first: func(c *client) {
			c.setWindow(0)
			c.get(1, "/hit/1000000")
		}, frame: raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x01")},
		{name: "CONTINUATION of nothing", kind: "continuations", first: func(c *client) { raw(http2.FrameHeaders, 0, 1, "")(c, 0) }, frame: raw(http2.FrameContinuation, 0, 1, "")},
		{name: "CONTINUATION without an end", kind: "continuations", first: func(c *client) { raw(http2.FrameHeaders, 0, 1, "")(c, 0) }, frame: raw(http2.FrameContinuation, 0, 1, strings.Repeat("\x82", 1000))},
		{name: "PRIORITY", kind: "priorities", frame: raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x00\x10")},
		{name: "PRIORITY_UPDATE", kind: "priorities", first: wait, frame: raw(http2.FrameType(framePriorityUpdate), 0, 0, "\x00\x00\x00\x01u=1, i")},
		{name: "PRIORITY_UPDATE of streams that never come", kind: "priorities", frame: func(c *client, i uint32) { c.prioritize(2*i+1, "u=1") }},
		{name: "frames that nobody knows", kind: "unknown frames", frame: raw(0x99, 0, 0, "x")},
		{name: "DATA after the end", kind: "resets sent", first: func(c *client) { c.get(1, "/hit/0") }, frame: raw(http2.FrameData, 0, 1, "x")},
	}
}

const floodFrames = 20_000

func TestFloodsEndTheConnection(t *testing.T) {
	for _, f := range floods() {
		t.Run(f.name, func(t *testing.T) {
			var abuse atomic.Value
			o := talkOptions()
			o.OnAbuse = func(k Kind) { abuse.Store(k.String()) }
			input := recordFlood(t, f)
			ended, cpu, heap := drown(t, o, input)
			if diff := cmp.Diff(f.kind, abuse.Load()); diff != "" {
				t.Errorf("kind of abuse (-want +got):\n%s", diff)
			}
			if want := "ENHANCE_YOUR_CALM"; !strings.HasSuffix(ended, want) {
				t.Errorf("the connection ended with %q, want %s", ended, want)
			}
			t.Logf("%d KiB sent; with the client's part %v of processor time, %d KiB of heap", len(input)>>10, cpu, heap>>10)
		})
	}
}

// recordFlood returns the bytes of a flood.
func recordFlood(t *testing.T, f flood) []byte {
	var out bytes.Buffer
	c := &client{t: t, framer: http2.NewFramer(&out, nil)}
	c.framer.AllowIllegalWrites = true
	c.hpack = hpack.NewEncoder(&c.block)
	out.WriteString(preface)
	c.must(c.framer.WriteSettings())
	if f.first != nil {
		f.first(c)
	}
	for i := range uint32(floodFrames) {
		f.frame(c, i+1)
	}
	return out.Bytes()
}

// drown sends input over loopback and returns the last frame of the server, and
// what the whole process used meanwhile.
func drown(t *testing.T, o Options, input []byte) (ended string, cpu time.Duration, heap int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accept(t, ln, NewServer(o), func(net.Conn) error { return nil })
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := processorTime()
	go func() { _, _ = nc.Write(input) }() // the server stops reading in the middle
	framer := http2.NewFramer(io.Discard, nc)
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Logf("reading: %v", err)
			}
			break
		}
		ended = describe(f)
	}
	cpu = processorTime() - start
	runtime.ReadMemStats(&after)
	return ended, cpu, int64(after.HeapSys+after.StackSys) - int64(before.HeapSys+before.StackSys)
}

func TestAHPACKBombIsAnswered431(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		c.get(1, "/hit/0", "x-bomb", strings.Repeat("a", 4000)) // it is in the table now
		c.saw("HEADERS 1 200 end")
		block := c.encode("GET", "/hit/0")
		c.sendBlock(3, true, append(block, bytes.Repeat([]byte{0x80 | 62}, 100_000)...)) // the newest entry: 400 MB
		c.saw("HEADERS 3 431 end")
		c.get(5, "/hit/5")
		c.saw("HEADERS 5 200", "DATA 5 5 end")
	})
}

func TestAHeaderBlockThatIsTooLargeEndsTheConnection(t *testing.T) {
	var abuse []Kind
	o := talkOptions()
	o.OnAbuse = func(k Kind) { abuse = append(abuse, k) }
	inBubble(t, o, func(c *client) {
		abuse = nil
		c.sendBlock(1, true, append(c.encode("GET", "/hit/0"), bytes.Repeat([]byte{0x82}, maxBlock)...))
		c.saw("GOAWAY 0 ENHANCE_YOUR_CALM", "EOF")
	})
	if diff := cmp.Diff([]Kind{Continuations}, abuse); diff != "" {
		t.Errorf("abuse (-want +got):\n%s", diff)
	}
}

// panicking adds a handler that panics.
func panicking(o Options) Options {
	talk := o.Handler
	o.OnPanic = func(any) {}
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("oh")
		}
		talk.ServeHTTP(w, r)
	})
	return o
}

// TestHonestClientsSpendNoBudget: each of these is many times what a budget allows.
func TestHonestClientsSpendNoBudget(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(c *client, i uint32)
	}{
		{"a small update after each small answer", func(c *client, i uint32) {
			c.get(2*i+1, "/hit/5")
			c.took()
			c.open(0, 5)
			c.open(2*i+1, 5)
		}},
		{"uploads that are refused while they are on their way", func(c *client, i uint32) {
			c.post(2*i+1, "/ignore")
			c.took()
			for range 3 {
				c.data(2*i+1, false, letters(16000))
			}
		}},
		{"three priorities for each request", func(c *client, i uint32) {
			c.prioritize(2*i+1, "u=1")
			c.get(2*i+1, "/hit/5", "priority", "u=2")
			c.prioritize(2*i+1, "u=3")
		}},
		{"handlers that panic", func(c *client, i uint32) { c.get(2*i+1, "/panic") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := panicking(talkOptions())
			o.OnAbuse = func(k Kind) { t.Errorf("abuse: %v", k) }
			inBubble(t, o, func(c *client) {
				for i := range uint32(1500) {
					test.do(c, i)
					if frames := c.took(); len(frames) > 0 && frames[len(frames)-1] == "EOF" {
						t.Fatalf("round %d: %q", i, frames)
					}
				}
			})
		})
	}
}
