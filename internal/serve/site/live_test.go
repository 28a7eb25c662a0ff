package site

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/encode"
)

// A journal is a log that tests read.
type journal struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// count says how often an event was logged with a fact in its error.
func (j *journal) count(event, fact string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for line := range strings.Lines(j.text.String()) {
		var record struct{ Msg, Err string }
		if json.Unmarshal([]byte(line), &record) == nil && record.Msg == event && strings.Contains(record.Err, fact) {
			n++
		}
	}
	return n
}

// A running is a live site and its log.
type running struct {
	*Live
	log *journal
	dir string
}

// run starts a live site of a directory that ends with the test.
func run(t testing.TB, dir string, edit ...func(*Options, *LiveOptions)) *running {
	t.Helper()
	r := &running{log: &journal{}, dir: dir}
	o, live := options(t, dir), LiveOptions{Name: "test", Log: slog.New(slog.NewJSONHandler(r.log, nil))}
	for _, e := range edit {
		e(&o, &live)
	}
	var err error
	if r.Live, err = NewLive(t.Context(), o, live); err != nil {
		t.Fatal(err)
	}
	r.quiet = 10 * time.Millisecond // tests write little
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var done sync.WaitGroup
	done.Go(func() { err = r.Run(ctx) })
	t.Cleanup(func() {
		stop()
		done.Wait()
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// shows waits until a path is answered so.
func (r *running) shows(t testing.TB, path, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s shows %.40q", path, want), func() bool {
		answer := get(t, r.Site(), path)
		return answer.status == 200 && answer.body == want
	})
}

func (r *running) lacks(t testing.TB, path string) {
	t.Helper()
	eventually(t, path+" is gone", func() bool { return get(t, r.Site(), path).status == 404 })
}

func TestChangesGoLive(t *testing.T) {
	dir := t.TempDir()
	files{"index.html": "one", "sub/a.txt": "a"}.write(t, dir)
	r := run(t, dir)
	for _, change := range []struct {
		name string
		do   func()
		path string
		want string
	}{
		{"written in place", func() { writeIn(t, dir, "index.html", "two") }, "/", "two"},
		{"written beside and renamed", func() {
			writeIn(t, dir, ".index.html.swp", "three")
			check(t, os.Rename(filepath.Join(dir, ".index.html.swp"), filepath.Join(dir, "index.html")))
		}, "/", "three"},
		{"truncated, then written", func() {
			check(t, os.Truncate(filepath.Join(dir, "index.html"), 0))
			overwrite(t, filepath.Join(dir, "index.html"), 0, "four")
		}, "/", "four"},
		{"moved to a backup, then written anew", func() {
			check(t, os.Rename(filepath.Join(dir, "index.html"), filepath.Join(dir, "index.html~")))
			writeIn(t, dir, "index.html", "five")
		}, "/", "five"},
		{"a file in a directory below", func() { writeIn(t, dir, "sub/a.txt", "b") }, "/sub/a.txt", "b"},
		{"a new directory", func() { writeIn(t, dir, "new/deep/er/a.txt", "a") }, "/new/deep/er/a.txt", "a"},
		{"a change in the new directory", func() { writeIn(t, dir, "new/deep/er/a.txt", "b") }, "/new/deep/er/a.txt", "b"},
		{"a directory in the new directory", func() { writeIn(t, dir, "new/deep/x/y.txt", "y") }, "/new/deep/x/y.txt", "y"},
		{"a directory that is moved", func() {
			check(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "moved")))
		}, "/moved/deep/x/y.txt", "y"},
		{"a change in the directory that was moved", func() { writeIn(t, dir, "moved/deep/x/y.txt", "z") }, "/moved/deep/x/y.txt", "z"},
		{"a directory in the place of the one that was moved", func() { writeIn(t, dir, "new/deep/x/y.txt", "1") }, "/new/deep/x/y.txt", "1"},
		{"a change in that", func() { writeIn(t, dir, "new/deep/x/y.txt", "2") }, "/new/deep/x/y.txt", "2"},
		{"a large file", func() { writeIn(t, dir, "large.bin", noise(1, MaxInMemory+9)) }, "/large.bin", noise(1, MaxInMemory+9)},
		{"a directory removed and made again", func() {
			removeIn(t, dir, "sub")
			writeIn(t, dir, "sub/a.txt", "c")
		}, "/sub/a.txt", "c"},
		{"a change in the directory that was made again", func() { writeIn(t, dir, "sub/a.txt", "d") }, "/sub/a.txt", "d"},
	} {
		change.do()
		t.Log(change.name)
		r.shows(t, change.path, change.want)
	}
	removeIn(t, dir, "sub")
	r.lacks(t, "/sub/a.txt")
}

