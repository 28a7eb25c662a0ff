package release

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Delta returns content as what is different about it against a base: its length as
// an unsigned varint, and the instructions of [Blocks] in zstd.
func Delta(content, base []byte) ([]byte, error) {
	var instructions bytes.Buffer
	if err := writeBlocks(&instructions, bytes.NewReader(content), int64(len(content)), bytes.NewReader(base), int64(len(base))); err != nil {
		return nil, fmt.Errorf("compare with the base: %w", err)
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(blocksWindow), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("encode zstd: %w", err)
	}
	return e.EncodeAll(instructions.Bytes(), binary.AppendUvarint(nil, uint64(len(content)))), nil
}

// ErrTooLong says that something is longer than it may be.
var ErrTooLong = errors.New("it is longer than it may be")

// Undelta reads what [Delta] has made, and returns the content, of at most limit
// bytes, or [ErrTooLong]. Whatever r has, no more than that is made of it.
func Undelta(r io.Reader, base []byte, limit int64) ([]byte, error) {
	head := oneByOne{r}
	size, err := binary.ReadUvarint(head)
	if err != nil {
		return nil, fmt.Errorf("read what is different: %w", unexpected(err))
	}
	if size > uint64(limit) { //nolint:gosec // it is not negative
		return nil, fmt.Errorf("read what is different: %w", ErrTooLong)
	}
	d, err := newZstdReader(r, blocksWindow, nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var content bytes.Buffer                                                                            // which grows with what comes, not with what is announced
	if _, err := content.ReadFrom(newBlocksReader(d, bytes.NewReader(base), int64(size))); err != nil { //nolint:gosec // it is below the limit
		return nil, fmt.Errorf("read what is different: %w", err)
	}
	return content.Bytes(), nil
}

// oneByOne reads no further than it is asked.
type oneByOne struct{ r io.Reader }

func (o oneByOne) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.r, b[:])
	return b[0], err
}
