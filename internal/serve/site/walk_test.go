package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pennyfarthing/internal/mistake"
)

// outside makes a directory with a secret, and one beside it for a site.
func outside(t testing.TB) (dir, secret string) {
	t.Helper()
	parent := t.TempDir()
	files{"secret.txt": "SECRET", "dir/secret.txt": "SECRET", "public/index.html": "home", "public/sub/a.txt": "a"}.write(t, parent)
	return filepath.Join(parent, "public"), parent
}

func TestLinksAreFollowedInsideOnly(t *testing.T) {
	dir, parent := outside(t)
	for link, target := range map[string]string{
		"in.txt": "sub/a.txt", "indir": "sub", "sub/up.txt": "../index.html", "chain.txt": "in.txt",
		"out.txt": "../secret.txt", "outdir": "../dir", "absolute.txt": parent + "/secret.txt", "absdir": parent + "/dir", "parent": "..", "etc": "/etc",
		"inside-absolute.txt": dir + "/index.html", "nowhere.txt": "none", "self": "self", "loop-a": "loop-b", "loop-b": "loop-a", "here": ".", "sub/back": "..",
		"sneaky.txt": "sub/../../secret.txt", "_headers": "../secret.txt",
	} {
		symlink(t, target, filepath.Join(dir, link))
	}
	removeIn(t, dir, "_headers") // its own test
	o := options(t, dir)
	s := compileDir(t, o, nil)
	for path, want := range map[string]string{
		"/in.txt": "a", "/indir/a.txt": "a", "/sub/up.txt": "home", "/chain.txt": "a", "/sub/a.txt": "a", "/": "home",
	} {
		if r := get(t, s, path); r.status != 200 || r.body != want {
			t.Errorf("%s is answered %d %q", path, r.status, r.body)
		}
	}
	for _, path := range []string{
		"/out.txt", "/outdir/secret.txt", "/absolute.txt", "/absdir/secret.txt", "/parent/secret.txt", "/etc/passwd", "/inside-absolute.txt", "/nowhere.txt",
		"/self", "/loop-a", "/here/index.html", "/here/", "/sub/back/", "/sneaky.txt",
	} {
		if r := get(t, s, path); r.status != 404 {
			t.Errorf("%s is answered %d %q", path, r.status, r.body)
		}
	}
	skipped := strings.Join(s.Summary().Skipped, "\n")
	for _, name := range []string{"out.txt", "outdir", "absolute.txt", "here", "self", "sub/back", "nowhere.txt"} {
		if !strings.Contains(skipped, name+": not served: ") {
			t.Errorf("nobody is told that %s is not served:\n%s", name, skipped)
		}
	}
}

func TestARulesFileThatLeavesTheDirectoryIsNotRead(t *testing.T) {
	dir, _ := outside(t)
	symlink(t, "../secret.txt", filepath.Join(dir, "_headers"))
	if _, err := Compile(t.Context(), options(t, dir), nil); err == nil || !strings.Contains(err.Error(), "_headers") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatIsSwappedBetweenWalkAndOpenStaysInside(t *testing.T) {
	for name, swap := range map[string]func(t *testing.T, dir string){
		"a file by a link": func(t *testing.T, dir string) {
			removeIn(t, dir, "sub/a.txt")
			symlink(t, "../../secret.txt", filepath.Join(dir, "sub/a.txt"))
		},
		"a directory by a link": func(t *testing.T, dir string) {
			removeIn(t, dir, "sub")
			symlink(t, "../dir", filepath.Join(dir, "sub"))
			writeIn(t, filepath.Dir(dir), "dir/a.txt", "SECRET")
		},
		"a directory by a file": func(t *testing.T, dir string) {
			removeIn(t, dir, "sub")
			writeIn(t, dir, "sub", "file")
		},
		"a file by a directory": func(t *testing.T, dir string) {
			removeIn(t, dir, "sub/a.txt")
			writeIn(t, dir, "sub/a.txt/b.txt", "b")
		},
		"a file by nothing":      func(t *testing.T, dir string) { removeIn(t, dir, "sub/a.txt") },
		"a directory by nothing": func(t *testing.T, dir string) { removeIn(t, dir, "sub") },
	} {
		for _, budget := range []int64{0, 1} { // from memory and from disk
			t.Run(fmt.Sprint(name, budget), func(t *testing.T) {
				dir, _ := outside(t)
				root, err := os.OpenRoot(dir)
				if err != nil {
					t.Fatal(err)
				}
				o := options(t, dir)
				o.Budget = budget
				c := newCompiler(o.withDefaults(), root)
				if c.walk, err = walkRoot(t.Context(), root, nil); err != nil {
					t.Fatal(err)
				}
				swap(t, dir)
				c.history = &history{Names: map[string]string{}}
				s, err := c.compile(t.Context())
				if err != nil {
					return // refused: the change is told and makes another site
				}
				if r := get(t, s, "/sub/a.txt"); r.status != 404 {
					t.Errorf("answered %d %q", r.status, r.body)
				}
			})
		}
	}
}

func TestALinkThatIsSwappedWhileServingServesWhatItWas(t *testing.T) {
	dir, _ := outside(t)
	large := noise(1, MaxInMemory+5)
	writeIn(t, dir, "large-1.bin", large)
	symlink(t, "large-1.bin", filepath.Join(dir, "large.bin"))
	s := compileDir(t, options(t, dir), nil)
	swapLink(t, "../secret.txt", filepath.Join(dir, "large.bin"))
	if r := get(t, s, "/large.bin"); r.body != large {
		t.Errorf("got %d bytes that differ", len(r.body))
	}
	if r := get(t, compileDir(t, options(t, dir), s), "/large.bin"); r.status != 404 {
		t.Errorf("the next site answers %d", r.status)
	}
}

func TestManyLinksBetweenDirectoriesComeToAnEnd(t *testing.T) {
	dir := t.TempDir()
	const levels, links = 8, 10
	for i := range levels { // 10^8 paths
		at := filepath.Join(dir, fmt.Sprint("d", i))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range links {
			symlink(t, fmt.Sprintf("../d%d", i+1), filepath.Join(at, fmt.Sprint("l", j)))
		}
	}
	writeIn(t, dir, fmt.Sprintf("d%d/a.txt", levels), "a")
	s := compileDir(t, options(t, dir), nil)
	if get(t, s, fmt.Sprintf("/d%d/a.txt", levels)).status != 200 || len(s.Summary().Skipped) == 0 {
		t.Errorf("%d skipped", len(s.Summary().Skipped))
	}
}

func TestNamesThatNoURLHasAreSkipped(t *testing.T) {
	dir := t.TempDir()
	names := []string{"bad\xff.txt", "new\nline.txt", "tab\t.txt", "back\\slash.txt", "del\x7f.txt", "dir\x01/a.txt"}
	for _, name := range names {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Skip("this file system has no such names: ", err)
		}
	}
	writeIn(t, dir, "index.html", "home")
	s := compileDir(t, options(t, dir), nil)
	if sum := s.Summary(); sum.Files != 1 || len(sum.Skipped) != len(names) {
		t.Errorf("%d files, skipped %q", sum.Files, sum.Skipped)
	}
}

