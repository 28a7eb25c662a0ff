package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
)

// Differences are what a deploy of a directory would change.
type Differences struct {
	Site    string          `json:"site"`
	Live    string          `json:"live,omitempty"` // what is served now; "" for nothing
	Release string          `json:"release"`        // what the directory is
	Changes release.Changes `json:"-"`
}

// Diff compares a directory with what a site serves.
func (f *Fleet) Diff(ctx context.Context, o DeployOptions) (*Differences, error) {
	if err := checkSite(o.Site); err != nil {
		return nil, err
	}
	p, err := f.prepare(ctx, o)
	defer func() { p.new.close() }()
	if err != nil {
		return nil, err
	}
	if err := f.noneAnswers(p.pops); err != nil {
		return nil, err
	}
	d := &Differences{Site: o.Site, Release: p.new.id, Changes: release.Diff(p.live, p.new.manifest)}
	if top := topOf(p.pops); top != nil {
		d.Live = top.Release
	}
	return d, nil
}

// A Pulled is what [Fleet.Pull] has brought.
type Pulled struct {
	Site    string `json:"site"`
	Release string `json:"release"`
	Dir     string `json:"dir"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
}

// Pull brings the files of a site's release, "" for the one that is served, back from
// POPs into a directory, which must be empty or not be there.
func (f *Fleet) Pull(ctx context.Context, site, prefix, dir string) (_ *Pulled, err error) {
	if err := checkSite(site); err != nil {
		return nil, err
	}
	if err := mustBeEmpty(dir); err != nil {
		return nil, err
	}
	pops, err := f.look(ctx, site)
	if err != nil {
		return nil, err
	}
	top := topOf(pops)
	if top == nil && prefix == "" {
		return nil, cmp.Or(f.noneAnswers(pops), error(&mistake.Error{What: site + " was never deployed", Hint: "penny deploy " + site}))
	}
	if prefix == "" {
		prefix = top.Release
	}
	id, err := findRelease(pops, site, prefix)
	if err != nil {
		return nil, cmp.Or(f.noneAnswers(pops), err)
	}
	donors := f.donors(pops, id)
	m, _, err := f.manifest(ctx, site, id, donors)
	if err != nil {
		return nil, err
	}
	store, drop, err := f.scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	hashes := make([]release.Hash, len(m.Files))
	for i, file := range m.Files {
		hashes[i] = file.Hash
	}
	if err := f.fetch(ctx, store, site, hashes, donors); err != nil {
		return nil, err
	}
	return &Pulled{Site: site, Release: id, Dir: dir, Files: len(m.Files), Bytes: m.Bytes()}, writeTree(ctx, dir, m, store)
}

func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return &mistake.Error{File: dir, What: "it is not empty, and nothing in it is to be overwritten", Hint: "name a directory that is not there yet"}
	}
	return nil
}

// scratch is a store for a while.
func (f *Fleet) scratch() (*release.Store, func() error, error) {
	dir, err := os.MkdirTemp(f.in("cache"), "pull-*")
	if err != nil {
		return nil, nil, fmt.Errorf("make a place for what is fetched: %w", err)
	}
	store, err := release.OpenStore(dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return store, func() error { return errors.Join(store.Close(), os.RemoveAll(dir)) }, nil
}

// writeTree writes the files of a release. Nothing it names can lie outside of the
// directory.
func writeTree(ctx context.Context, dir string, m *release.Manifest, store *release.Store) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer root.Close()
	for _, file := range m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeFile(root, file, store); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Join(dir, filepath.FromSlash(file.Path)), err)
		}
	}
	return nil
}

func writeFile(root *os.Root, file release.File, store *release.Store) error {
	name := filepath.FromSlash(file.Path)
	if above := filepath.Dir(name); above != "." {
		if err := root.MkdirAll(above, 0o755); err != nil {
			return err
		}
	}
	in, err := store.Open(file.Hash)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	at := time.Unix(file.Modified, 0)
	return root.Chtimes(name, at, at)
}
