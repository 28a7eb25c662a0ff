package site

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
)

// treeNames are names whose paths get into each other's way.
func treeNames() []string {
	return []string{
		"index.html", "404.html", "about", "about.html", "blog/index.html", "blog/index/index.html", "blog/index.txt", "blog/404.html", "blog/post.html",
		"docs.html", "docs/index.html", "docs/a.txt", "a.css", "app.3f9c2b1e.js", "app.3f9c2b1f.js", "img/pic.3f9c2b1e.svg", "data.bin", "empty.txt",
		"page.html.html", "page.html", "x/index", "x/y.html", ".hidden/x.txt", "large.bin",
	}
}

// A history of releases, each a little different from the one before.
type tale struct {
	random  *rand.Rand
	store   *objects
	options Options
	now     int64
	files   files
	times   map[string]int64
	types   map[string]string
	coded   bool // some contents come with codings
}

// content is one of few, so that files come to be alike.
func (h *tale) content(name string) string {
	switch n := h.random.IntN(12); {
	case name == "large.bin":
		return noise(n%3, MaxInMemory+1+n%3)
	case n == 0:
		return ""
	default:
		return text(n, 200+100*n)
	}
}

// next makes the next release, and changes how it is compiled now and then.
func (h *tale) next(t *testing.T) *release {
	t.Helper()
	names := slices.Sorted(maps.Keys(h.files))
	pick := func() string { return names[h.random.IntN(len(names))] }
	switch h.random.IntN(10) {
	case 0, 1: // a file comes or goes
		all := treeNames()
		if name := all[h.random.IntN(len(all))]; h.files[name] != "" && len(names) > 3 {
			delete(h.files, name)
		} else {
			h.files[name] = h.content(name)
		}
	case 2:
		h.files["_headers"] = []string{"/blog/*\n  X-Blog: yes\n", "/*\n  Cache-Control: no-cache\n", "/a.css\n  Vary: Cookie\n"}[h.random.IntN(3)]
	case 3:
		h.files["_redirects"] = []string{"/old /about 301\n", "/* /index.html 200\n"}[h.random.IntN(2)]
	case 4:
		a, b := pick(), pick()
		if !strings.HasPrefix(a, "_") && !strings.HasPrefix(b, "_") {
			h.files[a], h.files[b] = h.files[b], h.files[a]
		}
	case 5:
		h.times[pick()] = h.now + int64(h.random.IntN(5)) - 3 // or later than now
	case 6:
		h.types[pick()] = []string{"text/html; charset=utf-8", "text/plain; charset=utf-8", "image/png"}[h.random.IntN(3)]
	case 7:
		h.options.HSTS = time.Duration(h.random.IntN(2)) * time.Hour
	default:
		for range 1 + h.random.IntN(3) {
			if name := pick(); !strings.HasPrefix(name, "_") {
				h.files[name] = h.content(name)
			}
		}
	}
	h.now += int64(h.random.IntN(3))
	r := h.store.release(t, h.files)
	for i := range r.files {
		f := &r.files[i]
		f.Type = "application/octet-stream"
		if at, ok := h.times[f.Name]; ok {
			f.Modified = at
		}
		switch {
		case h.types[f.Name] != "":
			f.Type = h.types[f.Name]
		case strings.HasSuffix(f.Name, ".html"):
			f.Type = "text/html; charset=utf-8"
		case f.Name != "large.bin":
			f.Type = "text/plain; charset=utf-8"
		}
		if h.coded && f.Hash[0]%3 == 0 && f.Size < 10_000 && r.codes[f.Hash] == nil {
			r.code(t, f.Name, encode.Best, encode.Brotli)
		}
	}
	return r
}

// all asks a site for whatever its tree could mean, in all ways.
func answersOf(t *testing.T, s *Site) map[string]response {
	t.Helper()
	all := make(map[string]response)
	paths := []string{"/", "/none", "/blog/none", "/blog", "/old", "/docs/", "/about/", "/blog/index", "/x", "/none.3f9c2b1e.js", "/_headers"}
	for _, name := range treeNames() {
		paths = append(paths, "/"+name, canonicalPath(name), strings.TrimSuffix("/"+name, ".html")+"/")
	}
	for _, path := range paths {
		for _, accept := range []string{"", "br", "zstd, gzip"} {
			if accept != "" && strings.HasPrefix(path, "/large") {
				continue // it has no codings, and takes its time
			}
			q := Request{Path: path, Scheme: "https", AcceptEncoding: accept, HasAcceptEncoding: true}
			got := ask(t, s, q)
			all[path+" as "+accept] = got
			if tag := got.header.Get("Etag"); tag != "" {
				q.IfNoneMatch = tag
				all[path+" once more as "+accept] = ask(t, s, q)
			}
		}
	}
	return all
}

