package site

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
)

func coded(t testing.TB, s *Site, path, accept string) response {
	t.Helper()
	return ask(t, s, Request{Path: path, AcceptEncoding: accept, HasAcceptEncoding: true})
}

func TestCodingsAreChosenByAcceptEncoding(t *testing.T) {
	content := text(1, 20000)
	s := best(t, compiled(t, files{"a.txt": content}))
	for _, test := range []struct{ name, accept, want string }{
		{"what browsers send gets the smallest", "gzip, deflate, br, zstd", "br"},
		{"gzip alone", "gzip", "gzip"},
		{"zstd alone", "zstd", "zstd"},
		{"weights count", "br;q=0.5, gzip", "gzip"},
		{"a refusal counts", "br;q=0, *", "gzip"},
		{"identity is preferred", "br;q=0.1, identity", ""},
		{"nothing that we have", "deflate", ""},
		{"an empty field", "", ""},
		{"everything refused gets the plain form", "identity;q=0, *;q=0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := coded(t, s, "/a.txt", test.accept)
			if got := r.header.Get("Content-Encoding"); got != test.want || r.decoded(t) != content {
				t.Errorf("coding %q, want %q; or the content differs", got, test.want)
			}
			if r.header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("Vary is %q", r.header.Get("Vary"))
			}
		})
	}
	if r := get(t, s, "/a.txt"); r.header.Get("Content-Encoding") != "" {
		t.Error("without the field the answer is coded")
	}
}

func TestEveryCodingHasItsOwnStrongTag(t *testing.T) {
	snapshots := improved(t, compiled(t, files{"a.txt": text(1, 20000)}))
	tags := make(map[string]string)
	for _, s := range snapshots {
		for _, accept := range []string{"identity", "br", "zstd", "gzip"} {
			r := coded(t, s, "/a.txt", accept)
			tag := r.header.Get("Etag")
			if strings.HasPrefix(tag, "W/") {
				t.Errorf("the tag %s is weak", tag)
			}
			if other, ok := tags[tag]; ok && other != r.body {
				t.Errorf("the tag %s names two different bodies", tag)
			}
			tags[tag] = r.body
		}
	}
	if len(tags) != 7 { // plain, three quick, three best
		t.Errorf("%d tags, want 7: %v", len(tags), tags)
	}
}

func TestOnlyWhatIsWorthItIsCoded(t *testing.T) {
	s := best(t, compiled(t, files{
		"a.html": text(1, 3000), "a.js": text(2, 3000), "a.svg": text(3, 3000), "a.wasm": "\x00asm" + text(4, 3000),
		"a.png": text(5, 3000), "a.woff2": text(6, 3000), "a.mp4": text(7, 3000), "a.zip": text(8, 3000), // compressible, but of types that never are
		"noise.txt": noise(9, 3000), "short.txt": "x", "empty.txt": "",
	}))
	got := make(map[string]string)
	for _, name := range []string{"a", "a.js", "a.svg", "a.wasm", "a.png", "a.woff2", "a.mp4", "a.zip", "noise.txt", "short.txt", "empty.txt"} {
		r := coded(t, s, "/"+name, "br, zstd, gzip")
		got[name] = r.header.Get("Content-Encoding") + " " + r.header.Get("Vary")
	}
	const yes, no, vary = "br Accept-Encoding", " ", " Accept-Encoding"
	want := map[string]string{
		"a": yes, "a.js": yes, "a.svg": yes, "a.wasm": yes, "a.png": no, "a.woff2": no, "a.mp4": no, "a.zip": no,
		"noise.txt": vary, "short.txt": vary, "empty.txt": vary,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("coding and Vary differ (-want +got):\n%s", diff)
	}
	if sum := s.Summary(); sum.Codable != 7 || sum.Coded != 4 {
		t.Errorf("the summary counts %+v", sum)
	}
}

