package control_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/control"
)

// noPreview fails if some POP shows something at a host.
func (f *testFleet) noPreview(when, host string) {
	f.t.Helper()
	for _, p := range f.pops {
		if resp, _ := p.getAt(host, "/"); resp.StatusCode != http.StatusMisdirectedRequest {
			f.t.Errorf("%s: %s answers %s at the host of the preview", when, p.name, resp.Status)
		}
	}
}

// previewHosts are those that POPs tell of.
func (f *testFleet) previewHosts(c *control.Fleet) []string {
	f.t.Helper()
	list, _, err := c.Releases(f.t.Context(), site)
	if err != nil {
		f.t.Fatal(err)
	}
	var hosts []string
	for _, info := range list {
		for _, p := range info.Previews {
			hosts = append(hosts, p.Host)
		}
	}
	return hosts
}

// A preview that is not what it should be is shown nowhere afterwards, and the site is as
// it was.
func TestAPreviewThatDoesNotShowWhatItShouldIsEnded(t *testing.T) {
	other := newFleet(t, "xx")
	other.deploy(other.open(), pages("other"))
	f := newFleet(t, "au", "fr")
	f.where.Roots = both(t, f.where.Roots, other.where.Roots)
	f.deploy(f.open(), pages("one"))
	right := f.where.POPs[1].Edge
	f.where.POPs[1].Edge = other.where.POPs[0].Edge
	c := f.open()
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("two").dir(t), Preview: time.Hour})
	withdrawn, ok := errors.AsType[*control.WithdrawnError](err)
	differs, differsOK := errors.AsType[*control.DiffersError](err)
	if !ok || !differsOK || differs.POP != "fr" || withdrawn.Release != r.Release || !strings.Contains(err.Error(), "the preview was ended again") {
		t.Fatalf("got %v", err)
	}
	if r.Preview != nil || r.Live() != 0 {
		t.Errorf("reported %+v", r)
	}
	f.where.POPs[1].Edge = right
	if hosts := f.previewHosts(f.open()); len(hosts) > 0 {
		t.Errorf("POPs tell of previews at %v", hosts)
	}
	f.shows("one")
	f.preview(f.open(), pages("two").dir(t)) // and it can be opened once more
}

func TestAPOPThatWasAwayIsBroughtPreviews(t *testing.T) {
	f := newFleet(t, "au", "fr", "ny")
	h := f.home(0, all()...)
	c := f.open()
	f.deploy(c, pages("one"))
	h.round(t) // which brings the roster that has it
	ny := f.pops[2]
	ny.stop()
	dir := pages("two").dir(t)
	first, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir, Preview: time.Hour})
	if err != nil || first.Live() != 2 {
		t.Fatalf("the preview is on %d: %v", first.Live(), err)
	}
	ny.start()
	r := h.round(t)
	if !r.OK() || !slices.Equal(did(r, "ny"), []control.ChoreKind{control.ChorePreview}) || len(r.Done) != 1 || r.Done[0].Release != first.Release || !r.Done[0].Expires.Equal(first.Preview.Expires) {
		t.Errorf("done: %+v, failed: %+v", r.Done, r.Failed)
	}
	f.showsAt("brought", first.Preview.Host, "two")
	f.shows("one")
	if log := h.log.String(); !strings.Contains(log, "preview delivered") || strings.Contains(log, first.Preview.Host) {
		t.Errorf("the log: %s", log)
	}
	if r := h.round(t); !r.OK() || len(r.Done) > 0 {
		t.Errorf("once more: %+v", r)
	}
	// One that lasts longer now is the same preview.
	ny.stop()
	longer, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir, Preview: 2 * time.Hour})
	if err != nil || longer.Preview.Host != first.Preview.Host {
		t.Fatalf("%+v, %v", longer.Preview, err)
	}
	ny.start()
	brought, err := f.open().BringPreviews(t.Context(), site)
	if err != nil || len(brought) != 1 || !slices.Equal(brought[0].POPs, []string{"ny"}) || !brought[0].Expires.Equal(longer.Preview.Expires) || brought[0].Ended {
		t.Errorf("brought %+v, %v", brought, err)
	}
	f.showsAt("longer", first.Preview.Host, "two")
}

// A preview that was ended while a POP was away does not come back with it, and ends there.
func TestAPreviewThatWasEndedDoesNotComeBackWithAPOP(t *testing.T) {
	f := newFleet(t, "au", "ny")
	h := f.home(0, all()...)
	c := f.open()
	f.deploy(c, pages("one"))
	host := f.preview(c, pages("two").dir(t)).Preview.Host
	h.round(t)
	ny := f.pops[1]
	ny.stop()
	if err := c.EndPreview(t.Context(), site, host); err == nil {
		t.Error("that a POP could not be told is not said")
	}
	f.pops[0].stop()
	f.pops[0].start() // it remembers
	ny.start()
	f.answersAt(ny, host, http.StatusOK)
	r := h.round(t)
	if !r.OK() || len(r.Done) != 1 || !r.Done[0].Ended || r.Done[0].POP != "ny" {
		t.Errorf("done: %+v, failed: %+v", r.Done, r.Failed)
	}
	f.noPreview("when all know", host)
	if r := h.round(t); !r.OK() || len(r.Done) > 0 {
		t.Errorf("once more: %+v", r)
	}
	ny.stop()
	ny.start()
	f.noPreview("after a restart", host)
}

// answersAt fails unless a POP answers so at a host.
func (f *testFleet) answersAt(p *testPOP, host string, status int) {
	f.t.Helper()
	if resp, _ := p.getAt(host, "/"); resp.StatusCode != status {
		f.t.Errorf("%s answers %s at %s, want %d", p.name, resp.Status, host, status)
	}
}
