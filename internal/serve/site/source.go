package site

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/mediatype"
	"pennyfarthing/internal/serve/body"
)

// A Source has the files of a release, which never change: a hash names one
// content for good. Its methods may be called concurrently.
type Source interface {
	// Files lists the files, _redirects and _headers among them.
	Files() []SourceFile
	// Open opens the plain content of a file of this release, or of one of
	// [Options.Retained]. The caller closes what it gets. Sites of later releases that
	// have the same content go on calling it: it should hold on to nothing large.
	Open(f SourceFile) (*os.File, error)
	// Coding returns the content of a file in a coding, and how well it is coded,
	// if the release was delivered with it. The caller does not change it.
	Coding(f SourceFile, coding encode.Coding) (data []byte, level encode.Level, ok bool)
}

// A SourceFile is a file of a release as its manifest has it.
type SourceFile struct {
	Name     string   // slash-separated, relative to the root
	Hash     body.Key // SHA-256 of the content
	Size     int64    // bytes
	Modified int64    // seconds since 1970
	Type     string   // what Content-Type says; "" is found out from the name and the content
}

// CompileSource returns the site of a release. Content is taken for what its hash
// says: what prev, which may be nil, or the store has is not read again, and nothing
// is hashed. What the site answers depends on the release and on the options, not
// on prev, so that every POP answers alike. A rules file with mistakes is an error
// that carries a [mistake.List]; a file that the source cannot open, or that has
// another size than it should, is one that names it.
func CompileSource(ctx context.Context, o Options, src Source, prev *Site) (*Site, error) {
	c := newCompiler(o.withDefaults(), nil)
	c.source, c.prev = src, prev
	c.site.released = true
	c.sameRules = c.asBefore()
	var err error
	c.history = &history{Names: make(map[string]string)}
	if s, err := c.amend(ctx); s != nil || err != nil {
		return s, err
	}
	if c.walk, err = walkSource(src); err != nil {
		return nil, err
	}
	for _, f := range c.Retained { // a name that has another content by now is not immutable
		if Fingerprinted(f.Name) {
			c.history.constant(f.Name, f.Hash)
		}
	}
	return c.compile(ctx)
}

// walkSource lists the files of a release that are served, by the rules that hold
// for directories.
func walkSource(src Source) (*walk, error) {
	w := &walk{}
	files := src.Files()
	for i := range files {
		f := &files[i]
		if err := f.valid(); err != nil {
			return nil, err
		}
		if !hiddenWithin(f.Name) {
			w.files = append(w.files, found{name: f.Name, stat: fileStat{size: f.Size}, released: f, at: i})
		}
	}
	return w, nil
}

// valid returns an error for a file that no release should have. Whoever parsed the
// manifest has refused it; here it would become a part of answers.
func (f SourceFile) valid() error {
	switch {
	case !fs.ValidPath(f.Name) || f.Name == ".":
		return fmt.Errorf("compile a release: %q is no name of a file", f.Name)
	case strings.ContainsFunc(f.Type, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("compile a release: %q, the type of %s, can't stand in a header field", f.Type, f.Name)
	}
	return nil
}

// hiddenWithin reports whether a name, or a directory that it lies in, is hidden.
func hiddenWithin(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if hidden(part) {
			return true
		}
	}
	return false
}

// openReleasedRules is openRules for a release.
func (c *compiler) openReleasedRules(name string) (*os.File, int64, error) {
	for _, f := range c.walk.files {
		if f.name == name {
			file, stat, err := openObject(c.opener(*f.released), f.stat.size)
			return file, stat.size, err
		}
	}
	return nil, 0, nil
}

// opener returns what opens a file of the release.
func (c *compiler) opener(f SourceFile) func() (*os.File, error) {
	source := c.source // not the compiler, for answers open files later
	return func() (*os.File, error) { return source.Open(f) }
}

// recallContents indexes the previous site by content, as far as it is wanted.
func (c *compiler) recallContents(wanted func(body.Key) bool) {
	for _, a := range c.prev.assets {
		if !wanted(a.hash) {
			continue
		}
		if disk := a.identity().disk; c.reusable(a) && (disk == nil || disk.file != nil) {
			c.contents[a.hash] = a
		}
	}
}

// reusable reports whether an asset of the previous site certainly has the content
// that its hash says. A file of a directory that is served from disk may have been
// changed since it was hashed.
func (c *compiler) reusable(a *asset) bool {
	return !a.document && a.hashed && (a.identity().disk == nil || c.prev.released)
}

