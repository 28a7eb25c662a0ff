package edge_test

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// Patterns of field lines (RFC 9204 §4.5).
const (
	h3StaticLine      = 0xc0 // indexed, static table; 6 bits of index
	h3DynamicLine     = 0x80 // indexed, dynamic table; 6 bits
	h3PostBaseLine    = 0x10 // indexed with post-base index; 4 bits
	h3StaticName      = 0x50 // literal with a name from the static table; 4 bits
	h3DynamicName     = 0x40 // literal with a name from the dynamic table; 4 bits
	h3PostBaseName    = 0x00 // literal with a post-base name; 3 bits
	h3StaticLast      = 98   // the last index of the static table (Appendix A)
	h3StaticHSTS      = 56   // strict-transport-security: max-age=31536000, in one byte
	h3HuffmanValue    = 0x80 // with 7 bits of length
	h3HuffmanNamed    = 0x28 // literal with a literal Huffman name; 3 bits of length
	h3InsertStatic    = 0xc0 // encoder: insert with a name of the static table; 6 bits
	h3InsertLiteral   = 0x40 // encoder: insert with a literal name; 5 bits
	h3Duplicate       = 0x00 // encoder: duplicate; 5 bits
	h3SetCapacity     = 0x20 // encoder: set dynamic table capacity; 5 bits
	h3Acknowledgement = 0x80 // decoder: section acknowledgement; 7 bits
	h3Cancellation    = 0x40 // decoder: stream cancellation; 6 bits
	h3Increment       = 0x00 // decoder: insert count increment; 6 bits
)

// h3Bomb is a field section of one byte a field that decodes to some hundred
// times as much, counting what RFC 9114 §4.2.2 adds for each.
func h3Bomb(n int) []byte {
	return h3Section(h3Lines(h3Get("/")...), bytes.Repeat([]byte{h3StaticLine | h3StaticHSTS}, n))
}

// h3QPACKRows are about the coding of field sections and QPACK's own streams.
func h3QPACKRows() []h3Row {
	failed := []h3Outcome{h3Connection(h3DecompressionFailed)}
	get := h3Lines(h3Get("/")...)
	behind := func(line []byte) func(*h3Client) h3Outcome {
		return h3On(h3Frame(h3FrameHeaders, h3Section(get, line)))
	}
	whole := func(section ...[]byte) func(*h3Client) h3Outcome {
		return h3On(h3Frame(h3FrameHeaders, section...))
	}
	var rows []h3Row
	for _, r := range []struct {
		name, rfc string
		send      func(*h3Client) h3Outcome
	}{
		{"a static index out of range", "RFC 9204 §3.1", behind(h3Prefixed(nil, h3StaticLine, 6, h3StaticLast+1))},
		{"a static index out of all ranges", "RFC 9204 §3.1", behind(h3Prefixed(nil, h3StaticLine, 6, 1<<40))},
		{"a static name out of range", "RFC 9204 §3.1", behind(append(h3Prefixed(nil, h3StaticName, 4, h3StaticLast+1), 1, 'x'))},
		{"a dynamic index", "RFC 9204 §2.2.3", behind(h3Prefixed(nil, h3DynamicLine, 6, 0))},
		{"a dynamic name", "RFC 9204 §2.2.3", behind(append(h3Prefixed(nil, h3DynamicName, 4, 0), 1, 'x'))},
		{"a post-base index", "RFC 9204 §2.2.3", behind(h3Prefixed(nil, h3PostBaseLine, 4, 0))},
		{"a post-base name", "RFC 9204 §2.2.3", behind(append(h3Prefixed(nil, h3PostBaseName, 3, 0), 1, 'x'))},
		{"a Required Insert Count", "RFC 9204 §4.5.1.1", whole([]byte{2, 0}, get)},
		{"a huge Required Insert Count", "RFC 9204 §4.5.1.1", whole(h3Prefixed(nil, 0, 8, 1<<60), []byte{0}, get)},
		{"a field section that ends within its prefix", "RFC 9204 §4.5.1", whole([]byte{0})},
		{"a field line that ends behind its name", "RFC 9204 §4.5.6", behind([]byte{0x21, 'x'})},
		{"a value longer than its field section", "RFC 9204 §4.1.2", behind(append(h3Prefixed([]byte{0x21, 'x'}, 0, 7, 5000), 'y'))},
		{"an integer that overflows", "RFC 9204 §4.1.1", behind(append([]byte{h3StaticLine | 0x3f}, bytes.Repeat([]byte{0xff}, 11)...))},
		{"an integer without an end", "RFC 9204 §4.1.1", behind([]byte{h3StaticLine | 0x3f, 0xff, 0xff})},
		{"a length that overflows", "RFC 9204 §4.1.1", behind(append([]byte{0x21, 'x', 0x7f}, append(bytes.Repeat([]byte{0xff}, 9), 0x7f)...))},
		{"Huffman padding of zeros", "RFC 7541 §5.2", behind([]byte{0x21, 'x', h3HuffmanValue | 1, 0x18})},
		{"Huffman padding of more than seven bits", "RFC 7541 §5.2", behind([]byte{0x21, 'x', h3HuffmanValue | 2, 0x1f, 0xff})},
		{"Huffman's end of string in a value", "RFC 7541 §5.2", behind([]byte{0x21, 'x', h3HuffmanValue | 4, 0xff, 0xff, 0xff, 0xff})},
	} {
		rows = append(rows, h3Row{name: r.name, rfc: r.rfc, send: r.send, want: failed})
	}
	rows = append(rows, h3Row{name: "a negative Base", rfc: "RFC 9204 §4.5.1.2", send: whole([]byte{0, 0x80}, get), want: failed})
	return append(append(rows, h3CodedRows()...), h3QPACKStreamRows()...)
}

