package control_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

// front puts a handler before a POP's agent, and lets members reach the agent through it
// alone.
func (p *testPOP) front(wrap func(http.Handler) http.Handler) {
	t := p.fleet.t
	t.Helper()
	key, _, err := keys.OpenKey(filepath.Join(p.dir, "agent.key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(p.dir, "leaf.pem"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := keys.ParseLeaf(pem, key, fleetName, p.name)
	if err != nil {
		t.Fatal(err)
	}
	roster := func() *keys.Roster { r, _ := p.fleet.owner.Roster(); return r }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: wrap(p.api), TLSConfig: keys.ServerTLS(func() *tls.Certificate { return leaf }, roster)}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		_ = server.Close() // a test's
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	p.proxy.to.Store(new(l.Addr().String()))
}

// calls counts what a POP's agent is asked for.
type calls struct {
	mu sync.Mutex // guards of
	of map[string]int
}

func (c *calls) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.Split(r.URL.Path, "/")
		c.mu.Lock()
		c.of[r.Method+" "+path[len(path)-1][:min(len(path[len(path)-1]), 8)]]++
		c.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// take returns what was counted, and begins anew.
func (c *calls) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.of
	c.of = make(map[string]int)
	return taken
}

// older makes an agent one that knows no batch yet, and answers every question for its
// status with all of it.
func older(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/batch":
			http.Error(w, `{"error":"there is nothing at /v1/batch","code":"not-found"}`, http.StatusNotFound)
		case "/v1/status":
			r.URL.RawQuery = ""
			told := httptest.NewRecorder()
			h.ServeHTTP(told, r)
			var s map[string]any
			if json.Unmarshal(told.Body.Bytes(), &s) == nil {
				delete(s, "batch")
			}
			w.WriteHeader(told.Code)
			_ = json.NewEncoder(w).Encode(s) // the client fails
		default:
			h.ServeHTTP(w, r)
		}
	})
}

func TestASmallDeployIsOneCallUntilItIsStaged(t *testing.T) {
	f := newFleet(t, "au", "fr", "ny")
	counted := make([]*calls, len(f.pops))
	for i, p := range f.pops {
		counted[i] = &calls{of: make(map[string]int)}
		p.front(counted[i].wrap)
	}
	c := f.open()
	f.deploy(c, pages("one"))
	for _, of := range counted {
		if first := of.take(); first["POST batch"] != 0 || first["POST stage"] != 1 {
			t.Errorf("the first deploy, of which nobody knows how much is missing, asks for %v", first)
		}
	}
	tr := pages("one")
	tr["about.html"] = "about two"
	r := f.deploy(c, tr)
	f.shows("two")
	want := map[string]int{"GET status": 1, "POST batch": 1, "PUT head": 1, "DELETE lease": 1}
	for i, of := range counted {
		if diff := cmp.Diff(want, of.take()); diff != "" {
			t.Errorf("%s was asked (-want +got):\n%s", f.pops[i].name, diff)
		}
		if p := r.POPs[i]; p.Sent.Objects != 1 || p.Sent.Bytes != int64(len("about two")) || !p.Live {
			t.Errorf("reported %+v", p)
		}
	}
	// What is only removed is no pack.
	delete(tr, "posts/3.html")
	r = f.deploy(c, tr)
	for i, of := range counted {
		if diff := cmp.Diff(want, of.take()); diff != "" {
			t.Errorf("%s was asked (-want +got):\n%s", f.pops[i].name, diff)
		}
		if p := r.POPs[i]; p.Sent.Objects != 0 || !p.Live {
			t.Errorf("reported %+v", p)
		}
	}
	if status, _ := f.pops[1].get("/posts/3"); status != 404 {
		t.Errorf("what is gone answers %d", status)
	}
	// And what is much is sent when it is known what is missing.
	f.deploy(c, large("three"))
	f.shows("three")
	for _, of := range counted {
		if asked := of.take(); asked["POST batch"] != 0 || asked["POST pack"] != 1 {
			t.Errorf("a large deploy asks for %v", asked)
		}
	}
}

func TestAnAgentThatKnowsNoBatchIsDeployedToStepByStep(t *testing.T) {
	f := newFleet(t, "old", "new")
	was, is := &calls{of: make(map[string]int)}, &calls{of: make(map[string]int)}
	f.pops[0].front(func(h http.Handler) http.Handler { return was.wrap(older(h)) })
	f.pops[1].front(is.wrap)
	c := f.open()
	f.deploy(c, pages("one"))
	was.take()
	is.take()
	tr := pages("one")
	tr["about.html"] = "about two"
	r := f.deploy(c, tr)
	f.shows("two")
	if r.Live() != 2 || r.POPs[0].Sent != r.POPs[1].Sent {
		t.Errorf("reported %+v", r)
	}
	got := was.take()
	for _, step := range []string{"PUT lease", "POST pack", "POST stage", "PUT head"} {
		if got[step] != 1 {
			t.Errorf("the old agent was asked for %v", got)
		}
	}
	if got := is.take(); got["POST batch"] != 1 || got["POST stage"] != 0 {
		t.Errorf("the new agent was asked for %v", got)
	}
	if again := f.deploy(c, tr); !again.Nothing {
		t.Errorf("once more it is %+v", again)
	}
}

