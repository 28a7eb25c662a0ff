// Package clients_test lets clients that others wrote speak with penny: curl,
// nghttp, wrk, h2load, Node's and Python's libraries, and Go's. To each the same
// is put: files byte for byte, conditions, ranges, HEAD, mistakes, many requests
// on one connection, and many at once.
package clients_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

// onEveryEngine runs a test once for each engine, with a penny that serves over
// TLS.
func onEveryEngine(t *testing.T, test func(t *testing.T, s *served)) {
	t.Helper()
	for _, engine := range []string{"plain", "fast"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, serve(t, engine))
		})
	}
}

// A request is what a client is to ask for.
type request struct {
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Header map[string]string `json:"header"` // lower-case names
	Body   string            `json:"body"`
}

func get(path string, header ...string) request {
	r := request{Method: http.MethodGet, Path: path, Header: map[string]string{"accept-encoding": "identity"}}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = header[i+1]
	}
	return r
}

// An answer is what a client got.
type answer struct {
	Status int                 `json:"status"`
	Header map[string][]string `json:"header"` // lower-case names
	Body   []byte              `json:"body"`
}

func (a answer) field(name string) string { return strings.Join(a.Header[name], ", ") }

// A report is what a client tells of all its requests.
type report struct {
	Protocol    string   `json:"protocol"`
	Connections int      `json:"connections"` // that it made
	Answers     []answer `json:"answers"`     // in the order of the requests
}

// served is a running penny and what it serves.
type served struct {
	url   string // without the slash at the end
	host  string
	port  int
	ca    string
	files map[string][]byte // by their path in a URL
	head  map[string]answer // of each, as Go's client got it
}

const large = "/large.bin"