func TestWhatHappensBeforeRunIsSeen(t *testing.T) {
	dir := t.TempDir()
	writeIn(t, dir, "index.html", "one")
	live, err := NewLive(t.Context(), options(t, dir), LiveOptions{})
	check(t, err)
	writeIn(t, dir, "index.html", "two")
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	done.Go(func() { _ = live.Run(ctx) })
	(&running{Live: live}).shows(t, "/", "two")
}

func TestARequestKeepsTheSiteItBeganWith(t *testing.T) {
	dir := t.TempDir()
	large := noise(1, MaxInMemory+blockSize)
	files{"small.txt": "old", "large.bin": large}.write(t, dir)
	r := run(t, dir)
	small := r.Site().Respond(&Request{Method: "GET", Path: "/small.txt"})
	answer := r.Site().Respond(&Request{Method: "GET", Path: "/large.bin"})
	writeIn(t, dir, "new.bin", noise(2, MaxInMemory+blockSize))
	check(t, os.Rename(filepath.Join(dir, "new.bin"), filepath.Join(dir, "large.bin")))
	writeIn(t, dir, "small.txt", "new")
	r.shows(t, "/small.txt", "new")
	r.shows(t, "/large.bin", noise(2, MaxInMemory+blockSize))
	runtime.GC()
	var out bytes.Buffer
	if _, err := answer.WriteTo(&out); err != nil || out.String() != large {
		t.Errorf("the answer that was begun has %d bytes, %v", out.Len(), err)
	}
	out.Reset()
	if _, err := small.WriteTo(&out); err != nil || out.String() != "old" {
		t.Errorf("the answer that was begun is %q, %v", out.String(), err)
	}
}

func TestAChangeThatDoesNotCompileIsReportedAndMended(t *testing.T) {
	dir := t.TempDir()
	writeIn(t, dir, "index.html", "one")
	r := run(t, dir)
	writeIn(t, dir, "_redirects", "/a\n")
	writeIn(t, dir, "index.html", "two")
	eventually(t, "the mistake is told", func() bool { return r.log.count("site not changed", "_redirects:1") == 1 })
	writeIn(t, dir, "sub/new.txt", "below") // noticed only if it is watched from now on
	if answer := get(t, r.Site(), "/"); answer.body != "one" {
		t.Errorf("with a mistake the site shows %q", answer.body)
	}
	writeIn(t, dir, "_redirects", "/a /b\n")
	r.shows(t, "/", "two")
	r.shows(t, "/sub/new.txt", "below")
	if n := r.log.count("site not changed", ""); n != 1 {
		t.Errorf("the mistake was told %d times", n)
	}
	writeIn(t, dir, "_redirects", "/a\n")
	eventually(t, "the mistake is told again", func() bool { return r.log.count("site not changed", "_redirects:1") == 2 })
}

