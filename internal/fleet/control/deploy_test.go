package control_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/keys"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/mistake"
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
	t.Parallel()
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

// deploy deploys a tree, and fails if that fails.
func (f *testFleet) deploy(c *control.Fleet, tr tree) *control.Report {
	f.t.Helper()
	r, err := c.Deploy(f.t.Context(), control.DeployOptions{Site: site, Dir: tr.dir(f.t)})
	if err != nil {
		f.t.Fatal(err)
	}
	c.Finish(f.t.Context())
	return r
}

func TestWhereNothingChangedNothingIsDone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	c := f.open()
	first := f.deploy(c, pages("one"))
	again := f.deploy(c, pages("one"))
	if !again.Nothing || again.Release != first.Release || again.Live() != 3 || again.Added+again.Changed+again.Removed > 0 {
		t.Errorf("reported %+v", again)
	}
	// Somewhere else, with other times, the same files are the same release.
	if elsewhere := f.deploy(f.openAs(f.owner.Identity(), t.TempDir()), pages("one")); !elsewhere.Nothing || elsewhere.Release != first.Release {
		t.Errorf("reported %+v", elsewhere)
	}
}

func TestOnlyWhatChangedIsSentAndVerified(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	before := pages("one")
	before["app.1a2b3c4d.js"] = "of one"
	f.deploy(c, before)
	changed := pages("one")
	changed["about.html"] = "about two"
	delete(changed, "posts/3.html")
	changed["new.html"] = "new"
	changed["app.3f9c2b1e.js"] = "of two" // and that of one stays reachable
	r := f.deploy(c, changed)
	if r.Added != 2 || r.Changed != 1 || r.Removed != 2 || r.Generation != 2 || r.Live() != 2 {
		t.Errorf("reported %+v", r)
	}
	for _, p := range r.POPs {
		// The front page is always asked for; about.html, new.html and what is gone are new.
		if p.Sent.Objects != 3 || p.Verified.URLs < 5 || p.Verified.URLs > 6 || p.Verified.Of != p.Verified.URLs {
			t.Errorf("of %s is reported %+v, %+v", p.POP, p, p.Verified)
		}
	}
	if status, _ := f.pops[0].get("/posts/3"); status != 404 {
		t.Errorf("what is gone answers %d", status)
	}
	f.shows("two")
}

func TestARollbackSendsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	c := f.open()
	one := f.deploy(c, pages("one"))
	two := f.deploy(c, pages("two"))
	r, err := c.Rollback(t.Context(), control.RollbackOptions{Site: site})
	if err != nil {
		t.Fatal(err)
	}
	f.shows("one")
	if r.Release != one.Release || r.Previous != two.Release || r.Generation != 3 || r.Live() != 3 {
		t.Errorf("reported %+v", r)
	}
	for _, p := range r.POPs {
		if p.Sent.Objects > 0 {
			t.Errorf("%s was sent %+v", p.POP, p.Sent)
		}
	}
	// And forward again, by name, from a machine that never saw the files.
	if _, err := f.openAs(f.owner.Identity(), t.TempDir()).Rollback(t.Context(), control.RollbackOptions{Site: site, Release: two.Release[:8]}); err != nil {
		t.Fatal(err)
	}
	f.shows("two")
	_, err = c.Rollback(t.Context(), control.RollbackOptions{Site: site, Release: "0123"})
	if len(mistake.Of(err)) != 1 || !strings.Contains(err.Error(), "has a release 0123") {
		t.Errorf("a release that is not there: %v", err)
	}
}

