package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/control"
)

// prose is text that codings of different levels make different things of.
func prose(seed uint64, words int) string {
	random := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for range words {
		fmt.Fprintf(&b, "%s%d ", []string{"penny", "farthing", "wheel", "spoke", "saddle", "tyre", "hub", "pedal"}[random.IntN(8)], random.IntN(500))
	}
	return b.String()
}

// bestForms counts the best codings that a POP was sent.
func (p *testPOP) bestForms() int {
	p.fleet.t.Helper()
	n := 0
	err := filepath.WalkDir(p.dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".br.best") {
			n++
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was there for a moment only
		}
		return err
	})
	if err != nil {
		p.fleet.t.Fatal(err)
	}
	return n
}

// broken says what is wrong with an answer that comes in brotli, or nothing.
func broken(resp answered, body, want string) string {
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Etag") == "" {
		return resp.Status + " with Etag " + resp.Header.Get("Etag")
	}
	if resp.Header.Get("Content-Encoding") == "br" {
		plain, err := io.ReadAll(brotli.NewReader(strings.NewReader(body)))
		if err != nil {
			return "it is no brotli: " + err.Error()
		}
		body = string(plain)
	}
	if body != want {
		return fmt.Sprintf("it has %d bytes of something else", len(body))
	}
	return ""
}

// The same release, in fewer bytes: visitors who are there meanwhile see nothing of it
// but another validator.
func TestARefinementChangesBytesAndValidatorsAndBreaksNoAnswer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	tr := pages("one")
	tr["long.txt"] = prose(1, 30_000)
	best, err := encode.Encode(nil, []byte(tr["long.txt"]), encode.Brotli, encode.Best)
	if err != nil {
		t.Fatal(err)
	}
	dir := tr.dir(t)
	first, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	before, quick := f.pops[0].getAt(site, "/long.txt", "Accept-Encoding", "br")
	if why := broken(before, quick, tr["long.txt"]); why != "" {
		t.Fatal(why)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	for _, p := range f.pops {
		for _, path := range []string{"long.txt", "index.html", "style.css"} {
			wait.Go(func() {
				for ctx.Err() == nil {
					resp, body := p.getAt(site, "/"+strings.TrimSuffix(path, "index.html"), "Accept-Encoding", "br")
					if why := broken(resp, body, tr[path]); why != "" {
						t.Errorf("%s answers /%s wrongly: %s", p.name, path, why)
						return
					}
				}
			})
		}
	}
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir, Best: true})
	stop()
	wait.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if !r.Nothing || r.Refined.Objects == 0 || r.Release != first.Release || r.Generation != first.Generation {
		t.Errorf("reported %+v", r)
	}
	for _, p := range f.pops {
		resp, body := p.getAt(site, "/long.txt", "Accept-Encoding", "br")
		if !bytes.Equal([]byte(body), best) {
			t.Errorf("%s sends %d bytes, want the %d of the best coding; at first %d", p.name, len(body), len(best), len(quick))
		}
		if same := resp.Header.Get("Etag") == before.Header.Get("Etag"); same != (quick == body) {
			t.Errorf("%s: the content changed: %v; Etag %s, before %s", p.name, quick != body, resp.Header.Get("Etag"), before.Header.Get("Etag"))
		}
		if n := p.bestForms(); n != r.Refined.Objects {
			t.Errorf("%s has %d best codings, and %d were sent", p.name, n, r.Refined.Objects)
		}
	}
	seen, err := c.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range seen {
		if s := o.Status.Sites[0]; s.Active != first.Release || s.Head.Generation != first.Generation || len(s.Staged) != 1 {
			t.Errorf("%s serves %s of generation %d, and has %q", o.POP.Name, s.Active, s.Head.Generation, s.Staged)
		}
	}
}

// Only what changed is made and sent again, and to a POP that has nothing all of it.
func TestARefinementSendsWhatPOPsLack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	tr := pages("one")
	deploy := func() *control.Report {
		t.Helper()
		r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: tr.dir(t), Best: true})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := deploy()
	tr["style.css"] = strings.Repeat("p { color: red }\n", 200)
	if second := deploy(); second.Refined.Objects != 1 || first.Refined.Objects < 1 {
		t.Errorf("of one file that changed %d were sent; at first %d", second.Refined.Objects, first.Refined.Objects)
	}
	f.enrol("ny").start()
	f.pops[2].configure()
	c = f.open()
	if third := deploy(); third.Refined.Objects != first.Refined.Objects || f.pops[2].bestForms() != first.Refined.Objects {
		t.Errorf("to a POP that is new %d were sent, and it has %d; at first %d", third.Refined.Objects, f.pops[2].bestForms(), first.Refined.Objects)
	}
}

// A machine that never had the files makes the best codings of what POPs send it.
func TestARefinementFromElsewhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	f.deploy(f.open(), pages("one"))
	elsewhere := f.openAs(f.owner.Identity(), t.TempDir())
	r, err := elsewhere.CatchUp(t.Context(), control.RollbackOptions{Site: site, Best: true})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Nothing || r.Refined.Objects == 0 {
		t.Errorf("reported %+v", r)
	}
	for _, p := range f.pops {
		if n := p.bestForms(); n != r.Refined.Objects {
			t.Errorf("%s has %d best codings, and %d were sent", p.name, n, r.Refined.Objects)
		}
	}
	f.shows("one")
	again, err := elsewhere.CatchUp(t.Context(), control.RollbackOptions{Site: site, Best: true})
	if err != nil || again.Refined.Objects != 0 {
		t.Errorf("once more: %+v, %v", again, err)
	}
}
