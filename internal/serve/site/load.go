package site

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"pennyfarthing/internal/encode"
)

const (
	// maxOpen bounds how many large files a site holds open.
	maxOpen = 1024
	// racyWindow is how long after a change a file's times may not move though
	// it changes again: the kernel's clock ticks every few milliseconds.
	racyWindow = 50 * time.Millisecond
	// readAttempts is how often a file is read that changes while it is read.
	readAttempts = 5
)

var errUnsteady = errors.New("it changes while it is being read")

// loadMemory reads a small file into the store.
func (c *compiler) loadMemory(f found) (*asset, error) {
	data, stat, err := c.readSteady(f.name)
	if err != nil {
		return nil, err
	}
	a := c.newAsset(found{name: f.name, stat: stat}, data)
	a.hash, a.hashed = sha256.Sum256(data), true
	mem, err := c.Store.Put(a.hash, data)
	if err != nil {
		return nil, err
	}
	a.addForm(encode.Identity, encode.Best, mem, nil)
	if old := c.known[f.name]; old != nil && old.hash == a.hash && old.identity().mem != nil {
		a.takeForms(old)
	}
	return a, nil
}

// takeForms takes the codings of the same content from another asset.
func (a *asset) takeForms(old *asset) {
	a.done = old.done
	for coding, f := range old.forms {
		if f != nil && encode.Coding(coding) != encode.Identity {
			a.addForm(encode.Coding(coding), f.level, f.mem, nil)
		}
	}
}

// loadDisk opens a large file and looks at its beginning.
func (c *compiler) loadDisk(f found) (*asset, error) {
	file, err := c.root.Open(f.name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	head := make([]byte, min(sniffLength, info.Size()))
	if _, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, file.Close())
	}
	disk := &diskFile{name: f.name, stat: statOf(info), root: c.root}
	if c.holdOpen() {
		disk.file = file
	} else if err := file.Close(); err != nil {
		return nil, err
	}
	a := c.newAsset(found{name: f.name, stat: disk.stat}, head)
	a.addForm(encode.Identity, encode.Best, nil, disk)
	return a, nil
}

// holdOpen reports whether one more file may be held open, and counts it.
func (c *compiler) holdOpen() bool {
	c.internMu.Lock()
	defer c.internMu.Unlock()
	c.open++
	return c.open <= maxOpen
}

func (c *compiler) newAsset(f found, content []byte) *asset {
	now := c.Now()
	a := &asset{
		name: f.name, stat: f.stat, modified: f.stat.lastModified(now),
		racy:        now.UnixNano()-f.stat.modTime < int64(racyWindow),
		contentType: mediaType(f.name, content),
	}
	a.codable = encode.Compressible(a.contentType)
	return a
}

// readSteady reads a file whose times are the same before and after.
func (c *compiler) readSteady(name string) ([]byte, fileStat, error) {
	for range readAttempts {
		data, stat, err := c.readOnce(name)
		if !errors.Is(err, errUnsteady) {
			return data, stat, err
		}
	}
	return nil, fileStat{}, errUnsteady
}

func (c *compiler) readOnce(name string) ([]byte, fileStat, error) {
	f, err := c.root.Open(name)
	if err != nil {
		return nil, fileStat{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	before, err := f.Stat()
	if err != nil {
		return nil, fileStat{}, err
	}
	if before.Size() > MaxInMemory {
		return nil, fileStat{}, errUnsteady // it has grown since the walk
	}
	data, err := readAll(f, before.Size())
	if err != nil {
		return nil, fileStat{}, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, fileStat{}, err
	}
	stat := statOf(before)
	if statOf(after) != stat || int64(len(data)) != stat.size {
		return nil, fileStat{}, errUnsteady
	}
	return data, stat, nil
}

// readAll reads a file of about this size, and a byte more if there is one.
func readAll(f *os.File, size int64) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(size) + bytes.MinRead)
	if _, err := buf.ReadFrom(io.LimitReader(f, MaxInMemory+1)); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return buf.Bytes(), nil
}
