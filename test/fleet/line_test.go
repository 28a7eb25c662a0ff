package fleet_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A line is a network below TLS: all it sees is bytes.
type line struct {
	listener net.Listener
	to       string
	cut      atomic.Int64 // after so many bytes every connection ends; 0: never
	flip     atomic.Int64 // which byte towards the agent is changed; 0: none
	trickle  atomic.Bool  // a few bytes at a time

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

// newLine lays a line to an address.
func newLine(t *testing.T, to string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, to: to, conns: make(map[net.Conn]bool)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close() // a test's
		l.mu.Lock()
		for conn := range l.conns {
			_ = conn.Close() // so that its carrier ends
		}
		l.mu.Unlock()
		all.Wait()
	})
	return l
}

func (l *line) hold(conn net.Conn) (drop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = true
	return func() {
		_ = conn.Close() // it may be closed
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, conn)
	}
}

// carry carries one connection.
func (l *line) carry(in net.Conn) {
	defer l.hold(in)()
	out, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer l.hold(out)()
	var back sync.WaitGroup
	defer back.Wait()
	back.Go(func() {
		_, _ = io.Copy(in, out) // until it is cut
		_ = in.Close()
	})
	buf := make([]byte, 4096)
	carried := int64(0)
	for {
		size := len(buf)
		if l.trickle.Load() {
			size = 100
			time.Sleep(time.Millisecond) // that is what it is for
		}
		n, err := in.Read(buf[:size])
		if cut := l.cut.Load(); cut > 0 && carried+int64(n) > cut {
			err, n = io.ErrUnexpectedEOF, int(max(0, cut-carried))
		}
		if at := l.flip.Load() - carried; at > 0 && at < int64(n) {
			buf[at] ^= 1
		}
		carried += int64(n)
		if _, writeErr := out.Write(buf[:n]); err != nil || writeErr != nil {
			_ = out.Close() // and so the way back ends too
			return
		}
	}
}
