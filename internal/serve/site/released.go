package site

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
)

// NewReleased returns a Live that serves the releases that are activated. Until the
// first one it answers 503. Of the options only HSTS, Budget and Store count; the
// sites should be compiled with the same.
func NewReleased(o Options, live LiveOptions) *Live {
	l := newLive(o, live)
	l.activated = make(chan struct{}, 1)
	l.history = &history{Names: make(map[string]string)}
	first := &Site{pending: true}
	first.secure(o.HSTS)
	l.current.Store(first)
	return l
}

// Activate makes a site that [CompileSource] returned the current one. Requests that
// have begun keep the one that they began with. Run then adds the codings that did
// not come with the release. It is for a Live of [NewReleased].
func (l *Live) Activate(s *Site) {
	l.swap.Lock()
	defer l.swap.Unlock()
	l.dead.Add(s.dropped)
	l.replace(s)
}

// replace stores a site that the improver of the old one does not replace any more.
// swap is held.
func (l *Live) replace(s *Site) {
	if l.activated == nil {
		panic("site: a directory decides itself what is served of it")
	}
	l.halt()
	l.current.Store(s)
	select {
	case l.activated <- struct{}{}:
	default:
	}
}

// halt lets the improver publish what it has, and nothing more. swap is held.
func (l *Live) halt() {
	if l.improving != nil {
		l.improving.stop()
		l.improving = nil
	}
}

// Improve gives the current site the codings that the source has and it has not:
// those that lacked, and best ones in the place of quick ones. It is the same
// release, so nothing else changes. If another release is activated meanwhile, that
// one gets what it has in common. After an error the site is as it was.
func (l *Live) Improve(ctx context.Context, src Source) error {
	gifts, err := l.collect(ctx, src)
	if err != nil || len(gifts) == 0 {
		return err
	}
	l.swap.Lock()
	defer l.swap.Unlock()
	l.halt() // it knows the site as it was
	now := l.Site()
	better, used := make(map[int]*asset), now.summary.Memory
	for i, a := range now.assets {
		for _, g := range gifts[a.hash] {
			more := int64(g.mem.Len()) - a.sizes[g.coding]
			if !now.takesGifts(a) || !a.forms[g.coding].worseThan(g.level) || l.options.Budget > 0 && used+more > l.options.Budget {
				continue
			}
			used += more
			a = a.withForms(func(twin *asset) { twin.give(g.coding, g.level, g.mem) })
			better[i] = a
		}
	}
	l.replace(now.with(better))
	return nil
}

// A gift is a coding that came after its release.
type gift struct {
	coding encode.Coding
	level  encode.Level
	mem    *body.Body
}

// collect returns by content what the source has and the current site would want.
func (l *Live) collect(ctx context.Context, src Source) (map[body.Key][]gift, error) {
	offered := make(map[body.Key]SourceFile)
	for _, f := range src.Files() {
		offered[f.Hash] = f
	}
	var mu sync.Mutex // guards gifts
	gifts := make(map[body.Key][]gift)
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0) * 2) // reading waits for the disk
	now := l.Site()
	for _, a := range now.assets {
		f, ok := offered[a.hash]
		if !ok || !now.takesGifts(a) {
			continue
		}
		delete(offered, a.hash) // once is enough
		group.Go(func() error {
			if err := reading.Err(); err != nil {
				return err
			}
			found, err := l.giftsFor(a, f, src)
			mu.Lock()
			defer mu.Unlock()
			if len(found) > 0 {
				gifts[a.hash] = found
			}
			return err
		})
	}
	return gifts, group.Wait()
}

// takesGifts reports whether an asset of the site is one to be improved: not an
// error document, which follows its page, nor a file of another release.
func (s *Site) takesGifts(a *asset) bool {
	return !a.document && !a.retained && a.takesCodings()
}

// giftsFor asks for the codings that an asset has not, or not at their best.
func (l *Live) giftsFor(a *asset, f SourceFile, src Source) ([]gift, error) {
	var found []gift
	for _, coding := range codings {
		if !a.forms[coding].worseThan(encode.Best) {
			continue
		}
		mem, level, err := delivered(src, l.options.Store, f, coding)
		if err != nil {
			return nil, fmt.Errorf("improve %s: %w", a.name, err)
		}
		if mem != nil && a.forms[coding].worseThan(level) {
			found = append(found, gift{coding, level, mem})
		}
	}
	return found, nil
}

// worseThan reports whether a form, or none, is to be replaced by a delivered one of
// this level.
func (f *form) worseThan(level encode.Level) bool {
	return f == nil || f.level != encode.Best && (level == encode.Best || !f.given)
}

// improveReleases is Run for releases: an improver for each site, until ctx ends.
func (l *Live) improveReleases(ctx context.Context) {
	var behind sync.WaitGroup
	defer behind.Wait()
	for ctx.Err() == nil {
		improving, cancel := context.WithCancel(ctx)
		im := l.beginImproving()
		behind.Go(func() { l.improve(improving, im) })
		select {
		case <-l.activated:
		case <-ctx.Done():
		}
		cancel()
	}
	l.swap.Lock()
	defer l.swap.Unlock()
	l.halt()
}

func (l *Live) beginImproving() *improver {
	l.swap.Lock()
	defer l.swap.Unlock()
	l.halt()
	l.improving = l.improver()
	return l.improving
}
