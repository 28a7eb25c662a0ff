package release

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Small objects travel together, one after the other in one frame of zstd: most of
// what a page has the page before it had already.
const (
	// MaxSolid is how many bytes the objects of a group have together at most, in
	// their identity forms, and how large a window it may have.
	MaxSolid = 32 << 20
	// MaxSolidObjects is how many objects a group has at most.
	MaxSolidObjects = 1 << 16
)

// Solid returns objects together in zstd. The error of one whose file has another
// size by now is [ErrChanged]; what else may be wrong with it the receiver finds
// out. Objects that are not to get smaller are packed without much work.
func (p *Packer) Solid(ctx context.Context, objects []Source, compressible bool) ([]byte, error) {
	total := int64(0)
	for _, o := range objects {
		total += o.Size
	}
	if total > MaxSolid || len(objects) > MaxSolidObjects {
		return nil, fmt.Errorf("%d objects of %d bytes are too much for one group", len(objects), total)
	}
	content := make([]byte, 0, total)
	for i, o := range objects {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		var err error
		if content, err = appendSource(content, o); err != nil {
			return nil, &SourceError{Index: i, Hash: o.Hash, Err: err}
		}
	}
	level := zstd.SpeedBetterCompression // a seventh less than the default, for twice its time, once for all POPs
	if !compressible {
		level = zstd.SpeedFastest
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(solidWindow), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("encode zstd: %w", err)
	}
	return e.EncodeAll(content, make([]byte, 0, total/3)), nil
}

// A SourceError says which of several sources cannot be prepared.
type SourceError struct {
	Index int
	Hash  Hash
	Err   error
}

// Error names the object.
func (e *SourceError) Error() string {
	return fmt.Sprintf("prepare object %s: %v", e.Hash.Short(), e.Err)
}

// Unwrap is what is wrong.
func (e *SourceError) Unwrap() error { return e.Err }

// solidWindow is the window of groups that are made here, in bytes: what a receiver
// needs in memory for as long as it reads one.
const solidWindow = 16 << 20

// appendSource appends an object's content, as long as its size says.
func appendSource(to []byte, o Source) ([]byte, error) {
	f, err := o.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := len(to)
	to = to[:at+int(o.Size)]
	if _, err := io.ReadFull(f, to[at:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrChanged
		}
		return nil, err
	}
	return to, nil
}

// AddSolid writes a group of objects, which r has together in zstd in so many bytes.
// The pack must be of version 2.
func (p *PackWriter) AddSolid(objects []Object, length int64, r io.Reader) error {
	if p.err == nil && !p.binary {
		p.err = errors.New("send objects together: packs of version 1 cannot have them")
	}
	if p.err != nil {
		return p.err
	}
	b := append(p.scratch[:0], byte(kindSolid))
	b = binary.AppendUvarint(b, uint64(len(objects)))
	for _, o := range objects {
		b = p.appendName(b, o)
	}
	b = binary.AppendUvarint(b, uint64(length)) //nolint:gosec // it is not negative
	p.scratch = b
	if _, p.err = p.w.Write(b); p.err == nil {
		p.err = p.copy(r, length)
	}
	if p.err != nil {
		p.err = fmt.Errorf("send %d objects together: %w", len(objects), p.err)
		return p.err
	}
	p.objects += len(objects)
	return nil
}

// solid reads a group whose first object is the nth, and returns how many it has.
func (p *packReader) solid(ctx context.Context, n int) (int, error) {
	objects, err := p.members(ctx, n)
	if err != nil {
		return 0, err
	}
	length, err := p.length(ctx, MaxSolid+slack)
	if err != nil {
		return 0, err
	}
	body := &io.LimitedReader{R: streamReader{p.in}, N: length}
	d, err := newZstdReader(body, MaxSolid, nil)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	content := &stickyReader{r: d}
	for i, o := range objects {
		bad, err := p.member(ctx, o, content)
		if err != nil {
			return 0, err
		}
		if content.err != nil && bad != nil { // what is behind it cannot be read either
			return len(objects), p.broken(ctx, objects[i:], body, bad)
		}
		if bad != nil {
			if err := p.bad(o.Hash, bad); err != nil {
				return 0, err
			}
		}
		if err := p.commitFull(); err != nil {
			return 0, err
		}
	}
	if k, _ := io.ReadFull(content, make([]byte, 1)); k > 0 {
		return 0, fmt.Errorf("read pack: the group of object %d has more than its objects: %w", n, ErrPack)
	}
	return len(objects), p.skip(ctx, body)
}

// members reads which objects a group has.
func (p *packReader) members(ctx context.Context, n int) ([]Object, error) {
	count, err := p.uvarint(ctx)
	if err != nil {
		return nil, err
	}
	if count < 1 || count > MaxSolidObjects {
		return nil, fmt.Errorf("read pack: the group of object %d has %d objects, not up to %d: %w", n, count, MaxSolidObjects, ErrPack)
	}
	var objects []Object
	total := int64(0)
	for range count {
		o, err := p.name(ctx)
		if err != nil {
			return nil, err
		}
		if total += o.Size; total > MaxSolid {
			return nil, fmt.Errorf("read pack: the group of object %d has more than %d bytes: %w", n, MaxSolid, ErrPack)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// member stores an object of a group, if it is wanted. What is bad about the object
// is the first result, what keeps the stream from being read on is the second.
func (p *packReader) member(ctx context.Context, o Object, content io.Reader) (bad, err error) {
	content = io.LimitReader(content, o.Size)
	h := Header{Hash: o.Hash, Size: o.Size, Coding: Zstd}
	if bad := p.unwanted(h); bad != nil {
		_, _ = io.Copy(io.Discard, content) // what is wrong with it is seen at the next one
		return bad, nil
	}
	if p.st.Has(o.Hash) {
		p.result.Had++
		if k, _ := io.Copy(io.Discard, content); k < o.Size { // what went wrong is in the reader
			return errContent, nil
		}
		return nil, nil
	}
	err = p.batch.write(ctx, o.Hash, o.Size, content)
	switch {
	case err == nil:
		p.waiting = append(p.waiting, h)
		return nil, nil
	case context.Cause(ctx) != nil:
		return nil, fmt.Errorf("read pack: %w", context.Cause(ctx))
	case errors.Is(err, errContent):
		return err, nil
	}
	return nil, fmt.Errorf("store object %s of a pack: %w", o.Hash.Short(), err)
}

// broken tells of the objects of a group that cannot be read on.
func (p *packReader) broken(ctx context.Context, objects []Object, body *io.LimitedReader, why error) error {
	if err := p.skip(ctx, body); err != nil {
		return err // the stream was cut, and nothing is wrong with what came
	}
	for _, o := range objects {
		if err := p.bad(o.Hash, why); err != nil {
			return err
		}
	}
	return nil
}

// A stickyReader marks errors as the fault of what is decoded, and remembers that
// there was one, the end included.
type stickyReader struct {
	r   io.Reader
	err error
}

func (s *stickyReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err == nil || n > 0 { // it comes again
		return n, nil
	}
	s.err = err
	if !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errContent, err)
	}
	return n, err
}
