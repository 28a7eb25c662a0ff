package h3

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"pennyfarthing/internal/serve/qpack"
)

// A flood is 20,000 frames or streams of a kind, on one connection.
type flood struct {
	name string
	kind string // that the server counts
	open func(c *client) io.Writer
	wire []byte                             // of one frame
	each func(c *client, s *quic.Stream)    // instead: what is done with each of many streams
	uni  func(c *client) (ok bool, _ error) // instead: what is done for each
}

const floodFrames = 20_000

func floods() []flood {
	request := func(wire ...[]byte) func(c *client) io.Writer {
		return func(c *client) io.Writer { return c.open(wire...) }
	}
	control := func(c *client) io.Writer { return c.uni(streamControl, frame(frameSettings, nil)) }
	write := func(wire []byte) func(*client, *quic.Stream) {
		return func(_ *client, s *quic.Stream) { _, _ = s.Write(wire); _ = s.Close() }
	}
	return []flood{
		{name: "requests that are given up", kind: "resets received", each: func(_ *client, s *quic.Stream) {
			_, _ = s.Write(headers("POST", "/wait"))
			synctest.Wait()
			s.CancelRead(quic.StreamErrorCode(RequestCancelled))
			s.CancelWrite(quic.StreamErrorCode(RequestCancelled))
			synctest.Wait()
		}},
		{name: "heads that are given up", kind: "resets received", each: func(_ *client, s *quic.Stream) {
			_, _ = s.Write(headers("GET", "/wait")[:9])
			synctest.Wait()
			s.CancelWrite(quic.StreamErrorCode(RequestCancelled))
			s.CancelRead(quic.StreamErrorCode(RequestCancelled))
			synctest.Wait()
		}},
		{name: "malformed requests", kind: "resets sent", each: write(headers("GET", "/", "BAD", ""))},
		{name: "requests without a byte", kind: "resets sent", each: write(nil)},
		{name: "empty DATA", kind: "empty data", open: request(headers("POST", "/length")), wire: data("")},
		{name: "frames that nobody knows before a head", kind: "unknown frames", open: request(), wire: frame(0x21, nil)},
		{name: "frames that nobody knows behind a head", kind: "unknown frames", open: request(headers("POST", "/length")), wire: frame(0x21, []byte("x"))},
		{name: "frames that nobody knows on the control stream", kind: "unknown frames", open: control, wire: frame(0x21, nil)},
		{name: "MAX_PUSH_ID", kind: "control frames", open: control, wire: frame(frameMaxPushID, []byte{9})},
		{name: "GOAWAY", kind: "control frames", open: control, wire: frame(frameGoAway, []byte{9})},
		{name: "PRIORITY_UPDATE", kind: "priorities", open: control, wire: frame(framePriorityRequest, []byte("\x00u=1"))},
		{name: "a capacity of zero", kind: "instructions", open: func(c *client) io.Writer { return c.uni(streamEncoder) }, wire: []byte{0x20}},
		{name: "cancellations", kind: "instructions", open: func(c *client) io.Writer { return c.uni(streamDecoder) }, wire: []byte{0x7f, 0x80, 0x01}},
		{name: "streams that nobody knows", kind: "unknown streams", uni: func(c *client) (bool, error) {
			s, err := c.conn.OpenUniStreamSync(c.t.Context())
			if err != nil {
				return false, err
			}
			_, err = s.Write([]byte{0x21})
			_ = s.Close()
			return err == nil, nil
		}},
	}
}

// send sends a flood until the connection ends, and returns how many frames that
// took at most.
func (f *flood) send(c *client) {
	if f.open != nil {
		_, _ = f.open(c).Write(bytes.Repeat(f.wire, floodFrames)) // the server stops in the middle
		return
	}
	for range floodFrames {
		if f.uni != nil {
			if _, err := f.uni(c); err != nil {
				return
			}
			continue
		}
		s, err := c.conn.OpenStreamSync(c.t.Context())
		if err != nil {
			return
		}
		f.each(c, s)
	}
}

