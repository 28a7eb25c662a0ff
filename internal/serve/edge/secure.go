package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/loop"
)

const (
	// recordSize is the most that one TLS record holds (RFC 8446 §5.1).
	recordSize = 16 << 10
	// recordOverhead is more than a record has besides (RFC 8446 §5.2).
	recordOverhead = 5 + 256
	// littleBatch and muchBatch are how many bytes of records are gathered, at most,
	// before they are written: whatever the protocols above gather, and what TLS adds.
	// Only so many may gather much at the same time: who does not read keeps it.
	littleBatch = 128<<10 + recordSize
	muchBatch   = 560<<10 + recordSize
	mostMuch    = 32
)

// A recordBatch is a connection below crypto/tls. While it holds, it gathers
// records, so that a write of several records is one system call.
type recordBatch struct {
	net.Conn
	turn  turn          // of the handshake
	large *atomic.Int32 // buffers of muchBatch that all connections have borrowed

	mu     sync.Mutex // guards the fields below: Close of a tls.Conn may write beside a batch
	hold   bool
	much   bool // there is much to be gathered
	buffer *recordBuffer
}

type recordBuffer struct{ b []byte }

// The pools are caches and hold no state.
var (
	littleRecords = sync.Pool{New: func() any { return &recordBuffer{make([]byte, 0, littleBatch)} }}
	muchRecords   = sync.Pool{New: func() any { return &recordBuffer{make([]byte, 0, muchBatch)} }}
)

// takeRecords borrows a buffer, a large one if it may be.
func (r *recordBatch) takeRecords() *recordBuffer {
	if r.much {
		if r.large.Add(1) <= mostMuch {
			return muchRecords.Get().(*recordBuffer)
		}
		r.large.Add(-1)
	}
	return littleRecords.Get().(*recordBuffer)
}

// giveBack gives a buffer back.
func (r *recordBatch) giveBack(b *recordBuffer) {
	b.b = b.b[:0]
	if cap(b.b) == muchBatch {
		r.large.Add(-1)
		muchRecords.Put(b)
		return
	}
	littleRecords.Put(b)
}

// Read reads. What comes during the handshake is worked on when it is our turn.
func (r *recordBatch) Read(p []byte) (int, error) {
	r.turn.end()
	n, err := r.Conn.Read(p)
	if n > 0 {
		if err := r.turn.begin(); err != nil {
			return 0, err
		}
	}
	return n, err
}

// Write writes a record, or keeps it for the batch.
func (r *recordBatch) Write(p []byte) (int, error) {
	r.turn.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.hold {
		return r.Conn.Write(p)
	}
	if r.buffer == nil {
		r.buffer = r.takeRecords()
	}
	r.buffer.b = append(r.buffer.b, p...)
	if cap(r.buffer.b)-len(r.buffer.b) < recordSize+recordOverhead {
		return len(p), r.flush()
	}
	return len(p), nil
}

// begin starts a batch of about n bytes.
func (r *recordBatch) begin(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold, r.much = true, n > littleBatch-recordSize
}

// end writes what the batch has gathered.
func (r *recordBatch) end() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = false
	return r.flush()
}

// flush writes and gives the buffer back. mu is held.
func (r *recordBatch) flush() error {
	if r.buffer == nil {
		return nil
	}
	buffer := r.buffer
	r.buffer = nil
	_, err := r.Conn.Write(buffer.b)
	r.giveBack(buffer)
	return err
}

// CloseWrite lets the connection linger.
func (r *recordBatch) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// A secureConn is a TLS connection whose larger writes are one system call.
type secureConn struct {
	*tls.Conn
	below   *recordBatch
	batches atomic.Int32 // under way
}

// newSecureConn returns a connection on which the handshake is still to be made.
// Many that are made at the same time take turns.
func newSecureConn(conn net.Conn, config *tls.Config, turns chan struct{}, large *atomic.Int32) *secureConn {
	below := &recordBatch{Conn: conn, turn: turn{turns: turns}, large: large}
	return &secureConn{Conn: tls.Server(below, config), below: below}
}

