package site

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/mistake"
)

// LiveOptions are the options of a [Live] beside those of its sites.
type LiveOptions struct {
	// Name names the site in logs.
	Name string
	// History is the file that remembers fingerprinted names between runs; ""
	// remembers them only while running.
	History string
	// Codings keeps the best codings between runs; nil keeps none.
	Codings *encode.Cache
	// Busy reports whether the process has something to do that is more urgent than
	// better codings: none is begun while it has. nil is never.
	Busy func() bool
	// Log is told of changes and of mistakes; nil means nobody is.
	Log *slog.Logger
}

// A Live is the current site of a directory ([NewLive]), whose goroutine,
// [Live.Run], is the only one that compiles; or of releases ([NewReleased]), which
// others compile and [Live.Activate]. Any number may call [Live.Site].
type Live struct {
	options Options
	dir     string // absolute
	live    LiveOptions
	history *history // Run's, or its improver's while one is at work
	current atomic.Pointer[Site]
	slots   *slots
	quiet   time.Duration // see watcher
	poke    chan struct{} // one pending wish to look at the directory is enough
	failing string        // the last error told, so that it is told once; Run's
	dead    atomic.Int64  // bytes of bodies that no current site has had since memory was last tidied, or somewhat more

	// Of a Live of releases:
	activated chan struct{} // nil for a directory; one pending change is as good as many
	swap      sync.Mutex    // guards improving and, against it, what is stored in current
	improving *improver     // nil while none is at work
}

// NewLive compiles the directory for the first time. On error there is no Live.
func NewLive(ctx context.Context, o Options, live LiveOptions) (*Live, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", o.Dir, err)
	}
	l := newLive(o, live)
	l.dir = dir
	if l.history, err = loadHistory(live.History); err != nil {
		l.historyLost(ctx, err)
	}
	first, err := compile(ctx, o, nil, l.history, nil)
	if err != nil {
		return nil, err
	}
	l.show(first)
	if err := l.history.save(); err != nil {
		l.historyLost(ctx, err)
	}
	return l, nil
}

func newLive(o Options, live LiveOptions) *Live {
	if live.Log == nil {
		live.Log = slog.New(slog.DiscardHandler)
	}
	return &Live{options: o, live: live, slots: newSlots(), quiet: defaultQuiet, poke: make(chan struct{}, 1)}
}

// historyLost tells that names will be believed that should not be, after the
// next start. The site is served all the same.
func (l *Live) historyLost(ctx context.Context, err error) {
	l.live.Log.LogAttrs(ctx, slog.LevelWarn, "history of file names not kept", slog.String("site", l.live.Name), slog.Any("err", err))
}

// Site returns the current site. A request asks once and keeps what it got.
func (l *Live) Site() *Site { return l.current.Load() }

// show makes a site that was compiled the current one.
func (l *Live) show(s *Site) {
	l.dead.Add(s.dropped)
	l.current.Store(s)
}

// Name returns the site's name.
func (l *Live) Name() string { return l.live.Name }

// Poke asks Run to look at the directory now: an answer has found it changed.
// Of releases there is nothing to look at.
func (l *Live) Poke() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// Run watches the directory, if there is one, and keeps the site current and
// improving until ctx ends, which is no error.
func (l *Live) Run(ctx context.Context) error {
	if l.activated != nil {
		l.improveReleases(ctx)
		return nil
	}
	w := newWatcher(ctx, l.dir, l.live.Log)
	w.quiet = l.quiet
	var behind sync.WaitGroup
	behind.Go(func() { w.run(ctx, l.poke) })
	defer behind.Wait()
	l.recompile(ctx, w) // what happened since NewLive, nobody has told
	for ctx.Err() == nil {
		im := l.improver()
		improving, cancel := context.WithCancel(ctx)
		behind.Go(func() { l.improve(improving, im) })
		select {
		case <-w.changed:
		case <-ctx.Done():
		}
		cancel()
		im.stop()
		l.recompile(ctx, w)
	}
	return nil
}

func (l *Live) improver() *improver {
	return &improver{
		cache: l.live.Codings, store: l.options.Store, budget: l.options.Budget, slots: l.slots, publish: l.current.Store, busy: l.live.Busy,
		quickBrotli: l.activated != nil, dead: &l.dead,
		history: l.history, site: l.Site(), ready: make(map[int]*asset), last: time.Now(),
	}
}

func (l *Live) improve(ctx context.Context, im *improver) {
	if err := im.run(ctx); err != nil {
		l.live.Log.LogAttrs(ctx, slog.LevelError, "codings not made", slog.String("site", l.live.Name), slog.Any("err", err))
	}
	if err := im.save(); err != nil {
		l.historyLost(ctx, err)
	}
}

// recompile makes a new site of the directory as it is now. One that does not
// compile is reported, and the old one goes on.
func (l *Live) recompile(ctx context.Context, w *watcher) {
	start, old, h := time.Now(), l.Site(), l.history.clone()
	w.begin(ctx)
	next, err := compile(ctx, l.options, old, h, func(name string, id fileID) { w.enter(ctx, name, id) })
	if err == nil {
		w.end()
		err = l.refuseEmpty(next, old)
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		l.reportFailure(ctx, err)
		return
	}
	l.failing = ""
	if next.digest == old.digest {
		return
	}
	l.show(next)
	l.history = h
	if err := h.save(); err != nil {
		l.historyLost(ctx, err)
	}
	l.live.Log.LogAttrs(ctx, slog.LevelInfo, "site changed", slog.String("site", l.live.Name), slog.Int("files", next.summary.Files),
		slog.Int64("bytes", next.summary.Bytes), slog.Duration("dur", time.Since(start)))
}

// refuseEmpty is an error if a site has lost all its content, which is more
// often an accident, or a moment of a deployment, than meant.
func (l *Live) refuseEmpty(next, old *Site) error {
	if next.summary.Files > 0 || next.redirects.Len() > 0 || old.summary.Files == 0 {
		return nil
	}
	return &mistake.Error{File: l.options.Dir, What: "the directory has become empty; what it had is served on", Hint: "restart to serve an empty site"}
}

func (l *Live) reportFailure(ctx context.Context, err error) {
	if err.Error() == l.failing {
		return
	}
	l.failing = err.Error()
	l.live.Log.LogAttrs(ctx, slog.LevelError, "site not changed", slog.String("site", l.live.Name), slog.Any("err", err))
}
