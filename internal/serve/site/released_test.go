package site

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
)

// askFor asks for a path in one coding.
func askFor(t testing.TB, s *Site, path, coding string) response {
	t.Helper()
	return ask(t, s, Request{Path: path, AcceptEncoding: coding, HasAcceptEncoding: true})
}

// told says how a path is answered in each coding: in which, and made how well.
func told(t testing.TB, s *Site, path string) string {
	t.Helper()
	var all []string
	for _, coding := range []string{"br", "zstd", "gzip"} {
		got := askFor(t, s, path, coding)
		switch tag := got.header.Get("Etag"); {
		case got.header.Get("Content-Encoding") != coding:
			all = append(all, "no "+coding)
		case strings.Contains(tag, "-quick-"):
			all = append(all, "quick "+coding)
		default:
			all = append(all, "best "+coding)
		}
	}
	return strings.Join(all, ", ")
}

func TestCodingsThatCameAreUsedAsTheyAre(t *testing.T) {
	content := text(1, 4000)
	for name, test := range map[string]struct {
		deliver func(*release)
		first   string
		last    string // when the improver has done its work
	}{
		"none":          {func(*release) {}, "no br, no zstd, no gzip", "best br, best zstd, best gzip"},
		"quick br":      {func(r *release) { r.code(t, "", encode.Quick, encode.Brotli) }, "quick br, no zstd, no gzip", "quick br, best zstd, best gzip"},
		"best br":       {func(r *release) { r.code(t, "", encode.Best, encode.Brotli) }, "best br, no zstd, no gzip", "best br, best zstd, best gzip"},
		"zstd and gzip": {func(r *release) { r.code(t, "", encode.Quick, encode.Zstd, encode.Gzip) }, "no br, quick zstd, quick gzip", "best br, quick zstd, quick gzip"},
		"all":           {func(r *release) { r.code(t, "", encode.Quick, codings[:]...) }, "quick br, quick zstd, quick gzip", "quick br, quick zstd, quick gzip"},
		"larger than they": {func(r *release) {
			r.codes[r.files[0].Hash] = map[encode.Coding]delivery{encode.Brotli: {encode.Best, make([]byte, 5000)}}
		}, "no br, no zstd, no gzip", "best br, best zstd, best gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newObjects(t).release(t, files{"a.txt": content})
			test.deliver(r)
			store := body.NewStore("")
			s := compileRelease(t, Options{Store: store}, r, nil)
			if got := told(t, s, "/a.txt"); got != test.first {
				t.Errorf("at first it has %s, want %s", got, test.first)
			}
			s = best(t, s, func(im *improver) { im.store = store })
			if got := told(t, s, "/a.txt"); got != test.last {
				t.Errorf("in the end it has %s, want %s", got, test.last)
			}
			if sum := s.Summary(); sum.Best != 1 {
				t.Errorf("in the end it is not done: %+v", sum)
			}
			for _, coding := range codings {
				got := askFor(t, s, "/a.txt", coding.String())
				if got.decoded(t) != content {
					t.Errorf("as %s it is another content", coding)
				}
				if came, ok := r.codes[r.files[0].Hash][coding]; ok && len(came.data) < len(content) && got.body != string(came.data) {
					t.Errorf("as %s it is not what came", coding)
				}
			}
		})
	}
}

func TestCodingsThatCameStayWithTheirContent(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	one := store.release(t, files{"a.txt": text(1, 4000), "404.html": text(2, 4000)}).code(t, "", encode.Quick, encode.Brotli)
	two := store.release(t, files{"b.txt": text(1, 4000), "404.html": text(2, 4000)})
	first := best(t, compileRelease(t, o, one, nil), func(im *improver) { im.store = o.Store })
	store.forget()
	second := compileRelease(t, o, two, first)
	const want = "quick br, best zstd, best gzip"
	if got := told(t, second, "/b.txt"); got != want {
		t.Errorf("where it moved to it has %s, want %s", got, want)
	}
	if opened, asked := store.reads(); opened != 0 || asked != 0 {
		t.Errorf("%d files were opened and %d codings asked for", opened, asked)
	}
	if snapshots := improved(t, second); len(snapshots) != 0 {
		t.Error("there was something to improve")
	}
	if got := askFor(t, second, "/none", "br"); got.status != http.StatusNotFound || got.header.Get("Content-Encoding") != "br" || got.decoded(t) != text(2, 4000) {
		t.Errorf("the error document: %d %v", got.status, got.header)
	}
}