func TestADirectoryThatGoesAwayIsServedOn(t *testing.T) {
	for name, away := range map[string]func(t *testing.T, dir string){
		"removed": func(t *testing.T, dir string) { check(t, os.RemoveAll(dir)) },
		"renamed": func(t *testing.T, dir string) { check(t, os.Rename(dir, dir+".away")) },
		"emptied": func(t *testing.T, dir string) { removeIn(t, dir, "index.html", "app.3f9c2b1e.js", "sub") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "public")
			files{"index.html": "one", "app.3f9c2b1e.js": "1", "sub/a.txt": "a"}.write(t, dir)
			r := run(t, dir)
			for round := range 3 {
				away(t, dir)
				eventually(t, "the loss is told", func() bool { return r.log.count("site not changed", "public") > round })
				if answer := get(t, r.Site(), "/app.3f9c2b1e.js"); answer.body != "1" {
					t.Errorf("without its directory the site answers %d", answer.status)
				}
				content := fmt.Sprint("back ", round)
				check(t, os.RemoveAll(dir+".away"))
				files{"index.html": content, "app.3f9c2b1e.js": "1", "sub/a.txt": content}.write(t, dir)
				r.shows(t, "/", content)
				r.shows(t, "/sub/a.txt", content)
				writeIn(t, dir, "sub/a.txt", "changed")
				r.shows(t, "/sub/a.txt", "changed")
			}
		})
	}
}

