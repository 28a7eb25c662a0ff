package site

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ErrChanged is what an answer from disk ends with when its file changed after
// the site was compiled. What was written until then is of the old content.
var ErrChanged = errors.New("file changed since the site was compiled")

// blockSize is how much of a file is read from disk at once.
const blockSize = 128 << 10

var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// A diskFile is a file that is served from disk. The open file is shared by all
// answers and closed by the garbage collector when the last site that has it is
// gone: a file that was renamed over goes on being served as it was.
type diskFile struct {
	name string
	stat fileStat
	file *os.File // nil if too many are open: then each answer opens it
	root *os.Root // where it is opened, if file is nil
}

// intact returns ErrChanged if the open file is not what it was any more.
func (d *diskFile) intact(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w", d.name, err)
	}
	if !d.stat.sameContent(statOf(info)) {
		return fmt.Errorf("%s: %w", d.name, ErrChanged)
	}
	return nil
}

// open returns the open file and whether the caller must close it.
func (d *diskFile) open() (*os.File, bool, error) {
	if d.file != nil {
		return d.file, false, nil
	}
	f, _, err := openFile(d.root, d.name)
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", d.name, errors.Join(ErrChanged, err))
	}
	return f, true, nil
}

// check returns an error if the file can't be served as the site has it.
func (d *diskFile) check() error {
	f, mine, err := d.open()
	if err != nil {
		return err
	}
	if mine {
		defer f.Close()
	}
	return d.intact(f)
}

// writeRun writes the bytes from start to end. Each block is checked after it is
// read and before it is written: a file that changed cannot have been read in
// its new state without its times having changed too.
func (d *diskFile) writeRun(w io.Writer, start, end int64) (int64, error) {
	f, mine, err := d.open()
	if err != nil {
		return 0, err
	}
	if mine {
		defer f.Close()
	}
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	var written int64
	for start < end {
		n, err := d.readBlock(f, block[:min(blockSize, end-start)], start)
		if err != nil {
			return written, err
		}
		m, err := w.Write(block[:n])
		written += int64(m)
		if err != nil {
			return written, err
		}
		start += int64(n)
	}
	return written, nil
}

// readBlock fills buf from offset and proves that the bytes are the old ones.
func (d *diskFile) readBlock(f *os.File, buf []byte, offset int64) (int, error) {
	n, err := f.ReadAt(buf, offset)
	if changed := d.intact(f); changed != nil {
		return 0, changed
	}
	if n < len(buf) {
		return 0, fmt.Errorf("read %s at %d: %w", d.name, offset, err)
	}
	return n, nil
}
