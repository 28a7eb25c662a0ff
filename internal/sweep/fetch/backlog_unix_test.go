//go:build unix

package fetch

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// shrinkBacklog has a listener's queue hold one connection.
func shrinkBacklog(t *testing.T, l *net.TCPListener) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { _ = unix.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
}
