package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// A batch is files on their way into a store: all are written under temporary
// names, then all are brought to the disk, then all get their names, then the
// directories with the names are brought to the disk. A disk does a thousand
// files that way in the time that one after the other takes for ten.
type batch struct {
	st    *Store
	files []pending
	bytes int64
	loose bool // nothing is brought to the disk

	scratch []byte
}

type pending struct {
	tmp, path string
	size      int64
}

func (st *Store) newBatch() *batch { return &batch{st: st, loose: st.loose} }

// maxBuffered is up to which size an object is read and hashed before its file is
// made: that takes one write, and what is wrong takes none.
const maxBuffered = 1 << 20

// write writes an object of a size from r, and fails if r has anything else.
func (b *batch) write(ctx context.Context, h Hash, size int64, r io.Reader) error {
	if size <= maxBuffered {
		data, err := b.read(ctx, size, r)
		if err != nil {
			return err
		}
		return b.writeObject(h, data)
	}
	tmp := b.st.temporary()
	if err := writeObject(ctx, tmp, h, size, r); err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	b.add(pending{tmp: tmp, path: b.st.objectPath(h), size: size})
	return nil
}

// read reads what should be so many bytes, which are valid until the next call.
func (b *batch) read(ctx context.Context, size int64, r io.Reader) ([]byte, error) {
	if need := int(size) + 1; cap(b.scratch) < need { // one byte more than there may be shows that there is more
		b.scratch = make([]byte, max(need, 64<<10))
	}
	n, err := io.ReadFull(&contextReader{ctx: ctx, r: r}, b.scratch[:size+1])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return b.scratch[:n], wrongSize(int64(n), size)
}

// writeObject writes an object that is in memory, and fails if it is another.
func (b *batch) writeObject(h Hash, data []byte) error {
	if got := HashOf(data); got != h {
		return fmt.Errorf("%w: its hash is %s", errContent, got.Short())
	}
	return b.writeBytes(b.st.objectPath(h), data)
}

func wrongSize(n, size int64) error {
	switch {
	case n > size:
		return fmt.Errorf("%w: it has more than the %d bytes that it should", errContent, size)
	case n < size:
		return fmt.Errorf("%w: it has %d bytes, not %d", errContent, n, size)
	}
	return nil
}

// errContent is the fault of who sent an object, not of the disk.
var errContent = errors.New("the content is another")

func writeObject(ctx context.Context, path string, h Hash, size int64, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	// One byte more than there may be shows that there is more.
	n, err := io.Copy(io.MultiWriter(sum, f), io.LimitReader(&contextReader{ctx: ctx, r: r}, size+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := wrongSize(n, size); err != nil {
		return err
	}
	if got := Hash(sum.Sum(nil)); got != h {
		return fmt.Errorf("%w: its hash is %s", errContent, got.Short())
	}
	return nil
}

// writeBytes writes a file that will have a path.
func (b *batch) writeBytes(path string, parts ...[]byte) error {
	tmp := b.st.temporary()
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, part := range parts {
		if _, err := f.Write(part); err != nil {
			return errors.Join(err, f.Close(), removeIfThere(tmp))
		}
		size += int64(len(part))
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	b.add(pending{tmp: tmp, path: path, size: size})
	return nil
}

func (b *batch) add(p pending) {
	b.files = append(b.files, p)
	b.bytes += p.size
}

// commit gives all files their names. After an error some may have them, and each
// of those is whole.
func (b *batch) commit() error {
	if len(b.files) == 0 {
		return nil
	}
	if err := b.syncFiles(); err != nil {
		return err
	}
	b.st.moving.RLock()
	defer b.st.moving.RUnlock()
	var dirs []string
	for len(b.files) > 0 {
		p := b.files[0]
		replaced := int64(0)
		if info, err := os.Lstat(p.path); err == nil {
			replaced = info.Size()
		}
		if err := os.Rename(p.tmp, p.path); err != nil {
			return err
		}
		b.st.account(p.size - replaced)
		dirs = append(dirs, filepath.Dir(p.path))
		b.files = b.files[1:]
	}
	b.bytes = 0
	if b.loose {
		return nil
	}
	slices.Sort(dirs)
	return syncDirectories(b.st.root, slices.Compact(dirs))
}

// syncFiles brings the content of all files to the disk.
func (b *batch) syncFiles() error {
	if b.loose {
		return nil
	}
	tmp := make([]string, 0, len(b.files))
	for _, p := range b.files {
		tmp = append(tmp, p.tmp)
	}
	return syncFiles(b.st.root, tmp)
}

// drop removes what was not committed.
func (b *batch) drop() {
	for _, p := range b.files {
		_ = os.Remove(p.tmp) // what stays is removed with the rest of tmp
	}
	b.files, b.bytes = nil, 0
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
