package edge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
)

// A release is the source of a site whose files lie in a directory by their hashes.
type release struct {
	dir   string
	files []site.SourceFile
}

func newRelease(tb testing.TB, dir string, files map[string]string) *release {
	tb.Helper()
	r := &release{dir: dir}
	for name, content := range files {
		f := site.SourceFile{Name: name, Hash: sha256.Sum256([]byte(content)), Size: int64(len(content)), Modified: engineModified.Unix()}
		if err := os.WriteFile(r.file(f), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
		r.files = append(r.files, f)
	}
	return r
}

func (r *release) file(f site.SourceFile) string {
	return filepath.Join(r.dir, hex.EncodeToString(f.Hash[:]))
}

func (r *release) Files() []site.SourceFile { return r.files }

func (r *release) Open(f site.SourceFile) (*os.File, error) { return os.Open(r.file(f)) }

func (r *release) Coding(site.SourceFile, encode.Coding) ([]byte, encode.Level, bool) {
	return nil, 0, false
}

// startReleased runs a server of one site of releases, with its improver.
func startReleased(t *testing.T, o site.Options) (*running, *site.Live) {
	t.Helper()
	live := site.NewReleased(o, site.LiveOptions{Name: "released"})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var improving sync.WaitGroup
	improving.Go(func() {
		if err := live.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { stop(); improving.Wait() })
	return start(t, setup{secure: true, edit: func(options *Options) { options.Table = AnyHost(live) }}), live
}

func TestWithoutAReleaseTheAnswerIs503(t *testing.T) {
	o := site.Options{Store: body.NewStore("")}
	r, live := startReleased(t, o)
	r.everyProtocol(t, "localhost", func(t *testing.T, c client) {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, target := range []string{"/", "/app.3f9c2b1e.js"} {
				got := c.do(method, "", target, "Accept-Encoding", "br")
				if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "5" || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: %d %v", method, target, got.StatusCode, got.Header)
				}
			}
		}
	})
	s, err := site.CompileSource(t.Context(), o, newRelease(t, t.TempDir(), map[string]string{"index.html": "home"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	live.Activate(s)
	r.everyProtocol(t, "localhost", func(t *testing.T, c client) {
		if got := c.do(http.MethodGet, "", "/"); got.StatusCode != http.StatusOK || got.text != "home" {
			t.Errorf("%d %q", got.StatusCode, got.text)
		}
	})
}

// Visitors fetch pages and the files that these name while releases are activated and
// rolled back: each page is of one release, and what it names is there, although the
// release that it came from may be gone by then.
func TestNobodySeesHalfARelease(t *testing.T) {
	const swaps = 200
	dir := t.TempDir()
	var releases [2]*release
	for n := range releases {
		files := map[string]string{"style.css": fmt.Sprint("release ", n, " ", prose(uint64(n), 2000))}
		var page strings.Builder
		fmt.Fprintf(&page, "<!doctype html><title>release %d</title>\n", n)
		for i, size := range []int{500, 8 << 10, 48 << 10} { // the last one lies on disk
			content := fmt.Sprint("release ", n, " ", prose(uint64(10*n+i), size))
			sum := sha256.Sum256([]byte(content))
			name := fmt.Sprintf("assets/chunk-%d.a1%x.js", i, sum[:4])
			files[name] = content
			fmt.Fprintf(&page, "/%s\n", name)
		}
		files["index.html"] = page.String()
		releases[n] = newRelease(t, dir, files)
	}
	o := site.Options{Store: body.NewStore(""), Budget: 32 << 10}
	r, live := startReleased(t, o)
	activate := func(n int) {
		o.Retained = releases[1-n].files
		s, err := site.CompileSource(t.Context(), o, releases[n], live.Site())
		if err != nil {
			t.Fatal(err)
		}
		live.Activate(s)
	}
	activate(0)

	stop := make(chan struct{})
	var visitors sync.WaitGroup
	defer visitors.Wait()
	defer close(stop)
	for i, c := range []client{r.overHTTP1("localhost"), r.overHTTP2("localhost"), r.overHTTP1("localhost"), r.overHTTP2("localhost")} {
		visitors.Go(func() {
			pages := 0
			for ; ; pages++ {
				select {
				case <-stop:
					if pages == 0 {
						t.Errorf("visitor %d saw no page", i)
					}
					return
				default:
				}
				if err := visit(c); err != nil {
					t.Errorf("visitor %d, page %d: %v", i, pages, err)
					return
				}
			}
		})
	}
	c := r.overHTTP2("localhost")
	for n := range swaps {
		activate((n + 1) % 2)
		if want, got := fmt.Sprintf("release %d", (n+1)%2), c.do(http.MethodGet, "", "/style.css"); !strings.HasPrefix(got.text, want) {
			t.Errorf("%s is activated, and %.9q answered", want, got.text)
		}
	}
}

// visit fetches a page and what it names.
func visit(c client) error {
	page, err := c.try(http.MethodGet, "", "/", nil, "Accept-Encoding", "identity")
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(page.text), "\n")
	if page.StatusCode != http.StatusOK || len(lines) != 4 {
		return fmt.Errorf("page: %d %q", page.StatusCode, page.text)
	}
	title, _, _ := strings.Cut(strings.TrimPrefix(lines[0], "<!doctype html><title>"), "<")
	for i, name := range lines[1:] {
		asset, err := c.try(http.MethodGet, "", name, nil, "Accept-Encoding", []string{"identity", "br"}[i%2])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := checkAsset(asset, title); err != nil {
			return fmt.Errorf("%s of %s: %w", name, title, err)
		}
	}
	return nil
}

// checkAsset returns an error if an answer is not that of a file of the release.
func checkAsset(asset reply, title string) error {
	content := []byte(asset.text)
	if asset.Header.Get("Content-Encoding") == "br" {
		var err error
		if content, err = encode.Decode(nil, content, encode.Brotli, 2<<20); err != nil {
			return err
		}
	}
	sum := sha256.Sum256(content)
	switch {
	case asset.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", asset.StatusCode)
	case !strings.HasPrefix(string(content), title+" "):
		return fmt.Errorf("it is %.9q", content)
	case !strings.Contains(asset.Request.URL.Path, hex.EncodeToString(sum[:4])):
		return errors.New("its content is not the one that its name says")
	case asset.Header.Get("Cache-Control") != "public, max-age=31536000, immutable":
		return fmt.Errorf("Cache-Control is %q", asset.Header.Get("Cache-Control"))
	}
	return nil
}
