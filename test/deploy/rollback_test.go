package deploy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/control"
)

// A rollback moves a pointer, however many files there are: none is sent. How long it
// takes is in the log of the test.
func TestARollbackOfTenThousandFilesSendsNone(t *testing.T) {
	if testing.Short() {
		t.Skip("deploys ten thousand files; make test runs it")
	}
	const files = 10_000
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	write := func(name string, count int) {
		t.Helper()
		for i := range count {
			f.put(fmt.Sprintf("pages/%d/%d.html", i%100, i), fmt.Sprintf("<!doctype html><title>%d</title>%d of %s", i, i, name))
		}
	}
	write("one", files)
	f.write("one")
	f.deploy()
	const changed = 100
	write("two", changed)
	f.put("about.html", "about two")
	f.deploy()
	f.shows("two")
	code, stdout, stderr := f.run("rollback", site, "--json")
	var r control.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || r.Live() != 3 || r.Changed != changed+1 {
		t.Fatalf("penny rollback ended with %d: %s%s (%v)", code, stdout, stderr, err)
	}
	for _, of := range r.POPs {
		if of.Sent.Objects != 0 || of.Verified == nil || of.Verified.URLs == 0 || of.Verified.Differences != 0 {
			t.Errorf("%s was sent %+v, and verified %+v", of.POP, of.Sent, of.Verified)
		}
	}
	f.shows("one")
	first, last := activations(t, stderr)
	t.Logf("%d of %d files changed: the first POP had switched %v after the lease was asked for, the last %v; with %d URLs verified it took %v", changed+1, r.Files, first, last, r.Verified, r.Took)
}

// activations reads, of the events that a command has printed, how long after the first of
// them the first POP had switched, and the last.
func activations(t *testing.T, events string) (first, last time.Duration) {
	t.Helper()
	var began time.Time
	for line := range strings.Lines(events) {
		var e control.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("an event is %q: %v", line, err)
		}
		if began.IsZero() {
			began = e.Time
		}
		if e.Kind != control.EventStep || e.Do != control.ActionActivate {
			continue
		}
		if last = e.Time.Sub(began); first == 0 {
			first = last
		}
	}
	if last == 0 {
		t.Errorf("nothing was activated: %s", events)
	}
	return first, last
}
