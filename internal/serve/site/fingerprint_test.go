package site

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFingerprints(t *testing.T) {
	for name, want := range map[string]bool{
		"app.3f9c2b1e.js":                        true,
		"index-BxK9dQ2f.css":                     true,
		"assets/index-BxK9dQ2f.css":              true,
		"app.3f9c2b1e.js.map":                    true,
		"main.abcdef12.js":                       true,
		"3f9c2b1e.js":                            true,
		"logo_D4f8aK2m.svg":                      true,
		"chunk.0a1b2c3d4e5f60718293a4b5c6d7.mjs": true,
		"font-9F86D081884C7D65.woff2":            true,
		"my-document.pdf":                        false,
		"photo-20240101.jpg":                     false,
		"bootstrap.bundle.js":                    false,
		"jquery-3.7.1.min.js":                    false,
		"app.3f9c2b1.js":                         false, // seven
		"app.deadbeef.js":                        false, // no digit
		"app.12345678.js":                        false, // no letter
		"app.3f9c2b1e.html":                      false,
		"app.3f9c2b1e.htm":                       false,
		"app.3f9c2b1e":                           false, // then this is the extension
		"3f9c2b1e/app.js":                        false,
		"report-Final2024.pdf":                   false,
		"Screenshot20240101.png":                 false,
		"product-iPhone15.png":                   false,
		"product-MacBook2024.jpg":                false,
		"guide-Web3Guide.pdf":                    false,
		"menu-cafe2024.pdf":                      false,
		"decade-decade1980.jpg":                  false,
		"index-lowercase1.js":                    false, // no capital, not hex
		"index-Größe1234.css":                    false,
		"":                                       false,
		".":                                      false,
	} {
		if got := Fingerprinted(name); got != want {
			t.Errorf("Fingerprinted(%q) = %t, want %t", name, got, want)
		}
	}
}

// immutables says which paths are immutable.
func immutables(t testing.TB, s *Site, paths ...string) []bool {
	t.Helper()
	var got []bool
	for _, path := range paths {
		got = append(got, get(t, s, path).header.Get("Cache-Control") == cacheImmutable)
	}
	return got
}

func TestANameWhoseContentChangedIsNeverImmutableAgain(t *testing.T) {
	const changing, constant = "/app.3f9c2b1e.js", "/app.4a0d3c2f.js"
	o := options(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "state", "history.json")
	compileWith := func(prev *Site) *Site {
		t.Helper()
		h, err := loadHistory(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := compile(t.Context(), o, prev, h, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.save(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	var s *Site
	for _, step := range []struct {
		name, content string
		restart       bool
		want          []bool
	}{
		{"at first", "1", false, []bool{true, true}},
		{"after a restart", "1", true, []bool{true, true}},
		{"changed between two runs", "2", true, []bool{false, true}},
		{"as it first was", "1", false, []bool{false, true}},
		{"after another restart", "1", true, []bool{false, true}},
		{"as it was in between", "2", false, []bool{false, true}},
	} {
		files{changing: step.content, constant: "same"}.write(t, o.Dir)
		if step.restart {
			s = nil
		}
		s = compileWith(s)
		if diff := cmp.Diff(step.want, immutables(t, s, changing, constant)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestADamagedHistoryIsEmpty(t *testing.T) {
	for _, damage := range []string{"", "{", "[]", "null", `{"a":1}`, "\x00\xff"} {
		file := filepath.Join(t.TempDir(), "history.json")
		if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := loadHistory(file)
		if err != nil || len(h.Names) != 0 || !h.constant("a", [32]byte{1}) || h.constant("a", [32]byte{2}) {
			t.Errorf("%q: %v, %v", damage, h.Names, err)
		}
		if err := h.save(); err != nil {
			t.Error(err)
		}
		if again, err := loadHistory(file); err != nil || again.Names["a"] != reused {
			t.Errorf("%q: saved and loaded again: %v, %v", damage, again.Names, err)
		}
	}
}

func TestAHistoryThatCannotBeReadKeepsNothing(t *testing.T) {
	h, err := loadHistory(t.TempDir()) // a directory
	if err == nil || h == nil || !h.constant("a", [32]byte{1}) || h.save() != nil {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestAHistoryForgetsWhatIsGoneFirst(t *testing.T) {
	h := &history{Names: map[string]string{"reused": reused, "current": "x"}}
	for i := range maxHistory {
		h.Names[fmt.Sprint(i)] = "x"
	}
	h.forget(map[string]bool{"current": true})
	if diff := cmp.Diff(map[string]string{"reused": reused, "current": "x"}, h.Names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !h.dirty || !h.constant("new", [32]byte{1}) {
		t.Error("there is no room for new names")
	}
}
