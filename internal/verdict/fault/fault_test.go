package fault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"pennyfarthing/internal/verdict"
	"pennyfarthing/internal/verdict/fault"
)

func TestAnErrorIsOursOrThePeers(t *testing.T) {
	remote := func(text string) error { return &net.OpError{Op: "remote error", Err: errors.New("tls: " + text)} }
	for name, test := range map[string]struct {
		err          error
		own          verdict.Code
		connect, tls verdict.Code
	}{
		"no descriptors here":       {syscall.EMFILE, verdict.SelfDescriptors, verdict.SelfDescriptors, verdict.SelfDescriptors},
		"none on the whole machine": {syscall.ENFILE, verdict.SelfDescriptors, verdict.SelfDescriptors, verdict.SelfDescriptors},
		"no ports":                  {syscall.EADDRNOTAVAIL, verdict.SelfPorts, verdict.SelfPorts, verdict.SelfPorts},
		"our network is down":       {syscall.ENETDOWN, verdict.SelfNetwork, verdict.SelfNetwork, verdict.SelfNetwork},
		"a firewall of ours":        {syscall.EPERM, verdict.SelfOther, verdict.SelfOther, verdict.SelfOther},
		"nobody wants it any more":  {context.Canceled, verdict.SelfOther, verdict.SelfOther, verdict.SelfOther},
		"refused":                   {syscall.ECONNREFUSED, verdict.None, verdict.TCPRefused, verdict.TLSClosed},
		"reset":                     {syscall.ECONNRESET, verdict.None, verdict.TCPReset, verdict.TLSClosed},
		"a pipe that is broken":     {syscall.EPIPE, verdict.None, verdict.TCPReset, verdict.TLSClosed},
		"late, says the system":     {syscall.ETIMEDOUT, verdict.None, verdict.TCPTimeout, verdict.TLSTimeout},
		"late, says a deadline":     {os.ErrDeadlineExceeded, verdict.None, verdict.TCPTimeout, verdict.TLSTimeout},
		"late, says a context":      {context.DeadlineExceeded, verdict.None, verdict.TCPTimeout, verdict.TLSTimeout},
		"late, says a type":         {&net.DNSError{IsTimeout: true}, verdict.None, verdict.TCPTimeout, verdict.TLSTimeout},
		"no way to the network":     {syscall.ENETUNREACH, verdict.None, verdict.TCPUnreachable, verdict.TLSClosed},
		"no way to the host":        {syscall.EHOSTUNREACH, verdict.None, verdict.TCPUnreachable, verdict.TLSClosed},
		"an end":                    {io.EOF, verdict.None, verdict.TCPUnreachable, verdict.TLSClosed},
		"an end in the middle":      {io.ErrUnexpectedEOF, verdict.None, verdict.TCPUnreachable, verdict.TLSClosed},
		"no TLS at all":             {tls.RecordHeaderError{Msg: "x"}, verdict.None, verdict.TCPUnreachable, verdict.TLSMalformed},
		"no version in common":      {remote("protocol version not supported"), verdict.None, verdict.TCPUnreachable, verdict.TLSVersion},
		"no cipher in common":       {remote("handshake failure"), verdict.None, verdict.TCPUnreachable, verdict.TLSVersion},
		"an alert":                  {remote("internal error"), verdict.None, verdict.TCPUnreachable, verdict.TLSAlert},
		"an old version":            {errors.New("tls: server selected unsupported protocol version 301"), verdict.None, verdict.TCPUnreachable, verdict.TLSVersion},
		"nonsense":                  {errors.New("tls: unexpected message"), verdict.None, verdict.TCPUnreachable, verdict.TLSMalformed},
	} {
		for _, err := range []error{test.err, fmt.Errorf("ask: %w", test.err), &net.OpError{Op: "dial", Net: "tcp", Err: test.err}} {
			if own, connect, tls := fault.Own(err), fault.Connect(err), fault.TLS(err); own != test.own || connect != test.connect || tls != test.tls {
				t.Errorf("%s: %v is %v, %v while connecting, and %v in a handshake; want %v, %v, %v", name, err, own, connect, tls, test.own, test.connect, test.tls)
			}
		}
	}
}

func TestABriefErrorIsOneShortLine(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused":                &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED},
		"remote error: tls: bad record MAC": &net.OpError{Op: "remote error", Err: errors.New("tls: bad record MAC")},
		"EOF":                               io.EOF,
		strings.Repeat("ä", 99) + "x":       errors.New(strings.Repeat("ä", 99) + "xäää"),
		strings.Repeat("a long story ", 15)[:195] + "12345": errors.New(strings.Repeat("a long story ", 15)[:195] + "1234567890"),
	} {
		if got := fault.Brief(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
