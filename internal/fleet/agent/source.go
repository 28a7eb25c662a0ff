package agent

import (
	"os"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
)

// A source serves a release from the store.
type source struct {
	store *release.Store
	files []site.SourceFile
}

func newSource(store *release.Store, m *release.Manifest) *source {
	s := &source{store: store, files: make([]site.SourceFile, 0, len(m.Files))}
	for _, f := range m.Files {
		s.files = append(s.files, sourceFile(f))
	}
	return s
}

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
	return s.store.Coded(release.Hash(f.Hash), coding)
}

// fingerprinted returns the files of a release whose names never mean other
// content: they stay reachable when the release is not served any more.
func fingerprinted(m *release.Manifest) []site.SourceFile {
	var files []site.SourceFile
	for _, f := range m.Files {
		if site.Fingerprinted(f.Path) {
			files = append(files, sourceFile(f))
		}
	}
	return files
}
