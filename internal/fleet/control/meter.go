package control

import (
	"net"
	"sync/atomic"
)

// A meter counts bytes, both ways. It is safe for concurrent use.
type meter struct{ all, marked atomic.Int64 }

// total is all of it.
func (m *meter) total() int64 { return m.all.Load() }

// mark begins to count anew, for since.
func (m *meter) mark() { m.marked.Store(m.all.Load()) }

// since is what was counted since mark.
func (m *meter) since() int64 { return m.all.Load() - m.marked.Load() }

// A meteredConn is a connection whose bytes are counted, TLS included.
type meteredConn struct {
	net.Conn
	meter *meter
}

// Read counts what came in.
func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.meter.all.Add(int64(n))
	return n, err
}

// Write counts what went out.
func (c *meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.all.Add(int64(n))
	return n, err
}
