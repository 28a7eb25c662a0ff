//go:build unix

package edge

import (
	"net"
	"syscall"
)

// AwaitReadable is for [h2.Rester].
func (c *countedConn) AwaitReadable() {
	raw, err := rawConnOf(c.Conn)
	if err != nil {
		return // whoever reads finds out
	}
	_ = raw.Read(readable) // likewise
}

// AwaitReadable is for [h2.Rester].
func (c *secureConn) AwaitReadable() {
	if counted, ok := c.below.Conn.(*countedConn); ok {
		counted.AwaitReadable()
	}
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
