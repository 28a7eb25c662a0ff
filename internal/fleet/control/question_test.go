package control

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/probe"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
)

// A directory opens the files of a release.
type directory string

func (d directory) Open(f release.File) (*os.File, error) {
	return os.Open(filepath.Join(string(d), f.Path))
}

// asked is a verifier of some pages of a size each, whose files are here, and a handler
// that serves them.
func asked(t *testing.T, pages, size int) (*verifier, map[string][]byte, http.HandlerFunc) {
	t.Helper()
	dir := t.TempDir()
	m := &release.Manifest{Site: "www.example.org", Dialect: "netlify"}
	contents := make(map[string][]byte)
	for i := range pages {
		name := fmt.Sprintf("page-%04d.txt", i)
		text := []byte(strings.Repeat(fmt.Sprintf("%s and more of it\n", name), size))[:size]
		contents["/"+name] = text
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, release.File{Path: name, Hash: release.HashOf(text), Size: int64(size), Modified: 1, Type: "text/plain"})
	}
	l, err := layout(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{Options: Options{Now: time.Now, Events: func(Event) {}}}
	return f.newVerifier(m, nil, l, false, directory(dir)), contents, func(w http.ResponseWriter, r *http.Request) {
		content, ok := contents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Etag", site.Tag(body.Key(release.HashOf(content))))
		http.ServeContent(w, r, r.URL.Path, time.Unix(1, 0), bytes.NewReader(content))
	}
}

// verifyAt asks a server over HTTP/2.
func verifyAt(t *testing.T, v *verifier, h http.Handler) *Verified {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	at, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	out := &Verified{POP: "au"}
	v.over(t.Context(), POP{Name: "au", Edge: at.Host}, probe.HTTP2, out)
	return out
}

func TestOfMuchThatChangedAPartIsAskedForWhole(t *testing.T) {
	v, contents, serve := asked(t, 300, 4000)
	out := verifyAt(t, v, serve)
	if out.Differences > 0 || out.URLs != len(contents)+1 { // and the front page, which is not there
		t.Fatalf("verified %+v", out)
	}
	if most := wholeBytes/4000 + 1; out.Whole < most-2 || out.Whole > most+1 {
		t.Errorf("%d of %d were asked for whole", out.Whole, out.URLs)
	}
	other := v.depths("fr")
	same, wholes := 0, 0
	for i, d := range v.depths("au") {
		if d == whole {
			wholes++
			if other[i] == whole {
				same++
			}
		}
	}
	if same == wholes {
		t.Error("two POPs are asked for the same as a whole")
	}
}

func TestWhatIsSmallAndWhatIsLittleIsAskedForWhole(t *testing.T) {
	for _, tt := range []struct{ pages, size int }{{1000, fewBytes}, {15, 4000}} {
		v, _, serve := asked(t, tt.pages, tt.size)
		if out := verifyAt(t, v, serve); out.Differences > 0 || out.Whole != tt.pages+1 || out.URLs != out.Whole {
			t.Errorf("%d pages of %d bytes: verified %+v", tt.pages, tt.size, out)
		}
	}
}

func TestALargeFileIsAskedForWholeOverHTTP2Alone(t *testing.T) {
	v, _, _ := asked(t, 1, wholeOverAll+1)
	i := 0
	for v.targets[i].want.Status != http.StatusOK {
		i++
	}
	large := &v.targets[i]
	if d := v.overOther(probe.HTTP2, large, v.depths("au")[i]); d != whole || !large.listed {
		t.Errorf("over HTTP/2 %d", d)
	}
	for _, protocol := range []probe.Protocol{probe.HTTP1, probe.HTTP3} {
		if d := v.overOther(protocol, large, whole); d != piece {
			t.Errorf("over %s %d", protocol, d)
		}
	}
	large.file.Size = wholeOverAll
	if d := v.overOther(probe.HTTP1, large, whole); d != whole {
		t.Errorf("a smaller one over HTTP/1.1 %d", d)
	}
}

