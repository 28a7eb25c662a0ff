package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// A Bundle is a pack in a file, of which single objects are read: those that came
// into it together. That is a copy of many small files that costs one file, and as few
// bytes as it took to send them. It is safe for concurrent use.
type Bundle struct {
	f      *os.File
	places map[Hash]place

	mu      sync.Mutex // guards what follows
	at      int64      // of the group that was read last
	content []byte     // of the same; nil: none was
}

// A place is where an object lies in a bundle.
type place struct {
	at, length int64 // of its group, in the file
	from, size int64 // of the object, in the group
}

// OpenBundle opens a bundle. Of one that is cut there is what comes before the cut.
func OpenBundle(ctx context.Context, path string) (*Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	b := &Bundle{f: f, places: make(map[Hash]place)}
	if err := b.scan(ctx); err != nil && !errors.Is(err, ErrPack) {
		return nil, errors.Join(fmt.Errorf("open bundle %s: %w", path, err), f.Close())
	}
	return b, nil
}

// Close gives the file up.
func (b *Bundle) Close() error { return b.f.Close() }

// scan finds out what lies where.
func (b *Bundle) scan(ctx context.Context) error {
	counted := &countingReader{r: &contextReader{ctx: ctx, r: b.f}}
	p := &packReader{in: bufio.NewReaderSize(counted, 64<<10)}
	head, err := p.line(ctx)
	if err == nil {
		err = p.start(head)
	}
	for n := 1; err == nil; n++ {
		var k byte
		if k, err = p.in.ReadByte(); err != nil {
			return p.cut(ctx, err)
		}
		if kind(k) != kindSolid {
			return nil // the end, or nothing of ours
		}
		err = b.group(ctx, p, counted, n)
	}
	return err
}

// group notes what is in a group, and goes to its end.
func (b *Bundle) group(ctx context.Context, p *packReader, counted *countingReader, n int) error {
	objects, err := p.members(ctx, n)
	if err != nil {
		return err
	}
	length, err := p.length(ctx, MaxSolid+slack)
	if err != nil {
		return err
	}
	at := counted.n - int64(p.in.Buffered())
	if k, err := io.CopyN(io.Discard, p.in, length); k < length {
		return p.cut(ctx, err)
	}
	from := int64(0)
	for _, o := range objects {
		b.places[o.Hash] = place{at: at, length: length, from: from, size: o.Size}
		from += o.Size
	}
	return nil
}

// Has reports whether an object is in the bundle.
func (b *Bundle) Has(h Hash) bool {
	_, ok := b.places[h]
	return ok
}

// Read returns an object; the error of one that is not there is fs.ErrNotExist. One
// that the disk has damaged is a *[CorruptError]. The caller does not change it.
func (b *Bundle) Read(h Hash) ([]byte, error) {
	at, ok := b.places[h]
	if !ok {
		return nil, fmt.Errorf("read object %s: %w", h.Short(), fs.ErrNotExist)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.content == nil || b.at != at.at {
		content, err := b.decode(at)
		if err != nil {
			return nil, fmt.Errorf("read object %s: %w", h.Short(), errors.Join(err, &CorruptError{Name: h, Path: b.f.Name()}))
		}
		b.at, b.content = at.at, content
	}
	if at.from+at.size > int64(len(b.content)) || HashOf(b.content[at.from:at.from+at.size]) != h {
		return nil, &CorruptError{Name: h, Path: b.f.Name()}
	}
	return b.content[at.from : at.from+at.size : at.from+at.size], nil
}

// decode reads a group.
func (b *Bundle) decode(at place) ([]byte, error) {
	d, err := newZstdReader(io.NewSectionReader(b.f, at.at, at.length), MaxSolid, nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	content, err := io.ReadAll(io.LimitReader(d, MaxSolid))
	if err != nil {
		return nil, err
	}
	return content, nil
}
