package site

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

const largeSize = 3*blockSize + MaxInMemory

// largeFile makes a site with one large file of a's.
func largeFile(t testing.TB) (s *Site, file string) {
	t.Helper()
	o := options(t, t.TempDir())
	writeIn(t, o.Dir, "large.bin", string(bytes.Repeat([]byte("a"), largeSize)))
	return compileDir(t, o, nil), filepath.Join(o.Dir, "large.bin")
}

// changes are what may become of a file under a running answer. Those in place
// must end it; the others leave the file that is open as it was.
var changes = []struct {
	name    string
	inPlace bool
	do      func(t testing.TB, file string)
}{
	{"written in place", true, func(t testing.TB, file string) { overwrite(t, file, largeSize-10, "b") }},
	{"written in place from the start", true, func(t testing.TB, file string) { overwrite(t, file, 0, "b") }},
	{"truncated", true, func(t testing.TB, file string) { check(t, os.Truncate(file, MaxInMemory)) }},
	{"truncated to nothing", true, func(t testing.TB, file string) { check(t, os.Truncate(file, 0)) }},
	{"appended to", true, func(t testing.TB, file string) { overwrite(t, file, largeSize, "b") }},
	{"written in place keeping its time", true, func(t testing.TB, file string) {
		info, err := os.Stat(file)
		check(t, err)
		overwrite(t, file, largeSize/2, "b")
		check(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	}},
	{"renamed over", false, func(t testing.TB, file string) {
		check(t, os.WriteFile(file+".new", bytes.Repeat([]byte("b"), largeSize), 0o600))
		check(t, os.Rename(file+".new", file))
	}},
	{"removed", false, func(t testing.TB, file string) { check(t, os.Remove(file)) }},
	{"linked", false, func(t testing.TB, file string) { check(t, os.Link(file, file+".link")) }},
	{"left in a directory that is renamed", false, func(t testing.TB, file string) {
		check(t, os.Rename(filepath.Dir(file), filepath.Dir(file)+".old"))
	}},
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func overwrite(t testing.TB, file string, at int64, what string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteAt([]byte(what), at)
	check(t, errors.Join(err, f.Close()))
}

// writerAfter lets something happen after the first block was written.
type writerAfter struct {
	bytes.Buffer
	first func()
}

func (w *writerAfter) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.first != nil {
		w.first()
		w.first = nil
	}
	return n, err
}

func TestAnAnswerNeverMixesOldAndNew(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file can't be renamed over here")
	}
	for _, change := range changes {
		for range 5 { // the clock's tick may fall in between
			s, file := largeFile(t)
			answer := s.Respond(&Request{Method: "GET", Path: "/large.bin"})
			check(t, answer.Check())
			w := &writerAfter{first: func() { change.do(t, file) }}
			n, err := answer.WriteTo(w)
			if bytes.ContainsRune(w.Bytes(), 'b') || n != int64(w.Len()) {
				t.Errorf("%s: the answer has new content, or counts %d of %d bytes", change.name, n, w.Len())
			}
			if change.inPlace && !errors.Is(err, ErrChanged) {
				t.Errorf("%s: after %d bytes the error is %v, want ErrChanged", change.name, n, err)
			}
			if !change.inPlace && (err != nil || n != largeSize) {
				t.Errorf("%s: %d bytes, %v; want all of the old content", change.name, n, err)
			}
			again := s.Respond(&Request{Method: "GET", Path: "/large.bin"})
			if err := again.Check(); change.inPlace != errors.Is(err, ErrChanged) {
				t.Errorf("%s: Check says %v", change.name, err)
			}
		}
	}
}

func TestFilesThatAreNotHeldOpenAreOpenedForEachAnswer(t *testing.T) {
	s, file := largeFile(t)
	disk := s.assets[0].identity().disk
	root, err := os.OpenRoot(filepath.Dir(file))
	check(t, err)
	s.assets[0].forms[0].disk = &diskFile{name: disk.name, stat: disk.stat, root: root}
	if r := get(t, s, "/large.bin"); len(r.body) != largeSize {
		t.Errorf("%d bytes", len(r.body))
	}
	next := compileDir(t, Options{Dir: filepath.Dir(file), Store: options(t, "").Store}, s)
	if again := next.assets[0].identity().disk; again.root == root || again.file != nil {
		t.Error("the next site opens the file in the old site's directory")
	}
	check(t, os.Remove(file))
	answer := s.Respond(&Request{Method: "GET", Path: "/large.bin"})
	if err := answer.Check(); !errors.Is(err, ErrChanged) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: Check says %v", err)
	}
	if n, err := answer.WriteTo(io.Discard); n != 0 || !errors.Is(err, ErrChanged) {
		t.Errorf("gone: wrote %d, %v", n, err)
	}
}

