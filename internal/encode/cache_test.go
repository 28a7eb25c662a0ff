package encode_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/encode"
)

const noLimit = 1 << 40

func openCache(t *testing.T, dir string, maxBytes int64) *encode.Cache {
	t.Helper()
	c, err := encode.OpenCache(dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t *testing.T, c *encode.Cache, name, body string) {
	t.Helper()
	if err := c.Put(hashOf(name), encode.Brotli, encode.Best, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

// get returns what the cache has under a name, or "miss".
func get(c *encode.Cache, name string) string {
	body, ok := c.Get(hashOf(name), encode.Brotli, encode.Best)
	if !ok {
		return "miss"
	}
	return string(body)
}

func hashOf(name string) [32]byte { return sha256.Sum256([]byte(name)) }

// files returns the paths of all files under dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// only returns the path of the only file under dir.
func only(t *testing.T, dir string) string {
	t.Helper()
	paths := files(t, dir)
	if len(paths) != 1 {
		t.Fatalf("the cache has %d files, want 1: %q", len(paths), paths)
	}
	return paths[0]
}

func TestCacheKeepsEachCodingAndLevelOfABodyAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	before := openCache(t, dir, noLimit)
	want := map[string]string{}
	for _, coding := range allCodings {
		for _, level := range allLevels {
			body := coding.String() + " " + level.String()
			want[body] = body
			if err := before.Put(hashOf("x"), coding, level, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	after, got := openCache(t, dir, noLimit), map[string]string{}
	for _, coding := range allCodings {
		for _, level := range allLevels {
			body, _ := after.Get(hashOf("x"), coding, level)
			got[coding.String()+" "+level.String()] = string(body)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := get(after, "y"); got != "miss" {
		t.Errorf("a body that was never put came as %q", got)
	}
}

func TestCacheRemembersThatACodingIsNoSmaller(t *testing.T) {
	c := openCache(t, t.TempDir(), noLimit)
	put(t, c, "noise", "")
	if body, ok := c.Get(hashOf("noise"), encode.Brotli, encode.Best); !ok || len(body) != 0 {
		t.Errorf("got %q, %v, want an empty body that is there", body, ok)
	}
}

func TestCacheRemovesADamagedEntry(t *testing.T) {
	for name, damage := range map[string]func(raw []byte) []byte{
		"emptied":             func([]byte) []byte { return nil },
		"cut in the header":   func(raw []byte) []byte { return raw[:20] },
		"cut in the body":     func(raw []byte) []byte { return raw[:len(raw)-1] },
		"longer":              func(raw []byte) []byte { return append(raw, 'x') },
		"a changed bit":       func(raw []byte) []byte { raw[len(raw)-2] ^= 4; return raw },
		"a changed checksum":  func(raw []byte) []byte { raw[12] ^= 1; return raw },
		"of another format":   func(raw []byte) []byte { raw[7]++; return raw },
		"zeros after a crash": func(raw []byte) []byte { clear(raw); return raw },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := openCache(t, dir, noLimit)
			put(t, c, "a", "body")
			raw, err := os.ReadFile(only(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(only(t, dir), damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := get(c, "a"); got != "miss" {
				t.Errorf("got %q", got)
			}
			if left := files(t, dir); len(left) != 0 {
				t.Errorf("the damaged entry is still there: %q", left)
			}
			put(t, c, "a", "again")
			if got := get(c, "a"); got != "again" {
				t.Errorf("got %q after it was put again", got)
			}
		})
	}
}

func TestCacheRemovesAnEntryUnderAWrongName(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, noLimit)
	put(t, c, "a", "body")
	path := only(t, dir)
	if err := os.Rename(path, strings.Replace(path, ".br.", ".gzip.", 1)); err != nil {
		t.Fatal(err)
	}
	if body, ok := c.Get(hashOf("a"), encode.Gzip, encode.Best); ok {
		t.Errorf("br came as gzip: %q", body)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("the entry is still there: %q", left)
	}
}

// age makes a name's entry look as if it was last used days ago.
func age(t *testing.T, dir, name string, days int) {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("%x", hashOf(name))[:2], fmt.Sprintf("%x.br.best", hashOf(name)))
	then := time.Now().Add(-time.Duration(days) * 24 * time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// present returns which of the names the cache has.
func present(c *encode.Cache, names ...string) string {
	var there []string
	for _, name := range names {
		if get(c, name) != "miss" {
			there = append(there, name)
		}
	}
	return strings.Join(there, " ")
}

func TestCacheRemovesTheLeastRecentlyUsedFirst(t *testing.T) {
	dir := t.TempDir()
	body := strings.Repeat("x", 10000) // 12 KiB on disk with its header
	roomy := openCache(t, dir, noLimit)
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		put(t, roomy, name, body)
		age(t, dir, name, 10-i)
	}
	get(roomy, "b") // makes it the most recently used
	tight := openCache(t, dir, 3*12<<10+5<<10)
	if got := present(tight, "a", "b", "c", "d", "e"); got != "b d e" {
		t.Errorf("left are %q, want %q", got, "b d e")
	}
}

func TestCacheStaysWithinItsBoundWhileItIsFilled(t *testing.T) {
	const bound = 200 << 10
	dir := t.TempDir()
	c := openCache(t, dir, bound)
	for i := range 200 {
		put(t, c, fmt.Sprint(i), strings.Repeat("x", 1000))
		if used := int64(len(files(t, dir))) * 4096; used > bound {
			t.Fatalf("after %d entries the cache takes %d bytes, more than %d", i+1, used, bound)
		}
	}
	if got := get(c, "199"); got == "miss" {
		t.Error("the newest entry is not there")
	}
}

func TestCacheCountsWhatAnotherProcessWrites(t *testing.T) {
	const bound = 400 << 10
	dir := t.TempDir()
	one, other := openCache(t, dir, bound), openCache(t, dir, bound)
	for i := range 300 {
		put(t, one, fmt.Sprint("one", i), strings.Repeat("x", 1000))
		put(t, other, fmt.Sprint("other", i), strings.Repeat("x", 1000))
		if used := int64(len(files(t, dir))) * 4096; used > bound+bound/8 {
			t.Fatalf("the cache takes %d bytes, more than %d and an eighth", used, bound)
		}
	}
}

func TestCacheTouchesAnEntryOnceADay(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, noLimit)
	put(t, c, "a", "body")
	for name, tc := range map[string]struct {
		age  time.Duration
		want bool
	}{
		"used an hour ago":           {time.Hour, false},
		"used two days ago":          {48 * time.Hour, true},
		"used in two days, it seems": {-48 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			then := time.Now().Add(-tc.age).Truncate(time.Second)
			if err := os.Chtimes(only(t, dir), then, then); err != nil {
				t.Fatal(err)
			}
			get(c, "a")
			info, err := os.Stat(only(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			if touched := !info.ModTime().Equal(then); touched != tc.want {
				t.Errorf("touched: %v", touched)
			}
		})
	}
}

func TestCacheCleansUpAfterKilledProcessesAndLeavesForeignFilesAlone(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"ab", "photos"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-2 * time.Hour)
	for name, old := range map[string]bool{"ab/tmp-1": true, "ab/tmp-2": false, "ab/notes.txt": true, "notes.txt": true, "photos/tmp-1": true} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.WriteFile(path, make([]byte, 10000), 0o600); err != nil {
			t.Fatal(err)
		}
		if old {
			if err := os.Chtimes(path, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	openCache(t, dir, 1)
	var left []string
	for _, path := range files(t, dir) {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, filepath.ToSlash(rel))
	}
	if diff := cmp.Diff([]string{"ab/notes.txt", "ab/tmp-2", "notes.txt", "photos/tmp-1"}, left); diff != "" {
		t.Error(diff)
	}
}

func TestCacheIsSafeForManyUsersOfOneDirectory(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		c := openCache(t, dir, 64<<10)
		for range 4 {
			wg.Go(func() {
				for i := range 50 {
					name := fmt.Sprint(i % 30)
					if err := c.Put(hashOf(name), encode.Brotli, encode.Best, []byte("body of "+name)); err != nil {
						t.Error(err)
					}
					if got := get(c, name); got != "miss" && got != "body of "+name {
						t.Errorf("got %q as %s", got, name)
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestCacheOnABadDiskNeverHarmsTheCaller(t *testing.T) {
	t.Run("the directory is gone", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		c := openCache(t, dir, noLimit)
		put(t, c, "a", "body")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if got := get(c, "a"); got != "miss" {
			t.Errorf("got %q", got)
		}
		put(t, c, "a", "body") // makes it again
	})
	t.Run("a file stands in its place", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := encode.OpenCache(path, noLimit); err == nil {
			t.Error("a file was opened as a cache")
		}
	})
	t.Run("a directory that takes no new entry still gives what it has", func(t *testing.T) {
		dir := t.TempDir()
		c := openCache(t, dir, noLimit)
		put(t, c, "a", "body")
		entry := only(t, dir)
		taken := strings.Replace(entry, encode.Brotli.String(), encode.Gzip.String(), 1)
		if err := os.MkdirAll(filepath.Join(taken, "in the way"), 0o700); err != nil || taken == entry {
			t.Fatal(taken, err)
		}
		if err := c.Put(hashOf("a"), encode.Gzip, encode.Best, []byte("more")); err == nil {
			t.Error("Put where a directory is in the way is no error")
		}
		if got := get(openCache(t, dir, noLimit), "a"); got != "body" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no cache at all", func(t *testing.T) {
		var c *encode.Cache
		put(t, c, "a", "body")
		if got := get(c, "a"); got != "miss" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("an entry larger than the cache", func(t *testing.T) {
		dir := t.TempDir()
		c := openCache(t, dir, 8<<10)
		put(t, c, "small", "body")
		if err := c.Put(hashOf("large"), encode.Brotli, encode.Best, make([]byte, 10<<10)); err == nil {
			t.Error("it was taken")
		}
		if got := get(c, "small"); got != "body" {
			t.Errorf("it drove out what was there: %q", got)
		}
	})
	t.Run("no room", func(t *testing.T) {
		if _, err := encode.OpenCache(t.TempDir(), 0); err == nil {
			t.Error("a cache of no bytes was opened")
		}
	})
}

func BenchmarkCacheGet(b *testing.B) {
	c, err := encode.OpenCache(b.TempDir(), noLimit)
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Put(hashOf("a"), encode.Brotli, encode.Best, make([]byte, 16<<10)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(16 << 10)
	for b.Loop() {
		if _, ok := c.Get(hashOf("a"), encode.Brotli, encode.Best); !ok {
			b.Fatal("miss")
		}
	}
}
