package qpack

import "golang.org/x/net/http2/hpack"

// Patterns of field lines, and the bits that they leave for an integer (RFC 9204 §4.5).
const (
	patternIndexed       = 0x80 // §4.5.2, 6 bits
	patternName          = 0x40 // §4.5.4, 4 bits
	patternLiteral       = 0x20 // §4.5.6, 3 bits
	staticIndexed        = 0x40 // the index is one of the static table
	staticName           = 0x10
	huffmanName          = 0x08
	huffmanValue         = 0x80
	indexBits            = 6
	nameIndexBits        = 4
	nameLengthBits       = 3
	valueLengthBits      = 7
	insertCountBits      = 8
	baseBits             = 7
	baseSign        byte = 0x80
)

// AppendPrefix appends the prefix of a field section that needs no dynamic table
// (RFC 9204 §4.5.1).
func AppendPrefix(b []byte) []byte { return append(b, 0, 0) }

// AppendField appends the line of one field, in the fewest bytes. The name must be
// in lower case.
func AppendField(b []byte, name, value string) []byte {
	if i, ok := staticFields[field{name, value}]; ok {
		return appendInt(b, patternIndexed|staticIndexed, indexBits, uint64(i))
	}
	if i, ok := staticNames[name]; ok {
		b = appendInt(b, patternName|staticName, nameIndexBits, uint64(i))
	} else {
		b = appendString(b, patternLiteral, huffmanName, nameLengthBits, name)
	}
	return appendString(b, 0, huffmanValue, valueLengthBits, value)
}

// appendString appends a string, in Huffman codes if they are shorter (RFC 9204 §4.1.2).
func appendString(b []byte, pattern, huffman byte, bits uint, s string) []byte {
	if n := hpack.HuffmanEncodeLength(s); n < uint64(len(s)) {
		return hpack.AppendHuffmanString(appendInt(b, pattern|huffman, bits, n), s)
	}
	return append(appendInt(b, pattern, bits, uint64(len(s))), s...)
}

// appendInt appends an integer of which the first byte has some bits, below a
// pattern (RFC 7541 §5.1).
func appendInt(b []byte, pattern byte, bits uint, v uint64) []byte {
	most := uint64(1)<<bits - 1
	if v < most {
		return append(b, pattern|byte(v))
	}
	b = append(b, pattern|byte(most))
	for v -= most; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}