func TestFloodsEndTheConnection(t *testing.T) {
	for _, f := range floods() {
		t.Run(f.name, func(t *testing.T) {
			var mu sync.Mutex // guards kinds
			var kinds []string
			o := talkOptions()
			o.OnAbuse = func(k Kind) {
				mu.Lock()
				defer mu.Unlock()
				kinds = append(kinds, k.String())
			}
			config := &quic.Config{MaxIdleTimeout: time.Hour}
			inBubbleWith(t, o, config, func(c *client) {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				start := processorTime()
				f.send(c)
				if got := c.end(); got != closedWith(ExcessiveLoad) {
					t.Errorf("the connection: %s, want H3_EXCESSIVE_LOAD", got)
				}
				cpu := processorTime() - start
				runtime.ReadMemStats(&after)
				heap := int64(after.HeapSys+after.StackSys) - int64(before.HeapSys+before.StackSys)
				t.Logf("with the client's part %v of processor time, %d KiB of heap", cpu, heap>>10)
				if !raceEnabled && (cpu > 50*time.Millisecond || heap > 1<<20) {
					t.Error("that is too much")
				}
			})
			if diff := cmp.Diff([]string{f.kind}, kinds); diff != "" {
				t.Errorf("abuse (-want +got):\n%s", diff)
			}
		})
	}
}

// TestABombOfReferencesIsAnswered431: a section of 30 KiB that stands for megabytes.
func TestABombOfReferencesIsAnswered431(t *testing.T) {
	line := qpack.AppendField(nil, "strict-transport-security", "max-age=31536000")
	section := headers("GET", "/hit/5")[2:]
	inBubble(t, talkOptions(), func(c *client) {
		if words, _ := c.request(frame(frameHeaders, append(section, bytes.Repeat(line, 30<<10)...))).answer(); fmt.Sprint(words) != "[431]" {
			t.Errorf("%v, want 431", words)
		}
		if words, body := c.request(headers("GET", "/hit/5")).answer(); body != "abcde" {
			t.Errorf("afterwards: %v %q", words, body)
		}
	})
}

// TestHonestClientsSpendNoBudget: each of these is many times what a budget allows.
func TestHonestClientsSpendNoBudget(t *testing.T) {
	for name, do := range map[string]func(c *client){
		"answers that are given up when they have begun": func(c *client) {
			s := c.request(headers("GET", "/hit/1048576"))
			if _, err := s.in.Peek(1); err != nil {
				c.t.Fatal(err)
			}
			s.CancelRead(quic.StreamErrorCode(RequestCancelled))
		},
		"uploads that are refused while they are on their way": func(c *client) {
			s := c.open(headers("POST", "/none"), data("12345"))
			s.answer()
			_, _ = s.Write(data("12345"))
			_ = s.Close()
		},
		"heads that are refused": func(c *client) {
			c.request(headers("GET", "/a b")).answer()
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := talkOptions()
			o.OnAbuse = func(k Kind) { t.Errorf("abuse: %v", k) }
			inBubble(t, o, func(c *client) {
				for range 500 {
					do(c)
				}
				if words, body := c.request(headers("GET", "/hit/5")).answer(); body != "abcde" {
					t.Errorf("afterwards: %v %q", words, body)
				}
			})
		})
	}
}

// A browser may give each request its priority, and so for thousands of files.
func TestEachRequestMayHaveItsPriority(t *testing.T) {
	inBubbleWith(t, talkOptions(), &quic.Config{MaxIdleTimeout: time.Hour}, func(c *client) {
		control := c.uni(streamControl, appendFrame(nil, frameSettings, 0))
		for i := range 3 * limits[Priorities] {
			update := append(quicvarint.Append(nil, uint64(4*i)), "u=1"...)
			if _, err := control.Write(append(appendFrame(nil, framePriorityRequest, uint64(len(update))), update...)); err != nil {
				t.Fatal(err)
			}
			words, _ := c.request(headers("GET", "/hit/1")).answer()
			if len(words) == 0 || words[0] != "200" {
				t.Fatalf("request %d: %v", i, words)
			}
		}
	})
}
