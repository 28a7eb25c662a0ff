package site

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/body"
)

// Options say what to compile and how. Dir and Store are required.
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

// maxRulesFile bounds the size in bytes of a rules file.
const maxRulesFile = 1 << 20

// keepGenerations is for how many generations a fingerprinted file that is gone
// stays reachable, so that pages that were open go on working.
const keepGenerations = 2

// Compile reads the directory and returns its site. What did not change since
// prev, which may be nil, is taken from there. A rules file with mistakes is an
// error that carries a [mistake.List].
func Compile(ctx context.Context, o Options, prev *Site) (*Site, error) {
	h, err := loadHistory("")
	if err != nil {
		return nil, err
	}
	return compile(ctx, o, prev, h)
}

// compile is Compile with a history of fingerprinted names, which it updates.
func compile(ctx context.Context, o Options, prev *Site, h *history) (*Site, error) {
	o = o.withDefaults()
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, dirError(o.Dir, err)
	}
	seen, err := walkRoot(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", o.Dir, err)
	}
	c := &compiler{Options: o, root: root, history: h, prev: prev, walk: seen, interned: make(map[string][]Field)}
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
	root    *os.Root
	history *history
	prev    *Site
	walk    *walk

	site  *Site
	known map[string]*asset // of prev, by name
	used  int64             // bytes of bodies in memory
	open  int               // files held open

	ruleSources [2][]byte

	internMu sync.Mutex
	interned map[string][]Field
}

func (c *compiler) compile(ctx context.Context) (*Site, error) {
	c.site = &Site{
		compiled: c.Now(), generation: 1, dirs: c.walk.dirs,
		paths: make(map[string]entry), notFounds: make(map[string]int32),
	}
	if c.prev != nil {
		c.site.generation = c.prev.generation + 1
	}
	c.site.hsts = hstsField(c.HSTS)
	if err := c.rules(); err != nil {
		return nil, err
	}
	assets, err := c.assets(ctx)
	if err != nil {
		return nil, err
	}
	c.site.digest = c.digest(assets)
	c.index(assets)
	c.retain()
	c.site.summary.Skipped = c.walk.skipped
	c.site.summarise()
	return c.site, nil
}

func hstsField(age time.Duration) []Field {
	if age <= 0 {
		return nil
	}
	return []Field{field("Strict-Transport-Security", fmt.Sprintf("max-age=%d", int64(age.Seconds())))}
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
	data, err := c.root.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", filepath.Join(c.Dir, name), err)
	case len(data) > maxRulesFile:
		return nil, &mistake.Error{File: filepath.Join(c.Dir, name), What: fmt.Sprintf("the file has %d bytes, more than the %d that are read", len(data), maxRulesFile)}
	case data == nil:
		data = []byte{}
	}
	return data, nil
}

