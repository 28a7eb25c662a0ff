package fetch

import (
	"io"
	"log"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

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

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
