package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"pennyfarthing/internal/lockfile"
)

const (
	objectsDir   = "objects"
	manifestsDir = "manifests"
	tmpDir       = "tmp"
)

// A Store is a directory of objects and manifests. Everything in it is written
// under a temporary name, brought to the disk, and only then given the name by
// which it is found: what is there is whole, whenever the power goes.
//
// Methods may be called concurrently, and several processes may share the
// directory, other than for [Store.Collect], whose caller has to keep the others
// from deploying.
type Store struct {
	dir    string
	loose  bool     // see OpenCopies
	tmp    string   // a directory of this store alone
	root   *os.File // dir, open so that no error of the disk below it goes unseen
	unlock func() error
	next   atomic.Uint64 // names in tmp

	// moving is held shared while something gets its name, and alone by Collect,
	// so that nothing that is found is gone when it is needed.
	moving sync.RWMutex

	mu   sync.Mutex // guards used and measured
	used int64
	// measured says that used is known; it takes a look at every file.
	measured bool

	read    readManifests
	removed atomic.Uint64 // see Removed
}

// A CorruptError says that an object or manifest in a store is not what its name
// says. Whoever finds that removes it, so that [Store.Missing] asks for it anew.
type CorruptError struct {
	Name Hash
	Path string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged: its bytes are not those that its name stands for", e.Path)
}

// OpenStore opens the store in dir, which it makes. Whatever was being written
// when a process died is removed.
func OpenStore(dir string) (*Store, error) { return (&Store{dir: dir}).open() }

// OpenCopies opens a store whose objects can be had elsewhere, and are hashed before
// anybody relies on them: they get their names without having been brought to the
// disk, which spares the wait for it, so that after a power failure some may be
// damaged. Manifests are brought to the disk all the same.
func OpenCopies(dir string) (*Store, error) { return (&Store{dir: dir, loose: true}).open() }

func (st *Store) open() (*Store, error) {
	if err := st.prepare(); err != nil {
		if st.root != nil {
			err = errors.Join(err, st.root.Close())
		}
		return nil, fmt.Errorf("open store %s: %w", st.dir, err)
	}
	return st, nil
}

// Close gives up what the store holds. What is in it stays.
func (st *Store) Close() error {
	return errors.Join(removeHeld(st.tmp, st.unlock), st.root.Close())
}

func (st *Store) prepare() error {
	for _, dir := range []string{objectsDir, manifestsDir, tmpDir} {
		if err := os.MkdirAll(filepath.Join(st.dir, dir), 0o700); err != nil {
			return err
		}
	}
	root, err := os.Open(st.dir)
	if err != nil {
		return err
	}
	st.root = root
	if err := st.prepareObjects(); err != nil {
		return err
	}
	if err := removeAbandoned(filepath.Join(st.dir, tmpDir)); err != nil {
		return err
	}
	return st.claim(filepath.Join(st.dir, tmpDir))
}

// claim makes the directory in which the store writes.
func (st *Store) claim(dir string) error {
	const attempts = 10 // another process may take it for abandoned before it is locked
	var err error
	for range attempts {
		if st.tmp, err = os.MkdirTemp(dir, ""); err != nil {
			return err
		}
		lock := filepath.Join(st.tmp, lockName)
		if st.unlock, err = lockfile.Take(lock); err != nil {
			continue
		}
		if _, err = os.Lstat(lock); err == nil {
			return nil
		}
		err = errors.Join(err, st.unlock())
	}
	return err
}

