package site

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"os"
	"slices"
	"testing"

	"pennyfarthing/internal/serve/body"
)

func TestFingerprintedFilesOfOtherReleasesAreReachable(t *testing.T) {
	store := newObjects(t)
	script := text(1, 3000)
	before := store.release(t, files{
		"index.html": "old", "gone.html": "old", "gone.txt": "old", "assets/app.3f9c2b1e.js": script, "assets/same.3f9c2b1f.js": "same",
		"assets/page.3f9c2b1e.html": "old", ".git/app.3f9c2b1e.js": "old",
	})
	now := store.release(t, files{
		"index.html": "new", "assets/same.3f9c2b1f.js": "same", "404.html": "nothing",
		"_redirects": "/* /index.html 200\n", "_headers": "/assets/*\n  X-Asset: yes\n",
	})
	o := Options{Store: body.NewStore(""), Retained: before.files}
	s := compileRelease(t, o, now, compileRelease(t, Options{Store: o.Store}, before, nil))
	for _, accept := range []string{"", "br"} {
		got := ask(t, s, Request{Path: "/assets/app.3f9c2b1e.js", AcceptEncoding: accept, HasAcceptEncoding: true})
		if got.status != http.StatusOK || got.body != script || got.stored != "disk" {
			t.Errorf("the script of the release before: %d, %d bytes from %q", got.status, len(got.body), got.stored)
		}
		for name, want := range map[string]string{
			"Cache-Control": cacheImmutable, "Content-Type": "text/javascript; charset=utf-8", "Vary": "Accept-Encoding", "X-Asset": "yes",
			"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT", "Etag": get(t, compileRelease(t, Options{Store: o.Store}, before, nil), "/assets/app.3f9c2b1e.js").header.Get("Etag"),
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
			}
		}
	}
	if got := get(t, s, "/assets/same.3f9c2b1f.js"); got.stored != "memory" {
		t.Errorf("what the release itself has comes from %q", got.stored)
	}
	for _, path := range []string{"/gone", "/gone.txt", "/assets/page.3f9c2b1e"} {
		if got := get(t, s, path); got.body != "new" {
			t.Errorf("%s of the release before is answered %d %q", path, got.status, got.body)
		}
	}
	if got := get(t, s, "/.git/app.3f9c2b1e.js"); got.status != http.StatusNotFound {
		t.Errorf("a hidden file is answered %d", got.status)
	}
	if got := ask(t, s, Request{Path: "/assets/app.3f9c2b1e.js", Range: "bytes=10-19"}); got.status != http.StatusPartialContent || got.body != script[10:20] {
		t.Errorf("a range: %d %q", got.status, got.body)
	}
	if sum := s.Summary(); sum.Files != 3 || sum.OnDisk != 0 {
		t.Errorf("the summary counts files of another release: %+v", sum)
	}
	improvedSite := best(t, s)
	if got := ask(t, improvedSite, Request{Path: "/assets/app.3f9c2b1e.js", AcceptEncoding: "br", HasAcceptEncoding: true}); got.header.Get("Content-Encoding") != "" {
		t.Error("codings are made for a file that is on its way out")
	}
	back := compileRelease(t, Options{Store: o.Store}, before, improvedSite)
	if got := get(t, back, "/assets/app.3f9c2b1e.js"); got.stored != "memory" || got.body != script {
		t.Errorf("after a rollback the script comes from %q", got.stored)
	}
}

func TestANameThatHadOtherContentIsNotImmutableInAnyRelease(t *testing.T) {
	store := newObjects(t)
	one, two := store.release(t, files{"app.3f9c2b1e.js": "one"}), store.release(t, files{"app.3f9c2b1e.js": "two"})
	none := store.release(t, files{"index.html": "none"})
	o := Options{Store: body.NewStore("")}
	for _, test := range []struct {
		name     string
		release  *release
		retained []SourceFile
		body     string
		want     string
	}{
		{"the only content", one, nil, "one", cacheImmutable},
		{"the same content before", one, one.files, "one", cacheImmutable},
		{"another content before", two, one.files, "two", cacheRevalidate},
		{"retained, one content", none, one.files, "one", cacheImmutable},
		{"retained, two contents", none, slices.Concat(two.files, one.files), "two", cacheRevalidate},
	} {
		o.Retained = test.retained
		got := get(t, compileRelease(t, o, test.release, nil), "/app.3f9c2b1e.js")
		if got.body != test.body || got.header.Get("Cache-Control") != test.want {
			t.Errorf("%s: %q, %s", test.name, got.body, got.header.Get("Cache-Control"))
		}
	}
}

