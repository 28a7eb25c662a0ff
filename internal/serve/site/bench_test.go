package site

import (
	"fmt"
	"testing"

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
