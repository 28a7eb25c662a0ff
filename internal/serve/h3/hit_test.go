package h3

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// A feed is a connection and each of its streams: what of a request has arrived, and
// what of an answer was written. QUIC itself is not in it.
type feed struct {
	id      quic.StreamID
	ctx     context.Context //nolint:containedctx // a stream has one
	input   []byte
	pieces  []byte // sizes of reads, over and over; nil: all at once
	open    bool   // the stream does not end
	mu      sync.Mutex
	at      int
	until   time.Time
	out     []byte
	discard bool
	closed  int
	reset   []quic.StreamErrorCode
	ended   []ErrCode // of the connection
}

func (f *feed) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := f.input[f.at:]
	if len(rest) == 0 {
		if f.open {
			return 0, errFeedTimeout
		}
		return 0, io.EOF
	}
	if len(f.pieces) > 0 {
		rest = rest[:min(len(rest), 1+int(f.pieces[0]))]
		f.pieces = append(f.pieces[1:], f.pieces[0])
	}
	n := copy(p, rest)
	f.at += n
	if f.at == len(f.input) && !f.open && len(f.pieces) == 0 {
		return n, io.EOF // as QUIC does where the end has come with the last bytes
	}
	return n, nil
}

var errFeedTimeout = errTimeout

// complete is a handshake that is.
var complete = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (f *feed) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.discard {
		f.out = f.out[:0]
	}
	f.out = append(f.out, p...)
	return len(p), nil
}

func (f *feed) TryWriteAll(p []byte) error {
	_, err := f.Write(p)
	return err
}

func (f *feed) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *feed) CancelRead(quic.StreamErrorCode) {}

func (f *feed) CancelWrite(code quic.StreamErrorCode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reset = append(f.reset, code)
}

func (f *feed) SetReadDeadline(t time.Time) error  { f.until = t; return nil }
func (f *feed) SetWriteDeadline(t time.Time) error { return nil }
func (f *feed) SetPriority(int8, bool)             {}
func (f *feed) ReleaseStreamCredit()               {}
func (f *feed) StreamID() quic.StreamID            { return f.id }
func (f *feed) Context() context.Context           { return f.ctx }

// The connection of a feed.
func (f *feed) acceptStream() (bidi, error)  { return nil, net.ErrClosed }
func (f *feed) acceptUni() (receiver, error) { return nil, net.ErrClosed }
func (f *feed) openUni() (io.Writer, error)  { return io.Discard, nil }
func (f *feed) context() context.Context     { return f.ctx }
func (f *feed) handshake() <-chan struct{}   { return complete }
func (f *feed) close(code ErrCode, _ string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, code)
}
func (f *feed) addresses() (remote, local net.Addr) { return &net.UDPAddr{}, &net.UDPAddr{} }
func (f *feed) tls() *tls.ConnectionState           { return &tls.ConnectionState{} }

// browser is what a browser asks with, some four hundred bytes of it.
func browser(path string) []byte {
	return headers("GET", path,
		"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "accept", "text/css,*/*;q=0.1",
		"accept-language", "en-US,en;q=0.5", "accept-encoding", "gzip, deflate, br, zstd", "referer", "https://a.example/",
		"sec-fetch-dest", "style", "sec-fetch-mode", "no-cors", "sec-fetch-site", "same-origin", "priority", "u=2")
}

// newHit returns a connection, a feed with a request, and what does it once.
func newHit(t testing.TB, size int) (f *feed, once func()) {
	o := talkOptions()
	content := letters(size)
	blocks := [5][]byte{{0xc0 | 25}}
	o.Hit = func(_ *ConnInfo, r *Request, h *Hit) bool {
		h.Blocks, h.Body = blocks, content
		return r.Authority == "a.example"
	}
	f = &feed{ctx: t.Context(), input: browser("/"), discard: true}
	c := newConn(t.Context(), NewServer(o), f)
	return f, func() {
		f.at = 0
		c.take(f)
	}
}

func TestAHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, size := range []int{0, 1 << 10, 3 << 10} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			f, once := newHit(t, size)
			once()
			if !bytes.HasSuffix(f.out, letters(size)) || len(f.out) < size+30 || f.closed != 1 {
				t.Fatalf("the answer is %q, closed %d times", f.out, f.closed)
			}
			if n := testing.AllocsPerRun(1000, once); n != 0 {
				t.Errorf("a hit allocates %v times", n)
			}
		})
	}
}

// BenchmarkHit is our part of a hit, without QUIC.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int{0, 1 << 10, 3 << 10} {
		b.Run(fmt.Sprint(size, "B"), func(b *testing.B) {
			_, once := newHit(b, size)
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
		})
	}
}
