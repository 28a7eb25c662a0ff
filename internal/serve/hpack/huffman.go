package hpack

import (
	"encoding/binary"
	"errors"
	"slices"

	xhpack "golang.org/x/net/http2/hpack"
)

// errHuffman is for what no encoder makes (RFC 7541 §5.2): EOS in a string, and
// padding that is longer than seven bits, or not the beginning of EOS.
var errHuffman = errors.New("a string is not in Huffman's code")

const (
	// pairBits is how many bits are looked at at once. Two of the characters that
	// headers are mostly made of take ten to twelve.
	pairBits = 12
	// shortestCode and longestCode are the lengths of codes, in bits. EOS has the
	// longest.
	shortestCode, longestCode = 5, 30
	// refilled is how many bits there are at least when more have been taken.
	refilled = 56
)

// A pair says what a string begins with that begins with certain pairBits bits:
//
//	bits  0 to  7   how many bits its first characters take: what comes next waits for that
//	bits  8 to 15   how many characters these are; 0 is one of a longer code
//	bits 16 to 23   the first one
//	bits 24 to 31   the second one
type pair uint32

func newPair(a, b byte, count int, bits uint) pair {
	return pair(b)<<24 | pair(a)<<16 | pair(count)<<8 | pair(bits)
}

func (p pair) bits() uint         { return uint(p) & 0xff }
func (p pair) count() int         { return int(p>>8) & 0xff }
func (p pair) characters() uint16 { return uint16(p >> 16) }

// A huffmanCode is the code of RFC 7541 appendix B, 17 KiB in all. That code is
// canonical: codes are ordered by their length, and are numbers one after the other
// where they are equally long. So the first code of each length is enough to
// decode any of it; pairs are for speed.
type huffmanCode struct {
	pairs [1 << pairBits]pair
	// first and end are the first code of a length and the first that is longer,
	// as the beginning of 32 bits.
	first, end [longestCode + 1]uint32
	rank       [longestCode + 1]uint32 // of the first code of a length, among all
	characters [256]byte               // by rank
}

// huffman is read only.
var huffman = newHuffmanCode()

// newHuffmanCode learns the code from its encoder.
func newHuffmanCode() *huffmanCode {
	type coded struct {
		code   uint32 // as the beginning of 32 bits
		length int
	}
	codes, h := make([]coded, 256), new(huffmanCode)
	for i := range codes {
		s := string([]byte{byte(i)})
		padded := [4]byte{0xff, 0xff, 0xff, 0xff}
		copy(padded[:], xhpack.AppendHuffmanString(nil, s))
		length := int(xhpack.HuffmanEncodeLength(s + s + s + s + s + s + s + s)) // of eight in bytes is that of one in bits
		codes[i] = coded{binary.BigEndian.Uint32(padded[:]) &^ (1<<(32-length) - 1), length}
		h.characters[i] = byte(i)
	}
	slices.SortFunc(h.characters[:], func(a, b byte) int { return int(int64(codes[a].code) - int64(codes[b].code)) })
	rank := uint32(0)
	for length := shortestCode; length <= longestCode; length++ {
		h.first[length], h.rank[length] = h.end[length-1], rank
		for ; rank < 256 && codes[h.characters[rank]].length == length; rank++ {
		}
		h.end[length] = h.first[length] + (rank-h.rank[length])<<(32-length)
	}
	for i := range h.pairs {
		h.pairs[i] = h.pair(uint32(i) << (32 - pairBits))
	}
	return h
}

// pair returns the characters that pairBits bits begin with.
func (h *huffmanCode) pair(bits uint32) pair {
	a, used, _ := h.one(bits)
	if used > pairBits {
		return 0
	}
	if b, more, _ := h.one(bits << used); used+more <= pairBits {
		return newPair(a, b, 2, used+more)
	}
	return newPair(a, 0, 1, used)
}

// one returns the character that 32 bits begin with, and the length of its code.
// There is none for EOS, which is as long as any.
func (h *huffmanCode) one(bits uint32) (c byte, length uint, ok bool) {
	for length = shortestCode; length <= longestCode; length++ {
		if bits < h.end[length] {
			return h.characters[h.rank[length]+(bits-h.first[length])>>(32-length)], length, true
		}
	}
	return 0, longestCode, false
}

// AppendHuffmanDecoded appends the text of a string in Huffman's code (RFC 7541
// §5.2). It may use what dst has room for beyond that text.
func AppendHuffmanDecoded(dst, src []byte) ([]byte, error) {
	n := len(dst)
	dst = slices.Grow(dst, len(src)*8/shortestCode+2) // two are written even where there is one
	dst = dst[:cap(dst)]
	var bits uint64 // what comes next, from the highest on; behind it may be zeros
	var have uint   // how many of them count
	for len(src) >= 8 {
		bits |= binary.BigEndian.Uint64(src) >> have // bits that do not count yet are the same ones
		src = src[(63-have)/8:]
		for have |= refilled; have >= pairBits; {
			p := huffman.pairs[bits>>(64-pairBits)]
			if p.count() == 0 {
				if have < longestCode {
					break
				}
				c, length, ok := huffman.one(uint32(bits >> 32))
				if !ok {
					return nil, errHuffman
				}
				p = newPair(c, 0, 1, length)
			}
			binary.LittleEndian.PutUint16(dst[n:], p.characters())
			n += p.count()
			bits <<= p.bits() & 63
			have -= p.bits()
		}
	}
	return huffman.rest(dst, n, src, bits, have)
}

// rest decodes what is left of a string: less than eight bytes, behind bits of
// which have count. dst has n bytes, and room.
func (h *huffmanCode) rest(dst []byte, n int, src []byte, bits uint64, have uint) ([]byte, error) {
	for {
		for have <= refilled && len(src) > 0 {
			bits |= uint64(src[0]) << (refilled - have)
			have += 8
			src = src[1:]
		}
		padded := bits | (1<<(64-have) - 1)
		p := h.pairs[padded>>(64-pairBits)]
		if p.count() == 0 || p.bits() > have {
			c, length, ok := h.one(uint32(padded >> 32))
			switch {
			case ok && length <= have:
			case have < 8 && padded == 1<<64-1: // nothing, or padding
				return dst[:n], nil
			default:
				return nil, errHuffman
			}
			p = newPair(c, 0, 1, length)
		}
		binary.LittleEndian.PutUint16(dst[n:], p.characters())
		n += p.count()
		bits <<= p.bits() & 63
		have -= p.bits()
	}
}
