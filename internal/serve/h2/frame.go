package h2

import (
	"encoding/binary"
	"fmt"
)

// preface is what a client sends first (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	frameHeader = 9
	// maxFrame is the largest payload that is sent or accepted, the protocol's
	// initial SETTINGS_MAX_FRAME_SIZE: with it a DATA frame fits a TLS record.
	maxFrame = 16 << 10
	// initialWindow is the protocol's initial flow-control window, of streams
	// and connections (RFC 9113 §6.9.2).
	initialWindow = 65535
	maxWindow     = 1<<31 - 1
	maxStreamID   = 1<<31 - 1
)

// A frameType is the type of a frame (RFC 9113 §6).
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameRSTStream    frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9

	framePriorityUpdate frameType = 0x10 // RFC 9218 §7.1
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113 §6.5.2).
const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingMaxHeaderListSize    = 0x6
	settingNoRFC7540Priorities  = 0x9 // RFC 9218 §2.1

	settingEnableConnectProtocol = 0x8 // RFC 8441 §3
)

// An ErrCode is why a stream or a connection ended (RFC 9113 §7).
type ErrCode uint32

// The error codes that are sent here.
const (
	NoError            ErrCode = 0x0
	ProtocolError      ErrCode = 0x1
	InternalError      ErrCode = 0x2
	FlowControlError   ErrCode = 0x3
	SettingsTimeout    ErrCode = 0x4
	StreamClosed       ErrCode = 0x5
	FrameSizeError     ErrCode = 0x6
	RefusedStream      ErrCode = 0x7
	Cancel             ErrCode = 0x8
	CompressionError   ErrCode = 0x9
	ConnectError       ErrCode = 0xa
	EnhanceYourCalm    ErrCode = 0xb
	InadequateSecurity ErrCode = 0xc
)

// A connError ends a connection with GOAWAY.
type connError struct {
	code ErrCode
	why  string
}

// Error says why.
func (e *connError) Error() string {
	return fmt.Sprintf("HTTP/2 error 0x%x: %s", uint32(e.code), e.why)
}

// A streamError ends a stream with RST_STREAM.
type streamError struct {
	id   uint32
	code ErrCode
	why  string
}

// Error says why.
func (e *streamError) Error() string {
	return fmt.Sprintf("HTTP/2 stream %d error 0x%x: %s", e.id, uint32(e.code), e.why)
}

// A frame is one that was received. Its payload is valid until the next read.
type frame struct {
	kind    frameType
	flags   uint8
	stream  uint32
	payload []byte
}

// has reports whether a flag is set.
func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame takes one frame off the front of b. n is its length, or 0 if more
// bytes are needed.
func parseFrame(b []byte) (f frame, n int, err error) {
	if len(b) < frameHeader {
		return frame{}, 0, nil
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if length > maxFrame {
		return frame{}, 0, &connError{FrameSizeError, "frame too large"}
	}
	if len(b) < frameHeader+length {
		return frame{}, 0, nil
	}
	return frame{
		kind: frameType(b[3]), flags: b[4], stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
		payload: b[frameHeader : frameHeader+length],
	}, frameHeader + length, nil
}

// unpad removes the padding of DATA and HEADERS (RFC 9113 §6.1).
func (f *frame) unpad() error {
	if !f.has(flagPadded) {
		return nil
	}
	if len(f.payload) == 0 {
		return &connError{FrameSizeError, "padded frame without a length of padding"}
	}
	pad := int(f.payload[0])
	if pad >= len(f.payload) {
		return &connError{ProtocolError, "more padding than payload"}
	}
	f.payload = f.payload[1 : len(f.payload)-pad]
	return nil
}

// appendHeader appends the header of a frame.
func appendHeader(b []byte, length int, kind frameType, flags uint8, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// setLength sets the length of a frame whose header b begins with.
func setLength(b []byte, length int) {
	b[0], b[1], b[2] = byte(length>>16), byte(length>>8), byte(length)
}

func appendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return appendUint32(binary.BigEndian.AppendUint16(b, id), value)
}