func (r response) brief() string {
	return fmt.Sprintf("%d %.40q of %d bytes from %q, %v", r.status, r.body, len(r.body), r.stored, r.header)
}

func sameAnswer(a, b response) bool {
	return a.status == b.status && a.body == b.body && a.stored == b.stored && maps.EqualFunc(a.header, b.header, slices.Equal)
}

// TestASiteAnswersAsIfCompiledFromNothing makes releases out of each other, compiles each
// after the one before, and compares it with what becomes of it without one.
func TestASiteAnswersAsIfCompiledFromNothing(t *testing.T) {
	amended, anew, shared := 0, 0, 0
	for seed := range uint64(8) {
		h := &tale{
			random: rand.New(rand.NewPCG(seed, 1)), store: newObjects(t), now: modified + 100, files: make(files),
			times: make(map[string]int64), types: make(map[string]string), coded: seed%3 != 2,
		}
		h.options = Options{Store: body.NewStore(""), Preview: seed%4 == 3}
		if !h.coded {
			h.options.Budget = 12_000 // not always enough
		}
		for _, name := range treeNames() {
			if h.random.IntN(2) == 0 {
				h.files[name] = h.content(name)
			}
		}
		h.files["index.html"], h.files["404.html"], h.files["a.css"], h.files["docs.html"] = "home", "none", text(1, 300), text(2, 300)
		var prev *Site
		var before map[string]response
		for step := range 25 {
			r := h.next(t)
			o := h.options
			now := h.now
			o.Now = func() time.Time { return time.Unix(now, 0) }
			s := compileRelease(t, o, r, prev)
			alone := o
			alone.Store = body.NewStore("")
			fromNothing := compileRelease(t, alone, r, nil)
			want := answersOf(t, fromNothing)
			got := answersOf(t, s)
			for what, answer := range want {
				if !sameAnswer(got[what], answer) {
					t.Fatalf("seed %d, step %d: %s: %s\nwant %s", seed, step, what, got[what].brief(), answer.brief())
				}
			}
			if got, want := s.Summary(), fromNothing.Summary(); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, step %d: the summary is %+v, want %+v", seed, step, got, want)
			}
			if prev != nil {
				for what, answer := range answersOf(t, prev) {
					if !sameAnswer(before[what], answer) {
						t.Fatalf("seed %d, step %d: the site before answers differently by now: %s", seed, step, what)
					}
				}
				switch {
				case reflect.ValueOf(prev.paths).Pointer() == reflect.ValueOf(s.paths).Pointer():
					amended++
				default:
					anew++
				}
				for _, a := range s.assets {
					if slices.Contains(prev.assets, a) {
						shared++
					}
				}
			}
			prev, before = s, got
			for i := range r.files { // what was released before is reachable as long as it is fingerprinted
				if Fingerprinted(r.files[i].Name) && !slices.Contains(h.options.Retained, r.files[i]) {
					h.options.Retained = append([]SourceFile{r.files[i]}, h.options.Retained...)
				}
			}
		}
	}
	if amended < 50 || anew < 50 || shared < 1000 {
		t.Errorf("%d sites were amended and %d compiled anew, with %d assets taken over: that proves little", amended, anew, shared)
	}
}

