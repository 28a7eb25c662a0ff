package control_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
)

const site = "example.org"

func head(generation uint64, release, previous string) *api.Head {
	return &api.Head{Site: site, Generation: generation, Release: release, Previous: previous}
}

// serves is a POP that serves a release and has kept others.
func serves(pop string, h *api.Head, staged ...string) control.POPState {
	s := control.POPState{POP: pop, Head: h, Staged: staged, Room: -1}
	if h != nil {
		s.Active = h.Release
		s.Staged = append([]string{h.Release}, staged...)
	}
	return s
}

func deploy(release string) control.Intent {
	return control.Intent{Kind: control.Deploy, Site: site, Release: release, Holder: "ada"}
}

// lines writes a plan as one line a lane.
func lines(p *control.Plan) []string {
	var all []string
	lane := func(name control.WaveName, l control.Lane) {
		words := []string{string(name), l.POP + ":"}
		for _, s := range l.Steps {
			word := string(s.Do)
			if s.Release != "" && s.Do != control.ActionVerify {
				word += " " + s.Release
			}
			if s.Generation > 0 {
				word += fmt.Sprintf("@%d", s.Generation)
			}
			words = append(words, word)
		}
		all = append(all, strings.Join(words, " "))
	}
	for _, w := range p.Waves {
		for _, l := range w.Lanes {
			lane(w.Name, l)
		}
	}
	if p.Undo != nil {
		for _, l := range p.Undo.Lanes {
			lane(control.WaveUndo, l)
		}
	}
	return all
}

// covers is a POP whose visitors are shown a certificate for previews.
func covers(s control.POPState) control.POPState {
	s.Covers = []string{site, "*.preview." + site}
	return s
}

func previewOf(release string) control.Intent {
	return control.Intent{Kind: control.Preview, Site: site, Release: release, Holder: "ada", Host: strings.Repeat("a", api.MinPreviewLabel) + ".preview." + site}
}

func TestAPlanOfAPreviewLeavesTheHeadAlone(t *testing.T) {
	plan, err := control.Make(previewOf("new"), []control.POPState{covers(serves("au", head(3, "old", ""))), covers(serves("fr", head(3, "old", ""), "new"))})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"lease au: lease", "lease fr: lease",
		"prepare au: offer new send new stage new knock", "prepare fr: knock",
		"activate au: preview new verify", "activate fr: preview new verify",
		"finish au: unlease", "finish fr: unlease",
	}
	if diff := cmp.Diff(want, lines(plan)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if plan.NewHead || plan.Generation != 3 || plan.Previous != "old" {
		t.Errorf("new head: %v, generation %d after %s", plan.NewHead, plan.Generation, plan.Previous)
	}
	if plan, err = control.Make(previewOf("old"), []control.POPState{covers(serves("au", head(3, "old", "")))}); err != nil || plan.Nothing() {
		t.Errorf("a preview of what is live: %v, %v", plan, err)
	}
}

func TestAPreviewThatNobodyCouldSeeIsNotPlanned(t *testing.T) {
	_, err := control.Make(previewOf("new"), []control.POPState{covers(serves("au", nil)), serves("fr", nil)})
	if err == nil || !strings.Contains(err.Error(), "fr has no certificate for *.preview."+site) {
		t.Errorf("%v", err)
	}
}

