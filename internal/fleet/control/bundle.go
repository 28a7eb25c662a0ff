package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"pennyfarthing/internal/fleet/release"
)

// What went together is kept as it went: one file, which is there already, instead of
// thousands. Together they have at most so many bytes.
const maxBundles = 1 << 30

// bundleExt ends the names of bundles, which begin with that of their release.
const bundleExt = ".pack"

// openBundles opens what was kept of what went together, the newest first.
func (f *Fleet) openBundles(ctx context.Context) []*release.Bundle {
	if f.bundles != nil {
		return f.bundles
	}
	f.bundles = []*release.Bundle{}
	for _, file := range f.bundleFiles() {
		b, err := release.OpenBundle(ctx, file)
		if err != nil {
			continue // it saves work where it is there
		}
		f.bundles = append(f.bundles, b)
	}
	return f.bundles
}

// closeBundles lets go of them; they are opened anew when they are needed.
func (f *Fleet) closeBundles() {
	for _, b := range f.bundles {
		_ = b.Close() // only read
	}
	f.bundles = nil
}

// bundleFiles are the files of bundles, the newest first.
func (f *Fleet) bundleFiles() []string {
	files, err := filepath.Glob(f.in("cache", "bundles", "*"+bundleExt))
	if err != nil {
		return nil // the pattern is right, unless the directory's name is one
	}
	age := make(map[string]int64, len(files))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			age[file] = -info.ModTime().UnixNano()
		}
	}
	return slices.SortedFunc(maps.Keys(age), func(a, b string) int { return int(min(max(age[a]-age[b], -1), 1)) })
}

// bundled returns the bundle that has an object, or nil.
func (f *Fleet) bundled(ctx context.Context, h release.Hash) *release.Bundle {
	for _, b := range f.openBundles(ctx) {
		if b.Has(h) {
			return b
		}
	}
	return nil
}

// inMemory is an object of a bundle.
type inMemory struct{ *bytes.Reader }

// Close has nothing to give back.
func (inMemory) Close() error { return nil }

// openBundled opens an object of a bundle.
func openBundled(b *release.Bundle, h release.Hash) (release.Content, error) {
	data, err := b.Read(h)
	if err != nil {
		return nil, err
	}
	return inMemory{bytes.NewReader(data)}, nil
}

// keepBundle keeps what went together with a release, and makes room for it.
func (f *Fleet) keepBundle(id string, s *spool) error {
	if s == nil || len(s.groups) == 0 {
		return nil
	}
	f.closeBundles()
	file := f.in("cache", "bundles", id+bundleExt)
	if err := s.writeBundle(file); err != nil {
		return fmt.Errorf("keep what was sent: %w", err)
	}
	total := int64(0)
	for _, file := range f.bundleFiles() {
		info, err := os.Stat(file)
		if err == nil {
			total += info.Size()
		}
		if total > maxBundles {
			err = errors.Join(err, os.Remove(file))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep what was sent: %w", err)
		}
	}
	return nil
}

// writeBundle writes the groups that were made into a file. Nothing may be under way.
func (s *spool) writeBundle(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(file), "new-*")
	if err != nil {
		return err
	}
	pack := release.NewNumberedPack(out, nil)
	for _, key := range slices.SortedFunc(maps.Keys(s.groups), func(a, b release.Hash) int { return bytes.Compare(a[:], b[:]) }) {
		g := s.groups[key]
		err = errors.Join(err, pack.AddSolid(g.members, g.header.Length, io.NewSectionReader(s.file, g.at, g.header.Length)))
	}
	if err = errors.Join(err, pack.Close(), out.Close()); err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(out.Name()))
	}
	return err
}
