package rules_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
)

func addSeeds(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range []string{"/", "/blog/2004/a.html", "/go//evil.example", "/products/1/\r\nX: y", "/find"} {
			f.Add(src, path, "q=a&id=1\r\n", uint8(0))
			f.Add(src, path, "", uint8(1))
		}
	}
}

// checkMistakes fails unless every mistake says where it is, what it is, and what
// to do.
func checkMistakes(t *testing.T, err error) {
	t.Helper()
	list := mistake.Of(err)
	if len(list) == 0 {
		t.Fatalf("error without mistakes: %v", err)
	}
	for _, m := range list {
		if m.File != "file" || m.What == "" || m.Hint == "" || m.Line < 0 || m.Column < 0 {
			t.Errorf("incomplete mistake: %+v", m)
		}
	}
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func FuzzRedirects(f *testing.F) {
	addSeeds(f, "*.redirects")
	f.Fuzz(func(t *testing.T, src []byte, path, query string, dialect uint8) {
		d := rules.Dialect(dialect % 2)
		r, err := rules.ParseRedirects("file", src, d)
		again, errAgain := rules.ParseRedirects("file", src, d)
		if (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatalf("parsed twice: %v, then %v", err, errAgain)
		}
		if err != nil {
			checkMistakes(t, err)
			return
		}
		r.Differences()
		_ = r.Unreachable()
		for _, target := range r.Targets() {
			checkPath(t, target.Path)
		}
		req := rules.Request{Scheme: "https", Host: "example.com", Path: "/" + strings.TrimPrefix(path, "/"), Query: query}
		for _, shadowed := range []bool{false, true} {
			shadow := func() bool { return shadowed }
			a, ok := r.Match(req, shadow)
			b, okAgain := again.Match(req, shadow)
			if ok != okAgain || a != b {
				t.Fatalf("matched twice: %+v, then %+v", a, b)
			}
			if ok {
				checkAction(t, a, req)
			}
		}
	})
}

func checkAction(t *testing.T, a rules.Action, req rules.Request) {
	t.Helper()
	switch a.Status {
	case 301, 302, 303, 307, 308:
		checkLocation(t, a.Location)
		if a.Path != "" {
			t.Errorf("a redirect with content: %+v", a)
		}
		if req.Query == "" && a.Location == req.Path {
			t.Errorf("a redirect to %q, which was asked for", a.Location)
		}
	case 200, 404, 410:
		checkPath(t, a.Path)
		if a.Location != "" {
			t.Errorf("content with a location: %+v", a)
		}
	default:
		t.Errorf("status %d", a.Status)
	}
}

func checkLocation(t *testing.T, location string) {
	t.Helper()
	if strings.ContainsFunc(location, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' }) {
		t.Errorf("location %q has a byte that must be escaped", location)
	}
	local := strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//")
	if !local && !strings.HasPrefix(location, "http://") && !strings.HasPrefix(location, "https://") {
		t.Errorf("location %q leads astray", location)
	}
}

func checkPath(t *testing.T, path string) {
	t.Helper()
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
		t.Errorf("path %q is not clean", path)
	}
}

func FuzzHeaders(f *testing.F) {
	addSeeds(f, "*.headers")
	f.Fuzz(func(t *testing.T, src []byte, path, host string, dialect uint8) {
		d := rules.Dialect(dialect % 2)
		h, err := rules.ParseHeaders("file", src, d)
		again, errAgain := rules.ParseHeaders("file", src, d)
		if (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatalf("parsed twice: %v, then %v", err, errAgain)
		}
		if err != nil {
			checkMistakes(t, err)
			return
		}
		h.Differences()
		req := rules.Request{Scheme: "https", Host: host, Path: "/" + strings.TrimPrefix(path, "/")}
		edits := h.Match(req)
		if diff := cmp.Diff(edits, again.Match(req)); diff != "" {
			t.Fatal(diff)
		}
		for _, e := range edits {
			if e.Name == "" || hasControl(e.Name) || strings.ContainsAny(e.Name, " :()\"/") || hasControl(e.Value) || e.Line < 1 {
				t.Errorf("unsafe edit %+v", e)
			}
			if (e.Op == rules.Remove) != (e.Value == "") {
				t.Errorf("%s with value %q", e.Op, e.Value)
			}
		}
		carryOut(map[string][]string{"Cache-Control": {"no-cache"}}, edits)
	})
}
