package result

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/evidence"
)

// maxLine is the longest line of a part that is text. The longest record, with every
// byte of it escaped, is longer; no row comes near.
const maxLine = 64 << 20

// Rows yields the rows of all parts of a run, in the order of the list, whatever the
// formats. Each row is the caller's to keep. After an error nothing more comes.
//
// A part that is damaged, or two parts of one shard, are a [*mistake.Error] that names
// the file, where it can the row as its line, and what to do. A run without parts has
// no rows.
func Rows(run string) iter.Seq2[*evidence.Row, error] {
	return func(yield func(*evidence.Row, error) bool) {
		parts, err := listParts(run)
		if err != nil {
			yield(nil, err)
			return
		}
		for i, part := range parts {
			if i > 0 && parts[i-1].shard == part.shard {
				yield(nil, twice(run, parts[i-1], part))
				return
			}
		}
		for _, part := range parts {
			if !part.rows(run, yield) {
				return
			}
		}
	}
}

func twice(run string, a, b partFile) error {
	return &mistake.Error{
		File: filepath.Join(run, partsDir, b.name),
		What: fmt.Sprintf("the same targets are in %s", a.name),
		Hint: "remove one of the two files: they are the same part in two formats",
	}
}

// A rowReader reads one row after the other, and io.EOF at the end.
type rowReader interface {
	row() (*evidence.Row, error)
}

// rows yields the rows of one part, and reports whether to go on.
func (p partFile) rows(run string, yield func(*evidence.Row, error) bool) bool {
	path := filepath.Join(run, partsDir, p.name)
	f, err := os.Open(path)
	if err != nil {
		yield(nil, fmt.Errorf("read a part of a run: %w", err))
		return false
	}
	defer f.Close()

	r, err := p.open(f)
	if err != nil {
		yield(nil, damaged(run, path, 0, err))
		return false
	}
	for n := 1; ; n++ {
		row, err := careful(r.row)
		if err == io.EOF { //nolint:errorlint // what wraps it is not the end
			return true
		}
		if err != nil {
			yield(nil, damaged(run, path, n, err))
			return false
		}
		if !yield(row, nil) {
			return false
		}
	}
}

func (p partFile) open(f *os.File) (rowReader, error) {
	switch p.format {
	case CSV:
		return newCSVReader(f)
	case JSONL:
		return &jsonReader{bufio.NewReaderSize(f, textBytes), nil}, nil
	case Parquet:
		return careful(func() (rowReader, error) { return newParquetReader(f) })
	}
	return nil, errors.New("no such format")
}

// careful turns a panic into an error. The library that reads Parquet panics on some
// files that are damaged, which is no reason to lose what others say.
func careful[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be understood (%v)", r)
		}
	}()
	return f()
}

// damaged says that a part is not what was committed, unless the disk is to blame.
func damaged(run, path string, row int, err error) error {
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("read a part of a run: %w", err)
	}
	where := ""
	if row > 0 {
		where = fmt.Sprintf("row %d: ", row)
	}
	return &mistake.Error{
		File: path,
		What: where + "the part is damaged: " + err.Error(),
		Hint: fmt.Sprintf("rm %s && penny sweep resume %s    asks its targets again", path, run),
	}
}

// A jsonReader reads a JSON object a line.
type jsonReader struct {
	r    *bufio.Reader
	line []byte
}

func (j *jsonReader) row() (*evidence.Row, error) {
	if err := j.next(); err != nil {
		return nil, err
	}
	row := new(evidence.Row)
	if err := json.Unmarshal(j.line, row); err != nil {
		return nil, err
	}
	if row.Target == "" {
		return nil, errors.New("a row without a target")
	}
	return row, nil
}

// next reads a line that is not empty.
func (j *jsonReader) next() error {
	for {
		j.line = j.line[:0]
		for {
			piece, err := j.r.ReadSlice('\n')
			j.line = append(j.line, piece...)
			if len(j.line) > maxLine {
				return errLength
			}
			if err == nil || err == io.EOF && len(j.line) > 0 {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return err
			}
		}
		if j.line = bytes.TrimSpace(j.line); len(j.line) > 0 {
			return nil
		}
	}
}
