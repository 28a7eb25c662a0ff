package qpack

import (
	"errors"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	huffman "pennyfarthing/internal/serve/hpack" // the code is the same
)

// ErrMalformed is what all errors of [Decode] are: the section cannot be decoded
// without a dynamic table, or at all. It is a connection error of type
// QPACK_DECOMPRESSION_FAILED (RFC 9204 §2.2).
var ErrMalformed = errors.New("malformed field section")

var (
	errDynamic  = malformed("a reference to the dynamic table, which has no room")
	errIndex    = malformed("an index beyond the static table")
	errInteger  = malformed("an integer that does not end, or is too large")
	errString   = malformed("a string that is longer than its section")
	errHuffman  = malformed("a string that is not a Huffman code")
	errSection  = malformed("no prefix")
	errNegative = malformed("a negative base")
)

type malformedError string

func malformed(why string) error { return malformedError("malformed field section: " + why) }

// Error says what is wrong.
func (e malformedError) Error() string { return string(e) }

// Is makes every such error [ErrMalformed].
func (e malformedError) Is(target error) bool { return target == ErrMalformed }

// A Decoder decodes field sections, one after the other. Its zero value is ready.
// It keeps the text of one section, so that decoding allocates nothing as a rule.
type Decoder struct {
	text []byte // of the section that was decoded last
}

// keepText is the largest buffer that a Decoder keeps between sections, in bytes.
const keepText = 4 << 10

// Decode hands the fields of a section to take, which returns false to stop it
// there. Strings are valid until the next call of Decode: whoever keeps one clones
// it. Errors are [ErrMalformed]; what was handed over before one is of no use.
func (d *Decoder) Decode(section []byte, take func(f hpack.HeaderField) bool) error {
	if cap(d.text) > keepText {
		d.text = nil
	}
	d.text = d.text[:0]
	rest, err := prefix(section)
	for len(rest) > 0 && err == nil {
		var f hpack.HeaderField
		if f, rest, err = d.line(rest); err == nil && !take(f) {
			return nil
		}
	}
	return err
}

// prefix checks the prefix of a section (RFC 9204 §4.5.1): no insertions are
// required, and no base is below zero.
func prefix(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errSection
	}
	inserts, b, err := integer(b, insertCountBits)
	switch {
	case err != nil:
		return nil, err
	case inserts != 0:
		return nil, errDynamic
	case len(b) == 0:
		return nil, errSection
	case b[0]&baseSign != 0: // §4.5.1.2: it would be -1 at most
		return nil, errNegative
	}
	_, b, err = integer(b, baseBits)
	return b, err
}

// line decodes one field line (RFC 9204 §4.5).
func (d *Decoder) line(b []byte) (f hpack.HeaderField, rest []byte, err error) {
	switch first := b[0]; {
	case first&patternIndexed != 0:
		return indexed(b)
	case first&patternName != 0:
		if f, b, err = named(b); err != nil {
			return f, nil, err
		}
	case first&patternLiteral != 0:
		if f.Name, b, err = d.string(b, huffmanName, nameLengthBits); err != nil {
			return f, nil, err
		}
	default: // with a post-base index, or a name with one
		return f, nil, errDynamic
	}
	f.Value, rest, err = d.string(b, huffmanValue, valueLengthBits)
	return f, rest, err
}

func indexed(b []byte) (f hpack.HeaderField, rest []byte, err error) {
	if b[0]&staticIndexed == 0 {
		return f, nil, errDynamic
	}
	return static(b, indexBits)
}

// named takes the name of a static entry; its value follows.
func named(b []byte) (f hpack.HeaderField, rest []byte, err error) {
	if b[0]&staticName == 0 {
		return f, nil, errDynamic
	}
	f, rest, err = static(b, nameIndexBits)
	f.Value = ""
	return f, rest, err
}

// static returns the static entry whose index comes next.
func static(b []byte, bits uint) (f hpack.HeaderField, rest []byte, err error) {
	i, rest, err := integer(b, bits)
	if err != nil {
		return f, nil, err
	}
	if i >= uint64(len(staticTable)) {
		return f, nil, errIndex
	}
	return staticTable[i], rest, nil
}

// string decodes a string (RFC 9204 §4.1.2) into text.
func (d *Decoder) string(b []byte, coder byte, bits uint) (s string, rest []byte, err error) {
	if len(b) == 0 {
		return "", nil, errString
	}
	coded := b[0]&coder != 0
	n, b, err := integer(b, bits)
	switch {
	case err != nil:
		return "", nil, err
	case n > uint64(len(b)):
		return "", nil, errString
	}
	start := len(d.text)
	if !coded {
		d.text = append(d.text, b[:n]...)
	} else if text, err := huffman.AppendHuffmanDecoded(d.text, b[:n]); err != nil {
		return "", nil, errHuffman
	} else {
		d.text = text
	}
	return view(d.text[start:]), b[n:], nil
}

// view is b as a string, good for as long as b is not changed. Text that was moved
// because it grew stays as it was.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// maxInt is the largest integer that is taken. RFC 9204 §4.1.1 demands 62 bits of
// those who have a use for them.
const maxInt = 1<<62 - 1

// integer decodes an integer of which the first byte has some bits (RFC 7541 §5.1).
// b is not empty.
func integer(b []byte, bits uint) (v uint64, rest []byte, err error) {
	most := uint64(1)<<bits - 1
	if v = uint64(b[0]) & most; v < most {
		return v, b[1:], nil
	}
	var shift uint
	for i, c := range b[1:] {
		if shift > 56 || uint64(c&0x7f)<<shift > maxInt-v {
			return 0, nil, errInteger
		}
		if v += uint64(c&0x7f) << shift; c&0x80 == 0 {
			return v, b[i+2:], nil
		}
		shift += 7
	}
	return 0, nil, errInteger
}
