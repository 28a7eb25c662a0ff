//go:build !unix

package edge

import (
	"net"
	"syscall"

	"pennyfarthing/internal/loop"
)

// patientWaiter returns nil: nothing but a reading goroutine can wait here.
func patientWaiter(*countedConn) loop.Waiter { return nil }

// try is for newcomers, of which there are none without loops.
func (c *countedConn) try(p []byte) (int, error) { return c.Conn.Read(p) }

func rawConnOf(net.Conn) (syscall.RawConn, error) { return nil, loop.ErrUnsupported }
