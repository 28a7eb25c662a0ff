package control_test

import (
	"testing"

	"pennyfarthing/internal/fleet/control"
)

// shows fails unless every POP shows a release.
func (f *testFleet) shows(name string, pops ...*testPOP) {
	f.t.Helper()
	if len(pops) == 0 {
		pops = f.pops
	}
	for _, p := range pops {
		if status, content := p.get("/about"); status != 200 || content != "about "+name {
			f.t.Errorf("%s shows %d %q, want %s", p.name, status, content, name)
		}
	}
}

func TestADeployIsLiveAndVerifiedEverywhere(t *testing.T) {
	f := newFleet(t, "au", "fr", "ny")
	c := f.open()
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("one").dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	f.shows("one")
	if r.Live() != 3 || r.Generation != 1 || r.Files != 28 || r.Added != 28 || r.Changed != 0 || r.Nothing || r.Verified != 3*27 {
		t.Errorf("reported %+v", r)
	}
	for _, p := range r.POPs {
		if v := p.Verified; !p.Live || p.Sent.Objects == 0 || p.Wire == 0 || v == nil || v.Differences > 0 || v.Others == 0 || len(v.Unasked) > 0 || v.Certificate.String() != "ok" {
			t.Errorf("of %s is reported %+v, %+v", p.POP, p, p.Verified)
		}
	}
}
