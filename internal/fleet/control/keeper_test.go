package control_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
	with := func(o control.Observation, previews string) control.Observation {
		o.Status.Sites[0].Previews = previews
		return o
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
			"the previews, where POPs do not have the same",
			[]control.Observation{with(pop("au", 3, 30, head(2, "b"), "b"), "x"), with(pop("fr", 3, 30, head(2, "b"), "b"), ""), pop("ny", 3, 30, nil, "")},
			[]control.Chore{{Do: control.ChoreSite, Site: site, POPs: []string{"ny"}}, {Do: control.ChorePreview, Site: site}},
		},
		{
			"nothing where POPs have the same previews",
			[]control.Observation{with(pop("au", 3, 30, head(2, "b"), "b"), "x"), with(pop("fr", 3, 30, head(2, "b"), "b"), "x")},
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

// A new POP is known by the key that its owner was told, and gets everything else.
func TestANewPOPIsBroughtItsFirstCertificate(t *testing.T) {
	f := newFleet(t, "au")
	ny := f.pin("ny")
	h := f.home(0, keys.Right{What: keys.Renew}, keys.Right{What: keys.Operate})
	ny.start()
	if r := h.round(t); !r.OK() || !slices.Equal(did(r, "ny"), []control.ChoreKind{control.ChoreRoster, control.ChoreConfig, control.ChoreLeaf}) {
		t.Errorf("done: %+v, failed: %+v", r.Done, r.Failed)
	}
	if r := h.round(t); !r.OK() || len(r.Done) > 0 {
		t.Errorf("once more: %+v", r)
	}
	ny.stop()
	ny.start()
	id, err := f.owner.AddMember("ci", []keys.Right{{What: keys.Deploy}}, cryptoRand())
	if err != nil {
		t.Fatal(err)
	}
	_, roster := f.owner.Roster()
	ny.put("/v1/roster", marshal(t, roster))
	// Who has no roster yet knows it by the fleet's CA.
	seen, err := f.openAs(id, t.TempDir()).Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o := seen[1]; o.Err != nil || !o.Status.LeafExpires.After(time.Now()) {
		t.Errorf("ny says %+v, %v", o.Status, o.Err)
	}
}

// Another machine at the address of a new POP is told nothing.
func TestAnotherMachineInThePlaceOfANewPOPIsRefused(t *testing.T) {
	f := newFleet(t, "au")
	ny := f.pin("ny")
	h := f.home(0, all()...)
	if err := os.Remove(filepath.Join(ny.dir, "agent.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Key(ny.dir); err != nil { // another one
		t.Fatal(err)
	}
	ny.start()
	r := h.round(t)
	if len(did(r, "ny")) > 0 || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Error, keys.ErrNotPinned.Error()) {
		t.Errorf("done: %+v, failed: %+v", r.Done, r.Failed)
	}
	for _, file := range []string{"roster.json", "config.json", "leaf.pem"} {
		if _, err := os.Stat(filepath.Join(ny.dir, file)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it was told %s: %v", file, err)
		}
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

// In its last month a CA is something to look at, and in the last days of it certificates
// are not renewed again and again for nothing.
func TestWhoKeepsAFleetUpSaysThatItsCAEnds(t *testing.T) {
	const day = 24 * time.Hour
	f := newFleet(t, "au")
	ends := f.owner.CA().Certificate().NotAfter
	early := f.home(time.Until(ends)-40*day, keys.Right{What: keys.Renew})
	if r := early.round(t); !r.OK() || len(r.Warnings) > 0 {
		t.Errorf("forty days before: %+v", r)
	}
	id, err := f.owner.AddMember("late", []keys.Right{{What: keys.Renew}}, cryptoRand())
	if err != nil {
		t.Fatal(err)
	}
	late := func() time.Time { return ends.Add(-5 * day) }
	log := new(bytes.Buffer)
	k := &control.Keeper{
		Open: func(events func(control.Event)) (*control.Fleet, error) {
			return control.Open(control.Options{StateDir: f.state, ID: id, POPs: f.where, Events: events, Now: late})
		},
		Authority: func() (*keys.CA, error) { return keys.FindAuthority(f.state, fleetName, late) },
		Log:       slog.New(slog.NewTextHandler(log, nil)), Now: late,
	}
	for i := range 3 {
		r, err := k.Round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		renewed := 0
		for _, d := range r.Done {
			if d.Do == control.ChoreLeaf {
				renewed++
			}
		}
		if !r.OK() || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "penny key ca") || renewed > 0 && i > 0 {
			t.Errorf("look %d: %+v", i, r)
		}
	}
	if n := strings.Count(log.String(), "penny key ca"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, log)
	}
	c, err := control.Open(control.Options{StateDir: f.state, ID: id, POPs: f.where, Now: late})
	if err != nil {
		t.Fatal(err)
	}
	status, err := c.Status(t.Context())
	if err != nil || len(status.Warnings) != 1 || !status.OK() {
		t.Errorf("the status is %+v, %v", status, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	// The next one is in time, and is said no more.
	owner, err := keys.OpenFleet(f.state, fleetName, nil, late)
	if err != nil {
		t.Fatal(err)
	}
	if !owner.CA().Fresh() {
		t.Error("there is no new CA")
	}
	if r, err := k.Round(t.Context()); err != nil || !r.OK() || len(r.Warnings) > 0 || !slices.Contains(did(r, "au"), control.ChoreLeaf) {
		t.Errorf("with a new CA: %+v, %v", r, err)
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