func TestAPlanSaysWhatEveryPOPDoes(t *testing.T) {
	for _, c := range []struct {
		name   string
		intent control.Intent
		pops   []control.POPState
		want   []string
	}{
		{
			"the first deploy has nothing to go back to", deploy("new"),
			[]control.POPState{serves("au", nil), serves("fr", nil)},
			[]string{
				"lease au: lease", "lease fr: lease",
				"prepare au: offer new send new stage new knock", "prepare fr: offer new send new stage new knock",
				"activate au: activate new@1 verify", "activate fr: activate new@1 verify",
				"finish au: unlease", "finish fr: unlease",
			},
		},
		{
			"a deploy goes back to what was there", deploy("new"),
			[]control.POPState{serves("au", head(4, "old", ""))},
			[]string{
				"lease au: lease", "prepare au: offer new send new stage new knock", "activate au: activate new@5 verify", "finish au: unlease",
				"undo au: activate old@6",
			},
		},
		{
			"what is staged is not sent",
			control.Intent{Kind: control.Rollback, Site: site, Release: "older", Holder: "ada"},
			[]control.POPState{serves("au", head(4, "old", "older"), "older")},
			[]string{"lease au: lease", "prepare au: knock", "activate au: activate older@5 verify", "finish au: unlease", "undo au: activate old@6"},
		},
		{
			"a POP that is behind is not the first, and is given what it needs to go back", deploy("new"),
			[]control.POPState{serves("au", head(3, "older", "")), serves("fr", head(4, "old", "older"))},
			[]string{
				"lease au: lease", "lease fr: lease",
				"prepare fr: offer new send new stage new knock", "prepare au: offer new send new stage new knock",
				"activate fr: activate new@5 verify", "activate au: activate new@5 verify",
				"finish au: unlease", "finish fr: unlease",
				"undo fr: activate old@6", "undo au: offer old send old stage old activate old@6",
			},
		},
		{
			"what is served already brings the others up to it, with the head that is there", deploy("old"),
			[]control.POPState{serves("au", head(3, "older", "")), serves("fr", head(4, "old", "older"))},
			[]string{
				"lease au: lease", "lease fr: lease", "prepare au: offer old send old stage old knock", "activate au: activate old@4 verify",
				"finish au: unlease", "finish fr: unlease",
			},
		},
		{
			"catching up takes the highest head",
			control.Intent{Kind: control.CatchUp, Site: site, Holder: "ada"},
			[]control.POPState{serves("au", nil), serves("fr", head(4, "old", "older"))},
			[]string{
				"lease au: lease", "lease fr: lease", "prepare au: offer old send old stage old knock", "activate au: activate old@4 verify",
				"finish au: unlease", "finish fr: unlease",
			},
		},
		{"nothing to do is nothing", deploy("old"), []control.POPState{serves("au", head(4, "old", "")), serves("fr", head(4, "old", ""))}, nil},
		{
			"POPs that disagree about a generation get a new one", deploy("old"),
			[]control.POPState{serves("au", head(4, "old", "")), serves("fr", head(4, "else", ""))},
			[]string{
				"lease au: lease", "lease fr: lease", "prepare au: knock", "prepare fr: offer old send old stage old knock",
				"activate au: activate old@5 verify", "activate fr: activate old@5 verify", "finish au: unlease", "finish fr: unlease",
				"undo au: activate old@6", "undo fr: offer old send old stage old activate old@6",
			},
		},
		{
			"a generation that was given away is not given again",
			control.Intent{Kind: control.Deploy, Site: site, Release: "new", Generation: 9},
			[]control.POPState{serves("au", head(4, "old", ""))},
			[]string{
				"lease au: lease", "prepare au: offer new send new stage new knock", "activate au: activate new@10 verify", "finish au: unlease",
				"undo au: activate old@11",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := control.Make(c.intent, c.pops)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, lines(p)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if p.Nothing() != (c.want == nil) {
				t.Errorf("Nothing is %v", p.Nothing())
			}
		})
	}
}

func TestAPOPThatCannotBeReachedIsLeftBehindUnlessAllAreWanted(t *testing.T) {
	pops := []control.POPState{serves("au", nil), {POP: "fr", Unreachable: "connection refused"}}
	p, err := control.Make(deploy("new"), pops)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]control.Behind{{POP: "fr", Why: "connection refused"}}, p.Behind); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, line := range lines(p) {
		if strings.Contains(line, "fr:") {
			t.Errorf("the plan has %s", line)
		}
	}
	all := deploy("new")
	all.All = true
	if _, err := control.Make(all, pops); err == nil || !strings.Contains(err.Error(), "fr: connection refused") {
		t.Errorf("with --all: %v", err)
	}
}

