package encode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrTooLarge is returned by [Decode] when the plain body exceeds the limit.
var ErrTooLarge = errors.New("decoded body is too large")

// Decode appends to dst what src says in coding c and returns the longer slice.
// It reads no more than limit bytes of it, then gives up with [ErrTooLarge], so
// that a small hostile body cannot fill the memory. An error comes with dst as
// it was.
func Decode(dst, src []byte, c Coding, limit int64) ([]byte, error) {
	out, err := decode(dst, src, c, limit)
	if err != nil {
		return dst, fmt.Errorf("decode %s: %w", c, err)
	}
	return out, nil
}

func decode(dst, src []byte, c Coding, limit int64) ([]byte, error) {
	if len(src) == 0 && c != Identity {
		return nil, io.ErrUnexpectedEOF // zstd alone would take it for a sequence of no frames
	}
	r, err := newReader(bytes.NewReader(src), c)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return appendFrom(dst, r, limit)
}

// NewReader returns a reader of what r says in coding c, which decodes no further
// than it is read: whoever reads sets the limit. Closing it does not close r.
func NewReader(r io.Reader, c Coding) (io.ReadCloser, error) {
	d, err := newReader(r, c)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", c, err)
	}
	return d, nil
}

func newReader(r io.Reader, c Coding) (io.ReadCloser, error) {
	switch c {
	case Identity:
		return io.NopCloser(r), nil
	case Gzip:
		return gzip.NewReader(r)
	case Brotli:
		return io.NopCloser(brotli.NewReader(r)), nil
	case Zstd:
		// One thread, so that no goroutine outlives the reader.
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		return nil, errors.New("unknown coding")
	}
}

// appendFrom appends all that r has, if that is no more than limit bytes.
func appendFrom(dst []byte, r io.Reader, limit int64) ([]byte, error) {
	const step = 32 << 10
	for read := int64(0); ; {
		dst = slices.Grow(dst, step)
		n, err := r.Read(dst[len(dst) : len(dst)+step])
		dst = dst[:len(dst)+n]
		if read += int64(n); read > limit {
			return nil, ErrTooLarge
		}
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
