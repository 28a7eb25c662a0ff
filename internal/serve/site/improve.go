package site

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/body"
)

const (
	// maxCoded is the largest file that is coded. The best brotli makes 0.4 MB a
	// second, so that this is twenty seconds of one core.
	maxCoded = 8 << 20
	// snapshotEvery is how often codings that are ready go live.
	snapshotEvery = time.Second
	// restFor is how long nothing is begun while something else is more urgent.
	restFor = 100 * time.Millisecond
)

// codings are those that are made of every file worth coding.
var codings = [...]encode.Coding{encode.Brotli, encode.Zstd, encode.Gzip}

// An improver adds to a site what takes time: codings, first quick and then
// best, and the hashes of large files. Each step is a new site. It outlives its
// site by what it is encoding when it is stopped, which goes to the cache.
type improver struct {
	cache   *encode.Cache // nil keeps nothing
	store   *body.Store
	budget  int64
	slots   *slots
	publish func(*Site)
	busy    func() bool // see LiveOptions
	// quickBrotli leaves br at its quick level: the best one costs more than all the
	// others together, and is made once for all who serve a release, elsewhere.
	quickBrotli bool

	dead *atomic.Int64 // see Live; nil: much
	used atomic.Int64
	full atomic.Bool // something had no room: larger files need not be tried

	mu      sync.Mutex // guards the fields below
	history *history
	site    *Site
	ready   map[int]*asset // assets of site that have a better twin
	last    time.Time
	failed  []error
	stopped bool
}

// slots bound how much is encoded at a time, whichever site it is for: what a
// stopped improver is still at counts.
type slots struct{ quick, best, one chan struct{} }

func newSlots() *slots {
	all := runtime.GOMAXPROCS(0)
	return &slots{quick: make(chan struct{}, all), best: make(chan struct{}, max(1, all/2)), one: make(chan struct{}, 1)}
}

// maxFailures is how many errors an improver remembers.
const maxFailures = 5

// run improves the site until nothing is left to do or ctx ends. A file that
// can't be improved stays as it is, and is part of the error.
func (im *improver) run(ctx context.Context) error {
	im.used.Store(im.site.summary.Memory)
	im.each(ctx, im.slots.quick, im.wantsQuick, im.quick)
	im.each(ctx, im.slots.one, im.wantsHash, im.hash)
	im.each(ctx, im.slots.quick, im.wantsQuick, im.quick)
	im.each(ctx, im.slots.best, im.wantsBest, im.best)
	if ctx.Err() == nil && im.muchDead() {
		runtime.GC() // what the quick codings took is free only now
		im.each(ctx, im.slots.one, im.sparse, im.compact)
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	return errors.Join(im.failed...)
}

// muchDead reports whether so many bodies are nobody's any more that it is worth while
// to look for the memory that they take, and if so begins to count anew. Of a large site
// in which little has changed it is not: the collector would look at all of it.
func (im *improver) muchDead() bool {
	if im.dead == nil {
		return true
	}
	if im.dead.Load() < im.used.Load()/8 {
		return false
	}
	im.dead.Store(0)
	return true
}

// each runs do over all assets that want it, as many at a time as there are slots, and
// publishes what came of it, now and then and at the end. do returns nil for an
// asset that stays as it is.
func (im *improver) each(ctx context.Context, slots chan struct{}, wants func(*asset) bool, do func(context.Context, *asset) (*asset, error)) {
	var working sync.WaitGroup
	for i, a := range im.current().assets {
		if a.document || ctx.Err() != nil || !wants(a) {
			continue
		}
		im.rest(ctx)
		select {
		case <-ctx.Done():
		case slots <- struct{}{}:
			working.Go(func() {
				defer func() { <-slots }()
				im.improve(ctx, i, a, do)
			})
		}
	}
	working.Wait()
	im.mu.Lock()
	defer im.mu.Unlock()
	im.flush()
}

// rest waits for as long as something else is more urgent.
func (im *improver) rest(ctx context.Context) {
	for im.busy != nil && im.busy() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(restFor):
		}
	}
}

func (im *improver) current() *Site {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.site
}

func (im *improver) improve(ctx context.Context, i int, a *asset, do func(context.Context, *asset) (*asset, error)) {
	better, err := do(ctx, a)
	im.mu.Lock()
	defer im.mu.Unlock()
	switch {
	case im.stopped, err != nil && ctx.Err() != nil, errors.Is(err, ErrChanged): // the change makes a new site
	case err != nil:
		if len(im.failed) < maxFailures {
			im.failed = append(im.failed, fmt.Errorf("prepare %s: %w", a.name, err))
		}
	case better != nil:
		im.ready[i] = better
		if time.Since(im.last) >= snapshotEvery {
			im.flush()
		}
	}
}

