package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
)

// old is a time at which no file is racy.
var old = time.Date(2024, 11, 28, 12, 0, 0, 0, time.UTC)

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

// settle waits until nothing that was written before is racy: the change time of
// an inode can't be set, so that the kernel's clock has to go on.
func settle(t testing.TB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	for statOf(info).racy(time.Now()) {
		runtime.Gosched()
	}
}

func options(o SnapshotOptions) SnapshotOptions {
	o.Site, o.Dialect = "example.org", "netlify"
	return o
}

func snap(t testing.TB, dir string, o SnapshotOptions) (*Manifest, *Tree) {
	t.Helper()
	m, tree, err := Snapshot(t.Context(), dir, options(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, tree
}

func TestASnapshotListsWhatASiteServes(t *testing.T) {
	dir := t.TempDir()
	large := strings.Repeat("0123456789abcde\n", 1<<17) // 2 MiB
	for name, content := range map[string]string{
		"index.html": "<p>é", "a/b.css": "p{}", "a-b": "text", "a.bin": "\x00", "large": large, "_headers": "/*\n  X: y\n",
		".well-known/x": "x", ".git/config": "secret", "a/.env": "secret", "a/.well-known/x": "secret", "empty.js": "",
	} {
		write(t, dir, name, content)
	}
	m, tree := snap(t, dir, SnapshotOptions{})
	want := &Manifest{Site: "example.org", Dialect: "netlify"}
	for _, f := range []struct{ path, content, mediaType string }{
		{".well-known/x", "x", "text/plain; charset=utf-8"},
		{"_headers", "/*\n  X: y\n", "text/plain; charset=utf-8"},
		{"a-b", "text", "text/plain; charset=utf-8"},
		{"a.bin", "\x00", "application/octet-stream"},
		{"a/b.css", "p{}", "text/css; charset=utf-8"},
		{"empty.js", "", "text/javascript; charset=utf-8"},
		{"index.html", "<p>é", "text/html; charset=utf-8"},
		{"large", large, "text/plain; charset=utf-8"},
	} {
		want.Files = append(want.Files, File{Path: f.path, Hash: HashOf([]byte(f.content)), Size: int64(len(f.content)), Modified: old.Unix(), Type: f.mediaType})
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("the manifest (-want +got):\n%s", diff)
	}
	if len(tree.Notes) > 0 || tree.Hashed != len(want.Files) || tree.HashedBytes != want.Bytes() {
		t.Errorf("notes %q; %d files of %d bytes hashed", tree.Notes, tree.Hashed, tree.HashedBytes)
	}
	for _, f := range m.Files {
		file, err := tree.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(file)
		if err = errors.Join(err, file.Close()); err != nil || HashOf(data) != f.Hash {
			t.Errorf("%s has %d bytes of another hash, %v", f.Path, len(data), err)
		}
	}
}

func TestLinksAndWhatIsNoFileAreLeftOutWithANote(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a/b", "x")
	for name, target := range map[string]string{"link": "a/b", "dir": "a", "out": "/etc/passwd", "up": "..", "broken": "nowhere", "a/loop": "../a"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skipf("links cannot be made here: %v", err)
		}
	}
	m, tree := snap(t, dir, SnapshotOptions{})
	if len(m.Files) != 1 || m.Files[0].Path != "a/b" {
		t.Errorf("the release has %v", m.Files)
	}
	var want []string
	for _, name := range []string{"a/loop", "broken", "dir", "link", "out", "up"} {
		want = append(want, name+": not in the release: symbolic links are not followed")
	}
	if diff := cmp.Diff(want, tree.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestNamesThatCannotBeServedAreLeftOutWithANote(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "x")
	for i := range maxNotes + 3 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("b\n%02d", i)), nil, 0o600); err != nil {
			t.Skipf("such names cannot be made here: %v", err)
		}
	}
	m, tree := snap(t, dir, SnapshotOptions{})
	if len(m.Files) != 1 || len(tree.Notes) != maxNotes+1 || tree.Notes[maxNotes] != "and 3 more are left out" {
		t.Errorf("the release has %v; notes %q", m.Files, tree.Notes)
	}
}

func TestFilesThatDifferByCaseAreAMistakeThatNamesBoth(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a/README", "x")
	write(t, dir, "a/readme", "y")
	if entries, err := os.ReadDir(filepath.Join(dir, "a")); err != nil || len(entries) != 2 {
		t.Skip("this disk does not tell case apart")
	}
	_, _, err := Snapshot(t.Context(), dir, options(SnapshotOptions{}))
	list := mistake.Of(err)
	if len(list) != 1 || list[0].What != `the paths "a/README" and "a/readme" differ only by case` || list[0].File != dir || !strings.Contains(list[0].Hint, "they are one file") {
		t.Errorf("Snapshot: %v", err)
	}
}

func TestADirectoryThatIsNotThereSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "x")
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "a")} {
		_, _, err := Snapshot(t.Context(), path, options(SnapshotOptions{}))
		if list := mistake.Of(err); len(list) != 1 || list[0].File != path || list[0].Hint == "" {
			t.Errorf("Snapshot of %s: %v", path, err)
		}
	}
}

func TestASnapshotThatIsCancelledSaysWhy(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if _, _, err := Snapshot(ctx, t.TempDir(), options(SnapshotOptions{})); err != nil {
		t.Errorf("of nothing: %v", err) // there is nothing to stop
	}
	dir := t.TempDir()
	write(t, dir, "a", "x")
	if _, _, err := Snapshot(ctx, dir, options(SnapshotOptions{})); !errors.Is(err, cause) {
		t.Errorf("Snapshot: %v", err)
	}
}

func TestATreeThatDidNotChangeIsNotReadAgainAndIsTheSameRelease(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "state", "cache")
	for i := range 300 {
		write(t, dir, fmt.Sprintf("d%d/f%d.html", i%7, i), fmt.Sprint(i))
	}
	settle(t)
	first, tree := snap(t, dir, SnapshotOptions{Cache: cache})
	if tree.Hashed != 300 {
		t.Errorf("%d files hashed at first", tree.Hashed)
	}
	before, err := os.Stat(cache)
	if err != nil {
		t.Fatal(err)
	}
	second, tree := snap(t, dir, SnapshotOptions{Cache: cache, Previous: first})
	if tree.Hashed != 0 || second.ID() != first.ID() {
		t.Errorf("then %d files hashed, of release %s after %s", tree.Hashed, second.ID(), first.ID())
	}
	if after, err := os.Stat(cache); err != nil || !os.SameFile(before, after) {
		t.Errorf("a cache that is as it was is written anew: %v", err)
	}
	write(t, dir, "d3/f3.html", "changed")
	write(t, dir, "d3/new.html", "new")
	if err := os.Remove(filepath.Join(dir, "d4/f4.html")); err != nil {
		t.Fatal(err)
	}
	settle(t)
	third, tree := snap(t, dir, SnapshotOptions{Cache: cache, Previous: second})
	c := Diff(second, third)
	if tree.Hashed != 2 || len(c.Added) != 1 || len(c.Changed) != 1 || len(c.Removed) != 1 {
		t.Errorf("%d files hashed; %+v", tree.Hashed, c)
	}
	if _, tree = snap(t, dir, SnapshotOptions{Cache: cache}); tree.Hashed != 0 {
		t.Errorf("the cache did not learn: %d files hashed", tree.Hashed)
	}
}

