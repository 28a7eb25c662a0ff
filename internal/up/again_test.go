package up

import (
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

// What is served stays until it is deployed anew, over restarts too.
func TestAChangedFileIsServedOnceItIsDeployed(t *testing.T) {
	c, _ := common(t)
	dir := directory(t, map[string]string{"index.html": "old"})
	run := func(check func(f *started[Running], v visitor)) {
		t.Helper()
		f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("example.org", dir))})
		check(f, newVisitor(t, f.report.CA))
		f.stop()
		if err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	served := func(f *started[Running], v visitor, want string) {
		t.Helper()
		for _, p := range f.report.POPs {
			if got := v.get("HTTP/2.0", p.HTTPS+"/"); got.body != want {
				t.Errorf("%s answers %q, want %q", p.Name, got.body, want)
			}
		}
	}
	deployed := func(f *started[Running], generation uint64, now bool) string {
		t.Helper()
		s := f.report.Sites[0]
		if s.Generation != generation || s.Deployed != now {
			t.Errorf("generation %d, deployed now: %v; want %d, %v", s.Generation, s.Deployed, generation, now)
		}
		return s.Release
	}
	var first string
	run(func(f *started[Running], v visitor) {
		first = deployed(f, 1, true)
		served(f, v, "old")
		if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("new text"), 0o644); err != nil {
			t.Fatal(err)
		}
		served(f, v, "old")
		if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	run(func(f *started[Running], v visitor) {
		if again := deployed(f, 1, false); again != first {
			t.Errorf("the same tree is release %s and then %s", first, again)
		}
		served(f, v, "old")
		if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("new text"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	run(func(f *started[Running], v visitor) {
		if other := deployed(f, 2, true); other == first {
			t.Error("another tree is the same release")
		}
		served(f, v, "new text")
	})
}

func TestASecondOneIsToldThatTheFleetRuns(t *testing.T) {
	c, _ := common(t)
	o := FleetOptions{Common: c, Fleet: demo(filesSite("example.org", directory(t, map[string]string{"index.html": "home"})))}
	f := start(t, Fleet, o)
	err := Fleet(t.Context(), o, func(Running) { t.Error("it says that it runs") })
	if err == nil || !strings.Contains(err.Error(), "the fleet demo runs already, in another penny up") {
		t.Errorf("%v", err)
	}
	if got := newVisitor(t, f.report.CA).get("HTTP/2.0", f.report.POPs[0].HTTPS+"/"); got.body != "home" {
		t.Errorf("after that the first answers %+v", got)
	}
}

// Others find the fleet by the state directory, and only while it runs.
func TestOthersFindTheFleetWhileItRuns(t *testing.T) {
	c, _ := common(t)
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("example.org", directory(t, map[string]string{"index.html": "home"})))})
	fleet, err := config.Load(f.report.File)
	if err != nil {
		t.Fatal(err)
	}
	if fleet.Name != "demo" || len(fleet.Sites) != 1 || fleet.Sites[0].Name != "example.org" || fleet.Sites[0].Files != f.report.Sites[0].Dir {
		t.Errorf("the fleet file that was written says %+v", fleet)
	}
	where, err := control.FindPOPs(c.State, "demo", fleet)
	if err != nil {
		t.Fatal(err)
	}
	id, err := keys.FindIdentity(keys.FindOptions{Getenv: func(string) string { return "" }, StateDir: c.State, Fleet: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	ctl, err := control.Open(control.Options{StateDir: c.State, ID: id, POPs: where})
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	status, err := ctl.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !status.OK() || len(status.POPs) != 3 || len(status.Sites) != 1 || len(status.Sites[0].Live) != 3 {
		t.Errorf("%+v", status)
	}
	f.stop()
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	if where, err := control.FindPOPs(c.State, "demo", nil); err == nil {
		t.Errorf("after its end they still find %+v", where)
	}
}

// What the edge does by its configuration it does from the first start on, though
// the agent is told only once it runs.
func TestLimitsOfTheFleetFileHoldAtOnce(t *testing.T) {
	c, _ := common(t)
	fleet := demo(filesSite("example.org", directory(t, map[string]string{"index.html": "home"})))
	fleet.Edge.Limits.HeaderFields = 10
	for _, when := range []string{"the first time", "the second time"} {
		f := start(t, Fleet, FleetOptions{Common: c, Fleet: fleet})
		client := newVisitor(t, f.report.CA).client("HTTP/1.1", "")
		for _, p := range f.report.POPs {
			for fields, want := range map[int]int{1: http.StatusOK, 20: http.StatusRequestHeaderFieldsTooLarge} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.HTTPS+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				for i := range fields {
					req.Header.Set("X-"+strconv.Itoa(i), "x")
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s: %s answers %d fields with %d, want %d", when, p.Name, fields, resp.StatusCode, want)
				}
			}
		}
		f.stop()
		if err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
}

// Somebody who removes what POPs had gets new ones.
func TestPOPsWhoseDirectoriesAreRemovedAreMadeAnew(t *testing.T) {
	c, _ := common(t)
	o := FleetOptions{Common: c, Fleet: demo(filesSite("example.org", directory(t, map[string]string{"index.html": "home"})))}
	f := start(t, Fleet, o)
	f.stop()
	if err := errors.Join(f.wait(t), os.RemoveAll(filepath.Join(c.State, "up"))); err != nil {
		t.Fatal(err)
	}
	f = start(t, Fleet, o)
	if got := newVisitor(t, f.report.CA).get("HTTP/2.0", f.report.POPs[2].HTTPS+"/"); got.body != "home" {
		t.Errorf("%+v", got)
	}
	if s := f.report.Sites[0]; !s.Deployed {
		t.Errorf("nothing was deployed: %+v", s)
	}
}

// A fleet that has POPs elsewhere is not pulled from under them.
func TestAPOPThatIsAnotherMachineIsLeftAlone(t *testing.T) {
	c, _ := common(t)
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: c.State, Fleet: "demo", Now: time.Now, Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	owner, err := keys.OpenFleet(c.State, "demo", nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := keys.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.AddPOP("ny", elsewhere.Public()); err != nil {
		t.Fatal(err)
	}
	err = Fleet(t.Context(), FleetOptions{Common: c, Fleet: demo()}, func(Running) { t.Error("it says that it runs") })
	if err == nil || !strings.Contains(err.Error(), "the POP ny of the fleet demo is another machine") {
		t.Errorf("%v", err)
	}
	_, roster, err := keys.FindFleet(c.State, "demo")
	if err != nil {
		t.Fatal(err)
	}
	if pinned, ok := roster.POP("ny"); !ok || pinned != elsewhere.Public() {
		t.Errorf("the roster has %v for it, want %v", pinned, elsewhere.Public())
	}
}

// Once the POPs are in the roster, the owner's key is needed no more.
func TestAFleetWhoseOwnersKeyIsElsewhereRunsAgain(t *testing.T) {
	c, _ := common(t)
	dir := directory(t, map[string]string{"index.html": "home"})
	o := FleetOptions{Common: c, Fleet: demo(filesSite("example.org", dir)), Getenv: func(string) string { return "" }}
	f := start(t, Fleet, o)
	f.stop()
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	owner, err := keys.OpenFleet(c.State, "demo", nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	may := []keys.Right{{What: keys.Deploy}, {What: keys.Operate}}
	id, err := owner.AddMember("laptop", may, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Keep(c.State); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(keys.FleetDir(c.State, "demo"), "owner.key")
	if err := errors.Join(os.Rename(key, key+".elsewhere"), os.WriteFile(filepath.Join(dir, "index.html"), []byte("changed"), 0o644)); err != nil {
		t.Fatal(err)
	}
	f = start(t, Fleet, o)
	if got := newVisitor(t, f.report.CA).get("HTTP/2.0", f.report.POPs[0].HTTPS+"/"); got.body != "changed" {
		t.Errorf("%+v", got)
	}
}
