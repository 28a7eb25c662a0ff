package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"
)

// heard is all that a client hears of a connection. DATA and windows are added up:
// how they are cut depends on which handler is quicker.
type heard struct {
	Frames map[uint32][]string // of a stream
	Sizes  map[string]int
	Ended  time.Duration // after so long; -1: never
}

// hear sends the preface and then parts, one after the other, when the server has
// done all that it can do about the last one, and listens until the server has lost
// its patience.
func hear(t *testing.T, o Options, on way, parts [][]byte) (h heard) {
	t.Helper()
	h = heard{map[uint32][]string{}, map[string]int{}, -1}
	synctest.Test(t, func(t *testing.T) {
		c := dialPipe(t, o, on)
		start := time.Now()
		var mu sync.Mutex // guards out and h.Ended
		var out bytes.Buffer
		go func() {
			p := make([]byte, 64<<10)
			for {
				n, err := c.nc.Read(p)
				mu.Lock()
				out.Write(p[:n])
				if errors.Is(err, io.EOF) {
					h.Ended = time.Since(start)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
		for _, p := range append([][]byte{[]byte(preface)}, parts...) {
			_, _ = c.nc.Write(p) // the server may have closed
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		h.note(t, out.Bytes())
		mu.Unlock()
		_ = c.nc.Close()
		<-c.done
	})
	return h
}

// note takes down what a server has sent.
func (h *heard) note(t *testing.T, out []byte) {
	framer := http2.NewFramer(nil, bytes.NewReader(out))
	framer.ReadMetaHeaders = xhpack.NewDecoder(4096, nil)
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("the server's output: %v", err)
			}
			return
		}
		id, size := f.Header().StreamID, 0
		switch f := f.(type) {
		case *http2.DataFrame:
			size = len(f.Data())
		case *http2.WindowUpdateFrame:
			size = int(f.Increment)
		case *http2.MetaHeadersFrame:
			h.Frames[id] = append(h.Frames[id], fmt.Sprint(describe(f), f.Fields))
			continue
		default:
			h.Frames[id] = append(h.Frames[id], describe(f))
			continue
		}
		h.Sizes[fmt.Sprint(f.Header().Type, " ", id)] += size
		if strings.HasSuffix(describe(f), " end") {
			h.Frames[id] = append(h.Frames[id], "end")
		}
	}
}

// cutFrames cuts frames into parts of sizes, over and over, none of which holds more
// than one end of a frame: what comes of several frames at once may be a matter of
// which goroutine is quicker.
func cutFrames(in, sizes []byte) (parts [][]byte) {
	frame := 0 // what is left of it
	for i := 0; len(in) > 0; i++ {
		if frame == 0 {
			frame = len(in)
			if len(in) >= frameHeader {
				frame = min(frame, frameHeader+(int(in[0])<<16|int(in[1])<<8|int(in[2])))
			}
		}
		n := frame
		if len(sizes) > 0 {
			n = min(n, 1+int(sizes[i%len(sizes)]))
		}
		parts = append(parts, in[:n])
		in, frame = in[n:], frame-n
	}
	return parts
}

// checkWays compares what clients hear, in whatever way they are served.
func checkWays(t *testing.T, o Options, parts [][]byte, pace uint64) {
	t.Helper()
	want := hear(t, o, ways[0], parts)
	for _, on := range []way{ways[1], {"called at some pace", true, 1 + pace}} {
		if diff := cmp.Diff(want, hear(t, o, on, parts)); diff != "" {
			t.Errorf("%d parts (-read by a goroutine +%s, %d):\n%s", len(parts), on.name, on.pace, diff)
		}
	}
}

// waysOptions serve everything that conversations ask for.
func waysOptions() Options {
	o := talkOptions()
	o.ExtendedConnect, o.Rest = true, time.Second
	return o
}

func TestNobodyCanTellHowAConnectionIsServed(t *testing.T) {
	for i, in := range conversations() {
		for _, sizes := range [][]byte{nil, {0}, {8, 0}, {200, 3}} {
			if len(sizes) == 1 && len(in) > 2<<10 {
				continue // there is nothing new in so many bytes
			}
			t.Run(fmt.Sprintf("conversation %d in parts of %v", i, sizes), func(t *testing.T) {
				checkWays(t, waysOptions(), cutFrames(in, sizes), uint64(i))
			})
		}
	}
}

func FuzzWays(f *testing.F) {
	for i, in := range conversations() {
		f.Add(in, []byte{0}, uint64(i))
		f.Add(in, []byte{8, 0, 50}, uint64(i))
	}
	f.Fuzz(func(t *testing.T, in, sizes []byte, pace uint64) {
		if len(in) > 4<<10 {
			return
		}
		checkWays(t, waysOptions(), cutFrames(in, sizes), pace)
	})
}
