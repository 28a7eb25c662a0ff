package release

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pennyfarthing/internal/encode"
)

// manyFiles makes a directory of n small files, a hundred to a directory.
func manyFiles(b *testing.B, n int) string {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("section-%03d", i/10_000), fmt.Sprintf("chapter-%03d", i/100%100))
		if i%100 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("page-%06d.html", i)), fmt.Appendf(nil, "<p>%d</p>\n", i), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

const benchFiles = 100_000

func BenchmarkSnapshotUnchanged(b *testing.B) {
	dir, cache := manyFiles(b, benchFiles), filepath.Join(b.TempDir(), "cache")
	settle(b)
	m, _ := snap(b, dir, SnapshotOptions{Cache: cache})
	b.ReportAllocs()
	for b.Loop() {
		again, tree, err := Snapshot(b.Context(), dir, options(SnapshotOptions{Cache: cache, Previous: m}))
		if err != nil {
			b.Fatal(err)
		}
		if tree.Hashed > 0 || !Diff(m, again).None() {
			b.Fatalf("%d files hashed", tree.Hashed)
		}
		if err := tree.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScanUnchanged is what a deploy of nothing does with the directory.
func BenchmarkScanUnchanged(b *testing.B) {
	dir, cache := manyFiles(b, benchFiles), filepath.Join(b.TempDir(), "cache")
	settle(b)
	m, _ := snap(b, dir, SnapshotOptions{Cache: cache})
	want := m.ID()
	b.ReportAllocs()
	for b.Loop() {
		s, err := NewScan(b.Context(), dir, options(SnapshotOptions{Cache: cache}))
		if err != nil {
			b.Fatal(err)
		}
		if id, known := s.Release(); !known || id != want {
			b.Fatalf("the release is %s, %v", id, known)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshotFirst(b *testing.B) {
	dir := manyFiles(b, benchFiles)
	b.ReportAllocs()
	for b.Loop() {
		_, tree, err := Snapshot(b.Context(), dir, options(SnapshotOptions{}))
		if err != nil {
			b.Fatal(err)
		}
		if err := tree.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchManifest() *Manifest {
	m := manifest()
	for i := range benchFiles {
		m.Files = append(m.Files, file(fmt.Sprintf("section-%03d/chapter-%03d/page-%06d.html", i/10_000, i/100%100, i), fmt.Sprint(i)))
	}
	return m
}

func BenchmarkManifest(b *testing.B) {
	m := benchManifest()
	text := m.Encode()
	b.Run("Encode", func(b *testing.B) {
		for b.Loop() {
			m.Encode()
		}
	})
	b.Run("ID", func(b *testing.B) {
		for b.Loop() {
			m.ID()
		}
	})
	b.Run("Check", func(b *testing.B) {
		for b.Loop() {
			if err := m.Check(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Parse", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, err := ParseManifest(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Diff", func(b *testing.B) {
		for b.Loop() {
			Diff(m, m)
		}
	})
}

// BenchmarkReadPack is a first deploy of 2,000 pages and pictures of 1 to 64 KiB.
func BenchmarkReadPack(b *testing.B) {
	var objects []sent
	size := int64(0)
	for i := range 2000 {
		content := randomText(uint64(i), 1024+i*32)
		if i%2 == 0 {
			objects = append(objects, brotliOf(b, content, encode.Quick))
		} else {
			objects = append(objects, identity(string(content)))
		}
		size += int64(len(content))
	}
	stream := pack(b, objects...)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		st, err := OpenStore(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		got, err := ReadPack(b.Context(), bytes.NewReader(stream), st, PackOptions{})
		if err != nil || got.Stored != len(objects) {
			b.Fatalf("%+v, %v", got, err)
		}
		b.StopTimer()
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkMissing(b *testing.B) {
	st := openStore(b)
	m := benchManifest()
	for i := range m.Files { // as a store with all of a release has them, but for the content
		if err := os.WriteFile(st.objectPath(m.Files[i].Hash), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	hashes := make([]Hash, len(m.Files))
	for i := range m.Files {
		hashes[i] = m.Files[i].Hash
	}
	for b.Loop() {
		if missing := st.Missing(hashes); len(missing) > 0 {
			b.Fatalf("%d are missing", len(missing))
		}
	}
}
