package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// A Bundle is a pack in a file, of which single objects are read: those that came
// into it together. That is a copy of many small files that costs one file, and as few
// bytes as it took to send them. It is safe for concurrent use.
type Bundle struct {
	f      *os.File
	places map[Hash]place

	mu     sync.Mutex     // guards recent
	recent []decodedGroup // that was read last first
}

// A decodedGroup is what is in the group at a place.
type decodedGroup struct {
	at      int64
	content []byte
}

// recentGroups is how many groups stay in memory: pages and pictures, which go in
// groups of their own, are asked for in turns.
const recentGroups = 3

// A place is where an object lies in a bundle.
type place struct {
	at, length int64 // of its group, in the file
	whole      int64 // bytes of the group, decoded
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
	whole, from := int64(0), int64(0)
	for _, o := range objects {
		whole += o.Size
	}
	for _, o := range objects {
		b.places[o.Hash] = place{at: at, length: length, whole: whole, from: from, size: o.Size}
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
	content, err := b.contentAt(at)
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", h.Short(), errors.Join(err, &CorruptError{Name: h, Path: b.f.Name()}))
	}
	if HashOf(content[at.from:at.from+at.size]) != h {
		return nil, &CorruptError{Name: h, Path: b.f.Name()}
	}
	return content[at.from : at.from+at.size : at.from+at.size], nil
}

// contentAt returns what is in a group.
func (b *Bundle) contentAt(at place) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.recent, func(g decodedGroup) bool { return g.at == at.at })
	var g decodedGroup
	if i >= 0 {
		g = b.recent[i]
		b.recent = slices.Delete(b.recent, i, i+1)
	} else {
		content, err := b.decode(at)
		if err != nil {
			return nil, err
		}
		g = decodedGroup{at: at.at, content: content}
	}
	b.recent = slices.Insert(b.recent, 0, g)
	b.recent = b.recent[:min(len(b.recent), recentGroups)]
	return g.content, nil
}

// decode reads a group.
func (b *Bundle) decode(at place) ([]byte, error) {
	d, err := newZstdReader(io.NewSectionReader(b.f, at.at, at.length), MaxSolid, nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	content := make([]byte, at.whole)
	_, err = io.ReadFull(d, content)
	return content, err
}