func TestADryRunSaysWhatWouldBeDoneAndDoesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	f.deploy(c, pages("one"))
	two := pages("two").dir(t)
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: two, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Plan == nil || r.Plan.Nothing() || r.Plan.Generation != 2 || r.Changed == 0 {
		t.Fatalf("reported %+v", r)
	}
	for _, w := range r.Plan.Waves {
		for _, l := range w.Lanes {
			for _, s := range l.Steps {
				if s.Do == control.ActionSend && (s.Expected.Objects != 26 || s.Expected.Bytes == 0) {
					t.Errorf("it would send %+v", s.Expected)
				}
			}
		}
	}
	f.shows("one")
	done, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: two})
	if err != nil {
		t.Fatal(err)
	}
	if done.Release != r.Release || done.Generation != r.Generation || done.POPs[0].Sent.Objects != 26 {
		t.Errorf("what was done is %+v", done)
	}
}

func TestAPOPThatIsAwayCatchesUpFromTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	c := f.open()
	f.deploy(c, pages("one"))
	ny := f.pops[2]
	ny.proxy.refuse.Store(true)
	ny.proxy.cut()
	r := f.deploy(c, pages("two"))
	if r.Live() != 2 || r.POPs[2].Live || r.POPs[2].Why == "" {
		t.Errorf("reported %+v", r)
	}
	f.shows("one", ny)
	if _, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("three").dir(t), All: true}); err == nil || !strings.Contains(err.Error(), "not every POP can be reached: ny") {
		t.Errorf("with all: %v", err)
	}
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.OK() || status.POPs[2].Error == "" || len(status.Sites) != 1 || !slices.Equal(status.Sites[0].Live, []string{"au", "fr"}) || status.Sites[0].Behind[0].POP != "ny" {
		t.Errorf("the status is %+v", status)
	}
	ny.proxy.refuse.Store(false)
	// From a machine that has none of the files.
	up, err := f.openAs(f.owner.Identity(), t.TempDir()).CatchUp(t.Context(), control.RollbackOptions{Site: site})
	if err != nil {
		t.Fatal(err)
	}
	f.shows("two")
	if up.Generation != 2 || up.Live() != 3 || up.POPs[2].Sent.Objects != 26 || up.POPs[0].Sent.Objects > 0 {
		t.Errorf("reported %+v", up)
	}
	if again, err := c.CatchUp(t.Context(), control.RollbackOptions{Site: site}); err != nil || !again.Nothing {
		t.Errorf("once more: %+v, %v", again, err)
	}
}

func TestADeployOfWhatIsServedBringsOthersUpToIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	f.pops[1].proxy.refuse.Store(true)
	f.deploy(c, pages("one"))
	f.pops[1].proxy.refuse.Store(false)
	r := f.deploy(c, pages("one"))
	if r.Nothing || r.Generation != 1 || r.Live() != 2 {
		t.Errorf("reported %+v", r)
	}
	f.shows("one")
}

func TestAReleaseThatCannotBeServedChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	f.deploy(c, pages("one"))
	wrong := pages("two")
	wrong["_redirects"] = "/a /b 999\n"
	dir := wrong.dir(t)
	_, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir})
	if list := mistake.Of(err); len(list) != 1 || list[0].File != filepath.Join(dir, "_redirects") || list[0].Line != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "nothing in it to deploy") {
		t.Errorf("an empty directory: %v", err)
	}
	f.shows("one")
}

func TestVerifySeesThatAPOPServesSomethingElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	f.deploy(c, pages("one"))
	for _, all := range []bool{false, true} {
		checked, err := c.Verify(t.Context(), site, all)
		if err != nil || !checked.OK() || len(checked.POPs) != 2 || checked.POPs[0].URLs != 27 {
			t.Fatalf("all %v: %+v, %v", all, checked, err)
		}
		if all && checked.POPs[0].Others != 2*27 {
			t.Errorf("with all %d requests over other protocols", checked.POPs[0].Others)
		}
	}
	// A POP in which something went wrong behind everybody's back: it serves what it
	// should not, and says that it does what it should.
	other := newFleet(t, "xx")
	other.deploy(other.open(), pages("other"))
	f.where.POPs[1].Edge = other.where.POPs[0].Edge
	checked, err := f.open().Verify(t.Context(), site, false)
	if err != nil {
		t.Fatal(err)
	}
	fr := checked.POPs[1]
	if checked.OK() || checked.POPs[0].Differences != 0 || fr.Differences < 25 || fr.Differs[0].POP != "fr" || !strings.Contains(fr.Differs[0].Why, "its content is") {
		t.Errorf("checked %+v", checked)
	}
}

func TestAReleaseIsPulledBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	one := f.deploy(c, pages("one"))
	f.deploy(c, pages("two"))
	for prefix, want := range map[string]tree{"": pages("two"), one.Release[:8]: pages("one")} {
		dir := filepath.Join(t.TempDir(), "back")
		r, err := f.openAs(f.owner.Identity(), t.TempDir()).Pull(t.Context(), site, prefix, dir)
		if err != nil {
			t.Fatal(err)
		}
		got := make(tree)
		err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				data, readErr := os.ReadFile(path)
				name, _ := filepath.Rel(dir, path)
				got[filepath.ToSlash(name)], err = string(data), readErr
			}
			return err
		})
		if err != nil || !maps.Equal(got, want) || r.Files != len(want) {
			t.Errorf("pulled %d files of %d (%v)", len(got), len(want), err)
		}
		if _, err := c.Pull(t.Context(), site, prefix, dir); err == nil || !strings.Contains(err.Error(), "it is not empty") {
			t.Errorf("over what is there: %v", err)
		}
	}
}

func TestReleasesAreListedWithWhereTheyAre(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	one := f.deploy(c, pages("one"))
	f.pops[1].proxy.refuse.Store(true)
	f.pops[1].proxy.cut()
	two := f.deploy(c, pages("two"))
	f.pops[1].proxy.refuse.Store(false)
	list, behind, err := c.Releases(t.Context(), site)
	if err != nil || len(behind) > 0 || len(list) != 2 {
		t.Fatalf("%+v, %v, %v", list, behind, err)
	}
	for _, r := range list {
		switch r.Release.Release {
		case one.Release:
			if r.Current || !slices.Equal(r.Live, []string{"fr"}) || !slices.Equal(r.Staged, []string{"au", "fr"}) || r.By != "owner" {
				t.Errorf("of the first is said %+v", r)
			}
		case two.Release:
			if !r.Current || !slices.Equal(r.Live, []string{"au"}) || !slices.Equal(r.Staged, []string{"au"}) {
				t.Errorf("of the second is said %+v", r)
			}
		}
	}
}

func TestADiffSaysWhatADeployWouldChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	changed := pages("one")
	d, err := c.Diff(t.Context(), control.DeployOptions{Site: site, Dir: changed.dir(t)})
	if err != nil || d.Live != "" || len(d.Changes.Added) != 28 {
		t.Errorf("before anything was deployed: %+v, %v", d, err)
	}
	one := f.deploy(c, changed)
	changed["about.html"] = "else"
	d, err = c.Diff(t.Context(), control.DeployOptions{Site: site, Dir: changed.dir(t)})
	if err != nil || d.Live != one.Release || len(d.Changes.Changed) != 1 || d.Changes.Changed[0].New.Path != "about.html" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestWhoMayDeployOneSiteDeploysThatOne(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	right := func(text string) keys.Right {
		r, err := keys.ParseRight(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ci, err := f.owner.AddMember("ci", []keys.Right{right("deploy:" + site)}, cryptoRand())
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.owner.AddMember("other", []keys.Right{right("deploy:other.org")}, cryptoRand())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.open().Status(t.Context()); err != nil {
		t.Fatal(err) // brings the roster
	}
	// On a machine that has a key and nothing else.
	f.deploy(f.openAs(ci, t.TempDir()), pages("one"))
	f.shows("one")
	_, err = f.openAs(other, t.TempDir()).Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("two").dir(t)})
	refused, ok := errors.AsType[*control.RefusedError](err)
	if !ok || refused.Answer.Code != "forbidden" {
		t.Errorf("who may deploy another site gets %v", err)
	}
	f.shows("one")
}

