package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// A Status is a fleet at a glance.
type Status struct {
	Fleet  string       `json:"fleet"`
	As     string       `json:"as"` // who asks
	Time   time.Time    `json:"time"`
	Roster uint64       `json:"roster"` // the number of the one in force
	POPs   []POPStatus  `json:"pops"`
	Sites  []SiteStatus `json:"sites"`
	// Until is until when every POP that answers serves visitors without control, and
	// Because says what ends then; zero if nothing does.
	Until   time.Time `json:"until,omitzero"`
	Because string    `json:"because,omitempty"`
	// Warnings are what to look at of the fleet as a whole, for people.
	Warnings []string `json:"warnings,omitempty"`
}

// A POPStatus is one POP.
type POPStatus struct {
	POP   string `json:"pop"`
	API   string `json:"api"`
	Error string `json:"error,omitempty"` // why it did not answer
	// Refused says that it did, and does not let us in.
	Refused bool          `json:"refused,omitempty"`
	Took    time.Duration `json:"took_ns"`
	Skew    time.Duration `json:"skew_ns"` // how far its clock is ahead of ours, about
	// Says is what it says of itself; nil if it did not answer.
	Says *api.Status `json:"says,omitempty"`
	// Warnings are what to look at, for people.
	Warnings []string `json:"warnings,omitempty"`
}

// A SiteStatus is one site.
type SiteStatus struct {
	Site       string    `json:"site"`
	Release    string    `json:"release,omitempty"` // what the newest head names
	Generation uint64    `json:"generation"`
	Since      time.Time `json:"since,omitzero"`
	Live       []string  `json:"live"`   // POPs that serve it
	Behind     []Behind  `json:"behind"` // POPs that do not
}

// OK reports whether every POP answers, and serves what it should.
func (s *Status) OK() bool {
	return !slices.ContainsFunc(s.POPs, func(p POPStatus) bool { return p.Error != "" }) &&
		!slices.ContainsFunc(s.Sites, func(site SiteStatus) bool { return len(site.Behind) > 0 })
}

const (
	// soon is how long before its end a certificate is something to look at.
	soon = 7 * 24 * time.Hour
	// muchSkew is how wrong a clock has to be to be something to look at.
	muchSkew = 5 * time.Second
	// nearlyFull is how many hundredths of a disk's budget are.
	nearlyFull = 90
)

// Status asks every POP how it is.
func (f *Fleet) Status(ctx context.Context) (*Status, error) {
	seen, err := f.Observe(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{Fleet: f.ID.Fleet, As: f.ID.Name, Time: f.Now().UTC(), POPs: []POPStatus{}, Sites: []SiteStatus{}}
	if r := f.currentRoster(); r != nil {
		s.Roster = r.Number
	}
	for i := range seen {
		s.POPs = append(s.POPs, seen[i].status(f.Now()))
	}
	s.lasts()
	s.Warnings = f.warnings()
	for _, name := range sitesOf(seen) {
		pops, err := f.believed(ctx, seen, name)
		if err != nil {
			return nil, err
		}
		s.Sites = append(s.Sites, siteStatus(name, pops))
	}
	return s, nil
}

// warnings are what is well still with the fleet as a whole, and will not be by itself.
func (f *Fleet) warnings() []string {
	r := f.currentRoster()
	if r == nil {
		return nil
	}
	expires := r.CAExpires()
	if expires.IsZero() || !keys.RenewCA(expires, f.Now()) {
		return nil
	}
	return []string{fmt.Sprintf("the fleet's CA ends at %s: penny key ca, with the owner's key, makes the next one", expires.UTC().Format(time.DateTime+" MST"))}
}

// status is one POP at a glance.
func (o *Observation) status(now time.Time) POPStatus {
	p := POPStatus{POP: o.POP.Name, API: o.POP.API, Took: o.Took, Says: o.Status}
	if o.Err != nil {
		p.Error, p.Refused = o.Err.Error(), refuses(o.Err)
		return p
	}
	p.Warnings = slices.Clone(o.Status.Warnings)
	// Its answer was made about half a round trip ago.
	p.Skew = o.Status.Time.Sub(now.Add(-o.Took / 2))
	if p.Skew.Abs() > muchSkew+o.Took {
		p.Warnings = append(p.Warnings, fmt.Sprintf("its clock is wrong by %v", p.Skew.Round(time.Second)))
	}
	if left := o.Status.LeafExpires.Sub(now); !o.Status.LeafExpires.IsZero() && left < soon {
		p.Warnings = append(p.Warnings, "its own certificate "+expires(left))
	}
	for _, c := range o.Status.Certificates {
		if left := c.Expires.Sub(now); left < soon {
			p.Warnings = append(p.Warnings, fmt.Sprintf("the certificate of %s %s", c.Name, expires(left)))
		}
	}
	if d := o.Status.Disk; d.Budget > 0 && d.Used*100 > d.Budget*nearlyFull {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d of 100 parts of its disk budget are used", d.Used*100/d.Budget))
	}
	return p
}

func expires(left time.Duration) string {
	if left <= 0 {
		return "has expired"
	}
	return fmt.Sprintf("expires in %d hours", int(left.Hours()))
}

// lasts finds out until when the fleet serves without anybody renewing anything. What
// visitors see ends with a site's certificate; a POP's own is for control alone, and may
// be renewed when it has expired.
func (s *Status) lasts() {
	for _, p := range s.POPs {
		if p.Says == nil {
			continue
		}
		for _, c := range p.Says.Certificates {
			if s.Until.IsZero() || c.Expires.Before(s.Until) {
				s.Until, s.Because = c.Expires, fmt.Sprintf("the certificate of %s at %s expires", c.Name, p.POP)
			}
		}
	}
}

// sitesOf are the names of all sites that POPs have.
func sitesOf(seen []Observation) []string {
	var names []string
	for _, o := range seen {
		if o.Status == nil {
			continue
		}
		for _, there := range o.Status.Sites {
			names = append(names, there.Site)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// siteStatus is one site at a glance.
func siteStatus(name string, pops []POPState) SiteStatus {
	s := SiteStatus{Site: name, Live: []string{}, Behind: []Behind{}}
	top := topOf(pops)
	if top != nil {
		s.Release, s.Generation, s.Since = top.Release, top.Generation, top.Time
	}
	for _, p := range pops {
		switch {
		case p.Unreachable != "":
			s.Behind = append(s.Behind, Behind{POP: p.POP, Why: p.Unreachable})
		case top == nil:
		case p.Active == top.Release && p.Head != nil && p.Head.Generation == top.Generation:
			s.Live = append(s.Live, p.POP)
		default:
			s.Behind = append(s.Behind, Behind{POP: p.POP, Why: "it serves " + cmp.Or(Short(p.Active), "nothing")})
		}
	}
	return s
}
