package site

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
)

// manyFiles makes a directory like that of a large blog: 10,000 small files.
func manyFiles(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	for i := range 10_000 {
		name := fmt.Sprintf("posts/%d/%d/index.html", i/1000, i)
		if i%4 == 0 {
			name = fmt.Sprintf("assets/%02d/chunk-%d.%08xa1.js", i%50, i, i*2654435761)
		}
		writeIn(b, dir, name, text(i, 500+i%8000))
	}
	return dir
}

func BenchmarkCompile(b *testing.B) {
	dir := manyFiles(b)
	o := Options{Dir: dir, Store: body.NewStore(b.TempDir())}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			o.Store = body.NewStore(b.TempDir())
			compileDir(b, o, nil)
		}
	})
	b.Run("again", func(b *testing.B) {
		prev := compileDir(b, o, nil)
		b.ReportAllocs()
		for b.Loop() {
			compileDir(b, o, prev)
		}
	})
}

// manyReleased makes a release of 10,000 small files of that blog, with quick br, of
// which some share of a hundred is another content in each release.
func manyReleased(b *testing.B, store *objects, n, percent int) *release {
	b.Helper()
	f := make(files, 10_000)
	for i := range 10_000 {
		content := text(i, 500+i%8000)
		if i%100 < percent {
			content = fmt.Sprint("release ", n, " ", content)
		}
		if f[fmt.Sprintf("posts/%d/%d/index.html", i/1000, i)] = content; i%4 == 0 {
			delete(f, fmt.Sprintf("posts/%d/%d/index.html", i/1000, i))
			f[fmt.Sprintf("assets/%02d/chunk-%d.%08xa1.js", i%50, i, sha256.Sum256([]byte(content)))] = content
		}
	}
	return store.release(b, f).code(b, "", encode.Quick, encode.Brotli)
}

func BenchmarkCompileSource(b *testing.B) {
	store := newObjects(b)
	for _, percent := range []int{1, 100} {
		releases := [2]*release{manyReleased(b, store, 0, percent), manyReleased(b, store, 1, percent)}
		compile := func(b *testing.B, o Options, n int, prev *Site) *Site {
			o.Retained = releases[1-n].files
			return compileRelease(b, o, releases[n], prev)
		}
		b.Run(fmt.Sprintf("first/differing=%d%%", percent), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				compile(b, Options{Store: body.NewStore(b.TempDir())}, 0, nil)
			}
		})
		b.Run(fmt.Sprintf("back/differing=%d%%", percent), func(b *testing.B) { // where nobody has what differs any more
			o, n := Options{Store: body.NewStore(b.TempDir())}, 0
			s := compile(b, o, n, nil)
			b.ReportAllocs()
			for b.Loop() {
				n = 1 - n
				s = compile(b, o, n, s)
				b.StopTimer()
				runtime.GC()
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("backHeld/differing=%d%%", percent), func(b *testing.B) { // where somebody has the site that it goes back to
			o := Options{Store: body.NewStore(b.TempDir())}
			held := [2]*Site{compile(b, o, 0, nil), nil}
			held[1] = compile(b, o, 1, held[0])
			store.forget()
			n := 1
			b.ReportAllocs()
			for b.Loop() {
				n = 1 - n
				held[n] = compile(b, o, n, held[1-n])
			}
			if opened, _ := store.reads(); opened > 0 {
				b.Errorf("%d files were opened", opened)
			}
		})
	}
}

func BenchmarkRespond(b *testing.B) {
	s := best(b, compiled(b, files{"index.html": text(1, 5000), "about.html": text(2, 5000), "large.bin": noise(1, MaxInMemory+1)}))
	tag := get(b, s, "/").header.Get("Etag")
	for _, bench := range []struct {
		name string
		q    Request
	}{
		{"200", Request{Path: "/about"}},
		{"200coded", Request{Path: "/about", AcceptEncoding: "gzip, deflate, br, zstd", HasAcceptEncoding: true}},
		{"304", Request{Path: "/", IfNoneMatch: tag}},
		{"206", Request{Path: "/about", Range: "bytes=100-199"}},
		{"404", Request{Path: "/none"}},
		{"301", Request{Path: "/about.html"}},
	} {
		bench.q.Method = "GET"
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				answer := s.Respond(&bench.q)
				if answer.Status == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}