func TestTwoDeploysDoNotMix(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	a, b := f.open(), f.openAs(f.owner.Identity(), t.TempDir())
	done := make(chan error, 2)
	for c, name := range map[*control.Fleet]string{a: "one", b: "two"} {
		dir := pages(name).dir(t)
		go func() {
			_, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: dir, Wait: true})
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			if _, overtaken := errors.AsType[*control.OvertakenError](err); !overtaken {
				t.Error(err)
			}
		}
	}
	checked, err := a.Verify(t.Context(), site, false)
	if err != nil || !checked.OK() {
		t.Errorf("%+v, %v", checked, err)
	}
}

func TestALeaseOfSomebodyElseIsNamed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	for _, p := range f.pops {
		p.put("/v1/sites/"+site+"/lease", marshal(t, map[string]any{"holder": "bob's laptop", "ttl": 2}))
	}
	began := time.Now()
	_, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("one").dir(t)})
	held, ok := errors.AsType[*control.LeasedError](err)
	if !ok || held.Lease.Holder != "bob's laptop" || held.Site != site {
		t.Fatalf("got %v after %v", err, time.Since(began))
	}
	if _, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: pages("one").dir(t), Wait: true}); err != nil {
		t.Fatal(err)
	}
	f.shows("one")
}

func TestManyPOPsAreDeployedAtOnce(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("p%d", i))
	}
	f := newFleet(t, names...)
	if r := f.deploy(f.open(), pages("one")); r.Live() != len(names) {
		t.Errorf("reported %+v", r)
	}
	f.shows("one")
}

// TestALittleChangeIsLittleOnTheWire changes one line of a large file, among many files.
func TestALittleChangeIsLittleOnTheWire(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	tr := pages("one")
	for i := range 500 {
		tr[fmt.Sprintf("many/%d.txt", i)] = fmt.Sprint(i)
	}
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "%d %x\n", i, i*i*i)
	}
	tr["large.txt"] = b.String()
	first := f.deploy(c, tr)
	tr["large.txt"] = strings.Replace(b.String(), "\n777 ", "\nseven ", 1)
	tr["about.html"] = "about two"
	second := f.deploy(c, tr)
	f.shows("two")
	for i, p := range second.POPs {
		if p.Wire > 20_000 || p.Sent.Objects != 2 {
			t.Errorf("%s was sent %+v, with %d bytes over the network; at first %d", p.POP, p.Sent, p.Wire, first.POPs[i].Wire)
		}
	}
	// A machine that has not kept the old version sends the file as it is.
	tr["large.txt"] = b.String() + "more"
	third := f.deploy(f.openAs(f.owner.Identity(), t.TempDir()), tr)
	if third.POPs[0].Sent.Objects != 1 || third.POPs[0].Wire < 30_000 {
		t.Errorf("from elsewhere %+v", third.POPs[0])
	}
}

func TestTheBestCodingsAreSentBehind(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	c := f.open()
	tr := pages("one")
	r, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: tr.dir(t), Best: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Refined.Objects == 0 || r.Refined.Bytes == 0 || r.Live() != 2 {
		t.Errorf("reported %+v", r)
	}
	for _, p := range f.pops {
		found := false
		err := filepath.WalkDir(p.dir, func(path string, _ os.DirEntry, err error) error {
			found = found || strings.HasSuffix(path, ".br.best")
			return err
		})
		if err != nil || !found {
			t.Errorf("%s has no best coding (%v)", p.name, err)
		}
	}
	f.shows("one")
	again, err := c.Deploy(t.Context(), control.DeployOptions{Site: site, Dir: tr.dir(t), Best: true})
	if err != nil || !again.Nothing || again.Refined.Objects != 0 {
		t.Errorf("what POPs have is sent once more: %+v, %v", again, err)
	}
}
