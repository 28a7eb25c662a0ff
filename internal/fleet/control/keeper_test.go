package control_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

func TestWhatAFleetNeedsIsDecidedFromWhatItsPOPsSay(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	head := func(generation uint64, release string) *api.Head {
		return &api.Head{Site: site, Generation: generation, Release: release}
	}
	pop := func(name string, config uint64, days int, head *api.Head, active string) control.Observation {
		s := &api.Status{Config: config, LeafExpires: now.AddDate(0, 0, days)}
		if head != nil || active != "" {
			s.Sites = []api.SiteStatus{{Site: site, Head: head, Active: active}}
		}
		return control.Observation{POP: control.POP{Name: name}, Status: s}
	}
	for _, test := range []struct {
		name string
		seen []control.Observation
		want []control.Chore
	}{
		{"nothing where all is well", []control.Observation{pop("au", 3, 11, head(2, "b"), "b"), pop("fr", 3, 30, head(2, "b"), "b")}, nil},
		{"nothing where nobody answers", []control.Observation{{POP: control.POP{Name: "au"}, Err: errors.New("gone")}}, nil},
		{
			"the release, for who has an older head, none, or does not serve it",
			[]control.Observation{pop("au", 3, 30, head(2, "b"), "b"), pop("fr", 3, 30, head(1, "a"), "a"), pop("ny", 3, 30, nil, ""), pop("sg", 3, 30, head(2, "b"), "")},
			[]control.Chore{{Do: control.ChoreSite, Site: site, POPs: []string{"fr", "ny", "sg"}}},
		},
		{
			"nothing for a site about whose head POPs disagree",
			[]control.Observation{pop("au", 3, 30, head(2, "b"), "b"), pop("fr", 3, 30, head(2, "c"), "c"), pop("ny", 3, 30, head(1, "a"), "a")},
			nil,
		},
		{
			"the configuration first, then certificates, at a third of their life and when they have expired",
			[]control.Observation{pop("au", 3, 10, head(2, "b"), "b"), pop("fr", 0, -400, head(1, "a"), "a"), pop("ny", 4, 11, head(2, "b"), "b")},
			[]control.Chore{
				{Do: control.ChoreConfig, POPs: []string{"au"}, From: "ny"},
				{Do: control.ChoreConfig, POPs: []string{"fr"}, From: "ny"},
				{Do: control.ChoreLeaf, POPs: []string{"au"}},
				{Do: control.ChoreLeaf, POPs: []string{"fr"}},
				{Do: control.ChoreSite, Site: site, POPs: []string{"fr"}},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, control.Chores(test.seen, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A home is where penny control runs: a machine of its own, which has deployed nothing.
type home struct {
	*control.Keeper
	log *bytes.Buffer
}

// home makes one for somebody with these rights, whose clock is ahead.
func (f *testFleet) home(ahead time.Duration, may ...keys.Right) *home {
	f.t.Helper()
	id, err := f.owner.AddMember("home", may, cryptoRand())
	if err != nil {
		f.t.Fatal(err)
	}
	h, state := &home{log: new(bytes.Buffer)}, f.t.TempDir()
	now := func() time.Time { return time.Now().Add(ahead) }
	_, roster := f.owner.Roster()
	// As penny control restore leaves it.
	dir := keys.FleetDir(state, fleetName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	if _, _, err := keys.KeepRoster(dir, fleetName, id.Owner, roster); err != nil {
		f.t.Fatal(err)
	}
	h.Keeper = &control.Keeper{
		Open: func(events func(control.Event)) (*control.Fleet, error) {
			return control.Open(control.Options{StateDir: state, ID: id, POPs: f.where, Events: events, Now: now})
		},
		Authority: func() (*keys.CA, error) { return keys.FindAuthority(f.state, fleetName, now) },
		Log:       slog.New(slog.NewTextHandler(h.log, nil)), Now: now,
	}
	return h
}

// all are the rights of a machine at home.
func all() []keys.Right {
	return []keys.Right{{What: keys.Deploy}, {What: keys.Renew}, {What: keys.Operate}}
}

func (h *home) round(t *testing.T) *control.Round {
	t.Helper()
	r, err := h.Round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// did is what was done at a POP.
func did(r *control.Round, pop string) []control.ChoreKind {
	var all []control.ChoreKind
	for _, d := range r.Done {
		if d.POP == pop {
			all = append(all, d.Do)
		}
	}
	return all
}

func TestAPOPThatWasDownDuringADeployCatchesUpByItself(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	h := f.home(0, all()...)
	laptop := f.open()
	f.deploy(laptop, pages("one"))
	if r := h.round(t); !r.OK() || r.POPs != 3 || len(r.Done) > 0 {
		t.Errorf("where all is well: %+v", r)
	}
	ny := f.pops[2]
	ny.stop()
	f.deploy(laptop, pages("two"))
	sites := []api.ConfigSite{{Name: site, Hosts: []string{"www." + site}}}
	for _, p := range f.pops[:2] {
		st, err := f.owner.Identity().Key().Sign(api.KindConfig, fleetName, marshal(t, api.Config{Number: 2, Time: time.Now().UTC(), Sites: sites}))
		if err != nil {
			t.Fatal(err)
		}
		p.put("/v1/config", marshal(t, st))
	}
	if _, err := f.owner.AddMember("ci", []keys.Right{{What: keys.Deploy}}, cryptoRand()); err != nil {
		t.Fatal(err)
	}
	for _, p := range f.pops[:2] {
		_, roster := f.owner.Roster()
		p.put("/v1/roster", marshal(t, roster))
	}
	for range 2 {
		if r := h.round(t); r.OK() || len(r.Failed) != 1 || r.Failed[0].POP != "ny" || len(r.Done) > 0 {
			t.Errorf("while ny is down: %+v", r)
		}
	}
	if n := strings.Count(h.log.String(), "POP does not answer"); n != 1 {
		t.Errorf("it says %d times that ny does not answer:\n%s", n, h.log)
	}
	ny.start()
	r := h.round(t)
	if !r.OK() {
		t.Errorf("it failed: %+v", r.Failed)
	}
	if got := did(r, "ny"); !slices.Equal(got, []control.ChoreKind{control.ChoreRoster, control.ChoreConfig, control.ChoreSite}) || len(r.Done) != 3 {
		t.Errorf("done: %+v", r.Done)
	}
	f.shows("two", ny)
	status, err := laptop.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !status.OK() || status.POPs[2].Says.Config != 2 || status.POPs[2].Says.Roster != status.Roster {
		t.Errorf("it is left with %+v", status)
	}
	for _, want := range []string{"roster delivered", "configuration delivered", "POP caught up", "trouble is over"} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, h.log)
		}
	}
	if r := h.round(t); !r.OK() || len(r.Done) > 0 {
		t.Errorf("once more: %+v", r)
	}
}

func TestCertificatesOfAgentsAreRenewedAlsoAfterTheirEnd(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		ahead time.Duration
		want  int
	}{
		"not before a third is left": {19 * day, 0}, "when a third is left": {21 * day, 2}, "when they have expired": {45 * day, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "au", "ny")
			h := f.home(test.ahead, keys.Right{What: keys.Renew})
			r := h.round(t)
			if !r.OK() {
				t.Fatalf("it failed: %+v", r.Failed)
			}
			renewed := 0
			for _, d := range r.Done {
				if d.Do == control.ChoreLeaf {
					renewed++
					if left := d.Expires.Sub(h.Now()); left < 29*day || left > 30*day {
						t.Errorf("%s has one for %v", d.POP, left)
					}
				}
			}
			if renewed != test.want {
				t.Errorf("%d were renewed, want %d", renewed, test.want)
			}
			if again := h.round(t); len(again.Done) > 0 || !again.OK() {
				t.Errorf("once more: %+v", again)
			}
		})
	}
}

func TestWhoMayNotOrCannotRenewSaysSo(t *testing.T) {
	t.Parallel()
	const ahead = 21 * 24 * time.Hour
	f := newFleet(t, "au")
	r := f.home(ahead, keys.Right{What: keys.Operate}).round(t)
	if len(r.Done) > 1 || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Error, "may not renew") {
		t.Errorf("who may not: %+v", r)
	}
	f = newFleet(t, "au")
	h := f.home(ahead, all()...)
	h.Authority = func() (*keys.CA, error) { return keys.FindAuthority(t.TempDir(), fleetName, time.Now) }
	if r := h.round(t); len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Error, "the fleet's CA is not on this machine") {
		t.Errorf("who has no CA: %+v", r)
	}
}