func TestARetainedFileThatIsGoneIsNoAnswerOfAnotherContent(t *testing.T) {
	store := newObjects(t)
	before := store.release(t, files{"app.3f9c2b1e.js": "one"})
	s := compileRelease(t, Options{Store: body.NewStore(""), Retained: before.files}, store.release(t, files{"index.html": "home"}), nil)
	for name, spoil := range map[string]func(file string) error{
		"cut":     func(file string) error { return os.Truncate(file, 1) },
		"removed": os.Remove,
	} {
		check(t, spoil(before.file(before.files[0])))
		answer := s.Respond(&Request{Method: "GET", Path: "/app.3f9c2b1e.js"})
		if err := answer.Check(); err == nil {
			t.Errorf("%s: it is served", name)
		}
		writeIn(t, store.dir, before.file(before.files[0])[len(store.dir)+1:], "one")
		if got := get(t, s, "/app.3f9c2b1e.js"); got.body != "one" {
			t.Errorf("%s and brought back: %q", name, got.body)
		}
	}
}

func TestAMissingAssetIsNeverStoredNorAPage(t *testing.T) {
	f := files{
		"index.html": "<!doctype html>home", "app.js": "1", "404.html": "nothing",
		"_headers": "/assets/*\n  Cache-Control: public, max-age=31536000, immutable\n",
	}
	plain := compiled(t, f)
	f["_redirects"] = "/assets/latest.3f9c2b1e.js /app.js 200\n/moved.3f9c2b1e.js /app.js 301\n/* /index.html 200\n"
	routed := compiled(t, f)
	released := compileRelease(t, Options{Store: body.NewStore("")}, newObjects(t).release(t, f), nil)
	for _, test := range []struct {
		name, path string
		sites      []*Site
		status     int
		body       string
	}{
		{"a path with an extension", "/app2.js", []*Site{plain}, 404, "nothing"},
		{"below the directory of assets", "/assets/none", []*Site{plain}, 404, "nothing"},
		{"a fingerprinted file", "/assets/app.3f9c2b1e.js", []*Site{plain, routed, released}, 404, "nothing"},
		{"a route", "/orders/3f9c2b1e/edit", []*Site{routed, released}, 200, f["index.html"]},
		{"a route that looks like a file", "/users/john.doe", []*Site{routed, released}, 200, f["index.html"]},
		{"a rule for a fingerprinted name", "/assets/latest.3f9c2b1e.js", []*Site{routed, released}, 200, "1"},
		{"a redirect from a fingerprinted name", "/moved.3f9c2b1e.js", []*Site{routed, released}, 301, ""},
	} {
		for _, s := range test.sites {
			got := get(t, s, test.path)
			if got.status != test.status || got.body != test.body {
				t.Errorf("%s: %d %q, want %d %q", test.name, got.status, got.body, test.status, test.body)
			}
			if got.status == 404 && got.header.Get("Cache-Control") != cacheNever {
				t.Errorf("%s: Cache-Control is %q", test.name, got.header.Get("Cache-Control"))
			}
		}
	}
}

func TestAReleasedFileThatTheDiskHasDamagedIsNotServed(t *testing.T) {
	store := newObjects(t)
	r := store.release(t, files{"a.txt": "one"})
	writeIn(t, store.dir, r.file(r.files[0])[len(store.dir)+1:], "eno")
	_, err := CompileSource(t.Context(), Options{Store: body.NewStore("")}, r, nil)
	damaged, ok := errors.AsType[*DamagedError](err)
	if !ok || damaged.Name != "a.txt" || damaged.Hash != sha256.Sum256([]byte("one")) {
		t.Errorf("got %v", err)
	}
}
