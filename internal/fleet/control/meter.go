package control

import (
	"net"
	"sync/atomic"
)

// A meter counts bytes. It is safe for concurrent use.
type meter struct{ in, out atomic.Int64 }

// total is what went either way.
func (m *meter) total() int64 { return m.in.Load() + m.out.Load() }

// A meteredConn is a connection whose bytes are counted, TLS included.
type meteredConn struct {
	net.Conn
	meter *meter
}

// Read counts what came in.
func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.meter.in.Add(int64(n))
	return n, err
}

// Write counts what went out.
func (c *meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.out.Add(int64(n))
	return n, err
}