// serve runs penny on an engine.
func serve(t *testing.T, engine string) *served {
	t.Helper()
	random := rand.NewChaCha8([32]byte{'c', 'l', 'i'})
	noise := func(n int) []byte {
		data := make([]byte, n)
		_, _ = random.Read(data) // never fails
		return data
	}
	s := &served{head: make(map[string]answer), files: map[string][]byte{
		"/":            []byte("<!DOCTYPE html><title>The first page</title>\n"),
		"/about":       []byte("<!DOCTYPE html><title>About us</title>\n" + strings.Repeat("<p>Nothing to tell.\n", 500)),
		"/empty.bin":   {},
		"/one.bin":     noise(1),
		"/frame.bin":   noise(16 << 10), // as much as a frame of HTTP/2 holds
		"/middle.bin":  noise(70_001),
		large:          noise(3 << 20),
		"/a b/ü+%.bin": noise(1000),
	}}
	dir := t.TempDir()
	for path, data := range s.files {
		file := filepath.Join(dir, map[string]string{"/": "index.html", "/about": "about.html"}[path])
		if file == dir {
			file = filepath.Join(dir, filepath.FromSlash(path))
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := program.Start(t, penny, "serve", dir, "--json", "--tls", "--engine", engine, "--listen", "localhost:0", "--admin", "")
	var line struct {
		URL string `json:"url"`
		CA  string `json:"ca"`
	}
	p.JSON(&line)
	u, err := url.Parse(line.URL)
	if err != nil {
		t.Fatal(err)
	}
	if s.port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	s.url, s.host, s.ca = strings.TrimSuffix(line.URL, "/"), u.Hostname(), line.CA
	s.wait(t, get("/about", "accept-encoding", "gzip"), "a coding", func(a answer) bool { return a.field("content-encoding") == "gzip" })
	s.wait(t, get(large), "a strong tag", func(a answer) bool { return strings.HasPrefix(a.field("etag"), `"`) })
	var paths []string
	var requests []request
	for path := range s.files {
		paths = append(paths, path)
		requests = append(requests, request{Method: http.MethodHead, Path: escape(path), Header: map[string]string{}})
	}
	for i, a := range goClient("HTTP/1.1")(t, s, requests, 1).Answers {
		s.head[paths[i]] = a
	}
	return s
}

func escape(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// wait asks until the answer is as penny makes it once it has compressed its
// text and hashed its files, which it does while it serves.
func (s *served) wait(t *testing.T, r request, what string, ready func(answer) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ready(goClient("HTTP/1.1")(t, s, []request{r}, 1).Answers[0]); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s has not got %s after a minute", r.Path, what)
		}
	}
}

// A wish is a request with the answer that it should get.
type wish struct {
	name string
	request
	status int
	fields map[string]string // that the answer must have
	body   []byte
	check  func(answer) error // instead of the body
}

// wishes is what every client is asked to do.
func wishes(s *served) []wish {
	middle, tag := s.files["/middle.bin"], s.head["/middle.bin"].field("etag")
	since := s.head["/middle.bin"].field("last-modified")
	var all []wish
	for path, data := range s.files {
		all = append(all, wish{name: "GET " + path, request: get(escape(path)), status: 200, body: data, fields: map[string]string{
			"content-length": strconv.Itoa(len(data)), "etag": s.head[path].field("etag"),
		}})
	}
	head := get(large)
	head.Method = http.MethodHead
	post := get("/")
	post.Method, post.Body = http.MethodPost, "name=value"
	return append(all,
		wish{name: "HEAD", request: head, status: 200, fields: map[string]string{"content-length": strconv.Itoa(len(s.files[large]))}},
		wish{name: "If-None-Match with the tag", request: get("/middle.bin", "if-none-match", tag), status: 304, fields: map[string]string{"etag": tag}},
		wish{name: "If-None-Match with another", request: get("/middle.bin", "if-none-match", `"x"`), status: 200, body: middle},
		wish{name: "If-Modified-Since", request: get("/middle.bin", "if-modified-since", since), status: 304},
		wish{name: "If-Match with another tag", request: get("/middle.bin", "if-match", `"x"`), status: 412, check: anyBody},
		wish{
			name: "a range", request: get("/middle.bin", "range", "bytes=100-199"), status: 206, body: middle[100:200],
			fields: map[string]string{"content-range": "bytes 100-199/70001", "content-length": "100"},
		},
		wish{
			name: "the last bytes", request: get("/middle.bin", "range", "bytes=-1"), status: 206, body: middle[70_000:],
			fields: map[string]string{"content-range": "bytes 70000-70000/70001"},
		},
		wish{name: "a large range", request: get(large, "range", "bytes=1-"), status: 206, body: s.files[large][1:]},
		wish{name: "two ranges", request: get("/middle.bin", "range", "bytes=0-9,20000-69999"), status: 206, check: func(a answer) error {
			return checkParts(a, middle[:10], middle[20_000:70_000])
		}},
		wish{
			name: "a range beyond the end", request: get("/middle.bin", "range", "bytes=70001-"), status: 416, check: anyBody,
			fields: map[string]string{"content-range": "bytes */70001"},
		},
		wish{name: "If-Range with the tag", request: get("/middle.bin", "range", "bytes=5-6", "if-range", tag), status: 206, body: middle[5:7]},
		wish{name: "If-Range with another", request: get("/middle.bin", "range", "bytes=5-6", "if-range", `"x"`), status: 200, body: middle},
		wish{name: "gzip", request: get("/about", "accept-encoding", "gzip"), status: 200, fields: map[string]string{"content-encoding": "gzip"}, check: func(a answer) error {
			return checkGzip(a, s.files["/about"])
		}},
		wish{name: "a redirect", request: get("/about.html"), status: 301, fields: map[string]string{"location": "/about"}, check: anyBody},
		wish{name: "nothing there", request: get("/nothing"), status: 404, check: anyBody},
		wish{name: "a file after all of that", request: get("/middle.bin"), status: 200, body: middle},
		wish{name: "POST", request: post, status: 405, check: anyBody}, // the last: it ends a connection of HTTP/1.1
	)
}

func anyBody(answer) error { return nil }

// checkParts compares the parts of a multipart/byteranges.
func checkParts(a answer, want ...[]byte) error {
	kind, parameters, err := mime.ParseMediaType(a.field("content-type"))
	if err != nil {
		return err
	}
	if kind != "multipart/byteranges" {
		return fmt.Errorf("its type is %q", kind)
	}
	parts := multipart.NewReader(bytes.NewReader(a.Body), parameters["boundary"])
	for i, data := range want {
		part, err := parts.NextPart()
		if err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		got, err := io.ReadAll(part)
		if err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("part %d has %d bytes, want %d, or others", i, len(got), len(data))
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("the last part is not the end"), err)
	}
	return nil
}

// checkGzip compares what a body unpacks to. nghttp unpacks it by itself.
func checkGzip(a answer, want []byte) error {
	if bytes.Equal(a.Body, want) {
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(a.Body))
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes unpack to %d, want %d, or others", len(a.Body), len(got), len(want))
	}
	return nil
}

