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

	// object opens the file of a release, if file is nil: stat has its size alone,
	// because whatever has that name has that content.
	object func() (*os.File, error)
}

// An openDisk is a diskFile while an answer reads it.
type openDisk struct {
	file *os.File
	name string
	stat fileStat
	mine bool // the reader's to close
}

// open opens the file, for which close must be called.
func (d *diskFile) open() (openDisk, error) {
	o := openDisk{file: d.file, name: d.name, stat: d.stat}
	if d.file != nil {
		return o, nil
	}
	var err error
	o.mine = true
	if d.object != nil {
		o.file, o.stat, err = openObject(d.object, d.stat.size)
	} else {
		o.file, _, err = openFile(d.root, d.name)
	}
	if err != nil {
		return openDisk{}, fmt.Errorf("open %s: %w", d.name, errors.Join(ErrChanged, err))
	}
	return o, nil
}

// openObject opens an object of a release that has size bytes.
func openObject(open func() (*os.File, error), size int64) (*os.File, fileStat, error) {
	f, err := open()
	if err != nil {
		return nil, fileStat{}, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = fmt.Errorf("it has %d bytes, not %d", info.Size(), size)
	}
	if err != nil {
		return nil, fileStat{}, errors.Join(err, f.Close())
	}
	return f, statOf(info), nil
}

func (o openDisk) close() {
	if o.mine {
		_ = o.file.Close() // it was only read
	}
}

// intact returns ErrChanged if the open file is not what it was any more.
func (o openDisk) intact() error {
	info, err := o.file.Stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w", o.name, err)
	}
	if !o.stat.sameContent(statOf(info)) {
		return fmt.Errorf("%s: %w", o.name, ErrChanged)
	}
	return nil
}

// check returns an error if the file can't be served as the site has it.
func (d *diskFile) check() error {
	o, err := d.open()
	if err != nil {
		return err
	}
	defer o.close()
	return o.intact()
}

// writeRun writes the bytes from start to end. Each block is checked after it is
// read and before it is written: a file that changed cannot have been read in
// its new state without its times having changed too.
func (d *diskFile) writeRun(w io.Writer, start, end int64) (int64, error) {
	o, err := d.open()
	if err != nil {
		return 0, err
	}
	defer o.close()
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	var written int64
	for start < end {
		n, err := o.readBlock(block[:min(blockSize, end-start)], start)
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
func (o openDisk) readBlock(buf []byte, offset int64) (int, error) {
	n, err := o.file.ReadAt(buf, offset)
	if changed := o.intact(); changed != nil {
		return 0, changed
	}
	if n < len(buf) {
		return 0, fmt.Errorf("read %s at %d: %w", o.name, offset, err)
	}
	return n, nil
}
