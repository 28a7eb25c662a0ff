package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long a directory must be left alone before it is compiled,
	// so that a build that writes a thousand files makes one site of them.
	quiet = 100 * time.Millisecond
	// patience is how long a directory that is never left alone is waited for.
	patience = 2 * time.Second
	// lookEvery is how often the directory is looked at though the system told
	// of no change: some file systems do not tell.
	lookEvery = time.Minute
	// pollEvery is the same where the system can't tell at all.
	pollEvery = 2 * time.Second
)

// A watcher tells when a directory may have changed.
type watcher struct {
	dir     string
	log     *slog.Logger
	notify  *fsnotify.Watcher // nil if the system has none to give
	polling atomic.Bool
	changed chan struct{} // one pending change is as good as many
}

func newWatcher(dir string, log *slog.Logger) *watcher {
	w := &watcher{dir: filepath.Clean(dir), log: log, changed: make(chan struct{}, 1)}
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		err = notify.Add(filepath.Dir(w.dir)) // the directory itself may be swapped
		w.notify = notify
	}
	if err != nil {
		w.poll(err)
	}
	return w
}

// poll gives up on notifications.
func (w *watcher) poll(err error) {
	if w.polling.Swap(true) {
		return
	}
	w.log.LogAttrs(context.Background(), slog.LevelWarn, "directory is polled", slog.String("dir", w.dir), slog.Any("err", err),
		slog.String("hint", "sysctl fs.inotify.max_user_watches=524288 lets changes be seen at once"))
}

// follow watches the directories below the root.
func (w *watcher) follow(dirs []string) {
	if w.notify == nil || w.polling.Load() {
		return
	}
	for _, dir := range dirs {
		err := w.notify.Add(filepath.Join(w.dir, filepath.FromSlash(dir)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.poll(fmt.Errorf("watch %s: %w", dir, err))
			return
		}
	}
}

// run sends to changed until ctx ends.
func (w *watcher) run(ctx context.Context, poke <-chan struct{}) {
	var events chan fsnotify.Event
	var errs chan error
	if w.notify != nil {
		defer w.notify.Close() //nolint:errcheck // nothing depends on it any more
		events, errs = w.notify.Events, w.notify.Errors
	}
	look := time.NewTicker(pollEvery)
	defer look.Stop()
	looked := time.Now()
	var rest settling
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
		case now := <-look.C:
			if w.polling.Load() || now.Sub(looked) >= lookEvery {
				looked = now
				w.tell()
			}
		case <-rest.settled:
			rest.settled = nil
			w.tell()
		}
	}
}

// settling waits for a directory to be left alone.
type settling struct {
	settled <-chan time.Time // nil while nothing has been touched
	since   time.Time        // the first touch that was not told yet
}

func (s *settling) touch() {
	if s.settled == nil {
		s.since = time.Now()
	}
	s.settled = time.After(min(quiet, max(0, patience-time.Since(s.since))))
}

// concerns reports whether an event is about the directory: of its parent, only
// what happens to the directory itself is.
func (w *watcher) concerns(event fsnotify.Event) bool {
	return filepath.Dir(event.Name) != filepath.Dir(w.dir) || filepath.Clean(event.Name) == w.dir
}

func (w *watcher) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
