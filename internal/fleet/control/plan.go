package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/mistake"
)

// An Intent is what somebody wants of a fleet.
type Intent struct {
	Kind    Kind
	Site    string
	Release string // what is to be served; "" with [CatchUp]: whatever the head names
	Host    string // where, with [Preview]
	Holder  string // who takes the lease
	// All makes a POP that cannot be reached an error.
	All bool
	// Wait lets somebody else's lease run out instead of giving up.
	Wait bool
	// Generation is the highest that we know to have been given away, on whichever POP.
	Generation uint64
	// Hint is what to do where no POP can be reached.
	Hint string
	// Only are the POPs that may change; empty for all.
	Only []string
}

// A Kind is what kind of change is wanted.
type Kind string

// The kinds.
const (
	Deploy   Kind = "deploy"   // a release becomes what is served
	Rollback Kind = "rollback" // one that was served before does
	Promote  Kind = "promote"  // one that POPs have, and that perhaps nobody has seen, does
	CatchUp  Kind = "catch-up" // POPs that are behind get what the others serve
	Preview  Kind = "preview"  // a release is served at a host of its own, and the site is left alone
)

// A POPState is what is known of one POP before anything is done.
type POPState struct {
	POP string
	// Unreachable says why the POP cannot be asked; "" if it has answered.
	Unreachable string
	// Refused says that it has answered all the same, and does not let us in.
	Refused  bool
	Head     *api.Head  // nil: it has never had one
	HeadKey  string     // who signed it, by what the POP says
	Orphaned bool       // who signed it may not any more
	Active   string     // the release that it serves
	Staged   []string   // releases that it could serve at once
	Lease    *api.Lease // nil: nobody holds it
	// Lacks is what would have to be sent of the intent's release. It is an estimate
	// from the releases that the POP keeps; the POP itself says exactly.
	Lacks Amount
	// Covers are the names of the certificates that its visitors are shown.
	Covers []string
	// Room is how many bytes the POP's store may still grow by; negative if unknown.
	Room int64
	// Batch says that the POP takes several calls in one.
	Batch bool
}

// An Amount is so many objects and their size, in bytes of their identity form.
type Amount struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// plus is both together.
func (a Amount) plus(b Amount) Amount { return Amount{a.Objects + b.Objects, a.Bytes + b.Bytes} }

// A Plan is what is to be done for one site, in order.
type Plan struct {
	Site       string `json:"site"`
	Kind       Kind   `json:"kind"`
	Release    string `json:"release"`
	Previous   string `json:"previous,omitempty"` // what is served now; "" for nothing
	Generation uint64 `json:"generation"`         // of the head that the POPs will have; with [Preview] that they have
	// NewHead says that this head is made for this plan; otherwise it is there already,
	// on the POPs that are not behind.
	NewHead bool     `json:"new_head"`
	Behind  []Behind `json:"behind,omitempty"`
	Waves   []Wave   `json:"waves,omitempty"` // empty: there is nothing to do
	// Undo is done when something is wrong after a POP was activated. It is empty
	// where there is nothing to go back to.
	Undo *Wave `json:"undo,omitempty"`
}

// A Behind is a POP that the plan leaves behind.
type Behind struct {
	POP string `json:"pop"`
	Why string `json:"why"`
}

// A Wave is what many POPs do at the same time.
type Wave struct {
	Name  WaveName `json:"name"`
	Lanes []Lane   `json:"lanes"`
	// Need is how many lanes must come to their end.
	Need int `json:"need"`
	// OneFirst holds the other lanes back until one has come to its end.
	OneFirst bool `json:"one_first,omitempty"`
}

// A WaveName names a wave.
type WaveName string

// The waves, in their order. WaveUndo is the one of [Plan.Undo].
const (
	WaveLease    WaveName = "lease"
	WavePrepare  WaveName = "prepare"
	WaveActivate WaveName = "activate"
	WaveFinish   WaveName = "finish"
	WaveUndo     WaveName = "undo"
)

// A Lane is what one POP does, step after step.
type Lane struct {
	POP   string `json:"pop"`
	Steps []Step `json:"steps"`
}

// A Step is one thing to do at one POP. Every step can be done twice.
type Step struct {
	Do         Action `json:"do"`
	POP        string `json:"pop"`
	Release    string `json:"release,omitempty"`
	Generation uint64 `json:"generation,omitempty"` // with ActionActivate
	Expected   Amount `json:"expected,omitzero"`    // with ActionSend
}

// An Action is what a step does.
type Action string

// The actions.
const (
	ActionLease    Action = "lease"    // takes the right to deploy the site
	ActionOffer    Action = "offer"    // sends the manifest and learns what is missing
	ActionSend     Action = "send"     // sends that
	ActionStage    Action = "stage"    // has it checked and compiled
	ActionKnock    Action = "knock"    // sees whether the POP's edge answers visitors
	ActionActivate Action = "activate" // sends the head: visitors see the release
	ActionPreview  Action = "preview"  // sends the preview: who knows its host sees the release there
	ActionVerify   Action = "verify"   // asks as a visitor, and compares
	ActionUnlease  Action = "unlease"  // gives the right back
	ActionRefine   Action = "refine"   // sends the best codings behind; in no plan, for it changes nothing
)