// flush publishes what is ready, which is nothing once it was stopped. mu is held.
func (im *improver) flush() {
	if len(im.ready) == 0 {
		return
	}
	for i, a := range im.ready {
		if !im.site.assets[i].hashed && a.hashed {
			im.judge(a)
		}
	}
	im.site = im.site.with(im.ready)
	im.ready = make(map[int]*asset)
	im.last = time.Now()
	im.publish(im.site)
}

// judge lets a file whose hash is known at last be immutable. mu is held.
func (im *improver) judge(a *asset) {
	if a.immutable || !Fingerprinted(a.name) || !im.history.constant(a.name, a.hash) {
		return
	}
	a.immutable = true
	var edits []rules.Edit
	if im.site.headers != nil {
		edits = im.site.headers.Match(rules.Request{Path: a.path})
	}
	a.shared = assetFields(a, a.cacheControl(), edits)
}

// stop publishes what is ready and makes sure that nothing is after it: neither
// the site nor the history are the improver's any more.
func (im *improver) stop() {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.flush()
	im.stopped = true
}

// save writes the history unless the improver was stopped.
func (im *improver) save() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.stopped {
		return nil
	}
	return im.history.save()
}

func (im *improver) wantsQuick(a *asset) bool { return !a.tried && im.wantsCoding(a) }

func (im *improver) wantsHash(a *asset) bool { return !a.hashed }

func (im *improver) wantsBest(a *asset) bool { return !a.done && im.wantsCoding(a) }

// quick gives an asset codings that are soon made, or the best ones if they are
// in the cache.
func (im *improver) quick(_ context.Context, a *asset) (*asset, error) {
	if !im.wantsQuick(a) { // any more: memory may be full by now
		return nil, nil
	}
	if forms, ok := im.cached(a); ok {
		return im.withCodings(a, encode.Best, forms)
	}
	return im.code(a, encode.Quick)
}

// best replaces quick codings.
func (im *improver) best(_ context.Context, a *asset) (*asset, error) {
	if !im.wantsBest(a) {
		return nil, nil
	}
	return im.code(a, encode.Best)
}

// wantsCoding reports whether codings are worth the work. When the budget is
// used up only those are that take the place of others.
func (im *improver) wantsCoding(a *asset) bool {
	return a.codable && a.hashed && a.size() > 0 && a.size() <= maxCoded && (a.coded() || !im.full.Load())
}

// lacking yields the codings that are to be made: those that did not come with
// the release.
func (a *asset) lacking() iter.Seq[encode.Coding] {
	return func(yield func(encode.Coding) bool) {
		for _, coding := range codings {
			if f := a.forms[coding]; (f == nil || !f.given) && !yield(coding) {
				return
			}
		}
	}
}

// level returns at which level a coding is made when the best are.
func (im *improver) level(coding encode.Coding, level encode.Level) encode.Level {
	if coding == encode.Brotli && im.quickBrotli {
		return encode.Quick
	}
	return level
}

// cached returns all the best codings that an asset lacks if the cache has each.
func (im *improver) cached(a *asset) (map[encode.Coding][]byte, bool) {
	forms := make(map[encode.Coding][]byte)
	for coding := range a.lacking() {
		if im.level(coding, encode.Best) != encode.Best {
			return nil, false // quick ones are not kept
		}
		data, ok := im.fromCache(a, coding)
		if !ok {
			return nil, false
		}
		forms[coding] = data
	}
	return forms, true
}

func (im *improver) fromCache(a *asset, coding encode.Coding) ([]byte, bool) {
	if im.cache == nil {
		return nil, false
	}
	return im.cache.Get(a.hash, coding, encode.Best)
}

// code makes all codings that an asset lacks, at a level.
func (im *improver) code(a *asset, level encode.Level) (*asset, error) {
	content, err := a.content()
	if err != nil {
		return nil, err
	}
	forms := make(map[encode.Coding][]byte)
	for coding := range a.lacking() {
		if has := a.forms[coding]; has != nil && level == encode.Best && im.level(coding, level) == has.level {
			continue // it stays
		}
		if forms[coding], err = im.codeOne(a, content, coding, im.level(coding, level)); err != nil {
			return nil, err
		}
	}
	runtime.KeepAlive(a) // content may be the asset's own memory
	return im.withCodings(a, level, forms)
}

