package fetch

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

	"pennyfarthing/internal/verdict"
)

// errPanic is a panic that became an error.
var errPanic = errors.New("panic")

// own are the faults that are ours.
func own(err error) verdict.Code {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return verdict.SelfDescriptors
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EAGAIN):
		return verdict.SelfPorts
	case errors.Is(err, syscall.ENETDOWN):
		return verdict.SelfNetwork
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EPERM), errors.Is(err, errPanic):
		return verdict.SelfOther
	}
	return verdict.None
}

// connectVerdict says why there is no connection.
func connectVerdict(err error) verdict.Code {
	if v := own(err); v != verdict.None {
		return v
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict.TCPRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPIPE):
		return verdict.TCPReset
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return verdict.TCPTimeout
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return verdict.TCPTimeout
	}
	return verdict.TCPUnreachable // ENETUNREACH, EHOSTUNREACH, EACCES (a broadcast address), EINVAL, …
}

// handshakeVerdict says why there is no TLS. That nothing was found in common is
// tls.version, whoever says so: handshake_failure (RFC 8446 §6.2) is what servers send
// who know none of our ciphers or curves, and rarely means anything else. Other alerts
// of theirs are tls.alert; what they may not send is tls.malformed.
func handshakeVerdict(err error) verdict.Code {
	if v := own(err); v != verdict.None {
		return v
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return verdict.TLSTimeout
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return verdict.TLSMalformed
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return verdict.TLSClosed
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok { // ECONNRESET, EPIPE and those of routers
		return verdict.TLSClosed
	}
	// What crypto/tls says of the peer has no types.
	text := err.Error()
	for _, s := range []string{
		"remote error: tls: protocol version", "remote error: tls: handshake failure", "remote error: tls: insufficient security",
		"unsupported protocol version", "server selected unsupported", "server chose an unconfigured cipher suite", "unsupported versions",
	} {
		if strings.Contains(text, s) {
			return verdict.TLSVersion
		}
	}
	if strings.Contains(text, "remote error") {
		return verdict.TLSAlert
	}
	return verdict.TLSMalformed
}

// brief is an error in one short line.
func brief(err error) string {
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op != "remote error" && op.Op != "local error" { // those of crypto/tls
		text = op.Err.Error()
	}
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// settle is the last line of defence: an exchange never goes without a verdict.
func (x *Exchange) settle(p any) {
	if p != nil {
		x.Verdict, x.Err = verdict.SelfOther, fmt.Sprintf("panic: %.100v", p)
	}
	if x.Verdict == verdict.None {
		x.Verdict, x.Err = verdict.SelfOther, "the exchange ended without a verdict"
	}
}