// Nothing reports whether the plan has nothing to do.
func (p *Plan) Nothing() bool { return len(p.Waves) == 0 }

// targets are the POPs that are activated.
func (p *Plan) targets() []string {
	var all []string
	for _, w := range p.Waves {
		for _, l := range w.Lanes {
			if w.Name == WaveActivate {
				all = append(all, l.POP)
			}
		}
	}
	return all
}

// Make decides what to do. It returns an error when nothing should be: nobody can be
// reached, somebody else holds the lease, or a POP has no room.
func Make(in Intent, pops []POPState) (*Plan, error) {
	plan := &Plan{Site: in.Site, Kind: in.Kind, Release: in.Release}
	var up []POPState
	for _, s := range pops {
		if s.Unreachable == "" {
			up = append(up, s)
			continue
		}
		plan.Behind = append(plan.Behind, Behind{POP: s.POP, Why: s.Unreachable})
	}
	if len(pops) > 0 && !slices.ContainsFunc(pops, func(s POPState) bool { return !s.Refused }) {
		return nil, &mistake.Error{What: "no POP lets this key in: " + pops[0].Unreachable, Hint: "penny key list, where the owner's key is, says who may; penny key add makes another key"}
	}
	if err := reachable(in, plan.Behind, up); err != nil {
		return nil, err
	}
	top, split := newest(up)
	targets, err := plan.aim(in, top, split, up)
	if err != nil {
		return nil, err
	}
	if len(in.Only) > 0 {
		targets = slices.DeleteFunc(slices.Clone(targets), func(s POPState) bool { return !slices.Contains(in.Only, s.POP) })
	}
	if len(targets) == 0 {
		return plan, nil
	}
	if err := leasable(in, up); err != nil {
		return nil, err
	}
	if err := roomy(targets); err != nil {
		return nil, err
	}
	if err := covered(in, targets); err != nil {
		return nil, err
	}
	plan.lay(up, targets)
	return plan, nil
}

// reachable refuses to do anything where nobody hears it.
func reachable(in Intent, behind []Behind, up []POPState) error {
	switch {
	case len(up) == 0 && len(behind) == 0:
		return &mistake.Error{What: "the fleet has no POPs", Hint: "add one to penny.toml, or run penny up"}
	case len(up) == 0:
		return &mistake.Error{What: "no POP can be reached: " + reasons(behind), Hint: cmp.Or(in.Hint, "penny status asks them all")}
	case in.All && len(behind) > 0:
		return &mistake.Error{What: "not every POP can be reached: " + reasons(behind), Hint: "without --all the others go ahead"}
	}
	return nil
}

func reasons(behind []Behind) string {
	var all []string
	for _, b := range behind {
		all = append(all, b.POP+": "+b.Why)
	}
	return strings.Join(all, "; ")
}

// newest is the head of the highest generation, nil for none, and whether POPs disagree
// about which release that generation names.
func newest(up []POPState) (top *api.Head, split bool) {
	for _, s := range up {
		switch {
		case s.Head == nil:
		case top == nil || s.Head.Generation > top.Generation:
			top, split = s.Head, false
		case s.Head.Generation == top.Generation && s.Head.Release != top.Release:
			split = true
		}
	}
	return top, split
}

// aim decides on the head, and returns the POPs that have to change for it.
func (p *Plan) aim(in Intent, top *api.Head, split bool, up []POPState) ([]POPState, error) {
	if in.Kind == CatchUp {
		switch {
		case top == nil:
			return nil, &mistake.Error{What: in.Site + " was never deployed", Hint: "penny deploy " + in.Site}
		case split:
			return nil, &mistake.Error{What: fmt.Sprintf("the POPs disagree about generation %d of %s", top.Generation, in.Site), Hint: "penny deploy " + in.Site + " makes a new one"}
		}
		p.Release = top.Release
	}
	if top != nil {
		p.Previous, p.Generation = top.Release, top.Generation
	}
	if in.Kind == Preview {
		return up, nil
	}
	if top != nil && !split && top.Release == p.Release {
		behind := slices.DeleteFunc(slices.Clone(up), func(s POPState) bool {
			return s.Head != nil && s.Head.Generation == top.Generation && s.Active == p.Release
		})
		orphaned := slices.ContainsFunc(up, func(s POPState) bool { return s.Head == top && s.Orphaned })
		p.Previous = top.Previous
		if len(behind) == 0 || !orphaned {
			return behind, nil
		}
		// No POP takes that head any more. What a thief may have deployed is not
		// spread unless somebody says so who has the files.
		if in.Kind == CatchUp {
			return nil, &mistake.Error{
				What: fmt.Sprintf("release %s of %s was deployed by somebody who may not any more, and is not spread further", Short(top.Release), in.Site),
				Hint: "penny deploy " + in.Site + ", or penny rollback " + in.Site,
			}
		}
	}
	p.NewHead = true
	p.Generation = max(p.Generation, in.Generation) + 1
	if p.Generation > api.MaxGeneration {
		return nil, fmt.Errorf("%s has no generation after %d", in.Site, uint64(api.MaxGeneration))
	}
	return up, nil
}

