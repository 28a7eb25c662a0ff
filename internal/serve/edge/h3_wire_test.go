package edge_test

import (
	"bytes"
	"fmt"

	"github.com/quic-go/quic-go/quicvarint"
)

// Frame types (RFC 9114 §11.2.1).
const (
	h3FrameData        uint64 = 0x0
	h3FrameHeaders     uint64 = 0x1
	h3FrameCancelPush  uint64 = 0x3
	h3FrameSettings    uint64 = 0x4
	h3FramePushPromise uint64 = 0x5
	h3FrameGoAway      uint64 = 0x7
	h3FrameMaxPushID   uint64 = 0xd
	h3FrameGrease      uint64 = 0x1f*7 + 0x21 // reserved to be ignored (§7.2.8)
)

// Types of unidirectional streams (RFC 9114 §11.2.4, RFC 9204 §8.2).
const (
	h3ControlStream uint64 = 0x0
	h3PushStream    uint64 = 0x1
	h3EncoderStream uint64 = 0x2
	h3DecoderStream uint64 = 0x3
	h3GreaseStream  uint64 = 0x1f*9 + 0x21
)

// An h3Code is an error code (RFC 9114 §8.1, RFC 9204 §6).
type h3Code uint64

const (
	h3NoError               h3Code = 0x100
	h3GeneralProtocolError  h3Code = 0x101
	h3InternalError         h3Code = 0x102
	h3StreamCreationError   h3Code = 0x103
	h3ClosedCriticalStream  h3Code = 0x104
	h3FrameUnexpected       h3Code = 0x105
	h3FrameError            h3Code = 0x106
	h3ExcessiveLoad         h3Code = 0x107
	h3IDError               h3Code = 0x108
	h3SettingsError         h3Code = 0x109
	h3MissingSettings       h3Code = 0x10a
	h3RequestRejected       h3Code = 0x10b
	h3RequestCancelled      h3Code = 0x10c
	h3RequestIncomplete     h3Code = 0x10d
	h3MessageError          h3Code = 0x10e
	h3DecompressionFailed   h3Code = 0x200
	h3EncoderStreamError    h3Code = 0x201
	h3DecoderStreamError    h3Code = 0x202
	h3ConnectError          h3Code = 0x10f
	h3VersionFallback       h3Code = 0x110
	h3MaxFieldSectionSize   uint64 = 0x6 // a setting (RFC 9114 §7.2.4.1)
	h3QPACKMaxTableCapacity uint64 = 0x1 // a setting (RFC 9204 §5)
)

var h3CodeNames = map[h3Code]string{
	h3NoError: "H3_NO_ERROR", h3GeneralProtocolError: "H3_GENERAL_PROTOCOL_ERROR", h3InternalError: "H3_INTERNAL_ERROR",
	h3StreamCreationError: "H3_STREAM_CREATION_ERROR", h3ClosedCriticalStream: "H3_CLOSED_CRITICAL_STREAM",
	h3FrameUnexpected: "H3_FRAME_UNEXPECTED", h3FrameError: "H3_FRAME_ERROR", h3ExcessiveLoad: "H3_EXCESSIVE_LOAD",
	h3IDError: "H3_ID_ERROR", h3SettingsError: "H3_SETTINGS_ERROR", h3MissingSettings: "H3_MISSING_SETTINGS",
	h3RequestRejected: "H3_REQUEST_REJECTED", h3RequestCancelled: "H3_REQUEST_CANCELLED", h3RequestIncomplete: "H3_REQUEST_INCOMPLETE",
	h3MessageError: "H3_MESSAGE_ERROR", h3ConnectError: "H3_CONNECT_ERROR", h3VersionFallback: "H3_VERSION_FALLBACK",
	h3DecompressionFailed: "QPACK_DECOMPRESSION_FAILED", h3EncoderStreamError: "QPACK_ENCODER_STREAM_ERROR",
	h3DecoderStreamError: "QPACK_DECODER_STREAM_ERROR",
}

// String is the code's name in the RFCs.
func (c h3Code) String() string {
	if name, ok := h3CodeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("%#x", uint64(c))
}

// h3Frame is a frame with a true length.
func h3Frame(kind uint64, payload ...[]byte) []byte {
	all := bytes.Join(payload, nil)
	return append(h3FrameOfLength(kind, uint64(len(all))), all...)
}

// h3FrameOfLength is the beginning of a frame that claims a length.
func h3FrameOfLength(kind, length uint64) []byte {
	return quicvarint.Append(quicvarint.Append(nil, kind), length)
}

// h3Int is a QUIC integer of variable length.
func h3Int(values ...uint64) []byte {
	var wire []byte
	for _, v := range values {
		wire = quicvarint.Append(wire, v)
	}
	return wire
}

// h3Settings is a SETTINGS frame of identifiers and values in turn.
func h3Settings(pairs ...uint64) []byte { return h3Frame(h3FrameSettings, h3Int(pairs...)) }

// h3Section is a field section: the prefix of one that needs no dynamic table
// (RFC 9204 §4.5.1), and lines.
func h3Section(lines ...[]byte) []byte {
	return append([]byte{0, 0}, bytes.Join(lines, nil)...)
}

// h3Lines are literal field lines without Huffman codes and without references
// (RFC 9204 §4.5.6), of names and values in turn.
func h3Lines(pairs ...string) []byte {
	var wire []byte
	for i := 0; i+1 < len(pairs); i += 2 {
		wire = h3Prefixed(wire, 0x20, 3, uint64(len(pairs[i])))
		wire = append(wire, pairs[i]...)
		wire = h3Prefixed(wire, 0, 7, uint64(len(pairs[i+1])))
		wire = append(wire, pairs[i+1]...)
	}
	return wire
}

// h3Headers is a HEADERS frame of names and values in turn.
func h3Headers(pairs ...string) []byte { return h3Frame(h3FrameHeaders, h3Section(h3Lines(pairs...))) }

// h3Prefixed appends an integer with a prefix of some bits (RFC 9204 §4.1.1)
// below a pattern.
func h3Prefixed(wire []byte, pattern byte, bits uint, v uint64) []byte {
	most := uint64(1)<<bits - 1
	if v < most {
		return append(wire, pattern|byte(v))
	}
	wire = append(wire, pattern|byte(most))
	for v -= most; v >= 0x80; v >>= 7 {
		wire = append(wire, byte(v)|0x80)
	}
	return append(wire, byte(v))
}

// h3Get are the fields of a plain request.
func h3Get(path string) []string { return h3Request("GET", path) }

// h3Request are the fields of a request, and more behind them.
func h3Request(method, path string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "https", ":authority", h3Host, ":path", path}, more...)
}

// h3With are the fields of a plain request without one of them, and more behind.
func h3Without(name string, more ...string) []string {
	var fields []string
	for all := h3Get("/"); len(all) > 0; all = all[2:] {
		if all[0] != name {
			fields = append(fields, all[:2]...)
		}
	}
	return append(fields, more...)
}
