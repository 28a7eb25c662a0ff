package control_test

import (
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
)

// waiting waits until somebody says that they wait for another's deploy.
func (f *testFleet) waiting() {
	f.t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		for _, e := range f.events {
			if e.Kind == control.EventWaiting {
				f.mu.Unlock()
				return
			}
		}
		f.mu.Unlock()
		if time.Now().After(limit) {
			f.t.Fatal("nobody says that they wait")
		}
	}
}

// Who waits to go back goes where they wanted to go when they asked, also where the deploy
// that they have waited for has gone well.
func TestARollbackThatWaitedGoesBackToWhatWasBeforeWhenItWasAskedFor(t *testing.T) {
	f := newFleet(t, "au", "ny")
	c := f.open()
	first := f.deploy(c, pages("one"))
	second := f.deploy(c, pages("two"))
	third := f.preview(c, pages("three").dir(t)) // so that every POP has it
	lease := func(seconds int64) {
		for _, p := range f.pops {
			p.put("/v1/sites/"+site+"/lease", marshal(t, api.LeaseRequest{Holder: "bob on his laptop", TTL: seconds}))
		}
	}
	lease(600)
	type outcome struct {
		report *control.Report
		err    error
	}
	done := make(chan outcome, 1) // the one rollback's
	go func() {
		r, err := c.Rollback(t.Context(), control.RollbackOptions{Site: site, Wait: true})
		done <- outcome{r, err}
	}()
	f.waiting()
	head, err := f.owner.Identity().Key().Sign(api.KindHead, fleetName, marshal(t, api.Head{
		Site: site, Generation: second.Generation + 1, Release: third.Release, Previous: second.Release, Time: time.Now().UTC(),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.pops {
		p.put("/v1/sites/"+site+"/head", marshal(t, head))
	}
	f.shows("three")
	lease(1)
	select {
	case got := <-done:
		if got.err != nil {
			t.Fatal(got.err)
		}
		if r := got.report; r.Release != first.Release || r.Previous != third.Release || r.Live() != 2 {
			t.Errorf("reported %+v", r)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the rollback does not end")
	}
	f.shows("one")
}
