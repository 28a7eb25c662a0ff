package edge

import (
	"net"
	"syscall"
)

// bufferHint is what to type. The limit for sending has a name of its own.
const bufferHint = "sysctl -w net.core.rmem_max=7340032 net.core.wmem_max=7340032"

// receiveBuffer returns the size of a socket's receive buffer in bytes, if it has
// one. The kernel reserves twice as much, and tells that.
func receiveBuffer(pc net.PacketConn) (size int, known bool) {
	udp, ok := pc.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return 0, false
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		size, failed = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	})
	return size / 2, err == nil && failed == nil
}