func TestMoreLargeFilesThanMayBeOpen(t *testing.T) {
	o := options(t, t.TempDir())
	o.Budget = 1
	const n = maxOpen + 20
	for i := range n {
		writeIn(t, o.Dir, "f"+digits(i)+".txt", text(i, 100))
	}
	s := compileDir(t, o, nil)
	for range 2 {
		held := 0
		for i := range n {
			if r := get(t, s, "/f"+digits(i)+".txt"); r.body != text(i, 100) {
				t.Fatalf("file %d differs", i)
			}
			if s.assetAt("/f"+digits(i)+".txt").identity().disk.file != nil {
				held++
			}
		}
		if held != maxOpen {
			t.Errorf("%d files are held open, want %d", held, maxOpen)
		}
		writeIn(t, o.Dir, "another.txt", "")
		s = compileDir(t, o, s)
	}
}

func TestAFileThatGrowsBetweenWalkAndReadIsServed(t *testing.T) {
	o := options(t, t.TempDir())
	writeIn(t, o.Dir, "log.txt", "short")
	root, err := os.OpenRoot(o.Dir)
	check(t, err)
	c := newCompiler(o.withDefaults(), root)
	c.history = &history{Names: map[string]string{}}
	c.walk, err = walkRoot(t.Context(), root, nil)
	check(t, err)
	content := text(1, MaxInMemory+1)
	writeIn(t, o.Dir, "log.txt", content)
	s, err := c.compile(t.Context())
	check(t, err)
	if r := get(t, s, "/log.txt"); r.body != content || r.stored != "disk" {
		t.Errorf("%d bytes from %s", len(r.body), r.stored)
	}
}

func TestFreshFilesAreReadAgainAsTheirTimesProveNothing(t *testing.T) {
	now := time.Unix(1000, 500_000_000)
	at := func(d time.Duration) int64 { return now.Add(d).UnixNano() }
	for name, test := range map[string]struct {
		stat fileStat
		want bool
	}{
		"changed just now":                            {fileStat{modTime: at(-time.Millisecond), change: at(-time.Millisecond)}, true},
		"changed a while ago":                         {fileStat{modTime: at(-time.Minute), change: at(-time.Minute)}, false},
		"changed just now, its time set back":         {fileStat{modTime: at(-time.Hour), change: at(-time.Millisecond)}, true},
		"changed a while ago, its time in the future": {fileStat{modTime: at(time.Hour), change: at(-time.Minute)}, false},
		"without a change time":                       {fileStat{modTime: at(-time.Millisecond)}, true},
		"without a change time, in the future":        {fileStat{modTime: at(time.Hour)}, true},
		"in whole seconds, a second ago":              {fileStat{modTime: 999e9, change: 999e9}, true},
		"in whole seconds, long ago":                  {fileStat{modTime: 990e9, change: 990e9}, false},
	} {
		if got := test.stat.racy(now); got != test.want {
			t.Errorf("%s: racy is %t, want %t", name, got, test.want)
		}
	}
}

func TestAFreshFileOnDiskIsLookedAtAgain(t *testing.T) {
	o := options(t, t.TempDir())
	writeIn(t, o.Dir, "large.txt", text(1, MaxInMemory+1))
	root, err := os.OpenRoot(o.Dir)
	check(t, err)
	c := newCompiler(o.withDefaults(), root)
	a, err := c.loadDisk(found{name: "large.txt"})
	check(t, err)
	a.racy = true
	writeIn(t, o.Dir, "large.txt", text(2, MaxInMemory+2))
	assets := []*asset{nil, a}
	check(t, c.settle(t.Context(), assets))
	if got := assets[1]; got.size() != MaxInMemory+2 || got.racy || got.identity().disk.check() != nil {
		t.Errorf("it has %d bytes, racy is %t", got.size(), got.racy)
	}
	removeIn(t, o.Dir, "large.txt")
	assets[1].racy = true
	if check(t, c.settle(t.Context(), assets)); assets[1] != nil && assets[1].racy {
		t.Error("what is gone is waited for")
	}
}

func TestHashesMakeNoNewContent(t *testing.T) {
	o := options(t, t.TempDir())
	files{"a.txt": text(1, 500), "large.bin": noise(1, MaxInMemory+1)}.write(t, o.Dir)
	first := compileDir(t, o, nil)
	hashed := best(t, first, func(im *improver) { im.store = o.Store })
	if again := compileDir(t, o, hashed); again.digest != first.digest {
		t.Error("a directory that did not change has another digest once its large files are hashed")
	}
}
