package site

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/body"
)

// Options say what to compile and how. Store is required, and Dir for a site of
// a directory.
type Options struct {
	Dir     string
	Dialect rules.Dialect
	// HSTS is the max-age of Strict-Transport-Security on answers over TLS; 0
	// sends none.
	HSTS time.Duration
	// Budget bounds the bytes of bodies that one site keeps in memory; 0 means
	// no bound. What it has no room for is served from disk.
	Budget int64
	Store  *body.Store
	// Retained are the files of other releases, those before and those that are
	// staged, of which the fingerprinted ones are to be reachable where the
	// release that [CompileSource] compiles has nothing at their paths. Of two
	// with one name the first counts, so the newest release comes first. They are
	// served from disk, each answer opening its file: what is taken out of the
	// Source must be taken out of here first.
	Retained []SourceFile
	// Preview makes a site that only those shall find who were told of it, and that is
	// gone soon: no answer may be indexed, kept by caches of others, or kept at all
	// without asking, whatever _headers says; and HSTS counts for nothing.
	Preview bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Names of the files that say how a site behaves. They are not served.
const (
	redirectsFile = "_redirects"
	headersFile   = "_headers"
	notFoundFile  = "404.html"
)

// Compile reads the directory and returns its site. What did not change since
// prev, which may be nil, is taken from there. A rules file with mistakes is an
// error that carries a [mistake.List].
func Compile(ctx context.Context, o Options, prev *Site) (*Site, error) {
	h, err := loadHistory("")
	if err != nil {
		return nil, err
	}
	return compile(ctx, o, prev, h, nil)
}

// compile is Compile with a history of fingerprinted names, which it updates.
// enter, which may be nil, is told of every directory before it is read.
func compile(ctx context.Context, o Options, prev *Site, h *history, enter func(string, fileID)) (*Site, error) {
	o = o.withDefaults()
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, dirError(o.Dir, err)
	}
	c := newCompiler(o, root)
	defer func() {
		if !c.rootNeeded.Load() {
			_ = root.Close() // only read
		}
	}()
	if c.walk, err = walkRoot(ctx, root, enter); err != nil {
		return nil, c.unreadable("", err)
	}
	c.history, c.prev = h, prev
	return c.compile(ctx)
}

func dirError(dir string, err error) error {
	hint := "give a directory of files, such as ./public"
	if errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: dir, What: "there is no such directory", Hint: hint}
	}
	if info, statErr := os.Stat(dir); statErr == nil && !info.IsDir() {
		return &mistake.Error{File: dir, What: "this is a file, not a directory", Hint: "give the directory that it lies in: " + filepath.Dir(dir)}
	}
	return fmt.Errorf("open %s: %w", dir, err)
}

// A compiler makes one site.
type compiler struct {
	Options
	root    *os.Root // nil for a release
	source  Source   // nil for a directory
	history *history
	prev    *Site
	walk    *walk

	site     *Site
	known    map[string]*asset   // of prev, by name
	contents map[body.Key]*asset // of prev, by hash; for a release only
	used     int64               // bytes of bodies in memory
	coded    atomic.Int64        // bytes of codings that came with a release

	open       atomic.Int64 // files held open
	rootNeeded atomic.Bool  // some asset opens its file later

	ruleSources [2][]byte
	interned    map[string]*fieldList
	adopted     map[*fieldList]*fieldList // lists of prev -> those of the site

	served    []found // in the order of the assets
	tight     atomic.Bool
	sameRules bool // _headers and whatever else shared fields depend on are those of prev
}

func newCompiler(o Options, root *os.Root) *compiler {
	return &compiler{
		Options: o, root: root, interned: make(map[string]*fieldList), adopted: make(map[*fieldList]*fieldList),
		site: &Site{generation: 1, paths: make(map[string]entry), notFounds: make(map[string]int32)},
	}
}

// unreadable explains why a file or directory of the site can't be read.
func (c *compiler) unreadable(name string, err error) error {
	file := filepath.Join(c.Dir, filepath.FromSlash(name))
	if errors.Is(err, fs.ErrPermission) && c.source == nil {
		return &mistake.Error{File: file, What: err.Error(), Hint: "chmod -R a+rX " + c.Dir + " lets everybody read it"}
	}
	return fmt.Errorf("read %s: %w", file, err)
}