func TestErrorDocumentsAreCodedToo(t *testing.T) {
	content := text(1, 5000)
	s := best(t, compiled(t, files{"404.html": content}))
	r := coded(t, s, "/none", "br")
	if r.status != 404 || r.header.Get("Content-Encoding") != "br" || r.decoded(t) != content || r.header.Get("Etag") != "" {
		t.Errorf("got %d %v", r.status, r.header)
	}
}

func TestCodingsComeInSteps(t *testing.T) {
	content := text(1, 50000)
	first := compiled(t, files{"a.txt": content})
	if r := coded(t, first, "/a.txt", "br"); r.header.Get("Content-Encoding") != "" {
		t.Error("the first site is coded already")
	}
	snapshots := improved(t, first)
	quick, last := coded(t, snapshots[0], "/a.txt", "br"), coded(t, snapshots[len(snapshots)-1], "/a.txt", "br")
	if !strings.HasSuffix(quick.header.Get("Etag"), `-quick-br"`) || !strings.HasSuffix(last.header.Get("Etag"), `-br"`) || len(last.body) >= len(quick.body) {
		t.Errorf("quick is %s of %d bytes, best is %s of %d", quick.header.Get("Etag"), len(quick.body), last.header.Get("Etag"), len(last.body))
	}
	if first.Generation() != snapshots[0].Generation() {
		t.Error("a coding counts as a generation")
	}
	if r := coded(t, first, "/a.txt", "br"); r.body != content {
		t.Error("the first site changed")
	}
}

