//go:build unix

package edge

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"pennyfarthing/internal/loop"
)

// patientWaiter is the waiter of a connection that is in no loop.
func patientWaiter(c *countedConn) loop.Waiter { return patient{c} }

// patient waits in a goroutine of its own, with a small stack and without a buffer.
type patient struct{ conn *countedConn }

func (p patient) Begin(f func()) { go f() }

func (p patient) Await(f func()) {
	go func() {
		p.conn.awaitReadable()
		f()
	}()
}

func (p patient) Leave()         {}
func (p patient) Block()         {}
func (p patient) Tries() bool    { return false }
func (p patient) Now() time.Time { return time.Now() }

func (p patient) Pace(time.Duration, int64, int64) bool { return false }

// try reads what has come. Without anything it returns [loop.ErrAgain].
func (c *countedConn) try(p []byte) (n int, err error) {
	failed := c.newcomer.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), p)
		return true
	})
	switch {
	case failed != nil:
		return 0, failed
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0, loop.ErrAgain
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// awaitReadable returns when there is something to read, or the read deadline has
// passed, or the connection has failed.
func (c *countedConn) awaitReadable() {
	raw, err := rawConnOf(c.Conn)
	if err != nil {
		return // whoever reads finds out
	}
	_ = raw.Read(readable) // likewise
}

// rawConnOf finds the socket.
func rawConnOf(conn net.Conn) (syscall.RawConn, error) {
	if proxied, ok := conn.(*proxiedConn); ok {
		conn = proxied.Conn
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil, syscall.ENOTSOCK
	}
	return socket.SyscallConn()
}

// readable reports whether a read would not wait.
func readable(fd uintptr) bool {
	var one [1]byte
	_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
	return err != syscall.EAGAIN && err != syscall.EINTR
}