func TestASiteThatSomebodyDeploysIsLeftToThem(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "ny")
	h := f.home(0, all()...)
	laptop := f.open()
	ny := f.pops[1]
	ny.stop()
	f.deploy(laptop, pages("one"))
	ny.start()
	for _, p := range f.pops {
		p.put("/v1/sites/"+site+"/lease", marshal(t, api.LeaseRequest{Holder: "ada on laptop", TTL: 600}))
	}
	r := h.round(t)
	if len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Error, "is being deployed by ada on laptop") || len(did(r, "ny")) > 1 {
		t.Errorf("%+v", r)
	}
}

func TestAPOPThatCannotCatchUpDoesNotHoldUpAnother(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	h := f.home(0, all()...)
	f.pops[1].stop()
	f.pops[2].stop()
	f.deploy(f.open(), pages("one"))
	f.pops[1].start(func(o *agent.Options) { o.Disk = 1000 })
	f.pops[2].start()
	r := h.round(t)
	if len(r.Failed) != 1 || r.Failed[0].POP != "fr" || !strings.Contains(r.Failed[0].Error, "room") {
		t.Errorf("failed: %+v", r.Failed)
	}
	if got := did(r, "ny"); !slices.Contains(got, control.ChoreSite) {
		t.Errorf("done: %+v", r.Done)
	}
	f.shows("one", f.pops[2])
}

func TestAKeeperGoesOnUntilItIsStoppedAndTellsTroubleOnce(t *testing.T) {
	var log bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	rounds := 0
	k := &control.Keeper{
		Open: func(func(control.Event)) (*control.Fleet, error) {
			if rounds++; rounds == 4 {
				stop()
			}
			return nil, errors.New("no key")
		},
		Log: slog.New(slog.NewTextHandler(&log, nil)), Every: time.Millisecond,
	}
	if err := k.Run(ctx); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if n := strings.Count(log.String(), "fleet not looked at"); rounds != 4 || n != 1 {
		t.Errorf("%d rounds, and it says %d times what is wrong:\n%s", rounds, n, &log)
	}
}