func TestAPieceShowsWhatDiffers(t *testing.T) {
	const pages = 200
	for what, change := range map[string]struct {
		serve func(contents map[string][]byte) http.HandlerFunc
		why   string
	}{
		"other bytes": {func(contents map[string][]byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Etag", site.Tag(body.Key(release.HashOf(contents[r.URL.Path]))))
				http.ServeContent(w, r, r.URL.Path, time.Unix(1, 0), strings.NewReader(strings.Repeat("x", 4000)))
			}
		}, "its content"},
		"another length": {func(contents map[string][]byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Etag", site.Tag(body.Key(release.HashOf(contents[r.URL.Path]))))
				http.ServeContent(w, r, r.URL.Path, time.Unix(1, 0), bytes.NewReader(append(bytes.Clone(contents[r.URL.Path]), 'x')))
			}
		}, "it sends the"},
		"another entity tag": {func(contents map[string][]byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Etag", `"0"`)
				http.ServeContent(w, r, r.URL.Path, time.Unix(1, 0), bytes.NewReader(contents[r.URL.Path]))
			}
		}, "its entity tag"},
		"nothing there": {func(map[string][]byte) http.HandlerFunc { return http.NotFound }, "it answers 404"},
		"a server that knows no ranges, and another content": {func(map[string][]byte) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4000)) } // the client may be gone
		}, "its content"},
	} {
		t.Run(what, func(t *testing.T) {
			v, contents, _ := asked(t, pages, 4000)
			out := verifyAt(t, v, change.serve(contents))
			pieces := 0
			for _, d := range v.depths("au") {
				if d == piece {
					pieces++
				}
			}
			if pieces == 0 || out.Differences < pieces {
				t.Fatalf("of %d pieces only %d differ", pieces, out.Differences)
			}
			found := false
			for _, d := range out.Differs {
				found = found || strings.HasPrefix(d.Why, change.why)
			}
			if !found {
				t.Errorf("nothing %q among %v", change.why, out.Differs[:min(len(out.Differs), 3)])
			}
		})
	}
}

func TestAServerThatKnowsNoRangesIsTakenForWhatItSends(t *testing.T) {
	v, contents, _ := asked(t, 200, 4000)
	out := verifyAt(t, v, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := contents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content) // the client may be gone
	}))
	if out.Differences > 0 || out.URLs != len(contents)+1 {
		t.Errorf("verified %+v", out)
	}
}

func TestAFileThatIsNotWhatItWasIsAskedForWhole(t *testing.T) {
	v, contents, serve := asked(t, 200, 4000)
	dir := string(v.content.(directory)) //nolint:forcetypeassert // it is
	for name := range contents {
		if err := os.Truncate(filepath.Join(dir, name), 10); err != nil {
			t.Fatal(err)
		}
	}
	if out := verifyAt(t, v, serve); out.Differences > 0 || out.URLs != len(contents)+1 {
		t.Errorf("verified %+v", out)
	}
}

func TestBehindAnotherStatusTheHeadAloneIsAskedFor(t *testing.T) {
	var asked []string
	removed := &release.Manifest{Site: "www.example.org", Dialect: "netlify"}
	for i := range 300 {
		removed.Files = append(removed.Files, release.File{Path: fmt.Sprintf("page-%04d.txt", i), Hash: release.Hash{byte(i), 1}, Size: 4000, Modified: 1, Type: "text/plain"})
	}
	page := []byte(strings.Repeat("nothing here\n", 400))
	m := &release.Manifest{Site: "www.example.org", Dialect: "netlify", Files: []release.File{{Path: "404.html", Hash: release.HashOf(page), Size: int64(len(page)), Modified: 1, Type: "text/html"}}}
	l, err := layout(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "404.html"), page, 0o600); err != nil {
		t.Fatal(err)
	}
	f := &Fleet{Options: Options{Now: time.Now, Events: func(Event) {}}}
	v := f.newVerifier(m, removed, l, false, directory(dir))
	heads := make(chan string, 1000) // more than there are requests
	out := verifyAt(t, v, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads <- r.Method
		if r.URL.Path != "/404" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(page) // the client may be gone
	}))
	close(heads)
	for method := range heads {
		if method == http.MethodHead {
			asked = append(asked, method)
		}
	}
	if out.Differences > 0 || out.URLs < 300 || len(asked) < 250 {
		t.Errorf("%d heads, verified %+v", len(asked), out)
	}
}
