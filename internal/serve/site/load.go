package site

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/mediatype"
)

const (
	// maxOpen bounds how many large files a site holds open.
	maxOpen = 1024
	// readAttempts is how often a file is read that changes while it is read.
	readAttempts = 5
)

var (
	errUnsteady = errors.New("it changes while it is being read")
	errGrown    = errors.New("it is too large for memory by now")
)

// openFile opens a regular file. What is something else by now, or reached only
// outside of the root, is not there.
func openFile(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file any more: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// load makes the asset of one file, or takes it from the previous site. It
// returns nil if the file is gone. It runs concurrently.
func (c *compiler) load(f found, inMemory bool) (*asset, error) {
	if f.released != nil {
		return c.loadReleased(*f.released, inMemory)
	}
	old := c.known[f.name]
	if old != nil && old.stat == f.stat && !old.racy && (old.identity().mem != nil) == inMemory {
		return c.reuse(old), nil
	}
	a, err := c.read(f, inMemory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // gone since the walk
	}
	if err != nil {
		return nil, c.unreadable(f.name, err)
	}
	a.follow(old, c.Now().Unix())
	return a, nil
}

func (c *compiler) read(f found, inMemory bool) (*asset, error) {
	if inMemory {
		a, err := c.loadMemory(f)
		if !errors.Is(err, errGrown) {
			return a, err
		}
	}
	return c.loadDisk(f)
}

// reuse returns a copy of an asset of the previous site.
func (c *compiler) reuse(old *asset) *asset {
	disk := old.identity().disk
	if disk == nil {
		return old.withForms(func(*asset) {})
	}
	if disk.file != nil {
		c.holdOpen()
		return old.withForms(func(*asset) {})
	}
	return old.withForms(func(twin *asset) { // the old root may be another directory by now
		c.keepRoot()
		twin.addForm(encode.Identity, encode.Best, nil, &diskFile{name: disk.name, stat: disk.stat, root: c.root})
	})
}

// follow keeps Last-Modified going forward: content that changed is newer than
// what it replaces, even if the file's time stood still or went back, as in a
// roll-back, so that If-Modified-Since never keeps the old content alive.
func (a *asset) follow(old *asset, now int64) {
	if old == nil {
		return
	}
	same := a.stat == old.stat
	if a.hashed && old.hashed {
		same = a.hash == old.hash
	}
	switch {
	case same && a.stat.modTime == old.stat.modTime:
		a.modified = old.modified
	case !same && a.modified <= old.modified:
		a.modified = max(a.modified, now)
	default:
		return
	}
}

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
	a.tried, a.done = old.tried, old.done
	for coding, f := range old.forms {
		if f != nil && encode.Coding(coding) != encode.Identity {
			a.addForm(encode.Coding(coding), f.level, f.mem, nil).given = f.given
		}
	}
}

// loadDisk opens a large file and looks at its beginning.
func (c *compiler) loadDisk(f found) (*asset, error) {
	file, info, err := openFile(c.root, f.name)
	if err != nil {
		return nil, err
	}
	head := make([]byte, min(mediatype.SniffLength, info.Size()))
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, file.Close())
	}
	disk := &diskFile{name: f.name, stat: statOf(info)}
	if c.holdOpen() {
		disk.file = file
	} else {
		c.keepRoot()
		disk.root = c.root
		_ = file.Close() // it was only read
	}
	a := c.newAsset(found{name: f.name, stat: disk.stat}, head[:n])
	a.addForm(encode.Identity, encode.Best, nil, disk)
	return a, nil
}

// holdOpen reports whether one more file may be held open, and counts it.
func (c *compiler) holdOpen() bool {
	return c.open.Add(1) <= maxOpen
}

// keepRoot keeps the directory open for as long as an asset needs it.
func (c *compiler) keepRoot() { c.rootNeeded.Store(true) }

func (c *compiler) newAsset(f found, content []byte) *asset {
	a := &asset{
		name: f.name, stat: f.stat, modified: f.stat.lastModified(c.Now()),
		racy:        f.stat.racy(time.Now()), // the kernel's clock, not ours
		contentType: mediatype.Of(f.name, content),
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
	f, before, err := openFile(c.root, name)
	if err != nil {
		return nil, fileStat{}, err
	}
	defer f.Close()
	if before.Size() > MaxInMemory {
		return nil, fileStat{}, errGrown
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
