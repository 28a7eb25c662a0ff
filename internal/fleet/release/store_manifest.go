package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	statementExt = ".sig"

	// MaxStatement bounds what is kept beside a manifest, in bytes.
	MaxStatement = 64 << 10
)

// PutManifest stores a manifest and what somebody states about it, which may be
// nil, and returns the release's name. A statement takes the place of an earlier
// one.
func (st *Store) PutManifest(m *Manifest, statement []byte) (Hash, error) {
	if err := m.Check(); err != nil {
		return Hash{}, fmt.Errorf("store manifest: %w", err)
	}
	text := m.Encode()
	id := HashOf(text)
	return id, st.PutEncoded(id, m, text, statement)
}

// PutEncoded is [Store.PutManifest] for who has the canonical form of a manifest for
// which [Manifest.Check] finds nothing, and its hash, at hand.
func (st *Store) PutEncoded(id Hash, m *Manifest, text, statement []byte) error {
	if len(statement) > MaxStatement {
		return fmt.Errorf("store manifest: its statement has %d bytes, more than %d", len(statement), MaxStatement)
	}
	path := st.manifestPath(id)
	b := st.newBatch()
	b.loose = false
	defer b.drop()
	if statement != nil {
		// Before the manifest, which is what makes the release be there.
		if err := b.writeBytes(path+statementExt, statement); err != nil {
			return fmt.Errorf("store manifest %s: %w", id.Short(), err)
		}
	}
	if err := b.writeBytes(path, text); err != nil {
		return fmt.Errorf("store manifest %s: %w", id.Short(), err)
	}
	if err := b.commit(); err != nil {
		return fmt.Errorf("store manifest %s: %w", id.Short(), err)
	}
	if info, err := os.Lstat(path); err == nil { // or else it is read the next time
		st.read.remember(id, statOf(info), m)
	}
	return nil
}

// Manifest returns the manifest of a release; the error of one that is not there
// is fs.ErrNotExist. It may not be changed: as long as somebody has it, and its file is
// what it was, others who ask get the same one.
//
// One that the disk has damaged is removed and a *[CorruptError].
func (st *Store) Manifest(id Hash) (*Manifest, error) {
	info, err := os.Lstat(st.manifestPath(id))
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", id.Short(), err)
	}
	stat := statOf(info)
	if m := st.read.recall(id, stat); m != nil {
		return m, nil
	}
	m, err := st.readManifest(id)
	if err == nil {
		st.read.remember(id, stat, m)
	}
	if _, ok := errors.AsType[*CorruptError](err); ok {
		_, removed := st.remove(st.manifestPath(id))
		err = errors.Join(err, removed)
	}
	return m, err
}

func (st *Store) readManifest(id Hash) (*Manifest, error) {
	text, err := readPath(st.manifestPath(id), MaxManifest)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", id.Short(), err)
	}
	if HashOf(text) != id {
		return nil, &CorruptError{Name: id, Path: st.manifestPath(id)}
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", id.Short(), err)
	}
	return m, nil
}

// Statement returns what was stored beside a manifest; the error of none is
// fs.ErrNotExist.
func (st *Store) Statement(id Hash) ([]byte, error) {
	data, err := readPath(st.manifestPath(id)+statementExt, MaxStatement)
	if err != nil {
		return nil, fmt.Errorf("read statement about %s: %w", id.Short(), err)
	}
	return data, nil
}

// A Stored is a release whose manifest is in a store.
type Stored struct {
	ID   Hash
	Time time.Time // when the manifest was last put
}

// Manifests returns the releases whose manifests are in the store, sorted by ID.
func (st *Store) Manifests() ([]Stored, error) {
	entries, err := os.ReadDir(filepath.Join(st.dir, manifestsDir))
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var all []Stored
	for _, e := range entries {
		id, ok := parseHash(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // collected meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list manifests: %w", err)
		}
		all = append(all, Stored{ID: id, Time: info.ModTime()})
	}
	return all, nil
}
