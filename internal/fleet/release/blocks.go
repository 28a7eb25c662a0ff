package release

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// What travels as blocks is a zstd frame with a window of up to 8 MiB, without a
// dictionary, of instructions: how many new bytes follow, the bytes, how many
// bytes to copy from the base, and from where, counted from where the copy before
// ended. Numbers are varints of encoding/binary, the last one signed; where
// nothing is copied it is left out. They go on until the object has its size, and
// each makes at least a byte.
const (
	blocksWindow = 8 << 20
	// minCopy is the shortest copy, so that copying costs no more than the bytes.
	minCopy = 16
	// maxIndexed is how many blocks of a base are looked for in the new file. A
	// larger base has larger blocks.
	maxIndexed = 1 << 20
	// readAhead is how much of a file is in memory while it is compared.
	readAhead = 1 << 20
)

// A blocksReader carries out instructions. Its errors wrap errContent where these
// are at fault.
type blocksReader struct {
	in      *bufio.Reader // the instructions
	base    io.ReaderAt   // nil for none
	left    int64         // bytes that the object still lacks
	literal int64         // bytes of the current instruction
	copying int64
	from    int64 // in the base
	started bool  // the length of the copy is still to be read
	empty   bool  // there were no literals before it
}

func newBlocksReader(in io.Reader, base io.ReaderAt, size int64) *blocksReader {
	return &blocksReader{in: bufio.NewReaderSize(in, 32<<10), base: base, left: size}
}