func TestWhatTheSiteBeforeHadIsNotAskedForOnceMore(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	first := compileRelease(t, o, store.release(t, files{"a.txt": text(1, 4000), "b.txt": text(2, 4000)}), nil)
	store.forget()
	compileRelease(t, o, store.release(t, files{"a.txt": text(1, 4000), "b.txt": text(2, 4000), "c.txt": text(3, 4000)}), first)
	if _, asked := store.reads(); asked != len(codings) {
		t.Errorf("the store is asked %d times, want %d: for the codings of the one file that is new", asked, len(codings))
	}
}

func TestCodingsThatCameHaveToFitIntoMemory(t *testing.T) {
	r := newObjects(t).release(t, files{"a.txt": text(1, 4000), "b.txt": text(2, 4000)}).code(t, "", encode.Best, encode.Brotli)
	o := Options{Store: body.NewStore(""), Budget: 9_200} // the files, and one of the codings
	s := compileRelease(t, o, r, nil)
	if sum := s.Summary(); sum.Memory > o.Budget || sum.Coded != 1 || sum.OnDisk != 0 {
		t.Errorf("with a budget of %d bytes the site is %+v", o.Budget, sum)
	}
	o.Budget = 5_000 // one file
	s = compileRelease(t, o, r, s)
	if sum := s.Summary(); sum.Memory > o.Budget || sum.OnDisk != 1 {
		t.Errorf("with a budget of %d bytes the site is %+v", o.Budget, sum)
	}
	if got := get(t, s, "/b.txt"); got.stored != "disk" || got.body != text(2, 4000) {
		t.Errorf("what has no room comes from %q", got.stored)
	}
}

func TestALargeFileOfAReleaseIsServedFromTheObjectThatIsOpen(t *testing.T) {
	store := newObjects(t)
	large := noise(1, MaxInMemory+blockSize)
	r := store.release(t, files{"large.bin": large})
	s := compileRelease(t, Options{Store: body.NewStore("")}, r, nil)
	check(t, os.Remove(r.file(r.files[0])))
	if got := get(t, s, "/large.bin"); got.body != large || got.stored != "disk" || !strings.HasPrefix(got.header.Get("Etag"), `"`) {
		t.Errorf("%d bytes from %q, tag %s", len(got.body), got.stored, got.header.Get("Etag"))
	}
	again := compileRelease(t, Options{Store: body.NewStore("")}, r, s)
	if got := get(t, again, "/large.bin"); got.body != large {
		t.Errorf("in the next site it has %d bytes", len(got.body))
	}
}

func TestMoreLargeFilesOfAReleaseThanMayBeOpen(t *testing.T) {
	const n = maxOpen + 20
	f := make(files, n)
	for i := range n {
		f["f"+digits(i)+".txt"] = text(i, 100)
	}
	o := Options{Store: body.NewStore(""), Budget: 1}
	store := newObjects(t)
	r := store.release(t, f)
	s := compileRelease(t, o, r, nil)
	for range 2 {
		held := 0
		for _, a := range s.assets {
			if got := get(t, s, a.path); got.body != f[a.name] || got.stored != "disk" {
				t.Fatalf("%s differs", a.name)
			}
			if a.identity().disk.file != nil {
				held++
			}
		}
		if held != maxOpen {
			t.Errorf("%d files are held open, want %d", held, maxOpen)
		}
		s = compileRelease(t, o, r, s)
	}
}

func TestBeforeTheFirstReleaseTheAnswerIs503(t *testing.T) {
	l := NewReleased(Options{Store: body.NewStore(""), HSTS: 3600e9}, LiveOptions{Name: "test"})
	for _, path := range []string{"/", "/none", "/app.3f9c2b1e.js", "/..", "/%zz"} {
		got := ask(t, l.Site(), Request{Path: path, Scheme: "https"})
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "5" || got.header.Get("Cache-Control") != cacheNever ||
			got.header.Get("Strict-Transport-Security") != "max-age=3600" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
	}
	if got := ask(t, l.Site(), Request{Method: http.MethodHead, Path: "/"}); got.status != http.StatusServiceUnavailable {
		t.Errorf("HEAD: %d", got.status)
	}
	check(t, l.Improve(t.Context(), newObjects(t).release(t, files{"index.html": "home"})))
	if got := get(t, l.Site(), "/"); got.status != http.StatusServiceUnavailable {
		t.Errorf("improved, it is answered %d", got.status)
	}
	r := newObjects(t).release(t, files{"index.html": "home"})
	l.Activate(compileRelease(t, Options{Store: body.NewStore("")}, r, l.Site()))
	if got := get(t, l.Site(), "/"); got.status != http.StatusOK || got.body != "home" || l.Site().Generation() != 1 {
		t.Errorf("activated, it is answered %d %q", got.status, got.body)
	}
}