func (c *compiler) compile(ctx context.Context) (*Site, error) {
	if c.prev != nil {
		c.site.generation = c.prev.generation + 1
	}
	if err := c.rules(); err != nil {
		return nil, err
	}
	if c.Preview {
		c.site.preview()
	} else {
		c.site.secure(c.HSTS)
	}
	assets, err := c.assets(ctx)
	if err != nil {
		return nil, err
	}
	c.index(assets)
	c.finish()
	if c.source != nil {
		c.share()
		c.note()
		c.retainReleased()
	} else {
		c.site.digest = c.digest(assets)
		c.retain()
	}
	c.site.summary.Skipped = c.walk.skipped
	c.site.summarise()
	c.site.dropped = c.site.summary.Memory
	if c.prev != nil {
		c.site.dropped += c.prev.summary.Memory
	}
	return c.site, nil
}

// secure sets the Strict-Transport-Security of answers over TLS.
func (s *Site) secure(age time.Duration) {
	if age <= 0 {
		return
	}
	s.hsts = []Field{field("Strict-Transport-Security", fmt.Sprintf("max-age=%d", int64(age.Seconds())))}
	s.hstsWire = WireOf(s.hsts[0].Name, s.hsts[0].Values[0])
}

// preview sets what answers of a preview have and have not. It goes after the rules
// that were read.
func (s *Site) preview() {
	s.unlisted = []Field{field("X-Robots-Tag", "noindex")}
	s.headers = s.headers.Then(
		rules.Edit{Op: rules.Remove, Name: "X-Robots-Tag"},
		rules.Edit{Op: rules.Remove, Name: "Strict-Transport-Security"},
		rules.Edit{Op: rules.Set, Name: "Cache-Control", Value: cachePreview},
	)
}

// rules reads _redirects and _headers and reports the mistakes of both.
func (c *compiler) rules() error {
	redirects, redirectsErr := c.readRules(redirectsFile)
	headers, headersErr := c.readRules(headersFile)
	if err := errors.Join(redirectsErr, headersErr); err != nil {
		return err
	}
	c.ruleSources = [2][]byte{redirects, headers}
	var mistakes mistake.List
	if redirects != nil {
		parsed, err := rules.ParseRedirects(filepath.Join(c.Dir, redirectsFile), redirects, c.Dialect)
		mistakes = append(mistakes, mistake.Of(err)...)
		c.site.redirects = parsed
		c.site.forced = err == nil && parsed.Forced()
	}
	if headers != nil {
		parsed, err := rules.ParseHeaders(filepath.Join(c.Dir, headersFile), headers, c.Dialect)
		mistakes = append(mistakes, mistake.Of(err)...)
		c.site.headers = parsed
		c.site.dynamic = err == nil && parsed.DependsOnHost()
	}
	return mistakes.Err()
}

// readRules returns the content of a rules file, or nil if there is none.
func (c *compiler) readRules(name string) ([]byte, error) {
	f, size, err := c.openRules(name)
	if err != nil {
		return nil, c.unreadable(name, err)
	}
	if f == nil {
		return nil, nil
	}
	defer f.Close()
	if size > rules.MaxFile {
		return nil, &mistake.Error{File: filepath.Join(c.Dir, name), What: fmt.Sprintf("the file has %d bytes, more than the %d that are read", size, rules.MaxFile)}
	}
	data, err := io.ReadAll(io.LimitReader(f, rules.MaxFile+1))
	if err != nil {
		return nil, c.unreadable(name, err)
	}
	return data, nil
}

// openRules opens a rules file and says its size. If there is none it returns nil.
func (c *compiler) openRules(name string) (*os.File, int64, error) {
	if c.source != nil {
		return c.openReleasedRules(name)
	}
	f, info, err := openFile(c.root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// files lists what is to be served, small files first.
func (c *compiler) files() []found {
	files := slices.DeleteFunc(c.walk.files, func(f found) bool { return f.name == redirectsFile || f.name == headersFile })
	slices.SortFunc(files, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.stat.size, b.stat.size), strings.Compare(a.name, b.name))
	})
	return files
}

