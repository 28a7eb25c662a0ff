package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"pennyfarthing/internal/verdict"
)

// fault is the verdict on a request that got no answer.
func (t *tracker) fault(ctx context.Context, err error) (verdict.Code, string) {
	at := t.at()
	if of, ok := errors.AsType[*phaseError](err); ok {
		at = of.phase
	}
	text := brief(err)
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
		text = cause.Error()
	}
	switch at {
	case connecting:
		return connectVerdict(err), text
	case shaking:
		return handshakeVerdict(err), text
	case asking:
	}
	return headVerdict(ctx, err), text
}

// own are the faults that are ours.
func own(err error) verdict.Code {
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

func late(err error) bool {
	for _, timeout := range []error{os.ErrDeadlineExceeded, context.DeadlineExceeded, syscall.ETIMEDOUT, errConnect, errHandshake} {
		if errors.Is(err, timeout) {
			return true
		}
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EPIPE)
}

// connectVerdict says why there is no connection.
func connectVerdict(err error) verdict.Code {
	if v := own(err); v != verdict.None {
		return v
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict.TCPRefused
	case reset(err):
		return verdict.TCPReset
	case late(err):
		return verdict.TCPTimeout
	}
	return verdict.TCPUnreachable
}

// handshakeVerdict says why there is no TLS, as package fetch does for sweeps: that
// nothing was found in common is tls.version, other alerts are tls.alert. QUIC sends
// alerts as error codes of its own (RFC 9001 §4.8).
func handshakeVerdict(err error) verdict.Code {
	if v := own(err); v != verdict.None {
		return v
	}
	if errors.Is(err, errNoHTTP2) {
		return verdict.TLSVersion
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok && e.ErrorCode.IsCryptoError() {
		const handshakeFailure, protocolVersion, insufficientSecurity, noApplicationProtocol = 40, 70, 71, 120
		switch e.ErrorCode & 0xff {
		case handshakeFailure, protocolVersion, insufficientSecurity, noApplicationProtocol:
			return verdict.TLSVersion
		}
		return verdict.TLSAlert
	}
	switch {
	case late(err):
		return verdict.TLSTimeout
	case errors.Is(err, syscall.ECONNREFUSED): // of UDP
		return verdict.TCPRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return verdict.TCPUnreachable
	case reset(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return verdict.TLSClosed
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return verdict.TLSMalformed
	}
	// What crypto/tls says of the peer has no types.
	text := err.Error()
	for _, s := range []string{
		"protocol version", "handshake failure", "insufficient security", "no application protocol",
		"server selected unsupported", "server chose an unconfigured cipher suite", "unsupported versions",
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

// headVerdict says why there is no head.
func headVerdict(ctx context.Context, err error) verdict.Code {
	cause := context.Cause(ctx)
	if errors.Is(cause, errHead) || errors.Is(cause, errTotal) {
		return verdict.HTTPTimeout
	}
	if v := own(err); v != verdict.None {
		return v
	}
	if late(err) {
		return verdict.HTTPTimeout
	}
	if broken(err) {
		return verdict.HTTPReset
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return verdict.HTTPClosed
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "exceeded") && strings.Contains(text, "header"), strings.Contains(text, "too large"):
		return verdict.HTTPTooLarge
	case strings.Contains(text, "EOF"), strings.Contains(text, "server closed"), strings.Contains(text, "connection lost"), strings.Contains(text, "GOAWAY"):
		return verdict.HTTPClosed
	}
	return verdict.HTTPMalformed
}

// broken reports whether the peer has ended a stream or the connection before its
// time. HTTP/2's errors are of a package that net/http keeps to itself: they are known
// by their texts.
func broken(err error) bool {
	if reset(err) {
		return true
	}
	if _, ok := errors.AsType[*http3.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](err); ok {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "stream error:") || strings.Contains(text, "RST_STREAM") || strings.Contains(text, "connection error:")
}

// bodyVerdict says why a body did not come whole.
func bodyVerdict(ctx context.Context, err error) verdict.Code {
	if errors.Is(context.Cause(ctx), errTotal) || late(err) {
		return verdict.HTTPSlow
	}
	if v := own(err); v != verdict.None {
		return v
	}
	if errors.Is(err, http.ErrBodyReadAfterClose) {
		return verdict.SelfOther
	}
	return verdict.HTTPTruncated
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
