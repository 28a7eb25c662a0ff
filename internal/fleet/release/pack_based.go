package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// based writes an object whose form may refer to a base.
func (p *packReader) based(ctx context.Context, h Header, body io.Reader) error {
	base, err := p.openBase(h)
	if err != nil {
		return err
	}
	if base != nil {
		defer base.Close()
	}
	content, err := decodeBased(h, body, base)
	if err != nil {
		return err
	}
	defer content.Close()
	err = p.batch.write(ctx, h.Hash, h.Size, content)
	if base == nil || !errors.Is(err, errContent) {
		return err
	}
	// The base may be what is wrong, and then whoever needs it should know.
	if corrupt, ok := errors.AsType[*CorruptError](p.st.Verify(ctx, *h.Base)); ok {
		return fmt.Errorf("%w: its base %w", errContent, corrupt)
	}
	return err
}

func (p *packReader) openBase(h Header) (*os.File, error) {
	if h.Base == nil {
		return nil, nil
	}
	// It may have come in the same pack.
	if !p.st.Has(*h.Base) && slices.ContainsFunc(p.waiting, func(w Header) bool { return w.Hash == *h.Base }) {
		if err := p.commit(); err != nil {
			return nil, err
		}
	}
	f, err := p.st.Open(*h.Base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its base %s is not here", errContent, h.Base.Short())
	}
	return f, err
}

// decodeBased returns a reader of what an object's form says, whose errors wrap
// errContent where the form is at fault. It decodes no faster than it is read,
// so that a form that says more than it should costs no more.
func decodeBased(h Header, body io.Reader, base *os.File) (io.ReadCloser, error) {
	if h.Coding == Blocks {
		d, err := newZstdReader(body, blocksWindow, nil)
		if err != nil {
			return nil, err
		}
		var from io.ReaderAt
		if base != nil {
			from = base
		}
		return closer{newBlocksReader(d, from, h.Size), d}, nil
	}
	var dictionary []byte
	if base != nil {
		var err error
		if dictionary, err = readFile(base, MaxDictionary); err != nil {
			return nil, fmt.Errorf("%w: its base: %w", errContent, err)
		}
	}
	d, err := newZstdReader(body, MaxDictionary, dictionary)
	if err != nil {
		return nil, err
	}
	return closer{faultReader{d}, d}, nil
}

// newZstdReader returns a decoder that works in the goroutine that reads, with
// windows of at most so many bytes.
func newZstdReader(body io.Reader, window uint64, dictionary []byte) (io.ReadCloser, error) {
	options := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(MaxFileBytes),
	}
	if len(dictionary) > 0 {
		options = append(options, zstd.WithDecoderDictRaw(dictionaryID, dictionary))
	}
	d, err := zstd.NewReader(body, options...)
	if err != nil {
		return nil, fmt.Errorf("decode zstd: %w", err)
	}
	return d.IOReadCloser(), nil
}

// closer reads from one and closes another.
type closer struct {
	io.Reader
	io.Closer
}

// faultReader marks errors as the fault of the form that is decoded.
type faultReader struct{ r io.Reader }

func (f faultReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errContent, err)
	}
	return n, err
}