func (r *blocksReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		switch {
		case r.literal > 0:
			n, err := r.in.Read(p[:min(int64(len(p)), r.literal)])
			r.literal -= int64(n)
			r.left -= int64(n)
			if err != nil {
				err = fmt.Errorf("%w: its instructions: %w", errContent, unexpected(err))
			}
			return n, err
		case r.copying > 0:
			n, err := r.base.ReadAt(p[:min(int64(len(p)), r.copying)], r.from)
			r.copying -= int64(n)
			r.from += int64(n)
			r.left -= int64(n)
			if n > 0 {
				return n, nil
			}
			if errors.Is(err, io.EOF) {
				return 0, fmt.Errorf("%w: it copies from behind the end of its base", errContent)
			}
			return 0, err
		case r.left == 0 && !r.started:
			return 0, r.end()
		default:
			if err := r.next(); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

// next reads the next number or two.
func (r *blocksReader) next() error {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return fmt.Errorf("%w: its instructions: %w", errContent, unexpected(err))
	}
	if n > uint64(r.left) {
		return fmt.Errorf("%w: its instructions make more than its size", errContent)
	}
	if r.started = !r.started; r.started {
		r.literal, r.empty = int64(n), n == 0
		return nil
	}
	if n == 0 {
		if r.empty { // a small form could say that for hours
			return fmt.Errorf("%w: an instruction makes nothing", errContent)
		}
		return nil
	}
	by, err := binary.ReadVarint(r.in)
	if err != nil {
		return fmt.Errorf("%w: its instructions: %w", errContent, unexpected(err))
	}
	r.copying, r.from = int64(n), r.from+by
	if r.copying < minCopy || r.from < 0 || r.base == nil {
		return fmt.Errorf("%w: it copies %d bytes from %d of its base", errContent, r.copying, r.from)
	}
	return nil
}

// end returns io.EOF if the instructions end with the object.
func (r *blocksReader) end() error {
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: its instructions go on behind its end", errContent)
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		return fmt.Errorf("%w: its instructions: %w", errContent, err)
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writeBlocks writes the instructions that make a file, of which it reads size
// bytes, out of a base. It looks for blocks of the base in the file: a block of
// the base begins at a multiple of the block size, and is found wherever in the
// file it is by a hash that rolls over it byte by byte.
func writeBlocks(w io.Writer, file io.Reader, size int64, base io.ReaderAt, baseSize int64) error {
	b := &blocksWriter{
		w: bufio.NewWriterSize(w, 32<<10), file: io.LimitReader(file, size), left: size,
		base: pages{r: base, size: baseSize},
	}
	if err := b.index(baseSize); err != nil {
		return err
	}
	if err := b.run(); err != nil {
		return err
	}
	return b.w.Flush()
}

type blocksWriter struct {
	w    *bufio.Writer
	file io.Reader
	left int64 // bytes of the file that were not read
	base pages

	block int // bytes
	slots []uint64
	shift uint   // of a hash, to a slot
	power uint64 // what the first byte of a block counts in its hash

	// Of the file, buf[literal:at] is new, and what follows was not looked at.
	buf         []byte
	literal, at int
	ended       bool
	// The copy that the next instruction makes, and where the one before ended.
	copying, from, last int64
	// What stands before the copy: literals are written when it ends.
	before []byte
}

// multiplier is odd and has its bits well mixed; hashes are polynomials in it.
const multiplier = 0x9e3779b97f4a7c15

func (b *blocksWriter) index(baseSize int64) error {
	b.block = minCopy
	for baseSize/int64(b.block) > maxIndexed {
		b.block *= 2
	}
	blocks := int(baseSize / int64(b.block))
	logarithm := bits.Len(uint(blocks)) // at most half of the slots are taken when they are many
	b.slots, b.shift = make([]uint64, 1<<logarithm), uint(64-logarithm)
	b.power = 1
	for range b.block - 1 {
		b.power *= multiplier
	}
	for i := range blocks {
		block, err := b.base.slice(int64(i)*int64(b.block), b.block)
		if err != nil {
			return err
		}
		b.insert(hashBlock(block), uint32(i))
	}
	return nil
}

func hashBlock(block []byte) uint64 {
	var h uint64
	for _, c := range block {
		h = h*multiplier + uint64(c) + 1
	}
	return h
}

// mix spreads a hash, whose low bits say little of the block's first bytes, over
// all of its bits.
func mix(h uint64) uint64 {
	h ^= h >> 32
	return h * multiplier
}

// probes is how many slots are looked at for a hash.
const probes = 8

// A slot has the hash's low half above, and below it the block's number and one.
func (b *blocksWriter) insert(h uint64, block uint32) {
	m := mix(h)
	for i := range uint64(probes) {
		slot := &b.slots[(m>>b.shift+i)&uint64(len(b.slots)-1)]
		if *slot == 0 {
			*slot = m<<32 | uint64(block) + 1
			return
		}
		if *slot>>32 == m<<32>>32 {
			return // most likely the same bytes; the first is as good
		}
	}
}

func (b *blocksWriter) find(h uint64) (offset int64, ok bool) {
	m := mix(h)
	for i := range uint64(probes) {
		slot := b.slots[(m>>b.shift+i)&uint64(len(b.slots)-1)]
		if slot == 0 {
			return 0, false
		}
		if slot>>32 == m<<32>>32 {
			return int64(uint32(slot)-1) * int64(b.block), true
		}
	}
	return 0, false
}

func (b *blocksWriter) run() error {
	for {
		if err := b.fill(); err != nil {
			return err
		}
		if err := b.extend(); err != nil {
			return err
		}
		if len(b.buf)-b.at < b.block && !b.ended {
			continue // the copy may go on, or a block begin
		}
		if b.ended && len(b.buf)-b.at < b.block {
			b.at = len(b.buf)
			return b.finish()
		}
		if err := b.scan(); err != nil {
			return err
		}
	}
}

// fill reads on, until there is a block and some more to look at, or the end.
func (b *blocksWriter) fill() error {
	if b.ended || len(b.buf)-b.at >= b.block && len(b.buf)-b.at >= readAhead/2 {
		return nil
	}
	if b.at-b.literal >= readAhead {
		if err := b.instruction(); err != nil {
			return err
		}
	}
	kept := copy(b.buf, b.buf[b.literal:])
	b.buf, b.at, b.literal = b.buf[:kept], b.at-b.literal, 0
	// A byte more than there should be shows the end.
	if want := b.at + int(min(int64(max(2*readAhead, 2*b.block)), int64(kept-b.at)+b.left+1)); cap(b.buf) < want {
		grown := make([]byte, kept, want)
		copy(grown, b.buf)
		b.buf = grown
	}
	n, err := io.ReadFull(b.file, b.buf[kept:cap(b.buf)])
	b.buf, b.left = b.buf[:kept+n], b.left-int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		b.ended, err = true, nil
	}
	return err
}

// extend makes the copy longer as far as the file goes on as the base does.
func (b *blocksWriter) extend() error {
	// A short match is the rule in a file whose pieces were moved, so that reading
	// far ahead would be in vain.
	for ahead := int64(4 << 10); b.copying > 0 && b.literal == b.at && b.at < len(b.buf); ahead = min(2*ahead, readAhead) {
		from := b.from + b.copying
		want := min(int64(len(b.buf)-b.at), b.base.size-from, ahead)
		if want <= 0 {
			return nil
		}
		page, err := b.base.slice(from, int(want))
		if err != nil {
			return err
		}
		n := sharedPrefix(b.buf[b.at:], page)
		b.at += n
		b.literal = b.at
		b.copying += int64(n)
		if n < len(page) {
			return nil
		}
	}
	return nil
}

// scan goes on byte by byte until a block of the base is found, or the buffer
// ends.
func (b *blocksWriter) scan() error {
	if b.base.size < int64(b.block) { // there is nothing to find
		b.at = len(b.buf) - b.block + 1
		return nil
	}
	hash := hashBlock(b.buf[b.at : b.at+b.block])
	for {
		if offset, ok := b.find(hash); ok {
			found, err := b.match(offset)
			if found || err != nil {
				return err
			}
		}
		if b.at+b.block >= len(b.buf) {
			b.at++ // the last block of the buffer was looked at
			return nil
		}
		out, in := uint64(b.buf[b.at])+1, uint64(b.buf[b.at+b.block])+1
		hash = (hash-out*b.power)*multiplier + in
		b.at++
	}
}

// match begins a copy at a block of the base, if it has what the file has, and
// makes it longer backwards into the literals.
func (b *blocksWriter) match(offset int64) (bool, error) {
	const most = 4 << 10 // bytes backwards
	back := min(int64(b.at-b.literal), offset, most)
	page, err := b.base.slice(offset-back, int(back)+b.block)
	if err != nil {
		return false, err
	}
	if string(page[back:]) != string(b.buf[b.at:b.at+b.block]) {
		return false, nil
	}
	longer := 0
	for longer < int(back) && page[int(back)-1-longer] == b.buf[b.at-1-longer] {
		longer++
	}
	end := b.at + b.block
	b.at -= longer
	if err := b.instruction(); err != nil {
		return false, err
	}
	b.from, b.copying = offset-int64(longer), int64(end-b.at)
	b.at, b.literal = end, end
	return true, nil
}

// instruction writes the copy that is pending, if there is one, and keeps the
// literals behind it for the next.
func (b *blocksWriter) instruction() error {
	if err := b.flushCopy(); err != nil {
		return err
	}
	b.before = append(b.before[:0], b.buf[b.literal:b.at]...)
	b.literal = b.at
	return nil
}

// flushCopy writes one instruction: the literals that stand before the copy, and
// the copy.
func (b *blocksWriter) flushCopy() error {
	if len(b.before) == 0 && b.copying == 0 {
		return nil
	}
	var number [binary.MaxVarintLen64]byte
	if _, err := b.w.Write(binary.AppendUvarint(number[:0], uint64(len(b.before)))); err != nil {
		return err
	}
	if _, err := b.w.Write(b.before); err != nil {
		return err
	}
	if _, err := b.w.Write(binary.AppendUvarint(number[:0], uint64(b.copying))); err != nil {
		return err
	}
	if b.copying > 0 {
		if _, err := b.w.Write(binary.AppendVarint(number[:0], b.from-b.last)); err != nil {
			return err
		}
		b.last = b.from + b.copying
	}
	b.before, b.copying = b.before[:0], 0
	return nil
}

// finish writes what is pending.
func (b *blocksWriter) finish() error {
	if err := b.instruction(); err != nil {
		return err
	}
	return b.flushCopy()
}

// pages reads a base in any order, and ahead where it is read in order.
type pages struct {
	r     io.ReaderAt
	size  int64
	start int64
	page  []byte
}

// slice returns bytes of the base, which are valid until the next call.
func (p *pages) slice(offset int64, n int) ([]byte, error) {
	end := p.start + int64(len(p.page))
	if offset < p.start || offset+int64(n) > end {
		length := n
		if p.start <= offset && offset <= end { // it goes on from here
			length += readAhead
		}
		length = int(min(int64(length), p.size-offset))
		p.start, p.page = offset, slices.Grow(p.page[:0], length)[:length]
		if _, err := p.r.ReadAt(p.page, offset); err != nil {
			p.page = p.page[:0]
			return nil, fmt.Errorf("read base: %w", unexpected(err))
		}
	}
	return p.page[offset-p.start:][:n], nil
}

func sharedPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; n-i >= 8; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
