package agent

import (
	"slices"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
)

// The defaults of api.Retention.
const (
	keepReleases = 10
	keepAge      = 7 * 24 * time.Hour
)

// A record is what an agent knows of a release beside its manifest: a file of the
// state directory.
type record struct {
	Here   time.Time      `json:"here"`            // when the manifest came first
	Staged time.Time      `json:"staged,omitzero"` // when it had been staged, zero: not yet
	Active time.Time      `json:"active,omitzero"` // when it was last activated, zero: never
	Files  int            `json:"files"`
	Bytes  int64          `json:"bytes"`
	Time   time.Time      `json:"time"` // by the deployer's clock
	Key    keys.PublicKey `json:"key"`  // the deployer's
}

// last returns when something last became of a release.
func (r *record) last() time.Time {
	last := r.Here
	for _, t := range []time.Time{r.Staged, r.Active} {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// keepers returns which releases of a site stay: the one that is served and that
// of the head, the newest that were ever served, whatever was touched lately, and
// what was staged after the last activation, for it may be next. Whoever stages
// and never activates does not push out what can be rolled back to.
func keepers(records map[release.Hash]*record, serving []release.Hash, r api.Retention, now time.Time) map[release.Hash]bool {
	count, age := keepReleases, keepAge
	if r.Releases > 0 {
		count = r.Releases
	}
	if r.Age > 0 {
		age = time.Duration(r.Age) * time.Second
	}
	keep := make(map[release.Hash]bool)
	var lastActivation time.Time
	for _, id := range serving {
		keep[id] = true
		if rec := records[id]; rec != nil && rec.Active.After(lastActivation) {
			lastActivation = rec.Active
		}
	}
	var served []release.Hash
	for id, rec := range records {
		if !rec.Active.IsZero() {
			served = append(served, id)
		}
		if now.Sub(rec.last()) < age || rec.Active.IsZero() && rec.Staged.After(lastActivation) {
			keep[id] = true
		}
	}
	slices.SortFunc(served, func(a, b release.Hash) int { return records[b].Active.Compare(records[a].Active) })
	for _, id := range served[:min(count, len(served))] {
		keep[id] = true
	}
	return keep
}
