package encode

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow is the largest window, in bytes, that a recipient of zstd must
// support, and that a sender may use (RFC 9659 §3). Browsers refuse more.
const zstdWindow = 8 << 20

// smallZstd is up to how many bytes of input an encoder of zstd does with small
// tables at the best level as well: it loses some 4 %, is four times as quick, and
// takes 6 MB rather than 42, so that a small site fits into a small machine. The
// window need not be larger than the input.
const (
	smallZstd       = 128 << 10
	smallZstdWindow = 128 << 10
)

// The window of br, as the binary logarithm of its size in bytes. The format
// goes up to 24, but at the best quality the encoder needs eight times the
// window for its search: 32 MB for 22, 128 MB for 24, on machines that have
// 1 GB. Below 16 nothing is saved.
const (
	minBrotliWindow = 16
	maxBrotliWindow = 22
)

// Encoders are worth keeping: each begins by allocating up to 35 MB of tables. A
// pool holds them between uses until the garbage collector wants the memory. A
// br encoder keeps the window it was made with, so each window has its own pool.
var (
	gzipEncoders   [numLevels]sync.Pool
	zstdEncoders   [numLevels][2]sync.Pool // for small inputs, and for others
	brotliEncoders [numLevels][maxBrotliWindow + 1]sync.Pool
)

// Encode appends src in coding c to dst and returns the longer slice. The result
// has no time stamp, no file name, and no checksum that the coding does not
// demand. With Identity it is a copy.
//
// It is safe for concurrent use, and uses one thread a call.
func Encode(dst, src []byte, c Coding, l Level) ([]byte, error) {
	if l >= numLevels {
		return dst, fmt.Errorf("encode as %s: unknown %s", c, l)
	}
	switch c {
	case Identity:
		return append(dst, src...), nil
	case Gzip:
		return encodeGzip(dst, src, l)
	case Brotli:
		return encodeBrotli(dst, src, l)
	case Zstd:
		return encodeZstd(dst, src, l)
	default:
		return dst, fmt.Errorf("encode: unknown %s", c)
	}
}

func encodeGzip(dst, src []byte, l Level) ([]byte, error) {
	out := &appender{dst}
	w, ok := gzipEncoders[l].Get().(*gzip.Writer)
	if ok {
		w.Reset(out)
	} else {
		var err error
		if w, err = gzip.NewWriterLevel(out, gzipLevel(l)); err != nil {
			return dst, fmt.Errorf("encode as gzip: %w", err)
		}
	}
	if _, err := w.Write(src); err != nil {
		return dst, fmt.Errorf("encode as gzip: %w", err)
	}
	if err := w.Close(); err != nil {
		return dst, fmt.Errorf("encode as gzip: %w", err)
	}
	w.Reset(nil) // a pooled encoder must not hold on to the result
	gzipEncoders[l].Put(w)
	return out.bytes, nil
}

func encodeBrotli(dst, src []byte, l Level) ([]byte, error) {
	out := &appender{dst}
	window := brotliWindow(len(src))
	pool := &brotliEncoders[l][window]
	w, ok := pool.Get().(*brotli.Writer)
	if ok {
		w.Reset(out)
	} else {
		w = brotli.NewWriterOptions(out, brotli.WriterOptions{Quality: brotliQuality(l), LGWin: window})
	}
	// One Write: the encoder takes its length as a hint of the whole size.
	if _, err := w.Write(src); err != nil {
		return dst, fmt.Errorf("encode as br: %w", err)
	}
	if err := w.Close(); err != nil {
		return dst, fmt.Errorf("encode as br: %w", err)
	}
	pool.Put(w)
	return out.bytes, nil
}

// brotliWindow returns the smallest window that holds size bytes. An encoder
// chooses its search by its window, and by whether the first input that it sees
// has a MiB or more, and keeps it; bits.Len makes both change at the same size,
// so that the encoders of one pool are all alike.
func brotliWindow(size int) int {
	return min(max(bits.Len(uint(size)), minBrotliWindow), maxBrotliWindow)
}

func encodeZstd(dst, src []byte, l Level) ([]byte, error) {
	pool, level, window := &zstdEncoders[l][1], zstdLevel(l), zstdWindow
	if len(src) <= smallZstd {
		pool, level, window = &zstdEncoders[l][0], min(level, zstd.SpeedBetterCompression), smallZstdWindow
	}
	w, ok := pool.Get().(*zstd.Encoder)
	if !ok {
		var err error
		w, err = zstd.NewWriter(nil,
			zstd.WithEncoderLevel(level),
			zstd.WithWindowSize(window),
			zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), // of the history; the result is the same
			zstd.WithEncoderCRC(false),     // TLS and TCP guard it already, and br has none either
			zstd.WithZeroFrames(true),      // an empty body is an empty frame, not nothing
		)
		if err != nil {
			return dst, fmt.Errorf("encode as zstd: %w", err)
		}
	}
	out := w.EncodeAll(src, dst)
	pool.Put(w)
	return out, nil
}

func gzipLevel(l Level) int {
	if l == Best {
		return gzip.BestCompression
	}
	return 6
}

func brotliQuality(l Level) int {
	if l == Best {
		return brotli.BestCompression
	}
	return 5
}

func zstdLevel(l Level) zstd.EncoderLevel {
	if l == Best {
		return zstd.SpeedBestCompression
	}
	return zstd.SpeedDefault
}

// appender is a writer that appends.
type appender struct{ bytes []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.bytes = append(a.bytes, p...)
	return len(p), nil
}
