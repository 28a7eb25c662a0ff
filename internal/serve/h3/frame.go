package h3

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/quic-go/quic-go/quicvarint"
)

// NextProto is the ALPN protocol of HTTP/3 (RFC 9114 §3.1).
const NextProto = "h3"

// Types of frames (RFC 9114 §7.2), and PRIORITY_UPDATE (RFC 9218 §7.2).
const (
	frameData            = 0x0
	frameHeaders         = 0x1
	frameCancelPush      = 0x3
	frameSettings        = 0x4
	framePushPromise     = 0x5
	frameGoAway          = 0x7
	frameMaxPushID       = 0xd
	framePriorityRequest = 0xf0700
	framePriorityPush    = 0xf0701
)

// Those that HTTP/2 has and HTTP/3 must not have (RFC 9114 §7.2.8).
const (
	http2Priority     = 0x2
	http2Ping         = 0x6
	http2WindowUpdate = 0x8
	http2Continuation = 0x9
)

// Types of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2).
const (
	streamControl = 0x0
	streamPush    = 0x1
	streamEncoder = 0x2
	streamDecoder = 0x3
)

// Settings (RFC 9114 §7.2.4.1, RFC 9204 §5, RFC 9220 §3, RFC 9297 §2.1.1).
const (
	settingTableCapacity    = 0x1
	settingHTTP2First       = 0x2 // from here to settingHTTP2Last they are HTTP/2's
	settingHTTP2Last        = 0x5
	settingFieldSectionSize = 0x6
	settingBlockedStreams   = 0x7
	settingConnectProtocol  = 0x8
	settingDatagram         = 0x33
)

// An ErrCode is why a stream or a connection ended (RFC 9114 §8.1, RFC 9204 §6).
type ErrCode uint64

// The error codes that are sent here.
const (
	NoError              ErrCode = 0x100
	GeneralProtocolError ErrCode = 0x101
	InternalError        ErrCode = 0x102
	StreamCreationError  ErrCode = 0x103
	ClosedCriticalStream ErrCode = 0x104
	FrameUnexpected      ErrCode = 0x105
	FrameError           ErrCode = 0x106
	ExcessiveLoad        ErrCode = 0x107
	IDError              ErrCode = 0x108
	SettingsError        ErrCode = 0x109
	MissingSettings      ErrCode = 0x10a
	RequestRejected      ErrCode = 0x10b
	RequestCancelled     ErrCode = 0x10c
	RequestIncomplete    ErrCode = 0x10d
	MessageError         ErrCode = 0x10e
	DecompressionFailed  ErrCode = 0x200
	EncoderStreamError   ErrCode = 0x201
	DecoderStreamError   ErrCode = 0x202
)

// A connError ends a connection (RFC 9114 §8).
type connError struct {
	code ErrCode
	why  string
}

// Error says why.
func (e *connError) Error() string {
	return fmt.Sprintf("HTTP/3 error 0x%x: %s", uint64(e.code), e.why)
}

// A streamError ends a stream in both directions.
type streamError struct {
	code ErrCode
	why  string
}

// Error says why.
func (e *streamError) Error() string {
	return fmt.Sprintf("HTTP/3 stream error 0x%x: %s", uint64(e.code), e.why)
}

// errCut is the end of a stream within a frame (RFC 9114 §7.1).
var errCut = &connError{FrameError, "a stream ends within a frame"}

// appendFrame appends the header of a frame.
func appendFrame(b []byte, kind, length uint64) []byte {
	return quicvarint.Append(quicvarint.Append(b, kind), length)
}

// An input is what comes on a stream. All state is kept between calls: after an
// error that was a deadline the same call goes on where it was.
type input struct {
	from  io.Reader
	buf   []byte // buf[at:] has arrived and is not yet used
	at    int
	left  uint64 // bytes of the current frame's payload that are not yet used
	ended bool   // nothing comes behind buf
}

// rest is what has arrived and is not yet used.
func (in *input) rest() []byte { return in.buf[in.at:] }

// over reports whether all of the stream has been used.
func (in *input) over() bool { return in.ended && in.at == len(in.buf) }

// fill reads once, whatever there is. At the end of the stream it notes that.
func (in *input) fill() error {
	switch {
	case in.at == len(in.buf):
		in.buf, in.at = in.buf[:0], 0
	case len(in.buf) == cap(in.buf) && in.at > 0:
		in.buf, in.at = in.buf[:copy(in.buf, in.buf[in.at:])], 0
	}
	if len(in.buf) == cap(in.buf) {
		in.buf = append(make([]byte, 0, max(firstRead, 2*cap(in.buf))), in.buf...)
	}
	n, err := in.from.Read(in.buf[len(in.buf):cap(in.buf)])
	in.buf = in.buf[:len(in.buf)+n]
	if err == io.EOF {
		in.ended = true
		return nil
	}
	return err
}

// firstRead is the buffer of a stream, in bytes: enough for what fits a packet. It
// grows with heads that arrive, not with what they promise.
const firstRead = 2 << 10

// parseInt takes an integer off the front of b (RFC 9000 §16), if it is whole.
func parseInt(b []byte) (v uint64, n int) {
	v, n, err := quicvarint.Parse(b)
	if err != nil {
		return 0, 0
	}
	return v, n
}

// parse takes the header of a frame off what has arrived, if it is there.
func (in *input) parse() (kind uint64, ok bool) {
	b := in.rest()
	kind, n := parseInt(b)
	if n == 0 {
		return 0, false
	}
	length, m := parseInt(b[n:])
	if m == 0 {
		return 0, false
	}
	in.at += n + m
	in.left = length
	return kind, true
}

// skip drops what has arrived of the current frame's payload.
func (in *input) skip() {
	n := min(in.left, uint64(len(in.rest())))
	in.at += int(n)
	in.left -= n
}

// next skips what is left of the current frame and returns the type of the one
// behind it; in.left is its length. io.EOF is the end of the stream.
func (in *input) next() (kind uint64, err error) {
	for {
		in.skip()
		if in.left == 0 {
			if kind, ok := in.parse(); ok {
				return kind, nil
			}
		}
		if in.ended {
			if in.left == 0 && in.over() {
				return 0, io.EOF
			}
			return 0, errCut
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
}

// whole returns the payload of the current frame, whose length is known to be
// bearable. It is valid until the next call.
func (in *input) whole() ([]byte, error) {
	for uint64(len(in.rest())) < in.left {
		if in.ended {
			return nil, errCut
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	payload := in.rest()[:in.left]
	in.at += len(payload)
	in.left = 0
	return payload, nil
}

// byte returns the next byte; io.EOF is the end of the stream.
func (in *input) byte() (byte, error) {
	for in.at == len(in.buf) {
		if in.ended {
			return 0, io.EOF
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	in.at++
	return in.buf[in.at-1], nil
}

// isTimeout reports whether an error is the deadline's of a stream.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
