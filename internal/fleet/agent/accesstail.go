package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"pennyfarthing/internal/fleet/api"
)

const (
	tailBytes = 4 << 20   // of the access log that is read for somebody who asks
	tailLine  = 128 << 10 // longer lines are left out; a request's head has less
)

// An accessTail reads what is added to an access log, from its last bytes on,
// over rotations.
type accessTail struct {
	file string
	pop  string

	open *os.File
	part []byte // a line that is not whole yet
	skip bool   // the rest of a line that is too long, or that began before
}

func newAccessTail(file, pop string) *accessTail { return &accessTail{file: file, pop: pop} }

// next returns the lines that came since. No file is no lines.
func (t *accessTail) next() ([]api.LogLine, error) {
	if t.file == "" {
		return nil, nil
	}
	var lines []api.LogLine
	if t.open != nil {
		more, err := t.read()
		if err != nil {
			return nil, err
		}
		lines = more
	}
	again, err := t.reopen()
	if err != nil || !again {
		return lines, err
	}
	more, err := t.read()
	return append(lines, more...), err
}

// reopen opens the file if it is not open, or is another one by now.
func (t *accessTail) reopen() (bool, error) {
	there, err := os.Stat(t.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	first := t.open == nil
	if !first {
		if has, err := t.open.Stat(); err == nil && os.SameFile(has, there) {
			return false, nil
		}
		_ = t.close() // it was read to its end
	}
	f, err := os.Open(t.file)
	if err != nil {
		return false, err
	}
	t.open, t.part, t.skip = f, nil, false
	if first && there.Size() > tailBytes {
		if _, err := f.Seek(there.Size()-tailBytes, io.SeekStart); err != nil {
			return false, errors.Join(err, t.close())
		}
		t.skip = true
	}
	return true, nil
}

// read reads to the end of the file.
func (t *accessTail) read() ([]api.LogLine, error) {
	var lines []api.LogLine
	block := make([]byte, 64<<10)
	for {
		n, err := t.open.Read(block)
		lines = t.split(lines, block[:n])
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
	}
}

func (t *accessTail) split(lines []api.LogLine, data []byte) []api.LogLine {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			if t.part = append(t.part, data...); len(t.part) > tailLine {
				t.part, t.skip = nil, true
			}
			return lines
		}
		line := append(t.part, data[:end]...)
		data, t.part = data[end+1:], nil
		if t.skip {
			t.skip = false
			continue
		}
		var at struct {
			Time time.Time
			POP  string
		}
		// Half a line of a machine that lost its power is none; nor is one of another
		// POP that shares the file.
		if json.Unmarshal(line, &at) == nil && (at.POP == "" || at.POP == t.pop) {
			lines = append(lines, api.LogLine{Time: at.Time, POP: t.pop, Kind: "access", Access: bytes.Clone(line)})
		}
	}
	return lines
}

func (t *accessTail) close() error {
	if t.open == nil {
		return nil
	}
	err := t.open.Close()
	t.open = nil
	return err
}