// TestASmallDeployThatIsCutAnywhereGoesOn cuts the connection to one POP while the call is
// under way that brings a release, or before, or after.
func TestASmallDeployThatIsCutAnywhereGoesOn(t *testing.T) {
	f := newFleet(t, "au", "fr")
	c := f.open()
	tr := pages("zero")
	f.deploy(c, tr)
	for i, after := range []int64{100, 2500, 3500, 4500, 6000} {
		name := fmt.Sprintf("cut%d", i)
		tr["about.html"] = "about " + name
		dir := tr.dir(t)
		once := f.open() // which has to connect first
		p := f.pops[i%2].proxy
		p.left.Store(after)
		restore := time.AfterFunc(700*time.Millisecond, func() { p.left.Store(-1) })
		r, err := once.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
		restore.Stop()
		p.left.Store(-1)
		if err != nil || r.Live() < 1 {
			t.Fatalf("cut after %d bytes: %+v, %v", after, r, err)
		}
		once.Finish(t.Context())
		again, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
		if err != nil || again.Live() != 2 {
			t.Errorf("cut after %d bytes, and once more: %+v, %v", after, again, err)
		}
		c.Finish(t.Context())
		f.shows(name)
	}
}

// settled writes a tree and waits until it is no moment ago that it was written, so that
// who looks at it can trust what the disk says.
func (tr tree) settled(t *testing.T) string {
	t.Helper()
	dir := tr.dir(t)
	written := time.Now()
	for time.Since(written) < 100*time.Millisecond {
		time.Sleep(10 * time.Millisecond)
	}
	return dir
}

func TestWhatDidNotChangeIsNotReadAtAll(t *testing.T) {
	f := newFleet(t, "au", "fr")
	counted := make([]*calls, len(f.pops))
	for i, p := range f.pops {
		counted[i] = &calls{of: make(map[string]int)}
		p.front(counted[i].wrap)
	}
	dir := pages("one").settled(t)
	first, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := f.open()
	if err := os.RemoveAll(filepath.Join(keys.FleetDir(f.state, fleetName), "cache", "releases", "manifests")); err != nil {
		t.Fatal(err)
	}
	for _, of := range counted {
		of.take()
	}
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Nothing || r.Live() != 2 || r.Release != first.Release || r.Files != first.Files || r.Bytes != first.Bytes || r.Generation != 1 {
		t.Errorf("reported %+v", r)
	}
	for i, of := range counted {
		if diff := cmp.Diff(map[string]int{"GET status": 1}, of.take()); diff != "" {
			t.Errorf("%s was asked (-want +got):\n%s", f.pops[i].name, diff)
		}
	}
}

func TestWhatDidNotChangeHereIsDeployedWhereAnotherIsServed(t *testing.T) {
	f := newFleet(t, "au", "fr", "ny")
	c := f.open()
	dir := pages("one").settled(t)
	deploy := func(what string) *control.Report {
		t.Helper()
		r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		c.Finish(t.Context())
		return r
	}
	first := deploy("first")
	f.deploy(f.openAs(f.owner.Identity(), t.TempDir()), pages("elsewhere"))
	f.shows("elsewhere")
	if r := deploy("after somebody else"); r.Nothing || r.Live() != 3 || r.Changed == 0 {
		t.Errorf("reported %+v", r)
	}
	f.shows("one")
	f.pops[2].stop()
	if err := os.WriteFile(filepath.Join(dir, "about.html"), []byte("about two"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := deploy("while one is away"); r.Live() != 2 {
		t.Errorf("reported %+v", r)
	}
	// What is served is what the directory is, and a POP does not have it.
	f.pops[2].start()
	if r := deploy("when it is back"); r.Nothing || r.Live() != 3 || r.Release == first.Release {
		t.Errorf("reported %+v", r)
	}
	f.shows("two")
	if r := deploy("at last"); !r.Nothing || r.Live() != 3 {
		t.Errorf("reported %+v", r)
	}
	names := slices.Sorted(maps.Keys(pages("one")))
	if r := deploy("and again"); !r.Nothing || r.Files != len(names) {
		t.Errorf("reported %+v", r)
	}
}
