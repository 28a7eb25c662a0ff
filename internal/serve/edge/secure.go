package edge

import (
	"crypto/tls"
	"net"
	"sync"
)

const (
	// recordSize is the most that one TLS record holds (RFC 8446 §5.1).
	recordSize = 16 << 10
	// batchSize is how many bytes of records are gathered before they are written.
	batchSize = 128 << 10
)

// A recordBatch is a connection below crypto/tls. While it holds, it gathers
// records, so that a write of several records is one system call.
type recordBatch struct {
	net.Conn

	mu     sync.Mutex // guards the fields below: Close of a tls.Conn may write beside a batch
	hold   bool
	buffer *recordBuffer
}

type recordBuffer struct{ b []byte }

var recordBuffers = sync.Pool{New: func() any { return &recordBuffer{make([]byte, 0, batchSize+2*recordSize)} }}

// Write writes a record, or keeps it for the batch.
func (r *recordBatch) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.hold {
		return r.Conn.Write(p)
	}
	if r.buffer == nil {
		r.buffer = recordBuffers.Get().(*recordBuffer)
	}
	r.buffer.b = append(r.buffer.b, p...)
	if len(r.buffer.b) >= batchSize {
		return len(p), r.flush()
	}
	return len(p), nil
}

// begin starts a batch.
func (r *recordBatch) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = true
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
	_, err := r.Conn.Write(r.buffer.b)
	r.buffer.b = r.buffer.b[:0]
	recordBuffers.Put(r.buffer)
	r.buffer = nil
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
	below *recordBatch
}

// newSecureConn returns a connection on which the handshake is still to be made.
func newSecureConn(conn net.Conn, config *tls.Config) *secureConn {
	below := &recordBatch{Conn: conn}
	return &secureConn{Conn: tls.Server(below, config), below: below}
}

// Write writes p as full records, all at once.
func (c *secureConn) Write(p []byte) (int, error) {
	if len(p) <= recordSize {
		return c.Conn.Write(p)
	}
	c.below.begin()
	n, err := c.Conn.Write(p)
	if flushErr := c.below.end(); err == nil {
		err = flushErr
	}
	return n, err
}

// WriteBuffers writes head and the rest as full records, all at once. It may
// append to the first buffer's array.
func (c *secureConn) WriteBuffers(buffers ...[]byte) error {
	c.below.begin()
	err := c.writeRecords(buffers)
	if flushErr := c.below.end(); err == nil {
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
