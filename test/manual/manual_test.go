// Package manual_test serves what nobody here wrote: the HTML manuals of
// PostgreSQL and Python as Debian ships them, over two thousand files, and
// compares every answer with the disk. Beside them it serves what is larger or
// more than a manual.
package manual_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"pennyfarthing/test/program"
)

func TestEveryFileOfTheManualsArrivesAsItIsOnDisk(t *testing.T) {
	for name, pattern := range map[string]string{
		"PostgreSQL": "/usr/share/doc/postgresql-doc-*/html",
		"Python":     "/usr/share/doc/python3.*/html",
	} {
		t.Run(name, func(t *testing.T) {
			found, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 {
				t.Skipf("cannot run: there is no %s; scripts/packages names the package", pattern)
			}
			m := readManual(t, found[0])
			s := serve(t, m.dir)
			m.checkSkips(t, s.notes)
			for _, protocol := range program.Protocols {
				t.Run(protocol, func(t *testing.T) { m.compare(t, s, protocol, "", 1) })
			}
			s.waitForCodings(t, m)
			t.Run("codings over HTTP/2", func(t *testing.T) {
				for _, coding := range codings {
					m.compare(t, s, "HTTP/2.0", coding, 1)
				}
			})
			t.Run("a sample of codings over the others", func(t *testing.T) {
				for _, coding := range codings {
					m.compare(t, s, "HTTP/1.1", coding, 10)
					m.compare(t, s, "HTTP/3.0", coding, 10)
				}
			})
		})
	}
}

var codings = []string{"br", "zstd", "gzip"}

// A manual is a directory as it lies on disk.
type manual struct {
	dir     string
	files   []string        // what must be served, relative, with slashes
	exists  map[string]bool // the same
	outside []string        // links that lead out of it
	hidden  []string        // dotfiles
	bytes   int64
}

func readManual(t *testing.T, dir string) *manual {
	t.Helper()
	m := &manual{dir: dir, exists: make(map[string]bool)}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		real, err := filepath.EvalSymlinks(file)
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(path.Base(name), "."):
			m.hidden = append(m.hidden, name)
			return nil
		case !strings.HasPrefix(real, dir+string(filepath.Separator)):
			m.outside = append(m.outside, name)
			return nil
		}
		info, err := os.Stat(file)
		if err != nil || info.IsDir() {
			return fmt.Errorf("%s is more than this test knows: %w", name, err)
		}
		m.files = append(m.files, name)
		m.exists[name] = true
		m.bytes += info.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.files) < 500 {
		t.Fatalf("%s has only %d files; is that a manual?", dir, len(m.files))
	}
	t.Logf("%s: %d files, %d bytes, links out of it: %q, dotfiles: %q", dir, len(m.files), m.bytes, m.outside, m.hidden)
	return m
}

// checkSkips compares what penny says it does not serve with what it must not.
func (m *manual) checkSkips(t *testing.T, notes []string) {
	t.Helper()
	said := make(map[string]bool)
	for _, note := range notes {
		name, _, _ := strings.Cut(strings.TrimPrefix(note, "note: "), ": ")
		said[name] = true
	}
	for _, name := range m.outside {
		if !said[name] {
			t.Errorf("%s leads out of the directory, and penny does not say that it is not served", name)
		}
		delete(said, name)
	}
	for name := range said {
		t.Errorf("penny says of %s that it is not served, and there is no reason", name)
	}
}

// address returns the clean URL of a file: without .html, and without index.html.
func (m *manual) address(name string) string {
	clean := name
	if base := path.Base(name); base == "index.html" {
		clean = strings.TrimSuffix(name, "index.html")
	} else if short, ok := strings.CutSuffix(name, ".html"); ok && !m.exists[short] {
		clean = short
	}
	return (&url.URL{Path: "/" + clean}).EscapedPath()
}