// prepareObjects makes the directories of all objects, so that putting one never
// makes one, whose name would have to be brought to the disk as well.
func (st *Store) prepareObjects() error {
	objects := filepath.Join(st.dir, objectsDir)
	if _, err := os.Lstat(filepath.Join(objects, "ff")); err == nil {
		return nil // the last one that is made
	}
	for i := range 256 {
		if err := os.Mkdir(filepath.Join(objects, shard(byte(i))), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return syncDirectories(st.root, []string{objects, st.dir})
}

func shard(first byte) string { return Hash{first}.String()[:2] }

const lockName = "lock"

// removeAbandoned removes the temporary directories whose process is gone.
func removeAbandoned(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		unlock, err := lockfile.Take(filepath.Join(path, lockName))
		if errors.Is(err, lockfile.ErrLocked) {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			unlock, err = func() error { return nil }, nil // without a lock file, or a store that is gone by now
		}
		if err != nil {
			return err
		}
		if err := removeHeld(path, unlock); err != nil {
			return err
		}
	}
	return nil
}

// removeHeld removes a directory whose lock is held: while it is nobody else
// takes it for his own. Windows lets the lock itself go only afterwards.
func removeHeld(path string, unlock func() error) error {
	err := os.RemoveAll(path)
	if unlockErr := unlock(); unlockErr != nil {
		return errors.Join(err, unlockErr)
	}
	if err != nil {
		return os.RemoveAll(path)
	}
	return nil
}

func (st *Store) objectPath(h Hash) string {
	name := h.String()
	return filepath.Join(st.dir, objectsDir, name[:2], name)
}

func (st *Store) manifestPath(id Hash) string {
	return filepath.Join(st.dir, manifestsDir, id.String())
}

// Has reports whether the store has an object.
func (st *Store) Has(h Hash) bool {
	info, err := os.Lstat(st.objectPath(h))
	return err == nil && info.Mode().IsRegular()
}

// Missing returns those of the objects that the store does not have, each once.
//
// An object that is not missing stays until the next [Store.Collect], and over it
// if a manifest that is kept lists it: put the manifest first, then ask.
func (st *Store) Missing(hashes []Hash) []Hash {
	has := make(map[Hash]bool, len(hashes))
	for _, h := range hashes {
		has[h] = false
	}
	if len(hashes) <= manyHashes || st.mark(has) != nil {
		for h := range has {
			has[h] = st.Has(h)
		}
	}
	var missing []Hash
	for _, h := range hashes {
		if !has[h] {
			missing = append(missing, h)
			has[h] = true // once
		}
	}
	return missing
}

// Lacks returns the objects of a release that the store does not have, each once.
// One whose size is not the manifest's is damaged, and removed.
func (st *Store) Lacks(m *Manifest) []Hash {
	var lacking []Hash
	asked := make(map[Hash]bool, len(m.Files))
	for i := range m.Files {
		f := &m.Files[i]
		if asked[f.Hash] {
			continue
		}
		asked[f.Hash] = true
		info, err := os.Lstat(st.objectPath(f.Hash))
		if err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			continue
		}
		if err == nil {
			_ = st.Discard(f.Hash) // it is asked for anew either way
		}
		lacking = append(lacking, f.Hash)
	}
	return lacking
}

// manyHashes is from how many objects on it is quicker to read all directories
// than to look for each.
const manyHashes = 1000

// mark notes which of the objects there are, by the names in all directories.
func (st *Store) mark(has map[Hash]bool) error {
	return st.eachName(func(_ string, h Hash, form string) {
		if form == "" {
			if _, asked := has[h]; asked {
				has[h] = true
			}
		}
	})
}

// eachName tells of every file of an object, and what its name has behind the
// hash, which is nothing for the identity form.
func (st *Store) eachName(tell func(path string, h Hash, form string)) error {
	for i := range 256 {
		dir := filepath.Join(st.dir, objectsDir, shard(byte(i)))
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		names, err := f.Readdirnames(-1)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		for _, name := range names {
			const digits = 2 * len(Hash{})
			if len(name) < digits {
				continue
			}
			if h, ok := parseHash(name[:digits]); ok {
				tell(filepath.Join(dir, name), h, name[digits:])
			}
		}
	}
	return nil
}

// remove removes a file, which need not be there, and returns its size.
func (st *Store) remove(path string) (int64, error) {
	info, err := os.Lstat(path)
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("remove from store: %w", err)
	}
	st.removed.Add(1)
	st.account(-info.Size())
	return info.Size(), nil
}

// Removed counts what this process has removed from the store. As long as it is the
// same an object that was there is there, unless somebody else has been at the disk.
func (st *Store) Removed() uint64 { return st.removed.Load() }

// Put stores an object of a size, read from r. What r has must be that: if the
// size or the hash is another, nothing is stored. If the object is there already,
// r is not read.
func (st *Store) Put(ctx context.Context, h Hash, size int64, r io.Reader) error {
	if st.Has(h) {
		return nil
	}
	b := st.newBatch()
	defer b.drop()
	if err := b.write(ctx, h, size, r); err != nil {
		return fmt.Errorf("store object %s: %w", h.Short(), err)
	}
	if err := b.commit(); err != nil {
		return fmt.Errorf("store object %s: %w", h.Short(), err)
	}
	return nil
}

// Size returns how many bytes the store has, as the files say; a file system
// takes some more. The first call looks at every file.
func (st *Store) Size() (int64, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.measured {
		return st.used, nil
	}
	st.used = 0
	for _, dir := range []string{objectsDir, manifestsDir} {
		err := filepath.WalkDir(filepath.Join(st.dir, dir), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				st.used += info.Size()
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("measure store %s: %w", st.dir, err)
		}
	}
	st.measured = true
	return st.used, nil
}

// account adds to what Size returns.
func (st *Store) account(bytes int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.measured {
		st.used += bytes
	}
}

// temporary returns a name in tmp that nobody else has.
func (st *Store) temporary() string {
	return filepath.Join(st.tmp, strconv.FormatUint(st.next.Add(1), 10))
}

// contextReader reads until the context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives as long as the call that it is for
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// formName returns what the name of a file has behind the object's for a coded
// form, without an empty part.
func formName(parts ...string) string { return "." + strings.Join(parts, ".") }
