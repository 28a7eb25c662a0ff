package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/mediatype"
	"pennyfarthing/internal/mistake"
)

// SnapshotOptions say what a directory is a release of.
type SnapshotOptions struct {
	Site    string
	Dialect string
	// Previous is the release that is live, if one is: a file with the same path
	// and content keeps its time, whatever the disk says, so that the same tree
	// gives the same release on every machine.
	Previous *Manifest
	// Cache is the file that remembers hashes between snapshots of one directory.
	// It may be missing, damaged or removed at any time. Empty keeps nothing.
	Cache string
	// Now is the time, which no Last-Modified lies behind; time.Now if nil.
	Now func() time.Time
}

// A Tree is the directory that a snapshot was made of.
type Tree struct {
	// Notes say what is not part of the release, one sentence each.
	Notes []string
	// Hashed is how many files had to be read, of how many bytes.
	Hashed      int
	HashedBytes int64

	// ID is the release's name.
	ID Hash

	root  *os.Root
	files []File
	stats []fileStat
}

// Close gives up the directory.
func (t *Tree) Close() error { return t.root.Close() }

// ErrChanged says that a file is no longer what it was when the snapshot was
// made. Another snapshot helps.
var ErrChanged = errors.New("it has changed since the directory was read")

// Open opens a file of the snapshot. The error is ErrChanged if the file is
// another by now; that it does not change later is for the reader to see, by the
// hash.
func (t *Tree) Open(f File) (*os.File, error) {
	i, ok := (&Manifest{Files: t.files}).index(f.Path)
	if !ok {
		return nil, fmt.Errorf("open %s: %w", f.Path, fs.ErrNotExist)
	}
	file, stat, err := openRegular(t.root, f.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIrregular) || err == nil && stat != t.stats[i] {
		err = errors.Join(ErrChanged, err)
	}
	if err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, fmt.Errorf("open %s: %w", f.Path, err)
	}
	return file, nil
}

// Snapshot reads a directory and returns the release that it is. Dotfiles are
// left out but for .well-known at the top, and so are symbolic links and whatever
// is no regular file, with a note. Two files whose names differ only by case are
// an error that carries a *[mistake.Error].
//
// Files that the cache knows are not read: a file is known if its size, its
// times and its inode are as they were, and if it was not changed so shortly
// before it was read that it may have changed again without any sign.
func Snapshot(ctx context.Context, dir string, o SnapshotOptions) (*Manifest, *Tree, error) {
	scan, err := NewScan(ctx, dir, o)
	if err != nil {
		return nil, nil, err
	}
	m, t, err := scan.Snapshot(ctx, o.Previous)
	if err != nil {
		return nil, nil, errors.Join(err, scan.Close())
	}
	return m, t, nil
}

// A Scan is a directory of which it is known what is in it, and not yet what that is a
// release of: nothing has been read but what the cache knows.
type Scan struct {
	dir   string
	o     SnapshotOptions
	notes []string
	cache *statCache
	same  bool // the cache knows these files, and no others
	s     *snapshotter
}

// NewScan looks at a directory, with the options of a snapshot but for Previous. The
// caller closes it, or a tree that was made of it.
func NewScan(ctx context.Context, dir string, o SnapshotOptions) (*Scan, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, directoryError(dir, err)
	}
	found, notes, err := walkTree(ctx, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", dir, err), root.Close())
	}
	cache := loadStatCache(o.Cache)
	known := cache.match(found)
	return &Scan{
		dir: dir, o: o, notes: notes, cache: cache, same: cache.is(found, known),
		s: &snapshotter{root: root, now: time.Now(), found: found, known: known},
	}, nil
}

// Close gives up the directory.
func (s *Scan) Close() error { return s.s.root.Close() }

// Files returns how many files there are, and how many bytes they have together.
func (s *Scan) Files() (n int, bytes int64) {
	for i := range s.s.found {
		bytes += s.s.found[i].stat.size
	}
	return len(s.s.found), bytes
}

// Unread returns how many files a snapshot has to read, and how many bytes they have.
func (s *Scan) Unread() (n int, bytes int64) {
	for i := range s.s.found {
		if s.s.known[i].state == unread {
			n, bytes = n+1, bytes+s.s.found[i].stat.size
		}
	}
	return n, bytes
}

// Notes say what is not part of the release, one sentence each.
func (s *Scan) Notes() []string { return s.notes }

// Release returns the release that the latest snapshot of this directory gave, if
// another one after it, with that release as the previous one, would be the same: every
// file is what it was then, and would be served as the same. It takes no more than a look
// at the cache.
func (s *Scan) Release() (Hash, bool) {
	if !s.same || s.cache.release == (Hash{}) || s.cache.served != s.s.served(s.o) {
		return Hash{}, false
	}
	return s.cache.release, true
}

// Snapshot reads what is not known of the files, and returns the release that they are
// after another one, which may be nil. It may be called again with another one.
func (s *Scan) Snapshot(ctx context.Context, previous *Manifest) (*Manifest, *Tree, error) {
	if err := s.s.hash(ctx); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", s.dir, err)
	}
	m := s.s.manifest(s.o, previous)
	if err := m.Check(); err != nil {
		return nil, nil, treeError(s.dir, err)
	}
	t := &Tree{Notes: s.notes, ID: m.ID(), root: s.s.root, files: m.Files, Hashed: int(s.s.hashed.Load()), HashedBytes: s.s.hashedBytes.Load()}
	t.stats = make([]fileStat, len(s.s.found))
	for i := range s.s.found {
		t.stats[i] = s.s.found[i].stat
	}
	if err := s.save(t.ID); err != nil {
		t.Notes = append(slices.Clip(t.Notes), fmt.Sprintf("the next snapshot will be slow: %v", err))
	}
	return m, t, nil
}