// loadReleased makes the asset of a file of a release. It runs concurrently.
func (c *compiler) loadReleased(f SourceFile, inMemory bool) (*asset, error) {
	modified, old := c.lastModified(f), c.remembered(f, inMemory)
	var a *asset
	if old != nil && old.name == f.Name && old.modified == modified && (f.Type == "" || old.contentType == f.Type) {
		a = old.withForms(func(*asset) {})
		if old.identity().disk != nil {
			c.keepDisk(old)
		}
	} else {
		a = &asset{name: f.Name, stat: fileStat{size: f.Size}, hash: f.Hash, hashed: true, contentType: f.Type, modified: modified}
		if err := c.fill(a, old, f, inMemory); err != nil {
			return nil, c.unreadable(f.Name, fmt.Errorf("object %x: %w", f.Hash, err))
		}
	}
	// What was delivered it has, as [Live.Improve] has seen to what came later, unless
	// nobody wanted any codings of it, as its type was another.
	known := old != nil && c.prev.released && (old.takesCodings() || !a.takesCodings())
	for _, coding := range codings { // that it has from old
		if !c.room(a.sizes[coding]) {
			a.forms[coding], a.sizes[coding] = nil, 0
			a.tried, a.done = false, false // there may be room in the next site
			known = false
		}
	}
	if known {
		return a, nil
	}
	if err := c.deliver(a, f); err != nil {
		return nil, c.unreadable(f.Name, err)
	}
	return a, nil
}

// lastModified returns the time of a file of a release, never in the future
// (RFC 9110 §8.8.2.1).
func (c *compiler) lastModified(f SourceFile) int64 { return max(0, min(f.Modified, c.Now().Unix())) }

// remembered returns an asset of the previous site with the content of f, and with
// it where it is to lie, or nil.
func (c *compiler) remembered(f SourceFile, inMemory bool) *asset {
	old := c.known[f.Name]
	if old == nil || old.hash != f.Hash || !c.reusable(old) {
		old = c.contents[f.Hash]
	}
	if old == nil || (old.identity().mem != nil) != inMemory {
		return nil
	}
	return old
}

// fill gives a new asset its content and, if old has that already, old's codings.
func (c *compiler) fill(a, old *asset, f SourceFile, inMemory bool) (err error) {
	var mem *body.Body
	var disk *diskFile
	var head []byte
	switch {
	case inMemory:
		if mem, err = c.contentOf(old, f); err != nil {
			return err
		}
		head = mem.Bytes()
	case old != nil:
		disk = c.keepDisk(old)
	default:
		if disk, err = c.holdReleased(f); err != nil {
			return err
		}
	}
	if a.contentType == "" {
		if disk != nil {
			if head, err = disk.head(); err != nil {
				return err
			}
		}
		a.contentType = mediatype.Of(a.name, head)
	}
	a.codable = encode.Compressible(a.contentType)
	a.addForm(encode.Identity, encode.Best, mem, disk)
	if old != nil && a.codable {
		a.takeForms(old)
	}
	return nil
}

// contentOf returns the body of a small file.
func (c *compiler) contentOf(old *asset, f SourceFile) (*body.Body, error) {
	if old != nil {
		return old.identity().mem, nil
	}
	if mem := c.Store.Get(f.Hash); mem != nil {
		return mem, nil
	}
	file, _, err := openObject(c.opener(f), f.Size)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := readAll(file, f.Size)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != f.Size {
		return nil, fmt.Errorf("read %d bytes of %d: %w", len(data), f.Size, io.ErrUnexpectedEOF)
	}
	if sha256.Sum256(data) != f.Hash {
		return nil, &DamagedError{Name: f.Name, Hash: f.Hash}
	}
	return c.Store.Put(f.Hash, data)
}

// A DamagedError says that a file of a release is not what its hash says: the disk has
// not kept it as it was.
type DamagedError struct {
	Name string   // of the file
	Hash body.Key // that it should have
}

// Error names the file.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: its SHA-256 should be %x", e.Name, e.Hash)
}

// holdReleased opens a large file, and holds it open unless too many are.
func (c *compiler) holdReleased(f SourceFile) (*diskFile, error) {
	file, stat, err := openObject(c.opener(f), f.Size)
	if err != nil {
		return nil, err
	}
	if c.holdOpen() {
		return &diskFile{name: f.Name, stat: stat, file: file}, nil
	}
	_ = file.Close() // it was not even read
	return c.lieReleased(f), nil
}

