package release

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"github.com/zeebo/xxh3"

	"pennyfarthing/internal/mediatype"
)

// The stat cache is one file: a magic, the release that the files were, an entry
// for each file in the order of their paths, and a checksum. A path is how much it
// shares with the one before and what follows, so that the file takes some 70 bytes
// for each file of a site. The magic's number changes with the format, with what a
// nature means, and with how a manifest is written.
const (
	statCacheMagic = "penny-stat2\n"
	statCacheHead  = len(Hash{}) + 8
	statCacheSum   = 8
	maxStatCache   = 1 << 30
)

// A statCache is the file, with its entries encoded.
type statCache struct {
	release Hash   // that the entries were; zero if some file is not among them
	served  uint64 // what they were served as; see snapshotter.served
	entries []byte
}

// loadStatCache returns an empty cache if the file is not there, or not whole.
func loadStatCache(path string) *statCache {
	if path == "" {
		return &statCache{}
	}
	data, err := readPath(path, maxStatCache)
	if err != nil {
		return &statCache{}
	}
	body, ok := bytes.CutPrefix(data, []byte(statCacheMagic))
	if !ok || len(body) < statCacheHead+statCacheSum {
		return &statCache{}
	}
	body, sum := body[:len(body)-statCacheSum], body[len(body)-statCacheSum:]
	if xxh3.Hash(body) != binary.LittleEndian.Uint64(sum) {
		return &statCache{}
	}
	c := &statCache{release: Hash(body[:len(Hash{})]), entries: body[statCacheHead:]}
	c.served = binary.LittleEndian.Uint64(body[len(Hash{}):])
	return c
}

// match returns what the cache knows of the files, index by index. Both are
// sorted, so that one pass over both will do.
func (c *statCache) match(files []found) []content {
	known := make([]content, len(files))
	d := statDecoder{rest: c.entries}
	entry := d.next()
	for i := range files {
		for entry && string(d.path) < files[i].path {
			entry = d.next()
		}
		if entry && string(d.path) == files[i].path && d.stat == files[i].stat {
			known[i] = content{hash: d.hash, nature: d.nature, state: cached}
		}
	}
	return known
}

// is reports whether the cache has exactly the entries that saving these would
// write.
func (c *statCache) is(files []found, known []content) bool {
	d := statDecoder{rest: c.entries}
	for i := range files {
		if known[i].state == racy {
			continue
		}
		if known[i].state != cached || !d.next() || string(d.path) != files[i].path {
			return false
		}
	}
	return !d.next()
}

// A statDecoder reads one entry after the other. The checksum says that they are
// what we wrote, so that a mistake in them is no more than an end.
type statDecoder struct {
	rest   []byte
	path   []byte
	stat   fileStat
	nature mediatype.Nature
	hash   Hash
}

// Fixed parts of an entry: size, two times and inode, nature, hash.
const (
	statEntryFixed = 4*8 + 1 + len(Hash{})
)

func (d *statDecoder) next() bool {
	shared, n := binary.Uvarint(d.rest)
	if n <= 0 || shared > uint64(len(d.path)) {
		return false
	}
	d.rest = d.rest[n:]
	more, n := binary.Uvarint(d.rest)
	if n <= 0 || more > MaxPathBytes || uint64(len(d.rest)-n) < more+uint64(statEntryFixed) {
		return false
	}
	d.rest = d.rest[n:]
	d.path = append(d.path[:shared], d.rest[:more]...)
	fixed := d.rest[more : more+uint64(statEntryFixed)]
	d.rest = d.rest[more+uint64(statEntryFixed):]
	d.stat = fileStat{
		size:    int64(binary.LittleEndian.Uint64(fixed)),
		modTime: int64(binary.LittleEndian.Uint64(fixed[8:])),
		change:  int64(binary.LittleEndian.Uint64(fixed[16:])),
		inode:   binary.LittleEndian.Uint64(fixed[24:]),
	}
	d.nature = mediatype.Nature(fixed[32])
	copy(d.hash[:], fixed[33:])
	return true
}

func appendStatEntry(b []byte, before string, f *found, c *content) []byte {
	shared := 0
	for shared < len(before) && shared < len(f.path) && before[shared] == f.path[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(f.path)-shared))
	b = append(b, f.path[shared:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.stat.size))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.stat.modTime))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.stat.change))
	b = binary.LittleEndian.AppendUint64(b, f.stat.inode)
	b = append(b, byte(c.nature))
	return append(b, c.hash[:]...)
}

// saveStatCache writes which release the files were, and all entries but those of racy
// files. It is renamed into place and not brought to the disk first: a checksum finds
// what a crash leaves, and then files are only hashed again.
func saveStatCache(path string, release Hash, served uint64, files []found, known []content) error {
	body := make([]byte, 0, len(files)*(statEntryFixed+32)+len(statCacheMagic)+statCacheHead+statCacheSum)
	body = append(body, statCacheMagic...)
	body = append(body, release[:]...)
	body = binary.LittleEndian.AppendUint64(body, served)
	before := ""
	for i := range files {
		if known[i].state != racy {
			body = appendStatEntry(body, before, &files[i], &known[i])
			before = files[i].path
		}
	}
	sum := xxh3.Hash(body[len(statCacheMagic):])
	body = binary.LittleEndian.AppendUint64(body, sum)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(f.Name()))
	}
	return nil
}
