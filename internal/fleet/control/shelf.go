package control

import (
	"context"
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
// keeps the files here, to send the next versions as what is different. It may be left
// out.
func (f *Fleet) Finish(ctx context.Context) {
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
	if err := f.clearShelf(ctx, s.id); err != nil {
		return err
	}
	used, err := f.store.Size()
	if err != nil {
		return err
	}
	wanted := make(map[release.Hash]release.File)
	var hashes []release.Hash
	for _, file := range s.manifest.Files {
		if file.Size >= minShelved && used+file.Size <= maxShelf && f.bundled(ctx, file.Hash) == nil {
			wanted[file.Hash] = file
			hashes = append(hashes, file.Hash)
			used += file.Size
		}
	}
	missing := f.store.Missing(hashes)
	if len(missing) == 0 {
		return nil
	}
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
	_, err = release.ReadPack(ctx, in, f.store, release.PackOptions{}) // what has changed meanwhile is not stored
	_ = in.CloseWithError(io.ErrClosedPipe)                            // never fails; the writer ends
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
func (f *Fleet) clearShelf(ctx context.Context, live string) error {
	all, err := f.store.Manifests()
	if err != nil {
		return err
	}
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
