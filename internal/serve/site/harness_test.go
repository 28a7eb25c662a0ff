package site

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
)

// files are the files of a site by name.
type files map[string]string

func (f files) write(t testing.TB, dir string) {
	t.Helper()
	for name, content := range f {
		writeIn(t, dir, name, content)
	}
}

// writeIn writes a file in place and makes the directories above it.
func writeIn(t testing.TB, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func removeIn(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// symlink makes a link, or skips the test where there are none.
func symlink(t testing.TB, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("links need a privilege here: ", err)
		}
		t.Fatal(err)
	}
}

// swapLink lets a link point elsewhere, atomically.
func swapLink(t testing.TB, target, link string) {
	t.Helper()
	symlink(t, target, link+".new")
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

// text is compressible content of about n bytes that differs by seed.
func text(seed, n int) string {
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards watch from their towers and count sheep")
	random := rand.New(rand.NewPCG(uint64(seed), 7))
	var b strings.Builder
	fmt.Fprintf(&b, "%d", seed)
	for b.Len() < n {
		b.WriteByte(' ')
		b.WriteString(words[random.IntN(len(words))])
	}
	return b.String()[:n]
}

// noise is content that no coding makes smaller.
func noise(seed, n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b) // never fails
	return string(b)
}

func options(t testing.TB, dir string) Options {
	t.Helper()
	return Options{Dir: dir, Store: body.NewStore(t.TempDir())}
}

func compileDir(t testing.TB, o Options, prev *Site) *Site {
	t.Helper()
	s, err := Compile(t.Context(), o, prev)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return s
}

// compiled returns the site of some files.
func compiled(t testing.TB, f files, edit ...func(*Options)) *Site {
	t.Helper()
	o := options(t, t.TempDir())
	for _, e := range edit {
		e(&o)
	}
	f.write(t, o.Dir)
	return compileDir(t, o, nil)
}

// improved runs an improver over a site to its end and returns every snapshot.
func improved(t testing.TB, s *Site, edit ...func(*improver)) []*Site {
	t.Helper()
	h, _ := loadHistory("")
	var snapshots []*Site
	im := &improver{
		store: body.NewStore(""), slots: newSlots(), history: h, site: s, ready: make(map[int]*asset), last: time.Now(),
		publish: func(s *Site) { snapshots = append(snapshots, s) },
	}
	for _, e := range edit {
		e(im)
	}
	if err := im.run(t.Context()); err != nil {
		t.Fatalf("improve: %v", err)
	}
	return snapshots
}

// best returns the last snapshot of an improver.
func best(t testing.TB, s *Site, edit ...func(*improver)) *Site {
	t.Helper()
	snapshots := improved(t, s, edit...)
	if len(snapshots) == 0 {
		return s
	}
	return snapshots[len(snapshots)-1]
}

// A response is an answer written out.
type response struct {
	status int
	header http.Header
	body   string
	stored string
}

// ask answers a request and checks what holds for every answer.
func ask(t testing.TB, s *Site, q Request) response {
	t.Helper()
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	answer := s.Respond(&q)
	if err := answer.Check(); err != nil {
		t.Fatalf("%s %s: %v", q.Method, q.Path, err)
	}
	r := response{status: answer.Status, header: make(http.Header), stored: answer.Stored}
	for f := range answer.Fields() {
		checkField(t, q.Path, f)
		r.header[f.Name] = append(r.header[f.Name], f.Values...)
	}
	var out bytes.Buffer
	n, err := answer.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		t.Fatalf("%s %s: wrote %d of %d bytes: %v", q.Method, q.Path, n, out.Len(), err)
	}
	r.body = out.String()
	checkLength(t, &q, &answer, r)
	if data, keep := answer.Memory(); data != nil && string(data) != r.body {
		t.Errorf("%s %s: Memory and WriteTo differ (%v)", q.Method, q.Path, keep)
	}
	return r
}

func checkField(t testing.TB, path string, f *Field) {
	t.Helper()
	if f.Name != http.CanonicalHeaderKey(f.Name) || len(f.Values) != 1 {
		t.Errorf("%s: the field %q has no canonical name, or not one value: %q", path, f.Name, f.Values)
	}
	if strings.ContainsFunc(f.Values[0], func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("%s: the field %s has a control character: %q", path, f.Name, f.Values[0])
	}
}

func checkLength(t testing.TB, q *Request, a *Answer, r response) {
	t.Helper()
	lengths := r.header["Content-Length"]
	switch {
	case a.Status == http.StatusNotModified:
		if a.Length != -1 || r.body != "" || len(lengths) != 0 {
			t.Errorf("%s: a 304 has a length or a body", q.Path)
		}
	case len(lengths) != 1 || lengths[0] != strconv.FormatInt(a.Length, 10):
		t.Errorf("%s: Content-Length is %q, want %d", q.Path, lengths, a.Length)
	case q.Method == http.MethodHead && r.body != "":
		t.Errorf("%s: a HEAD has a body of %d bytes", q.Path, len(r.body))
	case q.Method != http.MethodHead && int64(len(r.body)) != a.Length:
		t.Errorf("%s: the body has %d bytes, want %d", q.Path, len(r.body), a.Length)
	}
}

// get asks for a path without any fields.
func get(t testing.TB, s *Site, path string) response {
	t.Helper()
	path, query, _ := strings.Cut(path, "?")
	return ask(t, s, Request{Path: path, Query: query})
}

// decoded returns the body without its content coding.
func (r response) decoded(t testing.TB) string {
	t.Helper()
	for coding := range encode.Coding(encode.NumCodings) {
		if coding.String() == r.header.Get("Content-Encoding") {
			plain, err := encode.Decode(nil, []byte(r.body), coding, 64<<20)
			if err != nil {
				t.Fatalf("decode %s: %v", coding, err)
			}
			return string(plain)
		}
	}
	return r.body
}

// eventually waits for a condition that the file system brings about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it never came about that %s", what)
		}
	}
}
