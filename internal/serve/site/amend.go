package site

import (
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/body"
)

// made is what the site of a release was made of, for the next one. It is immutable.
type made struct {
	files    []SourceFile // as the source listed them
	places   []int32      // of each: the index of its asset, or -1 where it is not served
	retained []SourceFile
	rules    [2]body.Key // what _redirects and _headers are; zero for none
	dialect  rules.Dialect
	preview  bool
	time     int64 // when, in seconds since 1970: no asset was modified later
	tight    bool  // something had no room in memory
	held     int64 // files held open
}

// rulesOf returns what _redirects and _headers of a release are.
func rulesOf(files []SourceFile) (found [2]body.Key) {
	for i := range files {
		switch files[i].Name {
		case redirectsFile:
			found[0] = files[i].Hash
		case headersFile:
			found[1] = files[i].Hash
		}
	}
	return found
}

// asBefore reports whether _redirects and _headers, and how they are read, are those
// of the previous site.
func (c *compiler) asBefore() bool {
	if c.prev == nil || c.prev.made == nil {
		return false
	}
	before := c.prev.made
	return before.dialect == c.Dialect && before.preview == c.Preview && before.rules == rulesOf(c.source.Files())
}

// note notes what the site is made of.
func (c *compiler) note() {
	m := c.newMade()
	m.places = make([]int32, len(m.files))
	for i := range m.places {
		m.places[i] = -1
	}
	next := 0
	for i, a := range c.site.assets {
		if !a.document {
			m.places[c.served[next].at] = int32(i)
			next++
		}
	}
	c.site.made = m
}

func (c *compiler) newMade() *made {
	files := c.source.Files()
	return &made{
		files: files, retained: c.Retained, rules: rulesOf(files), dialect: c.Dialect, preview: c.Preview,
		time: c.Now().Unix(), tight: c.tight.Load(), held: min(c.open.Load(), maxOpen),
	}
}

// share takes the assets that have become what they were from the previous site: they
// are immutable, and have been looked at by the garbage collector before.
func (c *compiler) share() {
	for i, a := range c.site.assets {
		if old := c.known[a.name]; old != nil && !a.document && *a == *old {
			c.site.assets[i] = old
		}
	}
}

// amend makes the site of a release that has the same names as the previous one, which
// costs what has changed and little more. It returns nil where the site is to be
// compiled from all of its files: names have come or gone, the rules or the options are
// others, or memory is short, so that what one file takes another one lacks.
func (c *compiler) amend(ctx context.Context) (*Site, error) {
	if !c.sameRules || c.prev.made.tight || !slices.Equal(c.prev.made.retained, c.Retained) {
		return nil, nil
	}
	changed, ok := c.prev.made.changes(c.source.Files(), c.Now().Unix())
	if !ok || !c.fits(changed) {
		return nil, nil
	}
	c.recallChanged(changed)
	assets, err := c.loadChanged(ctx, changed)
	if err != nil {
		return nil, err
	}
	return c.exchanged(assets), nil
}

// A changedFile is a file of which the asset is to be made anew.
type changedFile struct {
	place int32 // of the asset
	file  SourceFile
}

// changes returns the files of the next release that differ, and false if it may differ
// by more.
func (m *made) changes(files []SourceFile, now int64) ([]changedFile, bool) {
	if len(files) != len(m.files) {
		return nil, false
	}
	settled := min(m.time, now) // what was modified later is said to have been modified now
	var changed []changedFile
	for i := range files {
		f, old := &files[i], &m.files[i]
		switch {
		case *f == *old && f.Modified <= settled || f.Name == old.Name && m.places[i] < 0:
		case f.Name != old.Name || f.Type == "" || f.valid() != nil:
			return nil, false
		default:
			changed = append(changed, changedFile{m.places[i], *f})
		}
	}
	return changed, true
}

// fits reports whether the memory budget has room for what has changed, however it is
// coded, without anything being taken away.
func (c *compiler) fits(changed []changedFile) bool {
	most := c.prev.summary.admitted
	for _, f := range changed {
		if f.file.Size > MaxInMemory {
			most += f.file.Size * int64(len(codings)) // in codings at most
			continue
		}
		most += f.file.Size * int64(1+len(codings))
	}
	c.used = 0 // what has changed has room, whatever there is beside
	return c.Budget <= 0 || most <= c.Budget
}

// recallChanged indexes what of the previous site the changed files may have.
func (c *compiler) recallChanged(changed []changedFile) {
	c.known = make(map[string]*asset, len(changed))
	c.contents = make(map[body.Key]*asset)
	wanted := make(map[body.Key]bool, len(changed))
	for _, f := range changed {
		c.known[f.file.Name] = c.prev.assets[f.place]
		wanted[f.file.Hash] = true
	}
	if len(changed) > 0 {
		c.recallContents(func(hash body.Key) bool { return wanted[hash] })
	}
	for _, f := range c.Retained {
		if _, ours := c.known[f.Name]; ours && Fingerprinted(f.Name) {
			c.history.constant(f.Name, f.Hash)
		}
	}
}

// loadChanged makes the assets of changed files, by their places.
func (c *compiler) loadChanged(ctx context.Context, changed []changedFile) (map[int]*asset, error) {
	c.open.Store(c.prev.made.held)
	for _, f := range changed {
		if disk := c.prev.assets[f.place].identity().disk; disk != nil && disk.file != nil {
			c.open.Add(-1)
		}
	}
	loaded := make([]*asset, len(changed))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0) * 2) // reading waits for the disk
	for i, f := range changed {
		group.Go(func() (err error) {
			if reading.Err() == nil {
				loaded[i], err = c.loadReleased(f.file, f.file.Size <= MaxInMemory)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	assets := make(map[int]*asset, len(changed))
	for i, f := range changed {
		assets[int(f.place)] = loaded[i]
	}
	return assets, ctx.Err()
}

// exchanged returns the previous site with some assets replaced.
func (c *compiler) exchanged(assets map[int]*asset) *Site {
	c.site.headers = c.prev.headers
	for i, a := range assets {
		old := c.prev.assets[i]
		a.path = old.path
		if Fingerprinted(a.name) {
			a.immutable = c.history.constant(a.name, a.hash)
		}
		if a.shared = c.sharedFields(a); a.shared.equal(old.shared) {
			a.shared = old.shared
		}
		if *a == *old {
			assets[i] = old
		}
	}
	s := c.prev.with(assets)
	for _, i := range s.notFounds {
		if page := s.assets[i]; page != c.prev.assets[i] {
			if list := c.intern(assetFields(page, page.cacheControl(), nil)); !list.equal(page.shared) {
				page.shared = list
			}
		}
	}
	s.generation = c.prev.generation + 1
	s.hsts, s.hstsWire = nil, nil
	if !c.Preview {
		s.secure(c.HSTS)
	}
	s.dropped = 0
	for i := range assets {
		s.dropped += c.prev.assets[i].inMemory()
	}
	s.made = c.newMade()
	s.made.places = c.prev.made.places
	return s
}

// equal reports whether two lists say the same.
func (l *fieldList) equal(other *fieldList) bool {
	return l == other || l.key() == other.key()
}
