package encode

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A Cache keeps encoded bodies on disk, by the hash of the plain body, so that a
// restart or the next release need not make them again. A nil *Cache is a cache
// that never has anything.
//
// It may lose entries at any time but never gives a wrong one: each carries a
// checksum. So entries are renamed into place but not synced to disk first,
// which would often take longer than encoding again. A disk that is full or
// read-only makes a cache useless, nothing more.
//
// Methods are safe for concurrent use, and several processes may share the
// directory. It stays within its bound, plus at most an eighth of it for every
// other process that writes at the same time.
type Cache struct {
	dir      string
	maxBytes int64
	now      func() time.Time

	mu       sync.Mutex // guards headroom, and lets one Put at a time clean up
	headroom int64      // bytes that may be written until the directory is to be looked at again

	makingMu sync.Mutex // guards making
	making   map[string]*made
}

// A made is an entry that somebody is making.
type made struct {
	done chan struct{} // closed when the others are set
	data []byte
	err  error
}

// An entry is a file dir/ab/abcd….br.best: entryMagic, the checksum, the encoded
// body. The body is empty if the coding makes the plain one no smaller.
const (
	entryMagic  = "penny-e1" // the number changes with the format and with the meaning of a level
	entryHeader = len(entryMagic) + sha256.Size
	touchEvery  = 24 * time.Hour
)

// OpenCache opens the cache in dir, which it makes, for up to maxBytes of disk.
// It looks through the directory and removes what is too much.
func OpenCache(dir string, maxBytes int64) (*Cache, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("open cache %s: its size must be at least 1 byte, not %d", dir, maxBytes)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &Cache{dir: dir, maxBytes: maxBytes, now: time.Now}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.cleanUp(); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return c, nil
}

// Get returns the body with the SHA-256 hash in a coding, and whether the cache
// has it. The body is empty if the coding is known to make it no smaller. A
// damaged entry is removed and not returned.
func (c *Cache) Get(hash [32]byte, coding Coding, level Level) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	path := c.path(hash, coding, level)
	raw, modified, err := c.read(path)
	if err != nil {
		return nil, false
	}
	if len(raw) < entryHeader || string(raw[:entryHeader]) != string(header(hash, coding, level, raw[entryHeader:])) {
		_ = os.Remove(path) // if it stays, it is found damaged again
		return nil, false
	}
	if now := c.now(); now.Sub(modified).Abs() > touchEvery {
		_ = os.Chtimes(path, now, now) // if it cannot be, the entry goes sooner
	}
	return raw[entryHeader:], true
}

// read returns a file and when it was last used.
func (c *Cache) read(path string) ([]byte, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if info.Size() > c.maxBytes {
		return nil, time.Time{}, errors.New("larger than the cache")
	}
	raw := make([]byte, info.Size())
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, time.Time{}, err
	}
	return raw, info.ModTime(), nil
}

// Make returns what [Cache.Get] has, or else what encode returns, which it keeps.
// While somebody makes an entry others wait for it: the POPs of a fleet in one process
// all want the same at the same time. What is returned must not be changed.
func (c *Cache) Make(hash [32]byte, coding Coding, level Level, encode func() ([]byte, error)) ([]byte, error) {
	if c == nil {
		return encode()
	}
	path := c.path(hash, coding, level)
	c.makingMu.Lock()
	if other := c.making[path]; other != nil {
		c.makingMu.Unlock()
		<-other.done
		return other.data, other.err
	}
	m := &made{done: make(chan struct{}), err: errors.New("whoever made it has panicked")}
	if c.making == nil {
		c.making = make(map[string]*made)
	}
	c.making[path] = m
	c.makingMu.Unlock()
	defer func() {
		c.makingMu.Lock()
		delete(c.making, path)
		c.makingMu.Unlock()
		close(m.done)
	}()
	data, ok := c.Get(hash, coding, level)
	if ok {
		m.data, m.err = data, nil
		return data, nil
	}
	m.data, m.err = encode()
	if m.err == nil {
		_ = c.Put(hash, coding, level, m.data) // a cache that can't be written is none
	}
	return m.data, m.err
}

// Put keeps a body in a coding under the SHA-256 hash of the plain body. An
// empty one says that the coding makes it no smaller and need not be tried
// again. The error is for the log: whoever ignores it only has to encode again.
func (c *Cache) Put(hash [32]byte, coding Coding, level Level, encoded []byte) error {
	if c == nil {
		return nil
	}
	size := onDisk(int64(entryHeader + len(encoded)))
	if size > c.maxBytes {
		return fmt.Errorf("cache %s: an entry of %d bytes is larger than the whole cache of %d", c.dir, size, c.maxBytes)
	}
	if err := c.write(c.path(hash, coding, level), header(hash, coding, level, encoded), encoded); err != nil {
		return fmt.Errorf("cache %s: %w", c.dir, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headroom -= size; c.headroom >= 0 {
		return nil
	}
	if err := c.cleanUp(); err != nil {
		return fmt.Errorf("clean up cache: %w", err)
	}
	return nil
}

// write makes a file under a temporary name and renames it, so that no reader,
// of any process, sees half of it.
func (c *Cache) write(path string, parts ...[]byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), temporary+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // cleanUp finds it otherwise
		}
	}()
	for _, part := range parts {
		if _, err := f.Write(part); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (c *Cache) path(hash [32]byte, coding Coding, level Level) string {
	name := hex.EncodeToString(hash[:])
	return filepath.Join(c.dir, name[:2], name+"."+coding.String()+"."+level.String())
}

// header returns what stands before a body. The checksum covers what the entry
// is for, so that a file under a wrong name is damaged as well.
func header(hash [32]byte, coding Coding, level Level, body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(entryMagic))
	h.Write(hash[:])
	h.Write([]byte{byte(coding), byte(level)})
	h.Write(body)
	return h.Sum([]byte(entryMagic))
}