func TestAFileThatChangedIsReadWhateverItsTimesSay(t *testing.T) {
	for what, change := range map[string]func(t *testing.T, path string){
		"another size": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("longer"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"written in place, its time put back": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("two"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"another file with its time": func(t *testing.T, path string) {
			if err := os.WriteFile(path+"~", []byte("two"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+"~", path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("there is no change time on Windows")
			}
			dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
			write(t, dir, "a", "one")
			settle(t)
			snap(t, dir, SnapshotOptions{Cache: cache})
			path := filepath.Join(dir, "a")
			change(t, path)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if m, tree := snap(t, dir, SnapshotOptions{Cache: cache}); tree.Hashed != 1 || m.Files[0].Hash != HashOf(want) {
				t.Errorf("%d files hashed, and the hash is that of %q: %v", tree.Hashed, want, m.Files[0].Hash == HashOf(want))
			}
		})
	}
}

func TestAFileThatWasWrittenAMomentAgoIsNeverTrusted(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	write(t, dir, "calm", "x")
	write(t, dir, "racy", "x")
	settle(t)
	// A time of the inode that lies ahead is as good as one of this moment, and
	// stays so for as long as a busy machine takes.
	found, _, err := walkTree(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &snapshotter{root: root, now: time.Now(), found: found, known: make([]content, 2)}
	if err := s.hash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.known[0].state != read || s.known[1].state != read {
		t.Fatalf("files that were settled are racy: %+v", s.known)
	}
	s.now = time.Unix(0, found[1].stat.change)
	if found[1].stat.change == 0 {
		s.now = time.Unix(0, found[1].stat.modTime)
	}
	s.known = make([]content, 2)
	if err := s.hash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.known[1].state != racy {
		t.Fatalf("a file that was written just now is trusted: %+v", s.known[1])
	}
	s.known[0].state = read
	if err := saveStatCache(cache, Hash{}, 0, s.found, s.known); err != nil {
		t.Fatal(err)
	}
	if _, tree := snap(t, dir, SnapshotOptions{Cache: cache}); tree.Hashed != 1 {
		t.Errorf("%d files hashed, want the racy one alone", tree.Hashed)
	}
	if _, tree := snap(t, dir, SnapshotOptions{Cache: cache}); tree.Hashed != 0 {
		t.Errorf("%d files hashed once nothing is racy", tree.Hashed)
	}
}

func TestATimeIsRacyForAsLongAsItsClockMayNotMove(t *testing.T) {
	now := time.Unix(1000, 500)
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixNano() }
	for what, tt := range map[string]struct {
		stat fileStat
		want bool
	}{
		"a moment ago":                               {fileStat{change: ago(time.Millisecond)}, true},
		"a while ago":                                {fileStat{change: ago(time.Minute)}, false},
		"to come":                                    {fileStat{change: ago(-time.Minute)}, true},
		"changed a moment ago, with an old time":     {fileStat{modTime: ago(time.Hour), change: ago(0)}, true},
		"changed long ago, with a time of now":       {fileStat{modTime: ago(0), change: ago(time.Hour)}, false},
		"without a change time, a moment ago":        {fileStat{modTime: ago(time.Millisecond)}, true},
		"on a disk that counts seconds, this second": {fileStat{change: time.Unix(999, 0).UnixNano()}, true},
		"on a disk that counts seconds, long ago":    {fileStat{change: time.Unix(990, 0).UnixNano()}, false},
	} {
		if got := tt.stat.racy(now); got != tt.want {
			t.Errorf("%s: racy is %v", what, got)
		}
	}
}

func TestADamagedCacheIsAnEmptyOne(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	write(t, dir, "a", "x")
	write(t, dir, "b", "x")
	settle(t)
	want, _ := snap(t, dir, SnapshotOptions{Cache: cache})
	whole, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		for what, data := range map[string][]byte{"cut": whole[:i], "flipped": flipped} {
			if err := os.WriteFile(cache, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if m, tree := snap(t, dir, SnapshotOptions{Cache: cache}); tree.Hashed != 2 || m.ID() != want.ID() {
				t.Fatalf("%s at %d: %d files hashed", what, i, tree.Hashed)
			}
		}
	}
}

func TestACacheThatCannotBeWrittenIsANote(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "x")
	settle(t)
	_, tree := snap(t, dir, SnapshotOptions{Cache: filepath.Join(dir, "a", "cache")})
	if len(tree.Notes) != 1 || !strings.HasPrefix(tree.Notes[0], "the next snapshot will be slow: ") {
		t.Errorf("notes %q", tree.Notes)
	}
}

func TestModifiedFollowsTheReleaseBefore(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"back", "forward", "same", "ahead"} {
		write(t, dir, name, "new "+name)
	}
	now := old.Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "ahead"), now.Add(time.Hour), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	previous := manifest()
	for name, f := range map[string]struct {
		content  string
		modified int64
	}{
		"back": {"old", old.Unix() + 50}, "forward": {"old", old.Unix() - 50}, "same": {"new same", 12345}, "gone": {"old", 1},
	} {
		previous.Files = append(previous.Files, File{Path: name, Hash: HashOf([]byte(f.content)), Modified: f.modified, Type: "x"})
	}
	slices.SortFunc(previous.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	m, _ := snap(t, dir, SnapshotOptions{Previous: previous, Now: func() time.Time { return now }})
	got := make(map[string]int64)
	for _, f := range m.Files {
		got[f.Path] = f.Modified
	}
	want := map[string]int64{"ahead": now.Unix(), "back": old.Unix() + 51, "forward": old.Unix(), "same": 12345}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

func TestAFileThatChangedAfterTheSnapshotIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"written", "removed", "replaced", "untouched"} {
		write(t, dir, name, "x")
	}
	m, tree := snap(t, dir, SnapshotOptions{})
	write(t, dir, "written", "yy")
	for _, name := range []string{"removed", "replaced"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "replaced"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		file, err := tree.Open(f)
		if f.Path == "untouched" {
			if err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", f.Path, err)
		}
	}
	if _, err := tree.Open(File{Path: "other"}); err == nil || errors.Is(err, ErrChanged) {
		t.Errorf("a file that was never there: %v", err)
	}
}

func TestWalkingADirectoryOfManyFilesKeepsTheOrderOfThePaths(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 2*statChunk + 5 {
		want = append(want, fmt.Sprintf("f%05d", i))
	}
	want = append(want, "f00001-a", "f00001.d/a", "f00001.d/b/c", "g", "g-", "h/a", "h0", "h-")
	for _, name := range want {
		path := filepath.Join(dir, name)
		if strings.Contains(name, "/") {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	found, _, err := walkTree(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the walk (-want +got):\n%s", diff)
	}
}

func FuzzStatCache(f *testing.F) {
	entries := appendStatEntry(nil, "", &found{path: "a/b"}, &content{})
	f.Add(appendStatEntry(entries, "a/b", &found{path: "a/c", stat: fileStat{size: 5}}, &content{nature: 2}))
	f.Fuzz(func(_ *testing.T, entries []byte) {
		d := statDecoder{rest: entries}
		for d.next() {
		}
	})
}