// save writes the cache if it has not everything already.
func (s *Scan) save(id Hash) error {
	if s.o.Cache == "" {
		return nil
	}
	if slices.ContainsFunc(s.s.known, func(c content) bool { return c.state == racy }) {
		id = Hash{} // what it was made of will not be in the cache
	}
	served := s.s.served(s.o)
	if s.same && s.cache.release == id && s.cache.served == served {
		return nil
	}
	if err := saveStatCache(s.o.Cache, id, served, s.s.found, s.s.known); err != nil {
		return err
	}
	s.cache.release, s.cache.served, s.same = id, served, id != Hash{}
	return nil
}

func directoryError(dir string, err error) error {
	hint := "check the path"
	if errors.Is(err, fs.ErrNotExist) {
		hint = "build the site first, or correct the path"
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return &mistake.Error{File: dir, What: fmt.Sprintf("the directory cannot be read: %v", err), Hint: hint}
}

// treeError says what is wrong with a directory, where the manifest's line helps
// nobody.
func treeError(dir string, err error) error {
	if wrong, ok := errors.AsType[*mistake.Error](err); ok {
		hint := "rename one of the files, or remove it"
		if strings.HasSuffix(wrong.What, onlyByCase) {
			hint += ": where case does not count, as on macOS and Windows, they are one file"
		}
		return &mistake.Error{File: dir, What: wrong.What, Hint: hint}
	}
	return err
}

// A content is what a file was when it was read.
type content struct {
	hash   Hash
	nature mediatype.Nature
	state  contentState
}

type contentState uint8

const (
	unread contentState = iota
	cached              // read in an earlier snapshot
	read                // read in this one
	racy                // read in this one, and not to be remembered
	gone
)

// A snapshotter finds out what the files of a walk have in them.
type snapshotter struct {
	root  *os.Root
	now   time.Time // by the kernel, before anything was read
	found []found
	known []content // of found, index by index

	hashed      atomic.Int64
	hashedBytes atomic.Int64
}

// hash reads all files that are not known.
func (s *snapshotter) hash(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	var next atomic.Int64
	for range workers {
		group.Go(func() error {
			var r fileReader
			for {
				i := int(next.Add(1)) - 1
				if i >= len(s.found) {
					return nil
				}
				if s.known[i].state != unread {
					continue
				}
				if err := s.read(ctx, &r, i); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.forgetGone()
	return nil
}

func (s *snapshotter) read(ctx context.Context, r *fileReader, i int) error {
	f := &s.found[i]
	stat, c, err := r.steady(ctx, s.root, f.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIrregular) {
		s.known[i].state = gone
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	c.state = read
	if stat.racy(s.now) {
		c.state = racy
	}
	f.stat, s.known[i] = stat, c
	s.hashed.Add(1)
	s.hashedBytes.Add(stat.size)
	return nil
}

// forgetGone drops the files that vanished between the walk and the reading.
func (s *snapshotter) forgetGone() {
	if !slices.ContainsFunc(s.known, func(c content) bool { return c.state == gone }) {
		return
	}
	kept := 0
	for i := range s.found {
		if s.known[i].state != gone {
			s.found[kept], s.known[kept] = s.found[i], s.known[i]
			kept++
		}
	}
	s.found, s.known = s.found[:kept], s.known[:kept]
}

// served is a checksum of what decides, beside the files, which release they are: the
// site, its rules, and the types by which this program serves the files.
func (s *snapshotter) served(o SnapshotOptions) uint64 {
	sum := xxh3.New()
	_, _ = sum.WriteString(o.Site + "\n" + o.Dialect) // no write to a checksum fails
	for i := range s.found {
		_, _ = sum.WriteString("\n")
		_, _ = sum.WriteString(mediatype.OfNature(s.found[i].path, s.known[i].nature))
	}
	return sum.Sum64()
}

func (s *snapshotter) manifest(o SnapshotOptions, after *Manifest) *Manifest {
	m := &Manifest{Site: o.Site, Dialect: o.Dialect, Files: make([]File, len(s.found))}
	var previous []File
	if after != nil {
		previous = after.Files
	}
	types := make(map[string]string)
	now := o.Now().Unix()
	for i := range s.found {
		f := &s.found[i]
		mediaType := mediatype.OfNature(f.path, s.known[i].nature)
		if shared, ok := types[mediaType]; ok {
			mediaType = shared
		} else {
			types[mediaType] = mediaType
		}
		m.Files[i] = File{Path: f.path, Hash: s.known[i].hash, Size: f.stat.size, Modified: f.stat.lastModified(now), Type: mediaType}
		for len(previous) > 0 && previous[0].Path < f.path {
			previous = previous[1:]
		}
		if len(previous) > 0 && previous[0].Path == f.path {
			m.Files[i].follow(&previous[0])
		}
	}
	return m
}

// follow keeps Last-Modified where the content is as it was, and makes it go
// forward where it is not, so that no If-Modified-Since keeps old content alive.
func (f *File) follow(before *File) {
	switch {
	case f.Hash == before.Hash:
		f.Modified = before.Modified
	case f.Modified <= before.Modified:
		f.Modified = min(before.Modified+1, maxModified)
	}
}
