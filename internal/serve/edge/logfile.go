package edge

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A logFile is the access log on disk: one file that is written, and older ones
// beside it. One goroutine uses it. Whenever something fails the file is closed,
// and [logFile.tend] opens it anew.
type logFile struct {
	options AccessLogOptions

	file    *os.File // nil while closed
	out     *bufio.Writer
	regular bool // and no symbolic link: it may be renamed
	size    int64
	began   time.Time
	waiting int  // lines in out's memory
	full    bool // and could not be rotated: the bound on disk comes first
}

var (
	errLogClosed = errors.New("the file is not open")
	errLogFull   = errors.New("the file is full and cannot be rotated")
)

// write appends a line and returns how many lines were lost.
func (f *logFile) write(line []byte) (lost int, err error) {
	if f.out != nil && f.regular && f.size > 0 && f.size+int64(len(line)) > f.options.MaxSize {
		lost, err = f.rotate(time.Now())
	}
	switch {
	case f.out == nil:
		return lost + 1, either(err, errLogClosed)
	case f.full:
		return lost + 1, either(err, errLogFull)
	}
	f.waiting++
	if _, err := f.out.Write(line); err != nil {
		return lost + f.drop(), fmt.Errorf("write access log: %w", err)
	}
	f.size += int64(len(line))
	return lost, err
}

// either returns the first error, or else the second.
func either(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// tend is called every now and then.
func (f *logFile) tend(now time.Time) (lost int, err error) {
	f.full = false
	if f.out == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	if err := f.out.Flush(); err != nil {
		return f.drop(), fmt.Errorf("write access log: %w", err)
	}
	f.waiting = 0
	if err := f.follow(); err != nil {
		return 0, err
	}
	if f.regular && f.size > 0 && now.Sub(f.began) >= f.options.MaxAge {
		return f.rotate(now)
	}
	return 0, nil
}

// follow goes on with a new file when somebody else's rotation has moved this one
// away, and notices when it was cut.
func (f *logFile) follow() error {
	there, err := os.Stat(f.options.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stat access log: %w", err)
	}
	open, openErr := f.file.Stat()
	if openErr != nil {
		return fmt.Errorf("stat access log: %w", openErr)
	}
	if err == nil && os.SameFile(there, open) {
		f.size = there.Size()
		return nil
	}
	f.drop() // everything is flushed
	return f.open()
}

func (f *logFile) open() error {
	file, err := os.OpenFile(f.options.File, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	if err := f.begin(file); err != nil {
		return errors.Join(fmt.Errorf("open access log: %w", err), file.Close())
	}
	return nil
}

// begin takes up a file that may have lines already. The last one may be half a
// line: the disk was full, or the machine lost its power.
func (f *logFile) begin(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	name, err := os.Lstat(f.options.File)
	if err != nil {
		return err
	}
	size, began := info.Size(), time.Now()
	regular := name.Mode().IsRegular()
	if regular && size > 0 {
		last := make([]byte, 1)
		if _, err := file.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			if _, err := file.Write([]byte{'\n'}); err != nil {
				return err
			}
			size++
		}
		began = firstTime(file, began)
	}
	f.file, f.out, f.regular, f.size, f.began, f.waiting = file, bufio.NewWriterSize(file, 64<<10), regular, size, began, 0
	return nil
}

// firstTime returns the time of a file's first line, so that a process that is
// started again every day rotates all the same.
func firstTime(file *os.File, otherwise time.Time) time.Time {
	head := make([]byte, 16<<10)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return otherwise
	}
	line, _, _ := bytes.Cut(head[:n], []byte{'\n'})
	var first struct{ Time time.Time }
	if json.Unmarshal(line, &first) != nil || first.Time.IsZero() {
		return otherwise
	}
	return first.Time
}

// drop closes the file without flushing and returns how many lines are lost.
func (f *logFile) drop() (lost int) {
	_ = f.file.Close() // what it would tell has been told, or does not matter
	lost, f.waiting = f.waiting, 0
	f.file, f.out = nil, nil
	return lost
}

// close flushes and closes.
func (f *logFile) close() (lost int, err error) {
	if f.out == nil {
		return 0, nil
	}
	if err := f.out.Flush(); err != nil {
		return f.drop(), err
	}
	err = f.file.Close()
	f.file, f.out, f.waiting = nil, nil, 0
	return 0, err
}

// rotatedLayout is the time in the name of a rotated file; names sort by it.
const rotatedLayout = "20060102T150405.000000000Z"

// rotate gives the file a name with the time in it and begins a new one.
func (f *logFile) rotate(now time.Time) (lost int, err error) {
	if f.full {
		return 0, nil // tried a moment ago
	}
	if lost, err = f.close(); err != nil {
		return lost, fmt.Errorf("write access log: %w", err)
	}
	rotated := f.options.File + "." + now.UTC().Format(rotatedLayout)
	if err = os.Rename(f.options.File, rotated); err != nil {
		f.full = true
		err = fmt.Errorf("rotate access log: %w", err)
	}
	return 0, errors.Join(err, f.open(), f.prune())
}

// prune removes the oldest rotated files until all fit.
func (f *logFile) prune() error {
	dir, base := filepath.Split(f.options.File)
	entries, err := os.ReadDir(filepath.Clean(filepath.Join(dir, ".")))
	if err != nil {
		return fmt.Errorf("list access logs: %w", err)
	}
	var names []string
	sizes := make(map[string]int64)
	total := f.options.MaxSize // what the current file may become
	for _, e := range entries {
		suffix, ours := strings.CutPrefix(e.Name(), base+".")
		if _, err := time.Parse(rotatedLayout, suffix); !ours || err != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			names = append(names, e.Name())
			sizes[e.Name()] = info.Size()
			total += info.Size()
		}
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		if total <= f.options.MaxTotal {
			break
		}
		errs = append(errs, os.Remove(filepath.Join(dir, name)))
		total -= sizes[name]
	}
	return errors.Join(errs...)
}