// runReleased runs a live site of releases that ends with the test.
func runReleased(t testing.TB, o Options) *Live {
	t.Helper()
	l := NewReleased(o, LiveOptions{Name: "test"})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var done sync.WaitGroup
	done.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { stop(); done.Wait() })
	return l
}

func TestTheCodingsThatDidNotComeAreMade(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	l := runReleased(t, o)
	for n := range 3 { // each release has its own improver
		r := store.release(t, files{"index.html": text(n, 4000)}).code(t, "", encode.Quick, encode.Brotli)
		l.Activate(compileRelease(t, o, r, l.Site()))
		eventually(t, "the others are made", func() bool { return told(t, l.Site(), "/") == "quick br, best zstd, best gzip" })
		r.code(t, "", encode.Best, encode.Brotli)
		check(t, l.Improve(t.Context(), r))
		if got := told(t, l.Site(), "/"); got != "best br, best zstd, best gzip" {
			t.Errorf("refined, it has %s", got)
		}
	}
}

// The best br of a release is made once, and not by everybody who serves it.
func TestTheBestBrotliOfAReleaseIsNotMadeHere(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	l := runReleased(t, o)
	r := store.release(t, files{"index.html": text(1, 4000), "noise.txt": noise(2, 500)})
	l.Activate(compileRelease(t, o, r, nil))
	eventually(t, "all others are made", func() bool { return told(t, l.Site(), "/") == "quick br, best zstd, best gzip" })
	eventually(t, "nothing is left to do", func() bool { s := l.Site().Summary(); return s.Best == s.Codable })
	if got := askFor(t, l.Site(), "/", "br"); got.decoded(t) != text(1, 4000) {
		t.Error("as br it is another content")
	}
	if sum := l.Site().Summary(); sum.Memory <= 0 || sum.Coded != 1 {
		t.Errorf("the site is %+v", sum)
	}
	r.code(t, "index.html", encode.Best, encode.Brotli)
	check(t, l.Improve(t.Context(), r))
	if got := told(t, l.Site(), "/"); got != "best br, best zstd, best gzip" {
		t.Errorf("refined, it has %s", got)
	}
}