func TestASwappedDirectoryIsNoticed(t *testing.T) {
	release := func(t *testing.T, dir string, n int) string {
		name := filepath.Join(dir, fmt.Sprint("release-", n))
		files{"index.html": fmt.Sprint("release ", n), "sub/a.txt": fmt.Sprint("sub ", n)}.write(t, name)
		return name
	}
	for name, test := range map[string]struct {
		served string
		swap   func(t *testing.T, dir, release string)
	}{
		"a link is swapped": {"current", func(t *testing.T, dir, release string) {
			swapLink(t, filepath.Base(release), filepath.Join(dir, "current"))
		}},
		"a link is removed and made again": {"current", func(t *testing.T, dir, release string) {
			removeIn(t, dir, "current")
			symlink(t, release, filepath.Join(dir, "current"))
		}},
		"the directory is renamed": {"current", func(t *testing.T, dir, release string) {
			_ = os.Rename(filepath.Join(dir, "current"), release+".old") // the first time there is none
			check(t, os.Rename(release, filepath.Join(dir, "current")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.swap(t, dir, release(t, dir, 0))
			r := run(t, filepath.Join(dir, filepath.FromSlash(test.served)))
			for n := 1; n < 4; n++ {
				test.swap(t, dir, release(t, dir, n))
				r.shows(t, "/", fmt.Sprint("release ", n))
				writeIn(t, filepath.Join(dir, "current"), "sub/a.txt", "changed")
				r.shows(t, "/sub/a.txt", "changed")
			}
			test.swap(t, dir, release(t, dir, 0)) // a roll-back
			r.shows(t, "/", "release 0")
		})
	}
}

func TestALinkInTheMiddleOfThePathIsSwapped(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"1", "2", "3"} {
		writeIn(t, dir, "releases/"+n+"/public/index.html", n)
	}
	symlink(t, "releases/1", filepath.Join(dir, "current"))
	r := run(t, filepath.Join(dir, "current", "public"))
	for _, n := range []string{"2", "3", "1"} {
		swapLink(t, "releases/"+n, filepath.Join(dir, "current"))
		r.shows(t, "/", n)
		writeIn(t, dir, "releases/"+n+"/public/a.txt", "in "+n)
		r.shows(t, "/a.txt", "in "+n)
	}
}

func TestFingerprintedFilesOfTwoSitesStay(t *testing.T) {
	dir := t.TempDir()
	name := func(n int) string { return fmt.Sprintf("app.3f9c2b%02d.js", n) }
	deploy := func(n int) { // at once: each state that is seen is a generation
		release := fmt.Sprint("release-", n)
		files{"index.html": fmt.Sprint(n), name(n): fmt.Sprint("js ", n)}.write(t, filepath.Join(dir, release))
		swapLink(t, release, filepath.Join(dir, "current"))
	}
	files{"plain.txt": "plain", "large.3f9c2b1e.bin": noise(1, MaxInMemory+1)}.write(t, filepath.Join(dir, "release-1"))
	deploy(1)
	r := run(t, filepath.Join(dir, "current"))
	eventually(t, "the large file is hashed", func() bool {
		return get(t, r.Site(), "/large.3f9c2b1e.bin").header.Get("Cache-Control") == cacheImmutable
	})
	for n := 2; n <= 6; n++ {
		deploy(n)
		r.shows(t, "/", fmt.Sprint(n))
		r.shows(t, "/"+name(n), fmt.Sprint("js ", n))
		generation := int(r.Site().Generation())
		if generation != n {
			t.Fatalf("%d generations after %d contents", generation, n)
		}
		for old := 1; old < n; old++ {
			answer := get(t, r.Site(), "/"+name(old))
			if kept := n-old <= keepGenerations; kept != (answer.status == 200) {
				t.Errorf("at %d the file of %d is answered %d", n, old, answer.status)
			}
		}
		if answer := get(t, r.Site(), "/large.3f9c2b1e.bin"); (n <= 1+keepGenerations) != (answer.status == 200 && len(answer.body) == MaxInMemory+1) {
			t.Errorf("at %d the large file is answered %d", n, answer.status)
		}
	}
	r.lacks(t, "/plain.txt")
}

func TestALookWithoutAChangeMakesNoNewSite(t *testing.T) {
	dir := t.TempDir()
	files{"index.html": text(1, 4000), "large.bin": noise(1, MaxInMemory+1)}.write(t, dir)
	r := run(t, dir)
	settled := func() bool { s := r.Site().Summary(); return s.Best == s.Codable }
	eventually(t, "it is improved", settled)
	before := r.Site().Generation()
	check(t, r.lookOnce(t))
	if after := r.Site().Generation(); after != before || !settled() {
		t.Errorf("generation %d became %d", before, after)
	}
}

// lookOnce has the directory looked at once more, and waits for that.
func (r *running) lookOnce(t testing.TB) error {
	t.Helper()
	writeIn(t, r.dir, "_redirects", "/broken\n")
	eventually(t, "a look is over", func() bool { return r.log.count("site not changed", "") > 0 })
	return os.Remove(filepath.Join(r.dir, "_redirects"))
}

func TestTheHistoryOutlivesTheProcess(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "history", "a.json")
	files{"app.3f9c2b1e.js": "1", "large.3f9c2b1e.bin": noise(1, MaxInMemory+1)}.write(t, dir)
	keep := func(_ *Options, live *LiveOptions) { live.History = file }
	first := run(t, dir, keep)
	immutable := func(r *running, path string) bool {
		return get(t, r.Site(), path).header.Get("Cache-Control") == cacheImmutable
	}
	eventually(t, "the large file is immutable, and that is saved", func() bool {
		saved, _ := os.ReadFile(file)
		return immutable(first, "/large.3f9c2b1e.bin") && strings.Contains(string(saved), "large.3f9c2b1e.bin")
	})
	if !immutable(first, "/app.3f9c2b1e.js") {
		t.Error("the small file is not immutable")
	}
	files{"app.3f9c2b1e.js": "2", "large.3f9c2b1e.bin": noise(2, MaxInMemory+1)}.write(t, dir)
	second := run(t, dir, keep)
	eventually(t, "the large file is hashed", func() bool {
		return !strings.HasPrefix(get(t, second.Site(), "/large.3f9c2b1e.bin").header.Get("Etag"), "W/")
	})
	if immutable(second, "/app.3f9c2b1e.js") || immutable(second, "/large.3f9c2b1e.bin") {
		t.Error("a name that has other content after a restart is immutable")
	}
}

func TestAStateThatCannotBeWrittenKeepsNoSiteFromStarting(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	files{"app.3f9c2b1e.js": "1"}.write(t, dir)
	writeIn(t, state, "file", "")
	for _, history := range []string{filepath.Join(state, "file", "history.json"), state} {
		r := run(t, dir, func(_ *Options, live *LiveOptions) { live.History = history })
		if r.log.count("history of file names not kept", "") == 0 {
			t.Errorf("%s: nobody is told", history)
		}
		r.shows(t, "/app.3f9c2b1e.js", "1")
	}
}