// TestAnAmendedSiteKeepsWhatWasMadeBetter changes one file of a site that has been
// improved, and improves it again.
func TestAnAmendedSiteKeepsWhatWasMadeBetter(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	f := files{"index.html": text(1, 4000), "a.txt": text(2, 4000), "404.html": text(3, 4000), "twin.txt": text(2, 4000)}
	typed := func() *release {
		r := store.release(t, f)
		for i := range r.files {
			r.files[i].Type = "text/plain; charset=utf-8"
		}
		return r
	}
	improve := func(s *Site) *Site { return best(t, s, func(im *improver) { im.store = o.Store }) }
	first := improve(compileRelease(t, o, typed(), nil))
	for step, change := range []struct{ name, content string }{{"a.txt", text(4, 4000)}, {"404.html", text(5, 4000)}, {"a.txt", text(2, 4000)}, {"index.html", text(2, 4000)}} {
		f[change.name] = change.content
		store.forget()
		second := compileRelease(t, o, typed(), first)
		if opened, _ := store.reads(); opened > 1 {
			t.Errorf("step %d: %d files were opened for one that changed", step, opened)
		}
		if again := second.assets[slices.IndexFunc(second.assets, func(a *asset) bool { return a.name == "twin.txt" })]; !slices.Contains(first.assets, again) {
			t.Errorf("step %d: what did not change is made anew", step)
		}
		if got := told(t, second, "/twin.txt"); got != "best br, best zstd, best gzip" {
			t.Errorf("step %d: what did not change has %s", step, got)
		}
		second = improve(second)
		for path, name := range map[string]string{"/": "index.html", "/a.txt": "a.txt", "/twin.txt": "twin.txt", "/none": "404.html"} {
			for _, accept := range []string{"", "br", "zstd", "gzip"} {
				got := askFor(t, second, path, accept)
				if got.decoded(t) != f[name] || got.header.Get("Content-Encoding") != accept {
					t.Errorf("step %d: %s as %q is %d in %q, of %d bytes", step, path, accept, got.status, got.header.Get("Content-Encoding"), len(got.body))
				}
			}
		}
		plain := *second
		if plain.summarise(); !reflect.DeepEqual(plain.summary, second.summary) {
			t.Errorf("step %d: the summary is %+v, and counted anew %+v", step, second.summary, plain.summary)
		}
		first = second
	}
}

func TestADamagedFileThatChangedIsNotServed(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	release := func(content string) *release {
		r := store.release(t, files{"a.txt": content, "b.txt": "same"})
		for i := range r.files {
			r.files[i].Type = "text/plain"
		}
		return r
	}
	first := compileRelease(t, o, release("one"), nil)
	r := release("two")
	writeIn(t, store.dir, r.file(r.files[0])[len(store.dir)+1:], "owt")
	if _, err := CompileSource(t.Context(), o, r, first); err == nil || !strings.Contains(err.Error(), "a.txt is damaged") {
		t.Errorf("the error is %v", err)
	}
	if got := get(t, first, "/a.txt"); got.body != "one" {
		t.Errorf("the site before answers %q", got.body)
	}
}

// TestFieldsAreMadeOnce asks for a file for the first time from many sides: connections
// know its fields by their address.
func TestFieldsAreMadeOnce(t *testing.T) {
	s := compileRelease(t, Options{Store: body.NewStore("")}, newObjects(t).release(t, files{"a.txt": text(1, 500)}), nil)
	var mu sync.Mutex
	seen := make(map[*Wire]bool)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			answer := s.Respond(&Request{Method: http.MethodGet, Path: "/a.txt"})
			var p Prepared
			if !answer.Prepared(&p) {
				t.Error("it does not stand ready")
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[p.Fields[1]] = true
		})
	}
	all.Wait()
	if len(seen) != 1 {
		t.Errorf("there are %d of what should be one", len(seen))
	}
}

// BenchmarkNextRelease compiles releases of which one file has changed, or the name of one.
func BenchmarkNextRelease(b *testing.B) {
	const n = 20_000
	store := newObjects(b)
	f := make(files, n)
	for i := range n {
		f[fmt.Sprintf("d%03d/f%05d.html", i/100, i)] = fmt.Sprint(i)
	}
	typed := func() *release {
		r := store.release(b, f)
		for i := range r.files {
			r.files[i].Type = "text/html; charset=utf-8"
		}
		return r
	}
	one := typed()
	f["d000/f00000.html"] = "changed"
	two := typed()
	f["d000/another.html"] = "another"
	three := typed()
	o := Options{Store: body.NewStore("")}
	first := compileRelease(b, o, one, nil)
	for name, next := range map[string][]*release{"content": {two, one}, "names": {three, one}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := first
			for i := 0; b.Loop(); i++ {
				s = compileRelease(b, o, next[i%2], s)
			}
		})
	}
}