func TestAPlanIsRefused(t *testing.T) {
	lease := &api.Lease{Holder: "bob", Expires: time.Now().Add(time.Minute), Left: time.Minute}
	leased := func(pop string) control.POPState {
		s := serves(pop, nil)
		s.Lease = lease
		return s
	}
	shows := func(head *api.Head, names ...string) control.POPState {
		s := serves("au", head)
		s.Covers = names
		return s
	}
	full := serves("au", nil)
	full.Lacks, full.Room = control.Amount{Objects: 1, Bytes: 100}, 99
	for _, c := range []struct {
		name   string
		intent control.Intent
		pops   []control.POPState
		want   string
	}{
		{"without POPs", deploy("new"), nil, "has no POPs"},
		{"when none answers", deploy("new"), []control.POPState{{POP: "au", Unreachable: "no route"}}, "no POP can be reached: au: no route"},
		{"when all refuse the key", deploy("new"), []control.POPState{{POP: "au", Unreachable: "au refuses: no", Refused: true}, {POP: "fr", Unreachable: "fr refuses: no", Refused: true}}, "no POP lets this key in: au refuses: no"},
		{"when one refuses the key and the other is gone", deploy("new"), []control.POPState{{POP: "au", Unreachable: "au refuses: no", Refused: true}, {POP: "fr", Unreachable: "no route"}}, "no POP can be reached: au: au refuses: no; fr: no route"},
		{"when somebody else deploys", deploy("new"), []control.POPState{leased("au"), leased("fr"), serves("ny", nil)}, "being deployed by bob, until "},
		{"when there is no room", deploy("new"), []control.POPState{full}, "au has no room: 100 bytes would be sent"},
		{"when a new site is in none of the certificates", deploy("new"), []control.POPState{shows(nil, "other.example", "*.preview."+site)}, "au has certificates, and none for " + site},
		{"when there is nothing to catch up with", control.Intent{Kind: control.CatchUp, Site: site}, []control.POPState{serves("au", nil)}, "was never deployed"},
		{
			"when it is not clear what to catch up with",
			control.Intent{Kind: control.CatchUp, Site: site},
			[]control.POPState{serves("au", head(4, "old", "")), serves("fr", head(4, "else", ""))},
			"disagree about generation 4",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := control.Make(c.intent, c.pops); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, seen := range []control.POPState{shows(nil), shows(nil, "other.example", site), shows(nil, "*.org"), shows(head(4, "old", ""), "other.example")} {
		if _, err := control.Make(deploy("new"), []control.POPState{seen}); err != nil {
			t.Errorf("with certificates for %q: %v", seen.Covers, err)
		}
	}
	one := []control.POPState{leased("au"), serves("fr", nil), serves("ny", nil)}
	if _, err := control.Make(deploy("new"), one); err != nil {
		t.Errorf("a lease on a minority: %v", err)
	}
	waiting := deploy("new")
	waiting.Wait = true
	if _, err := control.Make(waiting, []control.POPState{leased("au")}); err != nil {
		t.Errorf("who waits is refused: %v", err)
	}
	mine := leased("au")
	mine.Lease = &api.Lease{Holder: "ada"}
	if _, err := control.Make(deploy("new"), []control.POPState{mine}); err != nil {
		t.Errorf("a lease of one's own is in the way: %v", err)
	}
	_, err := control.Make(deploy("new"), []control.POPState{leased("au")})
	if held, ok := errors.AsType[*control.LeasedError](err); !ok || held.Lease.Holder != "bob" {
		t.Errorf("who holds the lease is not in %v", err)
	}
}

// TestCarryingAPlanOutLeavesAnEmptyOne is what makes repeating a command safe.
func TestCarryingAPlanOutLeavesAnEmptyOne(t *testing.T) {
	before := [][]control.POPState{
		{serves("au", nil), serves("fr", nil), serves("ny", nil)},
		{serves("au", head(7, "old", "older")), serves("fr", head(6, "older", "")), serves("ny", nil)},
		{serves("au", head(7, "new", "old"), "old"), serves("fr", head(6, "old", ""), "new"), serves("ny", head(7, "new", "old"))},
	}
	for _, pops := range before {
		p, err := control.Make(deploy("new"), pops)
		if err != nil {
			t.Fatal(err)
		}
		after := slices.Clone(pops)
		for i := range after {
			for _, w := range p.Waves {
				for _, l := range w.Lanes {
					if w.Name == control.WaveActivate && l.POP == after[i].POP {
						after[i] = serves(l.POP, head(p.Generation, p.Release, p.Previous))
					}
				}
			}
		}
		again, err := control.Make(deploy("new"), after)
		if err != nil || !again.Nothing() {
			t.Errorf("after %v there is still %v (%v)", lines(p), lines(again), err)
		}
	}
}