func TestCodingsJoinALiveSite(t *testing.T) {
	dir := t.TempDir()
	writeIn(t, dir, "index.html", text(1, 5000))
	cache, err := encode.OpenCache(t.TempDir(), 1<<20)
	check(t, err)
	r := run(t, dir, func(_ *Options, live *LiveOptions) { live.Codings = cache })
	eventually(t, "the best codings are live", func() bool { return r.Site().Summary().Best == 1 })
	writeIn(t, dir, "other.html", text(2, 5000))
	r.shows(t, "/other", text(2, 5000))
	eventually(t, "those of the new file are, too", func() bool { return r.Site().Summary().Best == 2 })
	for _, path := range []string{"/", "/other"} {
		if got := coded(t, r.Site(), path, "br").header.Get("Content-Encoding"); got != "br" {
			t.Errorf("%s is coded as %q", path, got)
		}
	}
}

func TestALongEncodingHoldsNoChangeBack(t *testing.T) {
	dir := t.TempDir()
	writeIn(t, dir, "index.html", "one")
	r := run(t, dir)
	for range cap(r.slots.best) { // as if others were encoding something long
		r.slots.best <- struct{}{}
	}
	for range cap(r.slots.quick) {
		r.slots.quick <- struct{}{}
	}
	writeIn(t, dir, "index.html", text(2, 9000))
	r.shows(t, "/", text(2, 9000))
	writeIn(t, dir, "index.html", text(3, 9000))
	r.shows(t, "/", text(3, 9000))
}

func TestTwoHundredChangesLeakNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("open files are counted in /proc")
	}
	dir := t.TempDir()
	files{"index.html": "0", "sub/a.txt": "a", "large.txt": strings.Repeat("x", MaxInMemory+1)}.write(t, dir)
	r := run(t, dir, func(o *Options, _ *LiveOptions) { o.Budget = 3000 })
	change := func(n int) {
		writeIn(t, dir, "index.html", fmt.Sprint(n))
		writeIn(t, dir, fmt.Sprintf("dir%d/a.txt", n%7), text(n, 2000))
		removeIn(t, dir, fmt.Sprintf("dir%d", (n+3)%7))
		writeIn(t, dir, "large.new", strings.Repeat("x", MaxInMemory+1+n))
		check(t, os.Rename(filepath.Join(dir, "large.new"), filepath.Join(dir, "large.txt")))
		r.shows(t, "/", fmt.Sprint(n))
	}
	for n := range 20 {
		change(n)
	}
	goroutines, files := counts()
	for n := 20; n < 220; n++ {
		change(n)
	}
	eventually(t, fmt.Sprintf("no more than %d goroutines and %d files are left", goroutines, files), func() bool {
		g, f := counts()
		return g <= goroutines+2 && f <= files+4
	})
}

// counts counts goroutines and open files when what is gone is collected.
func counts() (goroutines, files int) {
	runtime.GC()
	runtime.GC()
	entries, _ := os.ReadDir("/proc/self/fd")
	return runtime.NumGoroutine(), len(entries)
}

func TestReadersSeeWholeSitesOnly(t *testing.T) {
	dir := t.TempDir()
	files{"a.txt": "0", "index.html": text(0, 3000)}.write(t, dir)
	r := run(t, dir)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				s := r.Site()
				if answer := coded(t, s, "/", "br, gzip"); !slices.Contains([]string{text(0, 3000), text(1, 3000), text(2, 3000)}, answer.decoded(t)) && answer.body != "" {
					t.Errorf("a page of %d bytes was never written so", len(answer.body))
				}
			}
		})
	}
	for n := range 12 {
		writeIn(t, dir, ".next", text(n%3, 3000))
		check(t, os.Rename(filepath.Join(dir, ".next"), filepath.Join(dir, "index.html")))
		writeIn(t, dir, "a.txt", fmt.Sprint("x", n))
		r.shows(t, "/a.txt", fmt.Sprint("x", n))
	}
	stop()
	readers.Wait()
}