// errSlowHandshake is why a handshake that takes too long ends.
var errSlowHandshake = errors.New("TLS handshake took too long")

// handshake makes the handshake within a time, unless ctx ends before. Deadlines
// do the same as a context of its own, and need no goroutine.
func (c *secureConn) handshake(ctx context.Context, within time.Duration) error {
	until := time.Now().Add(within)
	if err := c.SetDeadline(until); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.below.Conn.SetDeadline(time.Unix(1, 0)) })
	c.below.turn.ctx, c.below.turn.until = ctx, until
	err := c.Conn.HandshakeContext(context.Background()) //nolint:contextcheck // see above
	c.below.turn.end()
	c.below.turn = turn{}
	if !stop() && err == nil {
		err = context.Cause(ctx) // the deadline that it has set is not ours to undo
	}
	switch {
	case err == nil:
		return c.SetDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlowHandshake
	}
	return err
}

// Waiter is for [loop.WaiterOf].
func (c *secureConn) Waiter() loop.Waiter { return loop.WaiterOf(c.below.Conn) }

// turnsPerCPU is how many handshakes are worked on at a time, for each processor.
// One takes a fifth of a millisecond: visitors who are in wait no longer than for
// these, however many knock.
const turnsPerCPU = 4

func newTurns() chan struct{} { return make(chan struct{}, turnsPerCPU*runtime.GOMAXPROCS(0)) }

// A turn is one of a bounded number of handshakes that are being worked on. A
// handshake has it from when something came until it answers or waits for more;
// who is silent keeps nobody waiting. The zero turn, of a connection whose
// handshake has been made, does nothing.
type turn struct {
	turns chan struct{}
	ctx   context.Context //nolint:containedctx // of the handshake
	until time.Time       // the handshake's deadline
	held  bool
}

func (t *turn) begin() error {
	if t.turns == nil {
		return nil
	}
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return nil
	default:
	}
	late := time.NewTimer(time.Until(t.until))
	defer late.Stop()
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return nil
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	case <-late.C:
		return errSlowHandshake
	}
}

func (t *turn) end() {
	if t.held {
		t.held = false
		<-t.turns
	}
}

// Close closes the connection. Where a batch is being written it breaks that off, as
// crypto/tls does with what it writes itself: a farewell would wait for the batch.
func (c *secureConn) Close() error {
	if c.batches.Load() > 0 {
		return c.below.Conn.Close()
	}
	return c.Conn.Close()
}

func (c *secureConn) begin(n int) {
	c.batches.Add(1)
	c.below.begin(n)
}

func (c *secureConn) end() error {
	defer c.batches.Add(-1)
	return c.below.end()
}

// Write writes p as full records, all at once.
func (c *secureConn) Write(p []byte) (int, error) {
	if len(p) <= recordSize {
		return c.Conn.Write(p)
	}
	c.begin(len(p))
	n, err := c.Conn.Write(p)
	if flushErr := c.end(); err == nil {
		err = flushErr
	}
	return n, err
}

// WriteBuffers writes head and the rest as full records, all at once. It may
// append to the first buffer's array.
func (c *secureConn) WriteBuffers(buffers ...[]byte) error {
	size := 0
	for _, b := range buffers {
		size += len(b)
	}
	c.begin(size)
	err := c.writeRecords(buffers)
	if flushErr := c.end(); err == nil {
		err = flushErr
	}
	return err
}

func (c *secureConn) writeRecords(buffers [][]byte) error {
	for i, b := range buffers {
		if i+1 < len(buffers) { // fill the last record up
			next := buffers[i+1]
			n := min(len(next), cap(b)-len(b), (recordSize-len(b)%recordSize)%recordSize)
			b, buffers[i+1] = append(b, next[:n]...), next[n:]
		}
		if len(b) == 0 {
			continue
		}
		if _, err := c.Conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}