func TestDeepDirectoriesAreServedUpToALimit(t *testing.T) {
	dir := t.TempDir()
	deep := func(n int) string { return strings.Repeat("d/", n) + "a.txt" }
	writeIn(t, dir, deep(maxDepth+1), "a")
	writeIn(t, dir, deep(maxDepth), "a")
	s := compileDir(t, options(t, dir), nil)
	if get(t, s, "/"+deep(maxDepth)).status != 200 || get(t, s, "/"+deep(maxDepth+1)).status != 404 || len(s.Summary().Skipped) != 1 {
		t.Errorf("skipped %q", s.Summary().Skipped)
	}
}

func TestUnreadableFilesRefuseTheSiteWithAHint(t *testing.T) {
	if os.Getuid() == 0 {
		// For the superuser nothing is unreadable: ask for the message only.
		c := newCompiler(Options{Dir: "site"}, nil)
		err := c.unreadable("a/b.txt", &fs.PathError{Op: "openat", Path: "a/b.txt", Err: fs.ErrPermission})
		list := mistake.Of(err)
		if len(list) != 1 || list[0].File != filepath.Join("site", "a", "b.txt") || !strings.Contains(list[0].Hint, "chmod") {
			t.Errorf("got %v", err)
		}
		return
	}
	dir := t.TempDir()
	writeIn(t, dir, "a.txt", "a")
	if err := os.Chmod(filepath.Join(dir, "a.txt"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := Compile(t.Context(), options(t, dir), nil)
	if list := mistake.Of(err); len(list) != 1 || !strings.Contains(list[0].Hint, "chmod") {
		t.Errorf("got %v", err)
	}
}

func TestDirectoriesThatAreNoneAreExplained(t *testing.T) {
	dir := t.TempDir()
	writeIn(t, dir, "file", "x")
	for _, name := range []string{"none", "file"} {
		_, err := Compile(t.Context(), options(t, filepath.Join(dir, name)), nil)
		if list := mistake.Of(err); len(list) != 1 || list[0].Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckTellsWhatIsWorthKnowing(t *testing.T) {
	dir, _ := outside(t)
	symlink(t, "../secret.txt", filepath.Join(dir, "out.txt"))
	files{"_redirects": "/a /b\n/a /c\n/x /none.html 200\n/y /index.html 200\n/* /index.html\n", "404.html": "none"}.write(t, dir)
	list, err := Check(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range list {
		got = append(got, fmt.Sprintf("%s:%d", filepath.Base(m.File), m.Line))
	}
	if !slices.Contains(got, "_redirects:2") || !slices.Contains(got, "_redirects:3") || slices.Contains(got, "_redirects:4") || !slices.Contains(got, "public:0") {
		t.Errorf("notes: %v", list)
	}
	writeIn(t, dir, "_redirects", "/a\n")
	if _, err := Check(t.Context(), dir, 0); len(mistake.Of(err)) != 1 {
		t.Errorf("the mistake is %v", err)
	}
}

func TestRulesFilesAreNoContent(t *testing.T) {
	dir, _ := outside(t)
	notes := make(map[string]int)
	for _, source := range []string{"/_redirects", "/nothing-there"} {
		writeIn(t, dir, "_redirects", source+" /b 301\n")
		list, err := Check(t.Context(), dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		notes[source] = len(list)
	}
	if notes["/_redirects"] != notes["/nothing-there"] {
		t.Errorf("a rule for the rules file is said to be shadowed: %v", notes)
	}
}
