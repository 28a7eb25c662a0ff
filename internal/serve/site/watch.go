package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// defaultQuiet is how long a directory must be left alone before it is compiled,
	// so that a build that writes a thousand files makes one site of them.
	defaultQuiet = 100 * time.Millisecond
	// patience is how long a directory that is never left alone is waited for.
	patience = 2 * time.Second
	// lookEvery is how often the directory is looked at though the system told
	// of no change: some file systems do not tell.
	lookEvery = time.Minute
	// pollEvery is the same where the system can't tell at all.
	pollEvery = 2 * time.Second
	// statEvery is how often it is seen whether the path leads to the same
	// directory: links and directories above it may be swapped.
	statEvery = time.Second
)

// A watcher tells when a directory may have changed.
type watcher struct {
	dir     string
	log     *slog.Logger
	quiet   time.Duration
	root    fs.FileInfo       // what the path leads to, nil for nothing; run's
	notify  *fsnotify.Watcher // nil if the system has none to give
	polling atomic.Bool
	changed chan struct{} // one pending change is as good as many

	// These are the walker's. A watch is on a directory, not on its path:
	// several paths may lead to one, and a path to another one tomorrow.
	paths map[watched]string
	ids   map[string]watched
	seen  map[watched]bool // in the walk that goes on
}

// watched names a directory: by its path where the system has no id for it.
type watched struct {
	id   fileID
	path string
}

func newWatcher(ctx context.Context, dir string, log *slog.Logger) *watcher {
	w := &watcher{
		dir: filepath.Clean(dir), log: log, quiet: defaultQuiet, changed: make(chan struct{}, 1),
		paths: make(map[watched]string), ids: make(map[string]watched), seen: make(map[watched]bool),
	}
	w.root = w.lead() // before anybody reads the directory
	var err error
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		w.notify = nil
		w.poll(ctx, err)
	}
	return w
}

// poll gives up on notifications.
func (w *watcher) poll(ctx context.Context, err error) {
	if ctx.Err() != nil || w.polling.Swap(true) { // what is closed meanwhile cannot be watched
		return
	}
	w.log.LogAttrs(ctx, slog.LevelWarn, "directory is polled", slog.String("dir", w.dir), slog.Any("err", err),
		slog.String("hint", "sysctl fs.inotify.max_user_watches=524288 lets changes be seen at once"))
}

// begin says that a walk begins. The parent is watched because the directory
// itself may be swapped.
func (w *watcher) begin(ctx context.Context) {
	clear(w.seen)
	parent := filepath.Dir(w.dir)
	if info, err := os.Stat(parent); err == nil {
		w.watch(ctx, parent, statOf(info).id)
	}
}

// enter watches a directory that is about to be read: what changes from now on
// is told, what changed before is read.
func (w *watcher) enter(ctx context.Context, name string, id fileID) {
	w.watch(ctx, filepath.Join(w.dir, filepath.FromSlash(name)), id)
}

// watch adds a watch, again if there is one: the system drops that of a directory
// that is removed, and may give its id to a new one.
func (w *watcher) watch(ctx context.Context, path string, id fileID) {
	key := watched{id: id}
	if id == (fileID{}) {
		key.path = path
	}
	if w.notify == nil || w.polling.Load() || w.seen[key] {
		return
	}
	w.seen[key] = true
	if old, taken := w.ids[path]; taken && old != key {
		w.forget(old)
	}
	if old, moved := w.paths[key]; moved && old != path {
		w.forget(key)
	}
	err := w.notify.Add(path)
	switch {
	case err == nil:
		w.paths[key], w.ids[path] = path, key
	case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, fsnotify.ErrClosed):
		w.poll(ctx, fmt.Errorf("watch %s: %w", path, err))
	}
}

// end says that a walk has seen everything: what it has not seen is gone.
func (w *watcher) end() {
	for key := range w.paths {
		if !w.seen[key] {
			w.forget(key)
		}
	}
}

func (w *watcher) forget(key watched) {
	path := w.paths[key]
	delete(w.paths, key)
	delete(w.ids, path)
	_ = w.notify.Remove(path) // of a directory that is gone, the system has removed it
}

// run sends to changed until ctx ends.
func (w *watcher) run(ctx context.Context, poke <-chan struct{}) {
	var events chan fsnotify.Event
	var errs chan error
	if w.notify != nil {
		defer w.notify.Close()
		events, errs = w.notify.Events, w.notify.Errors
	}
	tick := time.NewTicker(statEvery)
	defer tick.Stop()
	looked := time.Now()
	rest := settling{quiet: w.quiet}
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-events:
			if w.concerns(event) {
				rest.touch()
			}
		case <-errs: // events were lost
			rest.touch()
		case <-poke:
			rest.touch()
		case now := <-tick.C:
			if root := w.lead(); !sameRoot(w.root, root) {
				w.root = root
				rest.touch()
			}
			if now.Sub(looked) >= w.pause() {
				looked = now
				w.tell()
			}
		case <-rest.settled:
			rest.settled = nil
			w.tell()
		}
	}
}

// lead returns what the directory's path leads to, or nil.
func (w *watcher) lead() fs.FileInfo {
	info, err := os.Stat(w.dir)
	if err != nil {
		return nil
	}
	return info
}

func sameRoot(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b)
}

// pause is for how long the directory is not looked at though nobody told of a
// change.
func (w *watcher) pause() time.Duration {
	if w.polling.Load() {
		return pollEvery
	}
	return lookEvery
}

// settling waits for a directory to be left alone.
type settling struct {
	quiet   time.Duration
	settled <-chan time.Time // nil while nothing has been touched
	since   time.Time        // the first touch that was not told yet
}

func (s *settling) touch() {
	if s.settled == nil {
		s.since = time.Now()
	}
	s.settled = time.After(min(s.quiet, max(0, patience-time.Since(s.since))))
}

// concerns reports whether an event is about the directory: of its parent, only
// what happens to the directory itself is. An event without a name is the end of
// a watch.
func (w *watcher) concerns(event fsnotify.Event) bool {
	return event.Name != "" && (filepath.Dir(event.Name) != filepath.Dir(w.dir) || filepath.Clean(event.Name) == w.dir)
}

func (w *watcher) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