// assets makes the asset of every file, small files first so that the memory
// budget serves as many as it can.
func (c *compiler) assets(ctx context.Context) ([]*asset, error) {
	files := slices.DeleteFunc(c.walk.files, func(f found) bool { return f.name == redirectsFile || f.name == headersFile })
	slices.SortFunc(files, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.stat.size, b.stat.size), strings.Compare(a.name, b.name))
	})
	c.known = make(map[string]*asset)
	if c.prev != nil {
		for _, a := range c.prev.assets {
			if !a.document && a.seen == c.prev.generation {
				c.known[a.name] = a
			}
		}
	}
	assets := make([]*asset, len(files))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0) * 2) // reading waits for the disk
	for i, f := range files {
		inMemory := c.admit(f.stat.size)
		group.Go(func() (err error) {
			if reading.Err() == nil {
				assets[i], err = c.load(f, inMemory)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	assets = slices.DeleteFunc(assets, func(a *asset) bool { return a == nil })
	for i, a := range assets {
		assets[i] = c.finish(a)
	}
	return assets, ctx.Err()
}

// digest sums up what the site is made of, so that a directory that was touched
// and not changed makes no new site. The order of assets is by size and name.
func (c *compiler) digest(assets []*asset) body.Key {
	sum := sha256.New()
	for _, a := range assets {
		fmt.Fprintf(sum, "%q %d %x\n", a.name, a.modified, a.hash)
		if !a.hashed {
			fmt.Fprintf(sum, "%+v\n", a.stat)
		}
	}
	fmt.Fprintf(sum, "%q %q", c.ruleSources[0], c.ruleSources[1])
	return body.Key(sum.Sum(nil))
}

// admit reports whether a file of this size goes to memory, and accounts for it.
func (c *compiler) admit(size int64) bool {
	if size > MaxInMemory || c.Budget > 0 && c.used+size > c.Budget {
		return false
	}
	c.used += size
	return true
}

// load makes the asset of one file, or takes it from the previous site. It
// returns nil if the file is gone. It runs concurrently.
func (c *compiler) load(f found, inMemory bool) (*asset, error) {
	if old := c.known[f.name]; old != nil && old.stat == f.stat && !old.racy && (old.identity().mem != nil) == inMemory {
		twin := *old
		return &twin, nil
	}
	var a *asset
	var err error
	if inMemory {
		a, err = c.loadMemory(f)
	} else {
		a, err = c.loadDisk(f)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // gone since the walk
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(c.Dir, f.name), err)
	}
	return a, nil
}

// finish gives an asset what depends on the site and on when it is compiled.
func (c *compiler) finish(a *asset) *asset {
	a.path = canonicalPath(a.name)
	a.seen = c.site.generation
	a.immutable = a.hashed && Fingerprinted(a.name) && c.history.constant(a.name, a.hash)
	a.shared = c.assetFields(a, c.edits(a.path))
	return a
}

// edits returns what _headers says of a path whatever the host.
func (c *compiler) edits(path string) []rules.Edit {
	if c.site.headers == nil {
		return nil
	}
	return c.site.headers.Match(rules.Request{Path: path})
}

// index lays out the paths: pages at their clean URLs, with redirects from their
// names; a file that itself has a page's clean URL keeps it.
func (c *compiler) index(assets []*asset) {
	exact := make(map[string]bool, len(assets))
	for _, a := range assets {
		exact["/"+a.name] = true
	}
	for _, a := range assets {
		own := "/" + a.name
		if a.path != own && exact[a.path] {
			a.path = own
		}
		c.place(a)
		if a.path != own {
			c.alias(own, a.path)
		}
		if path.Base(a.name) == notFoundFile {
			c.addDocument(a)
		}
	}
	for _, a := range assets {
		c.aliases(a)
	}
}

func (c *compiler) place(a *asset) {
	c.site.paths[a.path] = entry{asset: int32(len(c.site.assets))}
	c.site.assets = append(c.site.assets, a)
}

// aliases adds the redirects of the spellings that visitors try: /blog for
// /blog/, /blog/index for /blog/, /about/ for /about.
func (c *compiler) aliases(a *asset) {
	switch {
	case path.Base(a.name) == "index.html" && strings.HasSuffix(a.path, "/"):
		c.alias(strings.TrimSuffix(a.path, "/"), a.path)
		c.alias(a.path+"index", a.path)
	case a.path != "/"+a.name:
		c.alias(a.path+"/", a.path)
	}
}

// alias adds a redirect unless something stands at the path.
func (c *compiler) alias(from, to string) {
	if _, taken := c.site.paths[from]; !taken && from != "" {
		c.site.paths[from] = entry{asset: -1, to: to}
	}
}

// addDocument makes a 404.html the error document of its directory.
func (c *compiler) addDocument(page *asset) {
	twin := page.asDocument()
	twin.shared = c.assetFields(twin, c.edits(page.path))
	dir, _ := path.Split(page.name)
	c.site.notFounds["/"+dir] = int32(len(c.site.assets))
	c.site.assets = append(c.site.assets, twin)
}

// asDocument returns the asset as an error document.
func (a *asset) asDocument() *asset {
	return a.withForms(func(twin *asset) {
		twin.document = true
		for coding, f := range a.forms {
			if f != nil {
				twin.addForm(encode.Coding(coding), f.level, f.mem, f.disk)
			}
		}
	})
}

// retain takes fingerprinted files that are gone from the previous site, as long
// as they are not too old. Those that lie on disk cannot be kept.
func (c *compiler) retain() {
	if c.prev == nil {
		return
	}
	for _, a := range c.prev.assets {
		if !a.immutable || a.document || a.identity().mem == nil || a.seen+keepGenerations < c.site.generation {
			continue
		}
		if e, taken := c.site.paths[a.path]; taken && e.asset >= 0 {
			continue
		}
		c.place(a)
	}
}

// summarise counts.
func (s *Site) summarise() {
	sum := Summary{Skipped: s.summary.Skipped}
	bodies := make(map[*body.Body]bool)
	for _, a := range s.assets {
		for _, f := range a.forms {
			if f != nil && f.mem != nil && !bodies[f.mem] {
				bodies[f.mem] = true
				sum.Memory += int64(f.mem.Len())
			}
		}
		if a.document || a.seen != s.generation {
			continue
		}
		sum.Files++
		sum.Bytes += a.size()
		sum.count(a)
	}
	s.summary = sum
}

func (sum *Summary) count(a *asset) {
	if a.identity().disk != nil {
		sum.OnDisk++
	}
	if !a.codable {
		return
	}
	sum.Codable++
	if a.coded() {
		sum.Coded++
	}
	if a.done {
		sum.Best++
	}
}