// leasable refuses to begin where somebody else is at it.
func leasable(in Intent, up []POPState) error {
	var held []POPState
	for _, s := range up {
		if s.Lease != nil && s.Lease.Holder != in.Holder {
			held = append(held, s)
		}
	}
	if in.Wait || len(up)-len(held) >= majority(len(up)) {
		return nil
	}
	return &LeasedError{Site: in.Site, Lease: *held[0].Lease}
}

// majority is how many of n are more than half.
func majority(n int) int { return n/2 + 1 }

// roomy refuses what would not fit, before anything is sent.
func roomy(targets []POPState) error {
	for _, s := range targets {
		if s.Room >= 0 && s.Lacks.Bytes > s.Room {
			return &mistake.Error{
				What: fmt.Sprintf("%s has no room: %d bytes would be sent, and its store may grow by %d", s.POP, s.Lacks.Bytes, s.Room),
				Hint: "give its agent a larger disk budget, or deploy less",
			}
		}
	}
	return nil
}

// covered refuses what no browser could reach: a preview, whose host itself is in no
// certificate, because those are published; and the first release of a site that is in
// none of the certificates that a POP has. Where it has none at all visitors may still
// come without TLS, and once there was a release it is no matter of the next one.
func covered(in Intent, targets []POPState) error {
	if in.Kind == Deploy {
		for _, s := range targets {
			if s.Head == nil && len(s.Covers) > 0 && !covers(s.Covers, in.Site) {
				return &mistake.Error{
					What: fmt.Sprintf("%s has certificates, and none for %s: browsers would be refused", s.POP, in.Site),
					Hint: "penny up makes one when it is started again; elsewhere bring it one: PUT /v1/certificates/" + in.Site + ", docs/agent-api.md",
				}
			}
		}
	}
	if in.Kind != Preview {
		return nil
	}
	_, zone, _ := strings.Cut(in.Host, ".")
	for _, s := range targets {
		if !slices.Contains(s.Covers, "*."+zone) {
			return &mistake.Error{
				What: fmt.Sprintf("%s has no certificate for *.%s, so that nobody could see a preview there", s.POP, zone),
				Hint: "bring it one that has this name: docs/deploy.md, Previews",
			}
		}
	}
	return nil
}

// covers reports whether one of a certificate's names is a host, or stands for it.
func covers(names []string, host string) bool {
	_, zone, _ := strings.Cut(host, ".")
	return slices.Contains(names, host) || slices.Contains(names, "*."+zone)
}

// lay lays out the waves.
func (p *Plan) lay(up, targets []POPState) {
	lease, finish := Wave{Name: WaveLease, Need: majority(len(up))}, Wave{Name: WaveFinish}
	for _, s := range up {
		lease.lane(s.POP, Step{Do: ActionLease})
		finish.lane(s.POP, Step{Do: ActionUnlease})
	}
	prepare := Wave{Name: WavePrepare, Need: 1}
	activate := Wave{Name: WaveActivate, Need: 1, OneFirst: p.NewHead && len(targets) > 1}
	undo := &Wave{Name: WaveUndo}
	for _, s := range inOrder(targets, p.Previous) {
		prepare.lane(s.POP, append(p.bring(s, p.Release, s.Lacks), Step{Do: ActionKnock})...)
		show := Step{Do: ActionActivate, Release: p.Release, Generation: p.Generation}
		if p.Kind == Preview {
			show = Step{Do: ActionPreview, Release: p.Release}
		}
		activate.lane(s.POP, show, Step{Do: ActionVerify, Release: p.Release})
		undo.lane(s.POP, append(p.bring(s, p.Previous, Amount{}), Step{Do: ActionActivate, Release: p.Previous, Generation: p.Generation + 1})...)
	}
	p.Waves = []Wave{lease, prepare, activate, finish}
	if p.NewHead && p.Previous != "" {
		p.Undo = undo
	}
}

// bring is what makes a POP ready to serve a release.
func (p *Plan) bring(s POPState, release string, lacks Amount) []Step {
	if slices.Contains(s.Staged, release) {
		return nil
	}
	return []Step{{Do: ActionOffer, Release: release}, {Do: ActionSend, Release: release, Expected: lacks}, {Do: ActionStage, Release: release}}
}

// inOrder puts POPs that serve what all should be serving before the others: the first
// one that is activated should be as the rest are.
func inOrder(targets []POPState, previous string) []POPState {
	sorted := slices.Clone(targets)
	rank := func(s POPState) int {
		if s.Active == previous {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(sorted, func(a, b POPState) int { return rank(a) - rank(b) })
	return sorted
}

// lane adds a POP's steps.
func (w *Wave) lane(pop string, steps ...Step) {
	for i := range steps {
		steps[i].POP = pop
	}
	w.Lanes = append(w.Lanes, Lane{POP: pop, Steps: steps})
}
