package control_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

// numbers are those of the configurations that POPs have.
func (f *testFleet) numbers(c *control.Fleet) []uint64 {
	f.t.Helper()
	seen, err := c.Observe(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	var all []uint64
	for _, o := range seen {
		if o.Err != nil {
			f.t.Fatalf("%s: %v", o.POP.Name, o.Err)
		}
		all = append(all, o.Status.Config)
	}
	return all
}

func TestAConfigurationGoesToEveryPOPUnlessAllHaveIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	config := api.Config{Sites: []api.ConfigSite{{Name: site}}}
	for _, step := range []struct {
		name    string
		change  func()
		want    uint64
		restart bool
	}{
		{"what all have is left alone", func() {}, 1, false},
		{"another one has the next number", func() { config.Sites[0].Hosts = []string{"www." + site} }, 2, false},
		{"the same is left alone again", func() {}, 2, false},
		{"of the edge some waits for a start", func() { config.Edge.HeaderFields = 12 }, 3, true},
	} {
		step.change()
		restart, err := c.Configure(t.Context(), config)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for i, number := range f.numbers(c) {
			if number != step.want {
				t.Errorf("%s: %s has configuration %d, want %d", step.name, f.pops[i].name, number, step.want)
			}
		}
		if got := len(restart) == 2; got != step.restart {
			t.Errorf("%s: %v are to be started again, want all: %v", step.name, restart, step.restart)
		}
	}
}

// Of POPs that have different ones, none is taken for up to date.
func TestPOPsWithDifferentConfigurationsGetOneThatIsNewerThanBoth(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	old, err := f.owner.Identity().Key().Sign(api.KindConfig, fleetName, marshal(t, api.Config{Number: 7, Sites: []api.ConfigSite{{Name: site}}}))
	if err != nil {
		t.Fatal(err)
	}
	f.pops[1].put("/v1/config", marshal(t, old))
	if _, err := c.Configure(t.Context(), api.Config{Sites: []api.ConfigSite{{Name: site}}}); err != nil {
		t.Fatal(err)
	}
	if got := f.numbers(c); got[0] != 8 || got[1] != 8 {
		t.Errorf("they have %v, want 8 and 8", got)
	}
}

func TestWhoMayNotOperateConfiguresNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	id, err := f.owner.AddMember("ci", []keys.Right{{What: keys.Deploy}}, cryptoRand())
	if err != nil {
		t.Fatal(err)
	}
	owner := f.open()
	f.numbers(owner) // which brings the roster
	c := f.openAs(id, t.TempDir())
	f.numbers(c)
	_, err = c.Configure(t.Context(), api.Config{Sites: []api.ConfigSite{{Name: "other.example"}}})
	if refused, ok := errors.AsType[*control.RefusedError](err); !ok || refused.Answer.Code != api.CodeForbidden {
		t.Errorf("%v, want that it is forbidden", err)
	}
	if err := c.SetCertificate(t.Context(), site, f.pair); err == nil {
		t.Error("it sets a certificate")
	}
	if got := f.numbers(owner); got[0] != 1 {
		t.Errorf("the POP has configuration %d", got[0])
	}
}

func TestACertificateGoesToEveryPOP(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	if err := c.SetCertificate(t.Context(), "another.example", f.pair); err != nil {
		t.Fatal(err)
	}
	seen, err := c.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range seen {
		if n := len(o.Status.Certificates); n != 2 || o.Status.Certificates[0].Name != "another.example" {
			t.Errorf("%s has %+v", o.POP.Name, o.Status.Certificates)
		}
	}
	if err := c.SetCertificate(t.Context(), "another.example", []byte("no PEM")); err == nil || !strings.Contains(err.Error(), "another.example") {
		t.Errorf("no certificate at all: %v", err)
	}
}

func TestLogsNameWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	c := f.open()
	f.pops[1].stop()
	var pops []string
	err := c.Logs(t.Context(), control.LogOptions{Kind: "agent"}, func(l api.LogLine) error {
		pops = append(pops, l.POP)
		return nil
	})
	if gone, ok := errors.AsType[*control.GoneError](err); !ok || gone.POP != "ny" {
		t.Errorf("%v, want that ny is gone", err)
	}
	if len(pops) == 0 {
		t.Error("au has logged nothing")
	}
	for _, pop := range pops {
		if pop != "au" {
			t.Errorf("a line of %s", pop)
		}
	}
	if err := c.Logs(t.Context(), control.LogOptions{POPs: []string{"nowhere"}}, nil); err == nil || !strings.Contains(err.Error(), `the fleet has no POP "nowhere"`) {
		t.Errorf("%v", err)
	}
}

// A POP that hangs up is read on when it is back, without what was read already.
func TestLogsThatAreFollowedSurviveACut(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au")
	c := f.open()
	lines := make(chan api.LogLine, 100) // more than come
	ended := make(chan error, 1)
	ctx, stop := contextWithStop(t)
	go func() {
		ended <- c.Logs(ctx, control.LogOptions{Follow: true, Unordered: true}, func(l api.LogLine) error {
			lines <- l
			return nil
		})
	}()
	next := func(want string) {
		t.Helper()
		for deadline := time.After(time.Minute); ; {
			select {
			case l := <-lines:
				if l.Message == want {
					return
				}
				if want == "certificate taken" && l.Message == "configuration taken" {
					t.Error("what was read comes again")
				}
			case <-deadline:
				t.Fatalf("%q does not come", want)
			}
		}
	}
	next("configuration taken")
	next("certificate taken")
	f.pops[0].proxy.cut()
	if err := c.SetCertificate(t.Context(), "another.example", f.pair); err != nil {
		if err = c.SetCertificate(t.Context(), "another.example", f.pair); err != nil { // the cut may hit the first
			t.Fatal(err)
		}
	}
	next("certificate taken")
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// contextWithStop is the test's context until somebody stops it.
func contextWithStop(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	return ctx, stop
}
