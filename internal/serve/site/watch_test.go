package site

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestAWatcherWithoutNotificationsPolls(t *testing.T) {
	dir := t.TempDir()
	w := newWatcher(t.Context(), dir, slog.New(slog.DiscardHandler))
	w.poll(t.Context(), errors.New("no more watches"))
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	done.Go(func() { w.run(ctx, nil) })
	eventually(t, "it looks", func() bool {
		select {
		case <-w.changed:
			return true
		default:
			return false
		}
	})
}

func TestWatchesFollowDirectoriesAndNotPaths(t *testing.T) {
	dir := t.TempDir()
	files{"a/x.txt": "", "b/x.txt": ""}.write(t, dir)
	symlink(t, "a", filepath.Join(dir, "link"))
	w := newWatcher(t.Context(), dir, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = w.notify.Close() })
	walk := func() map[string]bool {
		t.Helper()
		root, err := os.OpenRoot(dir)
		check(t, err)
		defer root.Close()
		w.begin(t.Context())
		_, err = walkRoot(t.Context(), root, func(name string, id fileID) { w.enter(t.Context(), name, id) })
		check(t, err)
		w.end()
		got := make(map[string]bool)
		for _, path := range w.notify.WatchList() {
			rel, err := filepath.Rel(dir, path)
			check(t, err)
			got[rel] = true
		}
		return got
	}
	for _, step := range []struct {
		name string
		do   func()
		want int // the parent and the directory, and how many below
	}{
		{"a directory and a link to it are one", func() {}, 2 + 2},
		{"without the link the directory stays", func() { removeIn(t, dir, "link") }, 2 + 2},
		{"swapped names", func() {
			check(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c")))
			check(t, os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "a")))
			check(t, os.Rename(filepath.Join(dir, "c"), filepath.Join(dir, "b")))
		}, 2 + 2},
		{"one removed", func() { removeIn(t, dir, "a") }, 2 + 1},
		{"another in its place", func() { writeIn(t, dir, "a/x.txt", "") }, 2 + 2},
	} {
		step.do()
		if got := walk(); len(got) != step.want {
			t.Errorf("%s: watched are %v", step.name, got)
		}
		// What the kernel watches is what events come from.
		for _, name := range []string{"a", "b"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				continue
			}
			writeIn(t, dir, name+"/probe", step.name)
			eventually(t, step.name+": a change in "+name+" is told", func() bool {
				select {
				case event := <-w.notify.Events:
					return filepath.Base(event.Name) == "probe" && event.Has(fsnotify.Write)
				default:
					return false
				}
			})
		}
	}
}

func TestEventsOfTheParentCountForTheDirectoryOnly(t *testing.T) {
	w := &watcher{dir: filepath.FromSlash("/srv/site/public")}
	for name, want := range map[string]bool{
		"/srv/site/public": true, "/srv/site/public/": true, "/srv/site/public/a.txt": true, "/srv/site/public/sub/a.txt": true,
		"/srv/site/other": false, "/srv/site/public.new": false, "": false,
	} {
		if got := w.concerns(fsnotify.Event{Name: filepath.FromSlash(name)}); got != want {
			t.Errorf("an event of %q counts: %t, want %t", name, got, want)
		}
	}
}

func TestADirectoryIsLeftAloneBeforeItIsCompiled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name    string
			touches int
			every   time.Duration
			want    time.Duration // from the first touch on
		}{
			{"one touch", 1, 0, defaultQuiet},
			{"a build that writes for half a second", 11, 50 * time.Millisecond, 500*time.Millisecond + defaultQuiet},
			{"a file that is written all the time", 1000, 50 * time.Millisecond, patience},
		} {
			s, start := settling{quiet: defaultQuiet}, time.Now()
			for i := range test.touches {
				if i > 0 {
					select {
					case <-s.settled:
						s.settled = nil
					case <-time.After(test.every):
					}
				}
				if i > 0 && s.settled == nil {
					break
				}
				s.touch()
			}
			if s.settled != nil {
				<-s.settled
			}
			if took := time.Since(start); took != test.want {
				t.Errorf("%s: told after %v, want %v", test.name, took, test.want)
			}
		}
	})
}
