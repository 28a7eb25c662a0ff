package site

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/serve/body"
)

// objects are the content of releases by hash, as a store on disk has them.
type objects struct {
	dir string

	mu     sync.Mutex // guards the fields below
	opened []string   // names of the files that were opened
	asked  []string   // names of those whose codings were asked for
	codes  map[body.Key]map[encode.Coding]delivery
}

type delivery struct {
	level encode.Level
	data  []byte
}

func newObjects(t testing.TB) *objects {
	t.Helper()
	return &objects{dir: t.TempDir(), codes: make(map[body.Key]map[encode.Coding]delivery)}
}

// A release is a Source.
type release struct {
	*objects
	files []SourceFile
}

// modified is when the files of releases were modified unless a test says otherwise.
const modified = 784111777 // Sun, 06 Nov 1994 08:49:37 GMT

// release stores files, and returns the release of them.
func (o *objects) release(t testing.TB, f files) *release {
	t.Helper()
	r := &release{objects: o}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		hash := sha256.Sum256([]byte(f[name]))
		if object := hex.EncodeToString(hash[:]); !o.has(object) { // an object is written once
			writeIn(t, o.dir, object, f[name])
		}
		r.files = append(r.files, SourceFile{Name: name, Hash: hash, Size: int64(len(f[name])), Modified: modified})
	}
	return r
}

func (o *objects) has(object string) bool {
	_, err := os.Stat(filepath.Join(o.dir, object))
	return err == nil
}

// code delivers codings of a file, or of all for "".
func (r *release) code(t testing.TB, name string, level encode.Level, codings ...encode.Coding) *release {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.files {
		if name != "" && name != f.Name {
			continue
		}
		content, err := os.ReadFile(r.file(f))
		check(t, err)
		if r.codes[f.Hash] == nil {
			r.codes[f.Hash] = make(map[encode.Coding]delivery)
		}
		for _, coding := range codings {
			data, err := encode.Encode(nil, content, coding, level)
			check(t, err)
			r.codes[f.Hash][coding] = delivery{level, data}
		}
	}
	return r
}

func (r *release) file(f SourceFile) string {
	return filepath.Join(r.dir, hex.EncodeToString(f.Hash[:]))
}

func (r *release) Files() []SourceFile { return r.files }

func (r *release) Open(f SourceFile) (*os.File, error) {
	r.mu.Lock()
	r.opened = append(r.opened, f.Name)
	r.mu.Unlock()
	return os.Open(r.file(f))
}

func (r *release) Coding(f SourceFile, coding encode.Coding) ([]byte, encode.Level, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, f.Name)
	c, ok := r.codes[f.Hash][coding]
	return c.data, c.level, ok
}

// forget forgets what was opened and asked for.
func (o *objects) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened, o.asked = nil, nil
}

// reads returns how many files were opened, and how many codings asked for.
func (o *objects) reads() (opened, asked int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.opened), len(o.asked)
}

// compileRelease compiles a release with options as a POP has them.
func compileRelease(t testing.TB, o Options, src Source, prev *Site) *Site {
	t.Helper()
	s, err := CompileSource(t.Context(), o, src, prev)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return s
}

