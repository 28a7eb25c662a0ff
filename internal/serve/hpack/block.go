package hpack

import xhpack "golang.org/x/net/http2/hpack"

// entryOverhead is added to the size of each entry of a dynamic table (RFC 7541 §4.1).
const entryOverhead = 32

// A Block is a run of header fields in HPACK. It may not be changed, and is known
// by its address.
type Block struct {
	text   []byte     // literals with incremental indexing (RFC 7541 §6.2.1)
	fields []position // of each
	kept   int        // bytes that the fields take of a dynamic table
	common bool
}

// A position is where a field ends in a block's text, and what it takes of a
// dynamic table, in bytes.
type position struct{ end, size int32 }

// NewBlock prepares fields, whose names are in lower case and whose classes mean
// nothing. common says that many
// answers on one connection will have them: they are then kept in the client's
// table from the first time on, others from the second.
func NewBlock(common bool, fields ...Field) *Block {
	b := &Block{common: common, fields: make([]position, len(fields))}
	size := 0
	for _, f := range fields {
		size += len(f.Name) + len(f.Value) + 8
	}
	b.text = make([]byte, 0, size)
	for i, f := range fields {
		b.text = appendLiteral(b.text, 0x40, 6, f.Name, f.Value)
		b.fields[i] = position{int32(len(b.text)), int32(f.size())}
		b.kept += f.size()
	}
	return b
}

// Size is the most bytes that the block takes in a header section.
func (b *Block) Size() int { return len(b.text) + 2*len(b.fields) }

// Slice returns the block of the fields from the first to before the last.
func (b *Block) Slice(first, last int) *Block {
	start := b.start(first)
	part := &Block{common: b.common, text: b.text[start:b.start(last)], fields: make([]position, last-first)}
	for i := range part.fields {
		f := b.fields[first+i]
		part.fields[i] = position{f.end - start, f.size}
		part.kept += int(f.size)
	}
	return part
}

// start is where field i begins.
func (b *Block) start(i int) int32 {
	if i == 0 {
		return 0
	}
	return b.fields[i-1].end
}

// appendPlain appends the fields as literals without indexing (RFC 7541 §6.2.2),
// which leave the client's table as it is.
func (b *Block) appendPlain(dst []byte) []byte {
	start := int32(0)
	for _, f := range b.fields {
		name := int(b.text[start] & 0x3f) // no static name has an index that takes more bytes
		dst = appendInteger(dst, 0, 4, name)
		dst = append(dst, b.text[start+1:f.end]...)
		start = f.end
	}
	return dst
}

// appendLiteral appends a field with the pattern that says what becomes of it, in
// front of so many bits for the index of its name.
func appendLiteral(dst []byte, pattern byte, bits int, name, value string) []byte {
	index := staticNames[name]
	dst = appendInteger(dst, pattern, bits, index)
	if index == 0 {
		dst = appendString(dst, name)
	}
	return appendString(dst, value)
}

// appendInteger appends n with a prefix of so many bits, behind the pattern
// (RFC 7541 §5.1).
func appendInteger(dst []byte, pattern byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(dst, pattern|byte(n))
	}
	dst = append(dst, pattern|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, 0x80|byte(n))
	}
	return append(dst, byte(n))
}

// appendString appends a string literal (RFC 7541 §5.2), in Huffman's code where
// that is shorter.
func appendString(dst []byte, s string) []byte {
	if n := int(xhpack.HuffmanEncodeLength(s)); n < len(s) {
		return xhpack.AppendHuffmanString(appendInteger(dst, 0x80, 7, n), s)
	}
	return append(appendInteger(dst, 0, 7, len(s)), s...)
}

// staticLength is the number of entries of the static table (RFC 7541 appendix A).
const staticLength = 61

// staticNames is the lowest index of each name in the static table, and
// staticFields that of each field.
var staticNames, staticFields = readStatic()

func readStatic() (map[string]int, map[xhpack.HeaderField]int) {
	names, fields := make(map[string]int), make(map[xhpack.HeaderField]int)
	decoder := xhpack.NewDecoder(0, nil)
	for i := 1; i <= staticLength; i++ {
		decoded, err := decoder.DecodeFull([]byte{0x80 | byte(i)})
		if err != nil {
			panic("hpack: the static table has no entry " + string(rune('0'+i%10)) + ": " + err.Error()) // it is a constant of RFC 7541
		}
		f := decoded[0]
		if _, known := names[f.Name]; !known {
			names[f.Name] = i
		}
		fields[xhpack.HeaderField{Name: f.Name, Value: f.Value}] = i
	}
	return names, fields
}
