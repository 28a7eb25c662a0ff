package site

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"pennyfarthing/internal/serve/body"
)

// maxHistory is how many names a history remembers before it forgets those that
// are gone.
const maxHistory = 100_000

// A history remembers which content every fingerprinted name had, so that a
// name that ever had another one is never called immutable again. It is read
// and written by one goroutine.
type history struct {
	file  string // "" keeps nothing
	Names map[string]string
	dirty bool
}

// reused marks a name that had several contents.
const reused = "reused"

// loadHistory reads a history from file; one that is not there, or damaged, is
// empty: the worst that follows is that a name is believed once more. With an
// error it returns an empty history that keeps nothing.
func loadHistory(file string) (*history, error) {
	h := &history{file: file, Names: make(map[string]string)}
	if file == "" {
		return h, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		h.file = ""
		return h, fmt.Errorf("read the history of file names: %w", err)
	}
	if json.Unmarshal(data, &h.Names) != nil || h.Names == nil {
		h.Names = make(map[string]string)
	}
	return h, nil
}

// constant records that name has the content with this hash and reports whether
// it never had another.
func (h *history) constant(name string, hash body.Key) bool {
	sum := hex.EncodeToString(hash[:])
	switch known, ok := h.Names[name]; {
	case !ok:
		h.Names[name] = sum
	case known != sum:
		h.dirty = h.dirty || known != reused
		h.Names[name] = reused
		return false
	default:
		return true
	}
	h.dirty = true
	return true
}

// forget makes room when there are too many names: those that no file of the
// site has any more go, but for the names that are known to be reused.
func (h *history) forget(current map[string]bool) {
	if len(h.Names) <= maxHistory {
		return
	}
	before := len(h.Names)
	maps.DeleteFunc(h.Names, func(name, sum string) bool { return sum != reused && !current[name] })
	h.dirty = h.dirty || len(h.Names) != before
}

// clone returns a copy to compile with, so that a site that does not compile
// leaves no trace.
func (h *history) clone() *history {
	return &history{file: h.file, Names: maps.Clone(h.Names), dirty: h.dirty}
}

// save writes the history if it changed.
func (h *history) save() error {
	if !h.dirty || h.file == "" {
		return nil
	}
	data, err := json.Marshal(h.Names)
	if err != nil {
		return fmt.Errorf("encode the history of file names: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(h.file), 0o700); err != nil {
		return fmt.Errorf("make the directory of the history: %w", err)
	}
	if err := writeFile(h.file, data); err != nil {
		return fmt.Errorf("save the history of file names: %w", err)
	}
	h.dirty = false
	return nil
}

// writeFile replaces a file atomically.
func writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