func TestARestartHasTheBestCodingsAtOnce(t *testing.T) {
	o := options(t, t.TempDir())
	content := files{"a.txt": text(1, 50000), "noise.txt": noise(1, 5000)}
	content.write(t, o.Dir)
	cache, err := encode.OpenCache(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	use := func(im *improver) { im.cache = cache }
	before := best(t, compileDir(t, o, nil), use)
	restarted := improved(t, compileDir(t, o, nil), use)
	if len(restarted) != 1 {
		t.Errorf("%d snapshots, want 1: the best codings of all files at once", len(restarted))
	}
	if diff := cmp.Diff(coded(t, before, "/a.txt", "br"), coded(t, restarted[0], "/a.txt", "br"), cmp.AllowUnexported(response{})); diff != "" {
		t.Errorf("the answers differ:\n%s", diff)
	}
	if sum := restarted[0].Summary(); sum.Best != 2 {
		t.Errorf("%d files are at their best, want both: that noise gets no smaller is in the cache, too", sum.Best)
	}
}

func TestCodingsGoOnToTheNextSite(t *testing.T) {
	o := options(t, t.TempDir())
	files{"a.txt": text(1, 5000), "b.txt": text(2, 5000)}.write(t, o.Dir)
	first := best(t, compileDir(t, o, nil))
	writeIn(t, o.Dir, "b.txt", text(3, 5000))
	writeIn(t, o.Dir, "a.txt", text(1, 5000)) // the same again
	second := compileDir(t, o, first)
	if got := coded(t, second, "/a.txt", "br").header.Get("Content-Encoding"); got != "br" {
		t.Errorf("what did not change is coded as %q, want br", got)
	}
	if r := coded(t, second, "/b.txt", "br"); r.header.Get("Content-Encoding") != "" || r.body != text(3, 5000) {
		t.Error("what changed has the codings of what it was")
	}
}

func TestEqualContentOfDifferentTypesIsOneBody(t *testing.T) {
	content := text(1, 30000)
	o := options(t, t.TempDir())
	files{"a.txt": content, "b.png": content, "c.css": content, "d/a.txt": content}.write(t, o.Dir)
	s := compileDir(t, o, nil)
	if sum := s.Summary(); sum.Memory != 30000 || sum.Bytes != 120000 {
		t.Errorf("%d bytes in memory of %d, want one copy", sum.Memory, sum.Bytes)
	}
	s = best(t, s, func(im *improver) { im.store = o.Store })
	if r := coded(t, s, "/b.png", "br"); r.header.Get("Content-Encoding") != "" || r.header.Get("Content-Type") != "image/png" {
		t.Errorf("the picture is sent as %v", r.header)
	}
	if r := coded(t, s, "/c.css", "br"); r.decoded(t) != content || r.header.Get("Content-Encoding") != "br" || !strings.HasPrefix(r.header.Get("Content-Type"), "text/css") {
		t.Errorf("the style sheet is sent as %v", r.header)
	}
}

func TestCodingsKeepWithinTheBudget(t *testing.T) {
	content := make(files)
	for i := range 20 {
		content[string(rune('a'+i))+".txt"] = text(i, 10000)
	}
	const budget = 215_000 // the files take 200,000
	o := options(t, t.TempDir())
	o.Budget = budget
	content.write(t, o.Dir)
	s := best(t, compileDir(t, o, nil), func(im *improver) { im.budget = budget })
	sum := s.Summary()
	if sum.OnDisk != 0 || sum.Memory > budget || sum.Coded == 0 || sum.Coded == 20 {
		t.Errorf("%+v, want all files and as many codings as fit", sum)
	}
	for name, plain := range content {
		if r := coded(t, s, "/"+name, "br, gzip, zstd"); r.decoded(t) != plain {
			t.Errorf("%s differs", name)
		}
	}
}

func TestQuickCodingsMakeRoomForTheBest(t *testing.T) {
	content := text(1, 30000)
	first := compiled(t, files{"a.txt": content})
	quick := improved(t, first)[0].Summary().Memory
	last := best(t, first, func(im *improver) { im.budget = quick }) // room for one set of codings
	if sum := last.Summary(); sum.Best != 1 || sum.Memory > quick {
		t.Errorf("%+v, want the best codings in the place of the quick ones", sum)
	}
}

func TestABudgetOfOneByteServesEverythingFromDisk(t *testing.T) {
	content := files{"index.html": text(1, 5000), "404.html": text(2, 500), "app.3f9c2b1e.js": text(3, 2000), "empty.txt": ""}
	s := compiled(t, content, func(o *Options) { o.Budget = 1 })
	if tag := get(t, s, "/").header.Get("Etag"); !strings.HasPrefix(tag, `W/"`) {
		t.Errorf("the tag of a file that is not hashed is %s", tag)
	}
	s = best(t, s, func(im *improver) { im.budget = 1 })
	if sum := s.Summary(); sum.Memory > 1 || sum.OnDisk != 3 || sum.Files != 4 {
		t.Errorf("%+v", sum)
	}
	for path, name := range map[string]string{"/": "index.html", "/none": "404.html", "/app.3f9c2b1e.js": "app.3f9c2b1e.js", "/empty.txt": "empty.txt"} {
		if r := coded(t, s, path, "br"); r.body != content[name] || r.stored != "disk" && name != "empty.txt" {
			t.Errorf("%s: %d bytes from %q", path, len(r.body), r.stored)
		}
	}
	if r := get(t, s, "/app.3f9c2b1e.js"); strings.HasPrefix(r.header.Get("Etag"), "W/") || r.header.Get("Cache-Control") != cacheImmutable {
		t.Errorf("hashed, a fingerprinted file from disk has %v", r.header)
	}
}

func TestLargeFilesGetAStrongTagAndCodingsBehind(t *testing.T) {
	content := strings.Repeat(text(1, 4096), 257)[:MaxInMemory+1]
	first := compiled(t, files{"large.txt": content, "limit.txt": content[:MaxInMemory]})
	if a, b := get(t, first, "/large.txt"), get(t, first, "/limit.txt"); a.stored != "disk" || b.stored != "memory" {
		t.Errorf("a byte more than a mebibyte is in %s, a mebibyte in %s", a.stored, b.stored)
	}
	weak := get(t, first, "/large.txt").header.Get("Etag")
	if r := ask(t, first, Request{Path: "/large.txt", IfNoneMatch: weak}); !strings.HasPrefix(weak, `W/"`) || r.status != 304 {
		t.Errorf("the tag %s gets %d", weak, r.status)
	}
	if r := ask(t, first, Request{Path: "/large.txt", IfRange: weak, Range: "bytes=0-0"}); r.status != 200 {
		t.Errorf("If-Range with a weak tag is answered %d", r.status)
	}
	last := best(t, first)
	if r := coded(t, last, "/large.txt", "br"); r.header.Get("Content-Encoding") != "br" || r.decoded(t) != content || r.stored != "memory" {
		t.Errorf("coded: %v", r.header)
	}
	if r := get(t, last, "/large.txt"); strings.HasPrefix(r.header.Get("Etag"), "W/") || r.body != content || r.stored != "disk" {
		t.Errorf("plain: %v", r.header)
	}
}

func TestOneFileThatCannotBeImprovedKeepsNoOtherBack(t *testing.T) {
	o := options(t, t.TempDir())
	files{"a.txt": text(1, 5000), "b.bin": noise(1, MaxInMemory+1), "c.txt": strings.Repeat(text(3, 4096), 257)}.write(t, o.Dir)
	s := compileDir(t, o, nil)
	broken := s.paths["/b.bin"].asset
	if err := s.assets[broken].identity().disk.file.Close(); err != nil { // reading it fails from now on
		t.Fatal(err)
	}
	var last *Site
	im := &improver{
		store: o.Store, slots: newSlots(), history: &history{Names: map[string]string{}}, site: s, ready: make(map[int]*asset),
		publish: func(s *Site) { last = s },
	}
	if err := im.run(t.Context()); err == nil || !strings.Contains(err.Error(), "b.bin") {
		t.Errorf("the error is %v, want one that names the file", err)
	}
	for _, path := range []string{"/a.txt", "/c.txt"} {
		if got := coded(t, last, path, "br").header.Get("Content-Encoding"); got != "br" {
			t.Errorf("%s is coded as %q", path, got)
		}
	}
}

func TestAStoppedImproverPublishesNothing(t *testing.T) {
	s := compiled(t, files{"a.txt": text(1, 5000), "app.3f9c2b1e.bin": noise(1, MaxInMemory+1)})
	h := &history{Names: map[string]string{}}
	published := 0
	im := &improver{
		store: body.NewStore(""), slots: newSlots(), history: h, site: s, ready: make(map[int]*asset), publish: func(*Site) { published++ },
	}
	im.stop()
	if err := im.run(context.WithoutCancel(t.Context())); err != nil || published != 0 || len(h.Names) != 0 {
		t.Errorf("%d sites published, %d names learnt, %v", published, len(h.Names), err)
	}
}

func TestBodiesMoveOutOfDeadSlabs(t *testing.T) {
	o := options(t, t.TempDir())
	writeIn(t, o.Dir, "keep.txt", text(1, 3000))
	for i := range 18 { // two slabs and a bit
		writeIn(t, o.Dir, filepath.Join("old", string(rune('a'+i))+".bin"), noise(i, MaxInMemory))
	}
	second := func() *Site { // nobody holds the first site
		first := compileDir(t, o, nil)
		removeIn(t, o.Dir, "old")
		return compileDir(t, o, first)
	}()
	before := second.assets[second.paths["/keep.txt"].asset].identity().mem
	eventually(t, "only the small file and its codings are in memory", func() bool {
		second = best(t, second, func(im *improver) { im.store = o.Store })
		return o.Store.Mapped() < 20_000
	})
	if after := second.assets[second.paths["/keep.txt"].asset].identity().mem; after == before {
		t.Error("the small file still lies in the slab of those that are gone")
	}
	if r := get(t, second, "/keep.txt"); r.body != text(1, 3000) {
		t.Error("the file that moved differs")
	}
}