// compare fetches every so many files by the names that they have on disk.
func (m *manual) compare(t *testing.T, s *served, protocol, coding string, every int) {
	t.Helper()
	c := &comparison{t: t, manual: m, served: s, protocol: protocol, coding: coding, client: program.Client(t, protocol, s.ca)}
	names := make(chan string)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for name := range names {
				if err := c.file(name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	start := time.Now()
	for i := 0; i < len(m.files) && !t.Failed(); i += every {
		names <- m.files[i]
	}
	close(names)
	workers.Wait()
	for _, name := range append(m.outside, m.hidden...) {
		if got, err := c.get("/" + name); err != nil || got.status != http.StatusNotFound {
			t.Errorf("%s, which is not to be served: %d, %v, %.100q", name, got.status, err, got.body)
		}
	}
	t.Logf("%s %q: %d files, %d bytes, %d of the files coded, %d redirects to clean URLs, in %v",
		protocol, coding, c.files.Load(), c.bytes.Load(), c.coded.Load(), c.redirects.Load(), time.Since(start).Round(time.Millisecond))
	if coding != "" && c.coded.Load() < c.files.Load()/2 {
		t.Errorf("only %d of %d files come as %s", c.coded.Load(), c.files.Load(), coding)
	}
}

// A comparison is one pass over a manual.
type comparison struct {
	t        *testing.T
	manual   *manual
	served   *served
	protocol string
	coding   string // "" asks for none
	client   *http.Client

	files, bytes, coded, redirects atomic.Int64
}

// file fetches a file by its name, by way of the redirect that it must have, and
// compares it with the disk.
func (c *comparison) file(name string) error {
	own := (&url.URL{Path: "/" + name}).EscapedPath()
	clean := c.manual.address(name)
	if clean != own {
		moved, err := c.get(own)
		if err != nil {
			return err
		}
		if to := moved.header.Get("Location"); moved.status != http.StatusMovedPermanently || to != clean || len(moved.body) > 0 {
			return fmt.Errorf("%d to %q with %d bytes, want 301 to %q", moved.status, to, len(moved.body), clean)
		}
		c.redirects.Add(1)
	}
	a, err := c.get(clean)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || a.header.Get("Etag") == "" || a.header.Get("Content-Type") == "" {
		return fmt.Errorf("%d with %v", a.status, a.header)
	}
	if a.length != int64(len(a.body)) {
		return fmt.Errorf("%d bytes came, Content-Length is %d", len(a.body), a.length)
	}
	got, err := c.decode(a.header.Get("Content-Encoding"), a.body)
	if err != nil {
		return err
	}
	want, err := os.ReadFile(filepath.Join(c.manual.dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes came, which differ from the %d on disk", len(got), len(want))
	}
	c.files.Add(1)
	c.bytes.Add(int64(len(want)))
	return nil
}

// An answer is what came for a request.
type answer struct {
	status int
	header http.Header
	length int64 // that was announced
	body   []byte
}

func (c *comparison) get(target string) (answer, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, strings.TrimSuffix(c.served.url, "/")+target, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	if c.coding != "" {
		req.Header.Set("Accept-Encoding", c.coding)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	if resp.Proto != c.protocol {
		return answer{}, fmt.Errorf("answered over %s", resp.Proto)
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, resp.ContentLength, body}, err
}

// decode returns the plain bytes of a body in a coding, which may be none or the
// one that was asked for.
func (c *comparison) decode(coding string, body []byte) ([]byte, error) {
	if coding == "" {
		return body, nil
	}
	if coding != c.coding {
		return nil, fmt.Errorf("comes as %q, although %q was asked for", coding, c.coding)
	}
	c.coded.Add(1)
	return decode(coding, body)
}

func decode(coding string, body []byte) ([]byte, error) {
	switch coding {
	case "br":
		return io.ReadAll(brotli.NewReader(bytes.NewReader(body)))
	case "gzip":
		r, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case "zstd":
		r, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return nil, fmt.Errorf("unknown coding %q", coding)
}

// served is a penny that serves a directory over TLS.
type served struct {
	*program.Process
	url   string
	ca    string
	notes []string
}

// serve starts penny as a person would, and reads what it tells a person.
func serve(t *testing.T, dir string) *served {
	t.Helper()
	s := &served{Process: program.Start(t, penny, "serve", dir, "--tls", "--listen", "localhost:0", "--admin", "")}
	const curl = "  curl --cacert "
	for _, line := range s.LinesUntil(curl) {
		switch {
		case strings.HasPrefix(line, "serving "):
			s.url = strings.TrimPrefix(line, "serving "+dir+" at ")
		case strings.HasPrefix(line, "note: "):
			s.notes = append(s.notes, line)
		case strings.HasPrefix(line, curl):
			s.ca, _, _ = strings.Cut(strings.TrimPrefix(line, curl), " https://")
		}
	}
	if s.url == "" || s.ca == "" {
		t.Fatalf("penny told no URL or no CA: %+v", s)
	}
	return s
}

// waitForCodings waits until the last file that gets a quick coding has one:
// penny makes them, in the order of size, while it serves.
func (s *served) waitForCodings(t *testing.T, m *manual) {
	t.Helper()
	const largest = 1 << 20 // what is larger waits for its hash
	c := &comparison{t: t, manual: m, served: s, protocol: "HTTP/1.1", coding: "gzip", client: program.Client(t, "HTTP/1.1", s.ca)}
	last, size := "", int64(0)
	for _, name := range m.files {
		info, err := os.Stat(filepath.Join(m.dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".html") && info.Size() <= largest && info.Size() > size {
			last, size = name, info.Size()
		}
	}
	deadline := time.Now().Add(time.Minute)
	for {
		got, err := c.get(m.address(last))
		if err != nil {
			t.Fatal(err)
		}
		if got.header.Get("Content-Encoding") == "gzip" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no coding after a minute", last)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
