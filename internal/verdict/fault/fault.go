// Package fault says which verdict an error is: of the network below HTTP, of TLS, and of
// this machine. It is one judgement for all who ask servers, so that the same server gets
// the same code from each of them. What ends an exchange of HTTP, and what QUIC has of its
// own, is for those who speak it.
package fault

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"pennyfarthing/internal/verdict"
)

// Own returns the verdict on a fault that is ours, and [verdict.None] on all others.
func Own(err error) verdict.Code {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return verdict.SelfDescriptors
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EAGAIN):
		return verdict.SelfPorts
	case errors.Is(err, syscall.ENETDOWN):
		return verdict.SelfNetwork
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EPERM):
		return verdict.SelfOther
	}
	return verdict.None
}

// Late reports whether time was over.
func Late(err error) bool {
	for _, timeout := range []error{os.ErrDeadlineExceeded, context.DeadlineExceeded, syscall.ETIMEDOUT} {
		if errors.Is(err, timeout) {
			return true
		}
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// Reset reports whether the connection was reset.
func Reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EPIPE)
}

// Connect says why there is no connection.
func Connect(err error) verdict.Code {
	if v := Own(err); v != verdict.None {
		return v
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict.TCPRefused
	case Reset(err):
		return verdict.TCPReset
	case Late(err):
		return verdict.TCPTimeout
	}
	return verdict.TCPUnreachable // ENETUNREACH, EHOSTUNREACH, EACCES (a broadcast address), EINVAL, …
}

// TLS says why there is no TLS. That nothing was found in common is tls.version, whoever
// says so: handshake_failure (RFC 8446 §6.2) is what servers send who know none of our
// ciphers or curves, and rarely means anything else. Other alerts of theirs are tls.alert;
// what they may not send is tls.malformed.
func TLS(err error) verdict.Code {
	if v := Own(err); v != verdict.None {
		return v
	}
	if Late(err) {
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

// Brief is an error in one short line of at most 200 bytes.
func Brief(err error) string {
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
