package h2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	xhpack "golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/hpack"
)

// A feed is a connection whose reads the test makes up: after the preface, each
// is one batch, for which whoever calls next has paid.
type feed struct {
	first   []byte
	batch   []byte // is sent over and over, with new numbers for its streams
	at      []int  // where in batch these are
	left    []byte // of batch, for the next read
	stream  uint32
	tickets chan struct{}
	written chan struct{} // a batch has been answered: what ends a stream was written
	ends    int           // streams of a batch
	ended   int
	frame   int // bytes of the current frame that are still to be skipped
}

// newFeed makes batches of n requests in which all fields are indexed, and that
// give back the window of n answers of a size.
func newFeed(n, size int) *feed {
	var block bytes.Buffer
	enc := xhpack.NewEncoder(&block)
	request := func() []byte {
		block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a.example"}, {":path", "/"}, {"user-agent", "test"}} {
			_ = enc.WriteField(xhpack.HeaderField{Name: f[0], Value: f[1]})
		}
		return append(appendHeader(nil, block.Len(), frameHeaders, flagEndStream|flagEndHeaders, 1), block.Bytes()...)
	}
	f := &feed{stream: 3, tickets: make(chan struct{}), written: make(chan struct{}), ends: n}
	f.first = append([]byte(preface), appendHeader(nil, 6, frameSettings, 0, 0)...)
	f.first = appendSetting(f.first, settingInitialWindowSize, maxWindow)
	f.first = append(f.first, appendUint32(appendHeader(nil, 4, frameWindowUpdate, 0, 0), 1<<30)...)
	f.first = append(f.first, request()...)
	again := request()
	for range n {
		f.at = append(f.at, len(f.batch))
		f.batch = append(f.batch, again...)
	}
	if size > 0 {
		f.batch = append(f.batch, appendUint32(appendHeader(nil, 4, frameWindowUpdate, 0, 0), uint32(n*size))...)
	}
	return f
}

// next sends one batch, and waits for the answer.
func (f *feed) next() {
	f.tickets <- struct{}{}
	<-f.written
}

func (f *feed) Read(p []byte) (int, error) {
	if len(f.first) > 0 {
		n := copy(p, f.first)
		f.first = f.first[n:]
		return n, nil
	}
	if len(f.left) > 0 {
		n := copy(p, f.left)
		f.left = f.left[n:]
		return n, nil
	}
	if _, more := <-f.tickets; !more {
		return 0, io.EOF
	}
	for _, at := range f.at {
		binary.BigEndian.PutUint32(f.batch[at+5:], f.stream)
		f.stream += 2
	}
	n := copy(p, f.batch)
	f.left = f.batch[n:]
	return n, nil
}

// Write counts the ends of streams, but not the very first.
func (f *feed) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if f.frame > 0 {
			n := min(f.frame, len(p))
			f.frame -= n
			p = p[n:]
			continue
		}
		h := p[:frameHeader] // frames are never cut in the middle of their header
		f.frame = int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		p = p[frameHeader:]
		if frameType(h[3]) <= frameHeaders && h[4]&flagEndStream != 0 && binary.BigEndian.Uint32(h[5:]) != 1 {
			f.ended++
		}
	}
	if f.ended == f.ends {
		f.ended = 0
		f.written <- struct{}{}
	}
	return total, nil
}

func (f *feed) Close() error                     { return nil }
func (f *feed) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (f *feed) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (f *feed) SetDeadline(time.Time) error      { return nil }
func (f *feed) SetReadDeadline(time.Time) error  { return nil }
func (f *feed) SetWriteDeadline(time.Time) error { return nil }

// serveFeed serves a feed until the test ends.
func serveFeed(t testing.TB, f *feed, size int) {
	content := letters(size)
	block := hpack.NewBlock(false, hpack.Field{Name: "content-length", Value: strconv.Itoa(size)})
	s := NewServer(Options{Hit: func(_ *ConnInfo, _ *Request, h *Hit) bool {
		h.Status, h.Blocks[0], h.Body = http.StatusOK, block, content
		return true
	}})
	done := make(chan struct{})
	go func() { defer close(done); s.ServeConn(t.Context(), f) }()
	t.Cleanup(func() { close(f.tickets); <-done })
}

func TestAHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, size := range []int{0, 1 << 10, 16 << 10} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			f := newFeed(10, size)
			serveFeed(t, f, size)
			f.next()
			if n := testing.AllocsPerRun(1000, f.next); n != 0 {
				t.Errorf("ten hits allocate %v times", n)
			}
		})
	}
}

func BenchmarkHit(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 128 << 10} {
		for _, streams := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%dKiB/%dStreams", size>>10, streams), func(b *testing.B) {
				f := newFeed(streams, size)
				serveFeed(b, f, size)
				f.next()
				b.ReportAllocs()
				b.SetBytes(int64(size * streams))
				for b.Loop() {
					f.next()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*streams), "ns/hit")
			})
		}
	}
}
