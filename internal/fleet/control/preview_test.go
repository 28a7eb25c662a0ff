package control_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

func (f *testFleet) preview(c *control.Fleet, dir string) *control.Report {
	f.t.Helper()
	r, err := c.Deploy(f.t.Context(), control.DeployOptions{Site: site, Dir: dir, Preview: control.DefaultPreview})
	if err != nil {
		f.t.Fatal(err)
	}
	if r.Preview == nil || r.Live() != len(f.pops) || len(r.Preview.POPs) != len(f.pops) {
		f.t.Fatalf("the preview is %+v on %d", r.Preview, r.Live())
	}
	return r
}

// showsAt fails unless every POP serves a front page at a host.
func (f *testFleet) showsAt(when, host, front string) answered {
	f.t.Helper()
	var last answered
	for _, p := range f.pops {
		resp, text := p.getAt(host, "/")
		if resp.StatusCode != http.StatusOK || !strings.Contains(text, "front of "+front) {
			f.t.Errorf("%s: %s serves at %s %s %q, want the front of %s", when, p.name, host, resp.Status, text, front)
		}
		last = resp
	}
	return last
}

func TestAPreviewIsSeenAtItsHostAndPromotedWithoutSendingAnything(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny", "fr")
	c := f.open()
	first := f.deploy(c, pages("first"))
	dir := pages("second").dir(t)
	r := f.preview(c, dir)
	host := r.Preview.Host
	if label, _, ok := api.PreviewLabel(host); !ok || len(label) != api.MinPreviewLabel || r.Kind != control.Preview || r.Generation != first.Generation {
		t.Errorf("the preview is %+v of generation %d", r.Preview, r.Generation)
	}
	if left := time.Until(r.Preview.Expires); left < control.DefaultPreview-time.Hour || left > control.DefaultPreview {
		t.Errorf("it expires in %v", left)
	}
	if !strings.HasPrefix(r.Preview.URL, "https://"+host) || r.Verified == 0 {
		t.Errorf("it is at %s, and %d URLs were verified", r.Preview.URL, r.Verified)
	}
	if resp := f.showsAt("preview", host, "second"); resp.Header.Get("X-Robots-Tag") != "noindex" {
		t.Errorf("its fields are %v", resp.Header)
	}
	if resp := f.showsAt("while it is previewed", site, "first"); resp.Header.Get("X-Robots-Tag") != "" {
		t.Errorf("the fields of the site are %v", resp.Header)
	}
	again := f.preview(c, dir)
	if again.Preview.Host != host {
		t.Errorf("the same release has another preview, %s", again.Preview.Host)
	}
	list, _, err := c.Releases(t.Context(), site)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, info := range list {
		for _, p := range info.Previews {
			if seen++; info.Release.Release != r.Release || p.Host != host || p.By != "owner" || len(p.POPs) != 3 {
				t.Errorf("release %s has the preview %+v", info.Release.Release, p)
			}
		}
	}
	if seen != 1 {
		t.Errorf("%d previews are listed", seen)
	}
	for _, p := range f.pops {
		p.stop()
		p.start()
	}
	f.showsAt("after a restart", host, "second")
	f.mu.Lock()
	f.events = nil
	f.mu.Unlock()
	c = f.open()
	promoted, err := c.Promote(t.Context(), control.RollbackOptions{Site: site, Release: r.Release[:8]})
	if err != nil {
		t.Fatal(err)
	}
	if promoted.Kind != control.Promote || promoted.Live() != 3 || promoted.Verified == 0 || promoted.Generation != first.Generation+1 || promoted.Previous != first.Release {
		t.Errorf("promoted: %+v", promoted)
	}
	for _, p := range promoted.POPs {
		if p.Sent.Objects != 0 || p.Verified == nil {
			t.Errorf("%s was sent %+v and verified %v", p.POP, p.Sent, p.Verified)
		}
	}
	f.mu.Lock()
	for _, e := range f.events {
		if e.Kind == control.EventStep && (e.Do == control.ActionOffer || e.Do == control.ActionSend) {
			t.Errorf("%s did %s", e.POP, e.Do)
		}
	}
	f.mu.Unlock()
	f.showsAt("promoted", site, "second")
	if err := c.EndPreview(t.Context(), site, host); err != nil {
		t.Error(err)
	}
	for _, p := range f.pops {
		if resp, _ := p.getAt(host, "/"); resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s answers %s at a preview that has ended", p.name, resp.Status)
		}
	}
	if err := c.EndPreview(t.Context(), site, host); err == nil {
		t.Error("it can be ended twice")
	}
	back, err := c.Rollback(t.Context(), control.RollbackOptions{Site: site})
	if err != nil || back.Release != first.Release {
		t.Errorf("rolled back to %+v (%v)", back, err)
	}
}