func TestARefinementChangesNothingButCodings(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore(""), Budget: 13_000}
	f := files{"index.html": text(1, 4000), "404.html": text(2, 4000), "photo.jpg": noise(3, 500), "old.3f9c2b1e.js": text(4, 4000)}
	before := store.release(t, f)
	delete(f, "old.3f9c2b1e.js")
	r := store.release(t, f)
	o.Retained = before.files
	l := NewReleased(o, LiveOptions{})
	l.Activate(compileRelease(t, o, r, nil))
	first := l.Site()
	l.Activate(compileRelease(t, o, store.release(t, files{"index.html": text(1, 4000), "404.html": text(2, 4000)}), first))
	before.code(t, "", encode.Quick, encode.Brotli)
	check(t, l.Improve(t.Context(), before))
	if got := told(t, l.Site(), "/"); got != "quick br, no zstd, no gzip" {
		t.Errorf("the release that was activated meanwhile has %s", got)
	}
	if got := askFor(t, l.Site(), "/none", "br"); got.header.Get("Content-Encoding") != "br" || got.decoded(t) != text(2, 4000) {
		t.Errorf("its error document: %v", got.header)
	}
	if got := askFor(t, l.Site(), "/old.3f9c2b1e.js", "br"); got.header.Get("Content-Encoding") != "" || got.body != text(4, 4000) {
		t.Errorf("the file of another release: %v", got.header)
	}
	generation := l.Site().Generation()
	before.code(t, "", encode.Best, encode.Brotli, encode.Zstd, encode.Gzip)
	check(t, l.Improve(t.Context(), before))
	if sum := l.Site().Summary(); sum.Memory > o.Budget || l.Site().Generation() != generation {
		t.Errorf("refined, the site is %+v, generation %d", sum, l.Site().Generation())
	}
	store.forget()
	check(t, l.Improve(t.Context(), store.release(t, files{"other.txt": text(9, 400)}).code(t, "", encode.Best, encode.Brotli)))
	if opened, asked := store.reads(); opened != 0 || asked != 0 {
		t.Errorf("of a release that has nothing in common %d files were opened and %d codings asked for", opened, asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.Budget = 0
	l = NewReleased(o, LiveOptions{})
	l.Activate(compileRelease(t, o, store.release(t, files{"z.txt": text(10, 4000)}), nil))
	now := l.Site()
	if err := l.Improve(ctx, store.release(t, files{"z.txt": text(10, 4000)})); err == nil || l.Site() != now {
		t.Errorf("a refinement that is called off: %v", err)
	}
}

// While releases and their refinements come and go and codings are made, every site
// that is seen is of one release.
func TestReleasesAreNeverMixed(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	made := func(n int) *release {
		f := make(files)
		for i := range 20 {
			f[fmt.Sprintf("f%d.txt", i)] = fmt.Sprint("release ", n, " ", text(i, 1000))
		}
		return store.release(t, f)
	}
	one, two := made(0), made(1)
	l := runReleased(t, o)
	l.Activate(compileRelease(t, o, one, nil))
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := l.Site()
				var seen []string
				for i := range 20 {
					answer := s.Respond(&Request{Method: "GET", Path: fmt.Sprintf("/f%d.txt", i), AcceptEncoding: "gzip", HasAcceptEncoding: true})
					var out bytes.Buffer
					_, _ = answer.WriteTo(&out)
					content := out.Bytes()
					if answer.Field("Content-Encoding") == "gzip" {
						content, _ = encode.Decode(nil, content, encode.Gzip, 1<<20)
					}
					seen = append(seen, string(content[:min(len(content), len("release 0"))]))
				}
				if slices.Sort(seen); seen[0] != seen[19] || !strings.HasPrefix(seen[0], "release ") {
					t.Errorf("one site has %q", seen)
					return
				}
			}
		})
	}
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, r := range []*release{one, two} {
				check(t, l.Improve(t.Context(), r))
			}
		}
	})
	for n := range 200 {
		r := []*release{two, one}[n%2]
		if n == 100 {
			one.code(t, "", encode.Best, encode.Brotli)
		}
		s := compileRelease(t, o, r, l.Site())
		l.Activate(s)
		want := []string{"release 1", "release 0"}[n%2]
		if got := get(t, l.Site(), "/f0.txt"); !strings.HasPrefix(got.body, want) {
			t.Errorf("activated %s, it shows %.9q", want, got.body)
		}
	}
	close(stop)
	others.Wait()
}

func TestNoCodingIsBegunWhileSomethingIsMoreUrgent(t *testing.T) {
	s := compileRelease(t, Options{Store: body.NewStore("")}, newObjects(t).release(t, files{"a.txt": text(1, 4000)}), nil)
	synctest.Test(t, func(t *testing.T) {
		var busy, published atomic.Bool
		busy.Store(true)
		im := &improver{
			store: body.NewStore(""), slots: newSlots(), history: &history{Names: make(map[string]string)}, site: s, ready: make(map[int]*asset), last: time.Now(),
			publish: func(*Site) { published.Store(true) }, busy: busy.Load,
		}
		done := make(chan error)
		go func() { done <- im.run(t.Context()) }()
		time.Sleep(time.Hour)
		if published.Load() {
			t.Error("codings were made meanwhile")
		}
		busy.Store(false)
		check(t, <-done)
		if !published.Load() {
			t.Error("no codings were made afterwards")
		}
	})
}

func TestAnImproverThatRestsCanBeStopped(t *testing.T) {
	s := compileRelease(t, Options{Store: body.NewStore("")}, newObjects(t).release(t, files{"a.txt": text(1, 4000)}), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	im := &improver{site: s, slots: newSlots(), ready: make(map[int]*asset), busy: func() bool { return true }}
	check(t, im.run(ctx))
}
