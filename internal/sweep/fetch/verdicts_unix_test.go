//go:build unix

package fetch

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/verdict"
	"pennyfarthing/internal/verdict/fault"
)

func TestErrorsOfTheSystemAreOursOrThePeers(t *testing.T) {
	for errno, want := range map[syscall.Errno][2]verdict.Code{ // while connecting, and afterwards
		syscall.EMFILE:        {verdict.SelfDescriptors, verdict.SelfDescriptors},
		syscall.ENFILE:        {verdict.SelfDescriptors, verdict.SelfDescriptors},
		syscall.EADDRNOTAVAIL: {verdict.SelfPorts, verdict.SelfPorts},
		syscall.ENETDOWN:      {verdict.SelfNetwork, verdict.SelfNetwork},
		syscall.ENOBUFS:       {verdict.SelfOther, verdict.SelfOther},
		syscall.ENOMEM:        {verdict.SelfOther, verdict.SelfOther},
		syscall.EPERM:         {verdict.SelfOther, verdict.SelfOther},
		syscall.ECONNREFUSED:  {verdict.TCPRefused, verdict.HTTPClosed},
		syscall.ECONNRESET:    {verdict.TCPReset, verdict.HTTPReset},
		syscall.EPIPE:         {verdict.TCPReset, verdict.HTTPReset},
		syscall.ETIMEDOUT:     {verdict.TCPTimeout, verdict.HTTPTimeout},
		syscall.ENETUNREACH:   {verdict.TCPUnreachable, verdict.HTTPClosed},
		syscall.EHOSTUNREACH:  {verdict.TCPUnreachable, verdict.HTTPClosed},
		syscall.EACCES:        {verdict.TCPUnreachable, verdict.HTTPClosed},
	} {
		for _, err := range []error{errno, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}, fmt.Errorf("watch: %w", errno)} {
			var a answer
			a.begin(new(Exchange), nil)
			a.end(err)
			if got := fault.Connect(err); got != want[0] || a.x.Verdict != want[1] || a.x.Err == "" {
				t.Errorf("%v: %v while connecting, %v afterwards; want %v", err, got, a.x.Verdict, want)
			}
		}
	}
}

// The limit of descriptors is lowered to what is open already.
func TestASystemWithoutDescriptorsIsOurOwnFault(t *testing.T) {
	addr := serveScript(t, says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false))
	engines(t, Config{}, func(t *testing.T, fetch func(*Exchange) *Exchange) {
		fetch(exchange(addr)) // what the runtime needs is open now
		var before unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		low := before
		low.Cur = 3
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		x := fetch(exchange(addr))
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		if x.Verdict != verdict.SelfDescriptors || x.Err == "" {
			t.Errorf("%v (%s)", x.Verdict, x.Err)
		}
		if x := fetch(exchange(addr)); x.Verdict != verdict.OK {
			t.Errorf("afterwards %v (%s)", x.Verdict, x.Err)
		}
	})
}
