package encode

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// temporary begins the names of files that are being written.
	temporary = "tmp-"
	// abandonedAfter is when nobody can be writing a temporary file any more.
	abandonedAfter = time.Hour
	// blockSize is what a file takes on disk at least, on most file systems.
	blockSize = 4096
)

// An entryFile is an entry as the directory shows it.
type entryFile struct {
	path string
	size int64
	used time.Time
}

// cleanUp looks at what there is, to which other processes may have added,
// removes the least recently used entries if that is too much, and sets the
// headroom. The caller holds mu.
func (c *Cache) cleanUp() error {
	entries, err := c.list()
	if err != nil {
		return err
	}
	var total int64
	for _, e := range entries {
		total += e.size
	}
	if total > c.maxBytes {
		slices.SortFunc(entries, func(a, b entryFile) int { return a.used.Compare(b.used) })
		total = evict(entries, total, c.maxBytes-c.maxBytes/10)
	}
	c.headroom = min(max(c.maxBytes-total, 0), c.maxBytes/8)
	return nil
}

// evict removes entries from the front until total is no more than goal, and
// returns the new total.
func evict(entries []entryFile, total, goal int64) int64 {
	for _, e := range entries {
		if total <= goal {
			break
		}
		if err := os.Remove(e.path); err == nil || errors.Is(err, fs.ErrNotExist) {
			total -= e.size
		}
	}
	return total
}

// list returns all entries, and removes temporary files that a process left when
// it was killed. It passes over files that are not the cache's.
func (c *Cache) list() ([]entryFile, error) {
	dirs, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var entries []entryFile
	for _, d := range dirs {
		if !d.IsDir() || !isHex(d.Name(), 2) {
			continue
		}
		files, err := os.ReadDir(filepath.Join(c.dir, d.Name()))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if e, ok := c.inspect(d.Name(), f); ok {
				entries = append(entries, e)
			}
		}
	}
	return entries, nil
}

// inspect describes a file if it is an entry.
func (c *Cache) inspect(dir string, f fs.DirEntry) (entryFile, bool) {
	info, err := f.Info()
	if err != nil || !info.Mode().IsRegular() { // another process may have removed it just now
		return entryFile{}, false
	}
	path := filepath.Join(c.dir, dir, f.Name())
	if strings.HasPrefix(f.Name(), temporary) {
		if c.now().Sub(info.ModTime()) > abandonedAfter {
			_ = os.Remove(path) // next time, then
		}
		return entryFile{}, false
	}
	hash, _, _ := strings.Cut(f.Name(), ".")
	return entryFile{path, onDisk(info.Size()), info.ModTime()}, isHex(hash, 64)
}

// onDisk returns how much disk a file of a size takes, in bytes.
func onDisk(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

func isHex(s string, length int) bool {
	return len(s) == length && strings.Trim(s, "0123456789abcdef") == ""
}
