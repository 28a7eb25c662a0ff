package release

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func scan(t *testing.T, dir, cache string, change ...func(*SnapshotOptions)) *Scan {
	t.Helper()
	o := options(SnapshotOptions{Cache: cache})
	for _, c := range change {
		c(&o)
	}
	s, err := NewScan(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// whole fails unless a scan knows a release.
func (s *Scan) knows(t *testing.T, what string, want Hash) {
	t.Helper()
	if got, known := s.Release(); got != want || known != (want != Hash{}) {
		t.Errorf("%s: the release is %s, %v; want %s", what, got.Short(), known, want.Short())
	}
}

func TestAScanKnowsTheReleaseOfWhatDidNotChange(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	write(t, dir, "a.html", "<p>a")
	write(t, dir, "b/c.txt", "c")
	settle(t)
	scan(t, dir, cache).knows(t, "before the first snapshot", Hash{})
	m, tree := snap(t, dir, SnapshotOptions{Cache: cache})
	if tree.ID != m.ID() {
		t.Errorf("the tree is of release %s, and the manifest of %s", tree.ID, m.ID())
	}
	s := scan(t, dir, cache)
	s.knows(t, "as it was", m.ID())
	if files, bytes := s.Files(); files != 2 || bytes != m.Bytes() {
		t.Errorf("%d files of %d bytes", files, bytes)
	}
	if files, bytes := s.Unread(); files != 0 || bytes != 0 {
		t.Errorf("%d files of %d bytes are to be read", files, bytes)
	}
	// It is what a snapshot after that release would be, whatever the times on the disk are.
	again, tree, err := s.Snapshot(t.Context(), m)
	if err != nil || again.ID() != m.ID() || tree.Hashed != 0 {
		t.Errorf("a snapshot is %s, %v", again.ID(), err)
	}
	scan(t, dir, cache, func(o *SnapshotOptions) { o.Site = "other.org" }).knows(t, "for another site", Hash{})
	scan(t, dir, cache, func(o *SnapshotOptions) { o.Dialect = "cloudflare" }).knows(t, "with other rules", Hash{})

	for _, change := range []struct {
		what   string
		do     func(path string) error
		unread int
	}{
		{"a file changed", func(path string) error { return os.WriteFile(filepath.Join(path, "a.html"), []byte("<p>b"), 0o644) }, 1},
		{"a file more", func(path string) error { return os.WriteFile(filepath.Join(path, "z"), nil, 0o644) }, 1},
		{"a file less", func(path string) error { return os.Remove(filepath.Join(path, "z")) }, 0},
		{"a file has another name", func(path string) error {
			return os.Rename(filepath.Join(path, "b/c.txt"), filepath.Join(path, "b/c.css"))
		}, 1},
	} {
		if err := change.do(dir); err != nil {
			t.Fatal(err)
		}
		settle(t)
		s := scan(t, dir, cache)
		s.knows(t, change.what, Hash{})
		if files, _ := s.Unread(); files != change.unread {
			t.Errorf("%s: %d files are to be read", change.what, files)
		}
		m, _ = snap(t, dir, SnapshotOptions{Cache: cache, Previous: m})
		scan(t, dir, cache).knows(t, change.what+", and a snapshot", m.ID())
	}
}

// The names of files are what their types come from, and another program may have other
// types for them.
func TestAScanDoesNotKnowWhatWouldBeServedOtherwise(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	write(t, dir, "a.html", "<p>a")
	settle(t)
	m, _ := snap(t, dir, SnapshotOptions{Cache: cache})
	s := scan(t, dir, cache)
	if err := saveStatCache(cache, m.ID(), s.s.served(s.o)+1, s.s.found, s.s.known); err != nil {
		t.Fatal(err)
	}
	scan(t, dir, cache).knows(t, "served as something else", Hash{})
	if again, tree := snap(t, dir, SnapshotOptions{Cache: cache}); again.ID() != m.ID() || tree.Hashed != 0 {
		t.Errorf("a snapshot is %s", again.ID())
	}
	scan(t, dir, cache).knows(t, "after another snapshot", m.ID())
}

func TestAScanDoesNotKnowAReleaseWithAFileThatWasWrittenAMomentAgo(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	write(t, dir, "calm", "x")
	settle(t)
	before, _ := snap(t, dir, SnapshotOptions{Cache: cache})
	write(t, dir, "racy", "y")
	s := scan(t, dir, cache)
	s.s.now = time.Unix(0, 0) // so that it is, however busy the machine
	if _, _, err := s.Snapshot(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if was := loadStatCache(cache).release; was != (Hash{}) {
		t.Errorf("the cache lacks a file of the release %s that it names", was.Short())
	}
	// Without it the cache has all that there is, which is not what that release was.
	if err := os.Remove(filepath.Join(dir, "racy")); err != nil {
		t.Fatal(err)
	}
	scan(t, dir, cache).knows(t, "after a file that was not to be trusted", Hash{})
	if again, _ := snap(t, dir, SnapshotOptions{Cache: cache}); again.ID() != before.ID() {
		t.Errorf("a snapshot is %s, not %s", again.ID(), before.ID())
	}
}

func TestASnapshotAfterAnotherReleaseIsWhatAScanKnows(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	write(t, dir, "a", "same")
	settle(t)
	s := scan(t, dir, cache)
	first, _, err := s.Snapshot(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	older := &Manifest{Site: first.Site, Dialect: first.Dialect, Files: []File{first.Files[0]}}
	older.Files[0].Modified = 1
	second, tree, err := s.Snapshot(t.Context(), older)
	if err != nil {
		t.Fatal(err)
	}
	if second.Files[0].Modified != 1 || second.ID() == first.ID() || tree.Hashed != 1 {
		t.Errorf("after another release it is %+v, and %d files were read", second.Files, tree.Hashed)
	}
	scan(t, dir, cache).knows(t, "after both", second.ID())
}