// codeOne returns content in a coding, or nothing if that is not smaller.
func (im *improver) codeOne(a *asset, content []byte, coding encode.Coding, level encode.Level) ([]byte, error) {
	if level == encode.Best {
		return im.cache.Make(a.hash, coding, level, func() ([]byte, error) { return smaller(content, coding, level) })
	}
	return smaller(content, coding, level)
}

// smaller returns content in a coding, or nothing if that is not smaller.
func smaller(content []byte, coding encode.Coding, level encode.Level) ([]byte, error) {
	data, err := encode.Encode(nil, content, coding, level)
	if err != nil {
		return nil, fmt.Errorf("code as %s: %w", coding, err)
	}
	if len(data) >= len(content) {
		data = nil
	}
	return data, nil
}

// content returns the whole content of an asset.
func (a *asset) content() ([]byte, error) {
	f := a.identity()
	if f.mem != nil {
		return f.mem.Bytes(), nil
	}
	var buf writeBuffer
	if _, err := f.disk.writeRun(&buf, 0, a.size()); err != nil {
		return nil, err
	}
	return buf, nil
}

type writeBuffer []byte

func (b *writeBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// withCodings returns the asset with these codings, as far as the memory budget
// goes. A coding without data was not smaller than the file.
func (im *improver) withCodings(a *asset, level encode.Level, forms map[encode.Coding][]byte) (*asset, error) {
	var err error
	better := a.withForms(func(twin *asset) {
		twin.tried, twin.done = true, level == encode.Best
		for coding := range a.lacking() {
			data, made := forms[coding]
			if !made {
				continue
			}
			if e := im.addCoding(twin, coding, im.level(coding, level), data); e != nil {
				err = e
			}
		}
	})
	return better, err
}

func (im *improver) addCoding(a *asset, coding encode.Coding, level encode.Level, data []byte) error {
	im.used.Add(-a.sizes[coding])
	if im.dead != nil {
		im.dead.Add(a.sizes[coding])
	}
	a.forms[coding], a.sizes[coding] = nil, 0
	if len(data) == 0 {
		return nil
	}
	if used := im.used.Add(int64(len(data))); im.budget > 0 && used > im.budget {
		im.used.Add(int64(-len(data)))
		im.full.Store(true)
		a.tried, a.done = false, false // there may be room in the next site
		return nil
	}
	mem, err := im.store.Put(codedKey(a.hash, coding, level), data)
	if err != nil {
		return err
	}
	a.addForm(coding, level, mem, nil)
	return nil
}

// codedKey names a coded body by what it is made from.
func codedKey(hash body.Key, coding encode.Coding, level encode.Level) body.Key {
	return sha256.Sum256(append(hash[:], byte(coding), byte(level)))
}

// hash reads a large file through and gives it a strong entity tag.
func (im *improver) hash(ctx context.Context, a *asset) (*asset, error) {
	sum := sha256.New()
	if _, err := a.identity().disk.writeRun(writerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return sum.Write(p)
	}), 0, a.size()); err != nil {
		return nil, err
	}
	return a.withForms(func(twin *asset) {
		sum.Sum(twin.hash[:0])
		twin.hashed = true
		twin.addForm(encode.Identity, encode.Best, nil, a.identity().disk)
	}), nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

var _ io.Writer = writerFunc(nil)

// sparse reports whether an asset has bodies in slabs that are mostly dead.
func (im *improver) sparse(a *asset) bool {
	return slices.ContainsFunc(a.forms[:], func(f *form) bool { return f != nil && f.mem != nil && im.store.Sparse(f.mem) })
}

// compact moves bodies out of slabs that are mostly dead.
func (im *improver) compact(_ context.Context, a *asset) (*asset, error) {
	var moved *asset
	for coding, f := range a.forms {
		if f == nil || f.mem == nil || !im.store.Sparse(f.mem) {
			continue
		}
		key := a.hash
		if encode.Coding(coding) != encode.Identity {
			key = codedKey(a.hash, f.coding, f.level)
		}
		mem, err := im.store.Put(key, f.mem.Bytes())
		if err != nil {
			return nil, err
		}
		if moved == nil {
			moved = a.withForms(func(*asset) {})
		}
		moved.addForm(f.coding, f.level, mem, nil).given = f.given
	}
	return moved, nil
}
