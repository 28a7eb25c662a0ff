package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"pennyfarthing/internal/verdict"
	"pennyfarthing/internal/verdict/fault"
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

func late(err error) bool {
	return errors.Is(err, errConnect) || errors.Is(err, errHandshake) || fault.Late(err)
}

// connectVerdict says why there is no connection.
func connectVerdict(err error) verdict.Code {
	if errors.Is(err, errConnect) {
		return verdict.TCPTimeout
	}
	return fault.Connect(err)
}

// handshakeVerdict says why there is no TLS. In QUIC the handshake is where a connection
// is made too, and alerts are error codes of its own (RFC 9001 §4.8).
func handshakeVerdict(err error) verdict.Code {
	if v := fault.Own(err); v != verdict.None {
		return v
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
	case errors.Is(err, errNoHTTP2), strings.Contains(err.Error(), "no application protocol"):
		return verdict.TLSVersion
	case errors.Is(err, errHandshake):
		return verdict.TLSTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict.TCPRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return verdict.TCPUnreachable
	}
	return fault.TLS(err)
}

// headVerdict says why there is no head.
func headVerdict(ctx context.Context, err error) verdict.Code {
	cause := context.Cause(ctx)
	if errors.Is(cause, errHead) || errors.Is(cause, errTotal) {
		return verdict.HTTPTimeout
	}
	if v := fault.Own(err); v != verdict.None {
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
	if fault.Reset(err) {
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
	if v := fault.Own(err); v != verdict.None {
		return v
	}
	if errors.Is(err, http.ErrBodyReadAfterClose) {
		return verdict.SelfOther
	}
	return verdict.HTTPTruncated
}

// brief is an error in one short line.
func brief(err error) string { return fault.Brief(err) }