// h3CodedRows are requests in all codings that need no dynamic table.
func h3CodedRows() []h3Row {
	huffman := func(pattern byte, bits uint, s string) []byte {
		return hpack.AppendHuffmanString(h3Prefixed(nil, pattern, bits, hpack.HuffmanEncodeLength(s)), s)
	}
	var coded []byte
	for fields := h3Get("/"); len(fields) > 0; fields = fields[2:] {
		coded = append(coded, huffman(h3HuffmanNamed, 3, fields[0])...)
		coded = append(coded, huffman(h3HuffmanValue, 7, fields[1])...)
	}
	authority := append(h3Prefixed(nil, h3StaticName, 4, 0), huffman(h3HuffmanValue, 7, h3Host)...)
	// :path /, :method GET and :scheme https are 1, 17 and 23 of Appendix A.
	indexed := []byte{h3StaticLine | 17, h3StaticLine | 23, h3StaticLine | 1}
	last := append(h3Prefixed(nil, h3StaticName, 4, h3StaticLast), 1, '1')
	ok := []h3Outcome{h3Status(200)}
	return []h3Row{
		{name: "names and values in Huffman codes", rfc: "RFC 9204 §4.1.2", send: h3On(h3Frame(h3FrameHeaders, h3Section(coded))), want: ok},
		{name: "references to the static table", rfc: "RFC 9204 §4.5.2", send: h3On(h3Frame(h3FrameHeaders, h3Section(indexed, authority))), want: ok},
		{name: "the last name of the static table", rfc: "RFC 9204 §4.5.4", send: h3On(h3Frame(h3FrameHeaders, h3Section(indexed, authority, last))), want: ok},
		{name: "a literal that must never be indexed", rfc: "RFC 9204 §4.5.6", send: h3On(h3Frame(h3FrameHeaders, h3Section(indexed, authority, []byte{0x31, 'x', 1, 'y'}))), want: ok},
		{name: "a Base that nothing needs", rfc: "RFC 9204 §4.5.1.2", send: h3On(h3Frame(h3FrameHeaders, []byte{0, 5}, indexed, authority)), want: ok},
	}
}

// h3QPACKStreamRows are about instructions, for a table of capacity zero.
func h3QPACKStreamRows() []h3Row {
	encoder := []h3Outcome{h3Connection(h3EncoderStreamError)}
	decoder := []h3Outcome{h3Connection(h3DecoderStreamError)}
	ignored := []h3Outcome{h3Ignored}
	return []h3Row{
		{name: "encoder: a capacity of zero", rfc: "RFC 9204 §4.3.1", send: h3Uni(h3EncoderStream, h3Prefixed(nil, h3SetCapacity, 5, 0)), want: ignored},
		{name: "encoder: a capacity over the limit", rfc: "RFC 9204 §4.3.1", send: h3Uni(h3EncoderStream, h3Prefixed(nil, h3SetCapacity, 5, 4096)), want: encoder},
		{name: "encoder: an insertion with a static name", rfc: "RFC 9204 §3.2.2", send: h3Uni(h3EncoderStream, h3Prefixed(nil, h3InsertStatic, 6, 0), []byte{1, 'x'}), want: encoder},
		{name: "encoder: an insertion with a literal name", rfc: "RFC 9204 §3.2.2", send: h3Uni(h3EncoderStream, []byte{h3InsertLiteral | 1, 'x', 1, 'y'}), want: encoder},
		{name: "encoder: a duplicate of nothing", rfc: "RFC 9204 §4.3.4", send: h3Uni(h3EncoderStream, h3Prefixed(nil, h3Duplicate, 5, 0)), want: encoder},
		{name: "decoder: an acknowledgement of nothing", rfc: "RFC 9204 §4.4.1", send: h3Uni(h3DecoderStream, h3Prefixed(nil, h3Acknowledgement, 7, 0)), want: decoder},
		{name: "decoder: an increment of zero", rfc: "RFC 9204 §4.4.3", send: h3Uni(h3DecoderStream, h3Prefixed(nil, h3Increment, 6, 0)), want: decoder},
		{name: "decoder: an increment beyond all insertions", rfc: "RFC 9204 §4.4.3", send: h3Uni(h3DecoderStream, h3Prefixed(nil, h3Increment, 6, 9)), want: decoder},
		{name: "decoder: a cancellation", rfc: "RFC 9204 §4.4.2", send: h3Uni(h3DecoderStream, h3Prefixed(nil, h3Cancellation, 6, 0)), want: ignored},
	}
}