// keepDisk returns the file of an asset of the previous site: held open, if it was.
func (c *compiler) keepDisk(old *asset) *diskFile {
	disk := old.identity().disk
	if disk.file != nil {
		c.holdOpen()
	}
	return disk
}

// atHand reports whether all of a file is in memory already, so that it is not worth
// while to load it beside others.
func (c *compiler) atHand(f found, inMemory bool) bool {
	return f.released != nil && inMemory && c.prev != nil && c.prev.released && c.remembered(*f.released, true) != nil
}

// lieReleased returns a file that each answer opens.
func (c *compiler) lieReleased(f SourceFile) *diskFile {
	return &diskFile{name: f.Name, stat: fileStat{size: f.Size}, object: c.opener(f)}
}

// head returns the beginning of a file, for its media type.
func (d *diskFile) head() ([]byte, error) {
	o, err := d.open()
	if err != nil {
		return nil, err
	}
	defer o.close()
	head := make([]byte, min(mediatype.SniffLength, d.stat.size))
	n, err := o.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", d.name, err)
	}
	return head[:n], nil
}

// deliver gives an asset the codings that came with the release, as far as the
// memory budget goes. What it has of them already is not asked for again.
func (c *compiler) deliver(a *asset, f SourceFile) error {
	if !a.takesCodings() {
		return nil
	}
	for coding := range a.lacking() {
		if have := a.forms[coding]; have != nil && have.level == encode.Best {
			continue
		}
		mem, level, err := delivered(c.source, c.Store, f, coding)
		if err != nil {
			return err
		}
		if mem == nil {
			continue
		}
		if c.room(int64(mem.Len()) - a.sizes[coding]) {
			a.give(coding, level, mem)
		}
	}
	return nil
}

// room reports whether the memory budget has room for more bytes of codings, and
// takes it.
func (c *compiler) room(more int64) bool {
	coded := c.coded.Add(more)
	if c.Budget > 0 && c.used+coded > c.Budget && more > 0 {
		c.coded.Add(-more)
		c.tight.Store(true)
		return false
	}
	return true
}

// takesCodings reports whether an asset is one that codings are delivered for: the
// same that they would be made for.
func (a *asset) takesCodings() bool {
	return a.codable && a.hashed && a.size() > 0 && a.size() <= maxCoded
}

// delivered returns the body of a file in a coding if it was delivered so, and is
// smaller for it. The best one is not read if the store has it already.
func delivered(src Source, store *body.Store, f SourceFile, coding encode.Coding) (*body.Body, encode.Level, error) {
	if mem := store.Get(codedKey(f.Hash, coding, encode.Best)); mem != nil {
		return mem, encode.Best, nil
	}
	data, level, ok := src.Coding(f, coding)
	if !ok || len(data) == 0 || int64(len(data)) >= f.Size {
		return nil, 0, nil
	}
	mem, err := store.Put(codedKey(f.Hash, coding, level), data)
	return mem, level, err
}

// give gives an asset that is being built a coding that came with its release.
func (a *asset) give(coding encode.Coding, level encode.Level, mem *body.Body) {
	a.addForm(coding, level, mem, nil).given = true
	for range a.lacking() {
		return
	}
	a.tried, a.done = true, true // all have come
}

// retainReleased lets the fingerprinted files of other releases be reached where
// this one has nothing.
func (c *compiler) retainReleased() {
	for _, f := range c.Retained {
		at := "/" + f.Name
		if e, taken := c.site.paths[at]; !Fingerprinted(f.Name) || hiddenWithin(f.Name) || f.valid() != nil || taken && e.asset >= 0 {
			continue
		}
		a := &asset{
			name: f.Name, path: at, stat: fileStat{size: f.Size}, hash: f.Hash, hashed: true, contentType: f.Type,
			modified: c.lastModified(f), immutable: c.history.constant(f.Name, f.Hash), retained: true,
			tried: true, done: true, // nobody makes codings for what is on its way out
		}
		if a.contentType == "" {
			a.contentType = mediatype.Of(f.Name, nil)
		}
		a.codable = encode.Compressible(a.contentType)
		a.addForm(encode.Identity, encode.Best, nil, c.lieReleased(f))
		a.shared = c.intern(assetFields(a, a.cacheControl(), c.edits(a.path)))
		c.place(a)
	}
}
