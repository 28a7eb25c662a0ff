package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/encode"
)

// LiveOptions are the options of a [Live] beside those of its sites.
type LiveOptions struct {
	// Name names the site in logs.
	Name string
	// History is the file that remembers fingerprinted names between runs; ""
	// remembers them only while running. Its directory must exist.
	History string
	// Codings keeps the best codings between runs; nil keeps none.
	Codings *encode.Cache
	// Log is told of changes and of mistakes; nil means nobody is.
	Log *slog.Logger
}

// A Live is the current site of a directory. Its goroutine, [Live.Run], is the
// only one that compiles; any number may call [Live.Site].
type Live struct {
	options Options
	dir     string // absolute
	live    LiveOptions
	history *history
	current atomic.Pointer[Site]
	poke    chan struct{} // one pending wish to look at the directory is enough
	failing string        // the last error told, so that it is told once; Run's
}

// NewLive compiles the directory for the first time. On error there is no Live.
func NewLive(ctx context.Context, o Options, live LiveOptions) (*Live, error) {
	if live.Log == nil {
		live.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", o.Dir, err)
	}
	h, err := loadHistory(live.History)
	if err != nil {
		return nil, err
	}
	l := &Live{options: o, dir: dir, live: live, history: h, poke: make(chan struct{}, 1)}
	first, err := compile(ctx, o, nil, h)
	if err != nil {
		return nil, err
	}
	l.current.Store(first)
	return l, h.save()
}

// Site returns the current site. A request asks once and keeps what it got.
func (l *Live) Site() *Site { return l.current.Load() }

// Name returns the site's name.
func (l *Live) Name() string { return l.live.Name }

// Poke asks Run to look at the directory now: an answer has found it changed.
func (l *Live) Poke() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// Run watches the directory and keeps the site current and improving until ctx
// ends, which is no error.
func (l *Live) Run(ctx context.Context) error {
	w := newWatcher(l.dir, l.live.Log)
	var watching sync.WaitGroup
	watching.Go(func() { w.run(ctx, l.poke) })
	defer watching.Wait()
	for ctx.Err() == nil {
		w.follow(l.Site().dirs)
		l.improveUntil(ctx, w.changed)
		if ctx.Err() == nil {
			l.recompile(ctx)
		}
	}
	return nil
}

// improveUntil improves the current site until the directory changed, or ctx
// ends.
func (l *Live) improveUntil(ctx context.Context, changed <-chan struct{}) {
	improving, stop := context.WithCancel(ctx)
	im := &improver{
		cache: l.live.Codings, store: l.options.Store, budget: l.options.Budget, publish: l.current.Store,
		site: l.Site(), ready: make(map[int]*asset), last: time.Now(),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := im.run(improving); err != nil && !errors.Is(err, context.Canceled) {
			l.live.Log.LogAttrs(ctx, slog.LevelError, "codings not made", slog.String("site", l.live.Name), slog.Any("err", err))
		}
	}()
	select {
	case <-changed:
	case <-ctx.Done():
	}
	stop()
	<-done
}

// recompile makes a new site of the directory as it is now. One that does not
// compile is reported, and the old one goes on.
func (l *Live) recompile(ctx context.Context) {
	start, old, h := time.Now(), l.Site(), l.history.clone()
	next, err := compile(ctx, l.options, old, h)
	if err == nil && len(next.assets) == 0 && len(old.assets) > 0 {
		err = fmt.Errorf("%s has become empty", l.options.Dir)
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
	l.current.Store(next)
	l.history = h
	if err := h.save(); err != nil {
		l.live.Log.LogAttrs(ctx, slog.LevelWarn, "history not saved", slog.String("site", l.live.Name), slog.Any("err", err))
	}
	l.live.Log.LogAttrs(ctx, slog.LevelInfo, "site changed", slog.String("site", l.live.Name), slog.Int("files", next.summary.Files),
		slog.Int64("bytes", next.summary.Bytes), slog.Duration("dur", time.Since(start)))
}

func (l *Live) reportFailure(ctx context.Context, err error) {
	if err.Error() == l.failing {
		return
	}
	l.failing = err.Error()
	l.live.Log.LogAttrs(ctx, slog.LevelError, "site not changed", slog.String("site", l.live.Name), slog.Any("err", err))
}
