package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
)

// A source serves a release from the store.
type source struct {
	store    *release.Store
	objects  string // the store's directory of objects (docs/release-format.md)
	manifest *release.Manifest
	files    []site.SourceFile

	asked atomic.Int64 // codings that were looked for one by one
	list  sync.Once
	coded map[release.Hash]bool // objects that are there in a coding; nil: not known
}

// manyAsked is how many codings are looked for one by one: from there on it is quicker
// to read all directories of the store.
const manyAsked = 1500

func newSource(store *release.Store, objects string, m *release.Manifest) *source {
	s := &source{store: store, objects: objects, manifest: m, files: make([]site.SourceFile, 0, len(m.Files))}
	for _, f := range m.Files {
		s.files = append(s.files, sourceFile(f))
	}
	return s
}

// forget gives up the lists: sites that open files through the source for long need
// none of them.
func (s *source) forget() { s.manifest, s.files, s.coded = nil, nil, nil }

func sourceFile(f release.File) site.SourceFile {
	return site.SourceFile{Name: f.Path, Hash: body.Key(f.Hash), Size: f.Size, Modified: f.Modified, Type: f.Type}
}

// Files lists the files of the release.
func (s *source) Files() []site.SourceFile { return s.files }

// Open opens an object. The store has verified it when it came.
func (s *source) Open(f site.SourceFile) (*os.File, error) {
	return s.store.Open(release.Hash(f.Hash))
}

// Coding returns an object in a coding in which it was delivered.
func (s *source) Coding(f site.SourceFile, coding encode.Coding) ([]byte, encode.Level, bool) {
	if s.asked.Add(1) > manyAsked {
		s.list.Do(func() { s.coded = codedObjects(s.objects) })
		if s.coded != nil && !s.coded[release.Hash(f.Hash)] {
			return nil, encode.Quick, false
		}
	}
	return s.store.Coded(release.Hash(f.Hash), coding)
}

// codedObjects returns the objects that a store has in a coding: beside the file of
// an object lie those of its codings, whose names begin with its own and a dot. It
// returns nil if the store cannot be listed.
func codedObjects(dir string) map[release.Hash]bool {
	shards, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	coded := make(map[release.Hash]bool)
	for _, shard := range shards {
		d, err := os.Open(filepath.Join(dir, shard.Name()))
		if err != nil {
			return nil
		}
		names, err := d.Readdirnames(-1)
		if errors.Join(err, d.Close()) != nil {
			return nil
		}
		for _, name := range names {
			if object, _, ok := strings.Cut(name, "."); ok {
				if h, err := release.ParseHash(object); err == nil {
					coded[h] = true
				}
			}
		}
	}
	return coded
}
