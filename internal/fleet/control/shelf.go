package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/release"
)

// What has been deployed is kept here for a while, so that the next version of a file
// can be sent as what is different about it: against smallest files that is not worth
// it, and the others may not take too much of the disk.
const (
	minShelved = 2 << 10
	maxShelf   = 2 << 30
	// shelved is how many releases of all sites together are kept.
	shelved = 20
)

// bases are the older versions, kept here, of files that have changed.
func (f *Fleet) bases(ctx context.Context, live, next *release.Manifest) map[release.Hash]release.Source {
	bases := make(map[release.Hash]release.Source)
	if live == nil {
		return bases
	}
	for _, c := range release.Diff(live, next).Changed {
		old := c.Old
		switch {
		case !c.Content():
		case f.store.Has(old.Hash):
			bases[c.New.Hash] = release.Source{Hash: old.Hash, Size: old.Size, Open: func() (release.Content, error) { return f.store.Open(old.Hash) }}
		case old.Size >= minShelved:
			if b := f.bundled(ctx, old.Hash); b != nil {
				bases[c.New.Hash] = release.Source{Hash: old.Hash, Size: old.Size, Open: func() (release.Content, error) { return openBundled(b, old.Hash) }}
			}
		}
	}
	return bases
}

// Finish does what could wait until everybody has been told that a deploy is live: it
// keeps the files here, to send the next versions as what is different, and waits until
// the lease has been given back. It may be left out: Close waits for that too.
func (f *Fleet) Finish(ctx context.Context) {
	defer f.behind.Wait()
	for _, s := range f.unshelved {
		if ctx.Err() == nil {
			f.shelve(ctx, s)
		}
		s.close()
	}
	f.unshelved = nil
}

// An unshelved is a release that is live, and what was sent of it.
type unshelved struct {
	*snapshot
	spool *spool
}

func (s unshelved) close() {
	s.snapshot.close()
	_ = s.spool.close() // a temporary file
}

// shelf opens files that were kept here.
type shelf struct{ store *release.Store }

// Open opens one, if it is still what it was.
func (s shelf) Open(f release.File) (*os.File, error) { return s.store.OpenVerified(f.Hash) }

// shelve keeps the files of a release that is live. It is there to save work: what goes
// wrong is told, and nothing else.
func (f *Fleet) shelve(ctx context.Context, s unshelved) {
	if err := f.shelveAll(ctx, s); err != nil {
		f.tell(Event{Kind: EventNote, Site: s.manifest.Site, Text: fmt.Sprintf("its files are not kept to compare the next ones with: %v", err)})
	}
}

func (f *Fleet) shelveAll(ctx context.Context, s unshelved) error {
	if err := f.keepBundle(s.id, s.spool); err != nil {
		return err
	}
	before, used, err := f.shelfBefore(ctx, s.snapshot)
	if err != nil {
		return err
	}
	wanted := make(map[release.Hash]release.File)
	var hashes []release.Hash
	room := maxShelf - used
	want := func(file release.File) {
		if file.Size >= minShelved && file.Size <= room && f.bundled(ctx, file.Hash) == nil {
			wanted[file.Hash] = file
			hashes = append(hashes, file.Hash)
			room -= file.Size
		}
	}
	if before == nil {
		for _, file := range s.manifest.Files {
			want(file)
		}
	} else { // the others are kept already
		changes := release.Diff(before, s.manifest)
		for _, file := range changes.Added {
			want(file)
		}
		for _, c := range changes.Changed {
			want(c.New)
		}
	}
	missing := f.store.Missing(hashes)
	if len(missing) > 0 {
		if err := f.shelveFiles(ctx, s.snapshot, missing, wanted); err != nil {
			return err
		}
	}
	for _, h := range missing {
		used += wanted[h].Size
	}
	data, err := json.Marshal(kept{Release: s.id, Used: used})
	if err != nil {
		return err
	}
	return replaceFile(f.siteFile(s.manifest.Site, "shelf.json"), data)
}

// kept is the release of a site whose files were kept last, and how many bytes all that
// is kept took then: to measure that takes a look at every file. It is a file of its own,
// because others may be deploying again by now.
type kept struct {
	Release string `json:"release"`
	Used    int64  `json:"used"`
}

// shelfBefore makes room where that is to be done, and returns the release of the site
// that was kept last, nil for none, and how many bytes everything takes that is kept.
func (f *Fleet) shelfBefore(ctx context.Context, s *snapshot) (before *release.Manifest, used int64, err error) {
	all, err := f.store.Manifests()
	if err != nil {
		return nil, 0, err
	}
	var known kept
	if data, err := os.ReadFile(f.siteFile(s.manifest.Site, "shelf.json")); err == nil && json.Unmarshal(data, &known) == nil {
		before, used = f.manifestHere(known.Release), known.Used
	}
	if before != nil && len(all) <= shelved && used < maxShelf*3/4 {
		return before, used, nil
	}
	if err := f.clearShelf(ctx, all, s.id); err != nil {
		return nil, 0, err
	}
	used, err = f.store.Size()
	return nil, used, err
}

// shelveFiles keeps files of a directory that has been deployed.
func (f *Fleet) shelveFiles(ctx context.Context, s *snapshot, missing []release.Hash, wanted map[release.Hash]release.File) error {
	in, out := io.Pipe()
	var wait sync.WaitGroup
	wait.Go(func() {
		pack := release.NewPackWriter(out)
		var err error
		for _, h := range missing {
			if err = addFile(pack, s.tree, wanted[h]); err != nil {
				break
			}
		}
		if err == nil {
			err = pack.Close()
		}
		_ = out.CloseWithError(err) // never fails
	})
	_, err := release.ReadPack(ctx, in, f.store, release.PackOptions{}) // what has changed meanwhile is not stored
	_ = in.CloseWithError(io.ErrClosedPipe)                             // never fails; the writer ends
	wait.Wait()
	return err
}

func addFile(pack *release.PackWriter, from content, file release.File) error {
	in, err := from.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	return pack.Add(release.Header{Hash: file.Hash, Size: file.Size, Coding: release.Identity, Length: file.Size}, in)
}

// clearShelf makes room when there is too much: only the latest releases stay, or, if
// that is still too much, none but the one that is live.
func (f *Fleet) clearShelf(ctx context.Context, all []release.Stored, live string) error {
	used, err := f.store.Size()
	if err != nil || len(all) <= shelved && used < maxShelf*3/4 {
		return err
	}
	newest := func(r release.Stored) int {
		rank := 0
		for _, other := range all {
			if other.Time.After(r.Time) {
				rank++
			}
		}
		return rank
	}
	keep := shelved / 2
	if used >= maxShelf*3/4 {
		keep = 1
	}
	_, err = f.store.Collect(ctx, func(r release.Stored) bool { return r.ID.String() == live || newest(r) < keep }, time.Now())
	return err
}