// assets makes the asset of every file, small files first so that the memory
// budget serves as many as it can.
func (c *compiler) assets(ctx context.Context) ([]*asset, error) {
	files := c.files()
	c.served = files
	c.recall()
	inMemory := make([]bool, len(files)) // all of them before the first is read: codings get what is left
	for i, f := range files {
		inMemory[i] = c.admit(f.stat.size)
	}
	assets := make([]*asset, len(files))
	var err error
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0) * 2) // reading waits for the disk
	for i, f := range files {
		if c.atHand(f, inMemory[i]) {
			if assets[i], err = c.load(f, inMemory[i]); err != nil {
				break
			}
			continue
		}
		group.Go(func() (err error) {
			if reading.Err() == nil {
				assets[i], err = c.load(f, inMemory[i])
			}
			return err
		})
	}
	if waited := group.Wait(); err == nil {
		err = waited
	}
	if err != nil {
		return nil, err
	}
	if err := c.settle(ctx, assets); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(assets, func(a *asset) bool { return a == nil }), ctx.Err()
}

// recall indexes what the previous site has.
func (c *compiler) recall() {
	c.known = make(map[string]*asset)
	if c.prev == nil {
		return
	}
	for _, a := range c.prev.assets {
		if !a.document && !a.retained {
			c.known[a.name] = a
		}
	}
	if c.source != nil {
		c.contents = make(map[body.Key]*asset, len(c.prev.assets))
		c.recallContents(func(body.Key) bool { return true })
	}
}

// settle looks again at files on disk that had just been changed: only when the
// clock has gone on does their time prove that they are still what they were.
func (c *compiler) settle(ctx context.Context, assets []*asset) error {
	for range readAttempts {
		var fresh []int
		for i, a := range assets {
			if a != nil && a.racy && a.identity().disk != nil {
				fresh = append(fresh, i)
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(racyWindow):
		}
		for _, i := range fresh {
			if err := c.lookAgain(&assets[i]); err != nil {
				return err
			}
		}
	}
	return nil // it never stands still: answers with it will say so
}

// lookAgain takes a file on disk for settled if it is what it was, or else
// loads it again.
func (c *compiler) lookAgain(a **asset) (err error) {
	old := *a
	if old.identity().disk.check() == nil {
		old.racy = old.stat.racy(time.Now())
		return nil
	}
	c.open.Add(-1)
	*a, err = c.load(found{name: old.name, stat: old.stat}, false)
	return err
}

// digest sums up what the site is made of, so that a directory that was touched
// and not changed makes no new site. The order of assets is by size and name.
func (c *compiler) digest(assets []*asset) body.Key {
	sum := sha256.New()
	for _, a := range assets {
		if a.identity().disk != nil { // whether it is hashed by now must make no difference
			fmt.Fprintf(sum, "%q %+v\n", a.name, a.stat)
			continue
		}
		fmt.Fprintf(sum, "%q %d %x\n", a.name, a.modified, a.hash)
	}
	fmt.Fprintf(sum, "%q %q", c.ruleSources[0], c.ruleSources[1])
	return body.Key(sum.Sum(nil))
}

// admit reports whether a file of this size goes to memory, and accounts for it.
func (c *compiler) admit(size int64) bool {
	if size > MaxInMemory {
		return false
	}
	if c.Budget > 0 && c.used+size > c.Budget {
		c.tight.Store(true)
		return false
	}
	c.used += size
	return true
}

// finish gives the assets what depends on the site as a whole.
func (c *compiler) finish() {
	if c.sameRules { // before any is made anew, so that assets that did not change stay what they are
		for _, old := range c.prev.assets {
			c.adopt(old.shared)
		}
	}
	current := make(map[string]bool)
	for _, a := range c.site.assets {
		if c.source == nil {
			a.seen = c.site.generation
		}
		if a.document {
			a.shared = c.intern(assetFields(a, a.cacheControl(), nil))
			continue
		}
		if Fingerprinted(a.name) {
			current[a.name] = true
			a.immutable = a.hashed && c.history.constant(a.name, a.hash)
		}
		a.shared = c.sharedFields(a)
	}
	c.history.forget(current)
}

// sharedFields returns the fields that all forms of an asset share.
func (c *compiler) sharedFields(a *asset) *fieldList {
	if old := c.known[a.name]; old != nil && c.sameRules && old.path == a.path && old.contentType == a.contentType && old.immutable == a.immutable {
		return c.adopt(old.shared)
	}
	return c.intern(assetFields(a, a.cacheControl(), c.edits(a.path)))
}

// edits returns what _headers says of a path whatever the host.
func (c *compiler) edits(path string) []rules.Edit {
	if c.site.headers == nil {
		return nil
	}
	return c.site.headers.Match(rules.Request{Path: path})
}