// judge compares an answer with what was wished for.
func (w wish) judge(t *testing.T, a answer) {
	t.Helper()
	if a.Status != w.status {
		t.Errorf("%s: status %d, want %d", w.name, a.Status, w.status)
		return
	}
	for name, want := range w.fields {
		if got := a.field(name); got != want {
			t.Errorf("%s: %s is %q, want %q", w.name, name, got, want)
		}
	}
	if w.check != nil {
		if err := w.check(a); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		return
	}
	if !bytes.Equal(a.Body, w.body) {
		t.Errorf("%s: %d bytes came, want %d, or others", w.name, len(a.Body), len(w.body))
	}
}

func TestEveryClientGetsWhatItAsksFor(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, s *served) {
		for name, c := range clients(t) {
			t.Run(name, func(t *testing.T) {
				all := wishes(s)
				requests := make([]request, len(all))
				for i, w := range all {
					requests[i] = w.request
				}
				got := c.ask(t, s, requests, 1)
				if got.Protocol != c.protocol || len(got.Answers) != len(all) {
					t.Fatalf("%d answers over %q, want %d over %s", len(got.Answers), got.Protocol, len(all), c.protocol)
				}
				if !c.oneShot && got.Connections != 1 {
					t.Errorf("it took %d connections, want one", got.Connections)
				}
				for i, w := range all {
					w.judge(t, got.Answers[i])
				}
			})
		}
	})
}

// many returns so many requests for files that are not the largest, and what
// must come.
func many(s *served, n int) ([]request, [][]byte) {
	paths := []string{"/", "/one.bin", "/frame.bin", "/empty.bin", "/middle.bin", "/about"}
	requests, want := make([]request, n), make([][]byte, n)
	for i := range n {
		path := paths[i%len(paths)]
		requests[i], want[i] = get(path+"?"+strconv.Itoa(i)), s.files[path]
	}
	return requests, want
}

func TestEveryClientAsksOftenOnOneConnection(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, s *served) {
		requests, want := many(s, 300)
		for name, c := range clients(t) {
			if !c.oneShot {
				t.Run(name, func(t *testing.T) { checkMany(t, c.ask(t, s, requests, 1), want, 1) })
			}
		}
	})
}

func TestEveryClientAsksForMuchAtOnce(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, s *served) {
		const atOnce = 100
		requests, want := many(s, 300)
		for name, c := range clients(t) {
			connections := atOnce
			if c.protocol != "HTTP/1.1" {
				connections = 1
			}
			if !c.oneShot && !c.oneByOne {
				t.Run(name, func(t *testing.T) { checkMany(t, c.ask(t, s, requests, atOnce), want, connections) })
			}
		}
	})
}

func checkMany(t *testing.T, got report, want [][]byte, connections int) {
	t.Helper()
	if got.Connections < 1 || got.Connections > connections {
		t.Errorf("it took %d connections, want %d at most", got.Connections, connections)
	}
	if len(got.Answers) != len(want) {
		t.Fatalf("%d answers, want %d", len(got.Answers), len(want))
	}
	for i, a := range got.Answers {
		if a.Status != 200 || !bytes.Equal(a.Body, want[i]) {
			t.Errorf("answer %d: status %d with %d bytes, want %d", i, a.Status, len(a.Body), len(want[i]))
		}
	}
}

// All clients see the same fields, whoever asks and over which version of HTTP.
func TestEveryClientSeesTheSameHead(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, s *served) {
		own := map[string]bool{"date": true, "connection": true, "alt-svc": true, "keep-alive": true}
		for name, c := range clients(t) {
			t.Run(name, func(t *testing.T) {
				got := c.ask(t, s, []request{get("/middle.bin")}, 1).Answers[0].Header
				want := s.head["/middle.bin"].Header
				for _, fields := range []map[string][]string{got, want} {
					for name := range fields {
						if own[name] {
							delete(fields, name)
						}
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("a head (-HEAD over HTTP/1.1 +here):\n%s", diff)
				}
			})
		}
	})
}

// asJSON returns a task as the scripts in testdata read it.
func asJSON(t *testing.T, s *served, requests []request, atOnce int) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"host": s.host, "port": s.port, "ca": s.ca, "requests": requests, "atOnce": atOnce})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
