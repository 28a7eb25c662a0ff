package result

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A Parquet file has checksums of its pages, and none of the footer that says where
// and of which type they are. The library believes the footer: one bit that is wrong
// there may end the process, in a way that cannot be caught. So a part carries a
// checksum of all of it, in the footer's metadata, and is read only if that is right.
//
// The checksum is a CRC-32C (RFC 3720, appendix B.4) of the file as it was when its own
// eight digits were zeros.
const (
	keySeal    = "penny.crc32c"
	sealZeros  = "00000000"
	maxFooter  = 64 << 20
	parquetEnd = "PAR1"
)

var (
	errSeal   = errors.New("its checksum is another")
	errFooter = errors.New("it does not end as Parquet does")
	errNoSeal = errors.New("it has no checksum")
)

// findSeal returns where in a file the digits of its checksum are.
func findSeal(f io.ReaderAt, size int64) (int64, error) {
	var tail [8]byte
	if size < int64(len(tail)) {
		return 0, errFooter
	}
	if _, err := f.ReadAt(tail[:], size-int64(len(tail))); err != nil {
		return 0, err
	}
	length := int64(binary.LittleEndian.Uint32(tail[:4]))
	from := size - int64(len(tail)) - length
	if string(tail[4:]) != parquetEnd || from < 0 || length > maxFooter {
		return 0, errFooter
	}
	footer := make([]byte, length)
	if _, err := f.ReadAt(footer, from); err != nil {
		return 0, err
	}
	// The value follows its key as the next field of a struct in Thrift's compact
	// protocol: one byte of number and type, one of length.
	mark := keySeal + "\x18" + string(rune(len(sealZeros)))
	i := bytes.LastIndex(footer, []byte(mark))
	if i < 0 || i+len(mark)+len(sealZeros) > len(footer) {
		return 0, errNoSeal
	}
	return from + int64(i+len(mark)), nil
}

// checksum is that of a file but for the digits at this place.
func checksum(f io.ReaderAt, size, digits int64) (string, error) {
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	after := digits + int64(len(sealZeros))
	_, err := io.Copy(h, io.MultiReader(io.NewSectionReader(f, 0, digits), bytes.NewReader([]byte(sealZeros)), io.NewSectionReader(f, after, size-after)))
	return fmt.Sprintf("%08x", h.Sum32()), err
}

// seal puts the checksum of a file into it.
func seal(f interface {
	io.ReaderAt
	io.WriterAt
}, size int64,
) error {
	digits, err := findSeal(f, size)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	sum, err := checksum(f, size, digits)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(sum), digits)
	return err
}

// unseal checks the checksum of a file. One without, which others have written, passes.
func unseal(f io.ReaderAt, size int64) error {
	digits, err := findSeal(f, size)
	if errors.Is(err, errNoSeal) {
		return nil
	}
	if err != nil {
		return err
	}
	want, err := checksum(f, size, digits)
	if err != nil {
		return err
	}
	got := make([]byte, len(sealZeros))
	if _, err := f.ReadAt(got, digits); err != nil {
		return err
	}
	if string(got) != want {
		return errSeal
	}
	return nil
}