// What the machine remembers as served, and what the next deploy starts from, is what
// is served.
func TestAPreviewIsNotTakenForWhatIsLive(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	f.deploy(c, pages("first"))
	f.preview(c, pages("second").dir(t))
	r := f.deploy(c, pages("first"))
	if !r.Nothing {
		t.Errorf("what is live already was deployed: %+v", r)
	}
	changed := pages("first")
	changed["about.html"] = "changed"
	if r := f.deploy(c, changed); r.Changed != 1 || r.Added != 0 {
		t.Errorf("one file has changed, and the report says %+v", r)
	}
}

func TestAPreviewBeforeTheFirstDeploy(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	r := f.preview(c, pages("first").dir(t))
	f.showsAt("preview", r.Preview.Host, "first")
	if status, _ := f.pops[0].get("/"); status != http.StatusServiceUnavailable {
		t.Errorf("the site, which was never deployed, answers %d", status)
	}
	if _, err := c.Promote(t.Context(), control.RollbackOptions{Site: site, Release: r.Release}); err != nil {
		t.Fatal(err)
	}
	f.showsAt("promoted", site, "first")
}

func TestADryRunOfAPreviewOpensNone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("first").dir(t), Preview: time.Hour, DryRun: true})
	if err != nil || r.Plan == nil || r.Plan.Kind != control.Preview {
		t.Fatalf("%+v (%v)", r, err)
	}
	if list, _, err := c.Releases(t.Context(), site); err != nil || len(list) != 0 {
		t.Errorf("releases are %+v (%v)", list, err)
	}
}

// Who may look and not deploy is not told where previews are.
func TestWhoMayNotDeployIsToldOfNoPreview(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	id, err := f.owner.AddMember("renewer", []keys.Right{{What: keys.Renew}}, cryptoRand())
	if err != nil {
		t.Fatal(err)
	}
	c := f.open()
	r := f.preview(c, pages("first").dir(t))
	other := f.openAs(id, t.TempDir())
	list, behind, err := other.Releases(t.Context(), site)
	if err != nil || len(behind) != 0 || len(list) != 1 || len(list[0].Previews) != 0 {
		t.Errorf("%+v, behind %v (%v)", list, behind, err)
	}
	err = other.EndPreview(t.Context(), site, r.Preview.Host)
	if refused, ok := errors.AsType[*control.RefusedError](err); !ok || refused.Answer.Code != api.CodeForbidden {
		t.Errorf("%v, want that it is forbidden", err)
	}
	f.showsAt("preview", r.Preview.Host, "first")
}

// A POP that is away stops no preview.
func TestAPreviewGoesWhereItCan(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	f.deploy(c, pages("first"))
	f.pops[1].stop()
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("second").dir(t), Preview: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if r.Live() != 1 || len(r.Preview.POPs) != 1 || r.Preview.POPs[0] != "au" {
		t.Errorf("it is on %d, %v", r.Live(), r.Preview.POPs)
	}
}

func TestAPreviewLastsAsLongAsCanBeMeant(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	for _, d := range []time.Duration{time.Second, 2 * api.MaxPreviewAge} {
		if _, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("first").dir(t), Preview: d}); err == nil {
			t.Errorf("a preview of %v is opened", d)
		}
	}
}
