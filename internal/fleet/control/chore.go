package control

import (
	"cmp"
	"slices"
	"time"

	"pennyfarthing/internal/fleet/keys"
)

// A Chore is one thing that keeps a fleet up.
type Chore struct {
	Do ChoreKind
	// POPs are whom it is done for: one, except with ChoreSite. With ChorePreview they
	// are found out by who does it.
	POPs []string
	Site string // with ChoreSite and ChorePreview
	From string // with ChoreConfig: a POP that has the newest configuration
}

// A ChoreKind is what kind of chore it is. Its text is also what a [Done] says.
type ChoreKind string

// The kinds of chores.
const (
	ChoreRoster ChoreKind = "roster"        // brings the roster in force; every look at a POP does it
	ChoreConfig ChoreKind = "configuration" // brings the newest configuration
	ChoreLeaf   ChoreKind = "certificate"   // renews the certificate of the POP's agent
	ChoreSite   ChoreKind = "release"       // brings up to the head of a site
	// ChorePreview brings the previews of a site that others have, or their ends.
	ChorePreview ChoreKind = "preview"
)

// Chores decides what a fleet needs, from what its POPs have said: first what others
// wait for. A POP that does not answer needs nothing that could be done now.
func Chores(seen []Observation, now time.Time) []Chore {
	up := slices.DeleteFunc(slices.Clone(seen), func(o Observation) bool { return o.Err != nil })
	if len(up) == 0 {
		return nil
	}
	var all []Chore
	newest := slices.MaxFunc(up, func(a, b Observation) int { return cmp.Compare(a.Status.Config, b.Status.Config) })
	for _, o := range up {
		if o.Status.Config < newest.Status.Config {
			all = append(all, Chore{Do: ChoreConfig, POPs: []string{o.POP.Name}, From: newest.POP.Name})
		}
	}
	for _, o := range up {
		if keys.RenewPOP(o.Status.LeafExpires, now) {
			all = append(all, Chore{Do: ChoreLeaf, POPs: []string{o.POP.Name}})
		}
	}
	for _, site := range sitesOf(up) {
		if behind := behindOn(states(up, site)); len(behind) > 0 {
			all = append(all, Chore{Do: ChoreSite, Site: site, POPs: behind})
		}
		if previewsDiffer(up, site) {
			all = append(all, Chore{Do: ChorePreview, Site: site})
		}
	}
	return all
}

// behindOn are the POPs that do not serve what the newest head of a site names. Where
// POPs disagree about that head nobody is behind it: a person has to decide.
func behindOn(pops []POPState) []string {
	top, split := newest(pops)
	if top == nil || split {
		return nil
	}
	var behind []string
	for _, s := range pops {
		if s.Head == nil || s.Head.Generation != top.Generation || s.Active != top.Release {
			behind = append(behind, s.POP)
		}
	}
	return behind
}