func TestAReleaseIsServedLikeADirectory(t *testing.T) {
	f := files{
		"index.html": "<!doctype html>home", "about.html": text(1, 900), "blog/index.html": text(2, 900), "blog/404.html": "no such post",
		"404.html": "nothing", "assets/app.3f9c2b1e.js": text(3, 2000), "large.bin": noise(1, MaxInMemory+9), "empty.txt": "",
		"odd": "plain text", "data": "\x00\x01", ".hidden": "no", "a/.git/config": "no", ".well-known/security.txt": "yes",
		"_redirects": "/old /about 301\n/app/* /index.html 200\n", "_headers": "/assets/*\n  X-Asset: yes\n",
	}
	dir := compiled(t, f)
	s := compileRelease(t, Options{Store: body.NewStore("")}, newObjects(t).release(t, f), nil)
	for _, path := range []string{
		"/", "/about", "/about.html", "/about/", "/blog", "/blog/", "/blog/none", "/none", "/none.js", "/assets/app.3f9c2b1e.js", "/empty.txt",
		"/odd", "/data", "/large.bin", "/.hidden", "/a/.git/config", "/.well-known/security.txt", "/old", "/app/x", "/_redirects", "/_headers", "/..", "/%zz",
	} {
		want, got := get(t, dir, path), get(t, s, path)
		if want.header.Get("Last-Modified") != "" {
			want.header.Set("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
		}
		if strings.HasPrefix(want.header.Get("Etag"), "W/") { // of a release the hash is known at once
			hash := sha256.Sum256([]byte(f["large.bin"]))
			want.header.Set("Etag", `"`+hex.EncodeToString(hash[:16])+`"`)
		}
		if got.status != want.status || got.body != want.body || got.stored != want.stored || !maps.EqualFunc(got.header, want.header, slices.Equal) {
			t.Errorf("%s: %d %s %v, want %d %s %v", path, got.status, got.stored, got.header, want.status, want.stored, want.header)
		}
	}
	if got, want := s.Summary(), dir.Summary(); got.Files != want.Files || got.Bytes != want.Bytes || got.OnDisk != want.OnDisk {
		t.Errorf("summary %+v, want %+v", got, want)
	}
}

func TestWhatIsKnownByItsHashIsNotReadAgain(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	one := store.release(t, files{"a.txt": text(1, 500), "b.txt": text(2, 500), "large.bin": noise(1, MaxInMemory+9)}).code(t, "", encode.Best, encode.Brotli, encode.Zstd, encode.Gzip)
	two := store.release(t, files{"a.txt": text(1, 500), "moved.txt": text(2, 500), "moved.bin": noise(1, MaxInMemory+9), "c.txt": text(3, 500)})
	first := compileRelease(t, o, one, nil)
	if opened, asked := store.reads(); opened != 3 || asked != 6 {
		t.Errorf("the first time %d files were opened and %d codings asked for, want 3 and 6", opened, asked)
	}
	store.forget()
	second := compileRelease(t, o, two, first)
	if !slices.Equal(store.opened, []string{"c.txt"}) || len(store.asked) != 3 {
		t.Errorf("opened were %q, asked for codings of %q; want c.txt alone", store.opened, store.asked)
	}
	store.forget()
	back := compileRelease(t, o, one, second)
	if opened, asked := store.reads(); opened != 0 || asked != 0 {
		t.Errorf("%d files were opened and %d codings asked for to come back", opened, asked)
	}
	without := compileRelease(t, o, one, nil) // but the store has it all
	if opened, asked := store.reads(); opened != 1 || asked != 0 {
		t.Errorf("without a site before, %d files were opened and %d codings asked for; want the large one, and none", opened, asked)
	}
	for _, path := range []string{"/a.txt", "/b.txt", "/large.bin"} {
		for _, accept := range []string{"", "br", "gzip", "zstd"} {
			q := Request{Path: path, AcceptEncoding: accept, HasAcceptEncoding: true}
			want := ask(t, first, q)
			for _, s := range []*Site{back, without} {
				if got := ask(t, s, q); got.body != want.body || !maps.EqualFunc(got.header, want.header, slices.Equal) {
					t.Errorf("%s as %q: %v, want %v", path, accept, got.header, want.header)
				}
			}
		}
	}
	if got := get(t, second, "/moved.bin"); got.body != noise(1, MaxInMemory+9) {
		t.Errorf("the large file that moved has %d bytes", len(got.body))
	}
}

func TestARollBackShowsWhatIsOlderToThoseWhoAskByTime(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	one, two := store.release(t, files{"a.txt": "one"}), store.release(t, files{"a.txt": "two"})
	two.files[0].Modified += 60
	second := compileRelease(t, o, two, compileRelease(t, o, one, nil))
	newer := get(t, second, "/a.txt").header.Get("Last-Modified")
	back := compileRelease(t, o, one, second)
	for _, test := range []struct {
		since string
		want  int
	}{{newer, http.StatusOK}, {get(t, back, "/a.txt").header.Get("Last-Modified"), http.StatusNotModified}} {
		if got := ask(t, back, Request{Path: "/a.txt", IfModifiedSince: test.since}); got.status != test.want {
			t.Errorf("since %s: %d, want %d", test.since, got.status, test.want)
		}
	}
}

func TestFilesOfAReleaseThatCannotBeServedSaySo(t *testing.T) {
	good := files{"index.html": "home", "large.bin": noise(1, MaxInMemory+9)}
	for name, test := range map[string]struct {
		spoil func(*release)
		want  string
	}{
		"a small object that is not there": {func(r *release) { _ = os.Remove(r.file(r.files[0])) }, "index.html"},
		"a large object that is not there": {func(r *release) { _ = os.Remove(r.file(r.files[1])) }, "large.bin"},
		"a small object that is cut":       {func(r *release) { _ = os.Truncate(r.file(r.files[0]), 1) }, "it has 1 bytes, not 4"},
		"a large object that is cut":       {func(r *release) { _ = os.Truncate(r.file(r.files[1]), 1) }, "it has 1 bytes, not"},
		"a name that climbs":               {func(r *release) { r.files[0].Name = "../index.html" }, `"../index.html" is no name`},
		"a name from the root":             {func(r *release) { r.files[0].Name = "/index.html" }, `"/index.html" is no name`},
		"no name":                          {func(r *release) { r.files[0].Name = "" }, `"" is no name`},
		"a type with a line end":           {func(r *release) { r.files[0].Type = "text/html\r\nX: y" }, "can't stand in a header field"},
		"rules that are not there":         {func(r *release) { r.files[0].Name, r.files[0].Size = "_redirects", 5 }, "read _redirects: it has 4 bytes, not 5"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newObjects(t).release(t, good)
			test.spoil(r)
			_, err := CompileSource(t.Context(), Options{Store: body.NewStore("")}, r, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestMistakesInTheRulesOfAReleaseHavePlaces(t *testing.T) {
	r := newObjects(t).release(t, files{"_redirects": "/a\n", "_headers": "X: y\n"})
	_, err := CompileSource(t.Context(), Options{Store: body.NewStore("")}, r, nil)
	if list := mistake.Of(err); len(list) != 2 || list[0].File != "_headers" || list[1].File != "_redirects" {
		t.Errorf("the mistakes are %v", err)
	}
	check(t, os.Remove(r.file(r.files[0])))
	if _, err := CompileSource(t.Context(), Options{Store: body.NewStore("")}, r, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the object of its rules a release compiles: %v", err)
	}
}

func TestACompilationThatIsCalledOffEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CompileSource(ctx, Options{Store: body.NewStore("")}, newObjects(t).release(t, files{"a": "a"}), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
