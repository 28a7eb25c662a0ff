package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/lockfile"
	"pennyfarthing/internal/mistake"
)

// checkSite refuses what is no name of a site, and would be a path elsewhere.
func checkSite(site string) error {
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}
	const most = 253 // bytes of a host name
	if site == "" || len(site) > most || site[0] == '.' || strings.ContainsFunc(site, other) {
		return &mistake.Error{What: fmt.Sprintf("%.260q is no name of a site", site), Hint: "write it as in the fleet file, such as example.org"}
	}
	return nil
}

// siteFile is a file that is kept for a site on this machine.
func (f *Fleet) siteFile(site, name string) string { return f.in("cache", "sites", site, name) }

// glances is how often a lock is tried by who does not wait: somebody may have it for the
// moment in which they see that it is free ([Fleet.deploying]).
const glances = 5

// lockSite lets one deploy of a site at a time run on this machine; others are told so,
// or wait.
func (f *Fleet) lockSite(ctx context.Context, site string, wait bool) (unlock func() error, err error) {
	file := f.siteFile(site, "lock")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("lock %s: %w", site, err)
	}
	for tries := 0; ; tries++ {
		unlock, err := lockfile.Take(file)
		if !errors.Is(err, lockfile.ErrLocked) {
			return unlock, err
		}
		if !wait {
			if tries == glances {
				return nil, &BusyError{Site: site}
			}
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return nil, err
			}
			continue
		}
		if tries == 0 {
			f.tell(Event{Kind: EventWaiting, Site: site, Text: "another penny on this machine is deploying " + site})
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// A memory is what is remembered of a site between runs. It saves work and decides
// nothing, but for the generation, which may not be given away twice.
type memory struct {
	Generation uint64 `json:"generation"` // the highest that was given away here
	Release    string `json:"release"`    // what was served when we last looked
}

func (f *Fleet) recall(site string) memory {
	var m memory
	data, err := os.ReadFile(f.siteFile(site, "memory.json"))
	if err != nil || json.Unmarshal(data, &m) != nil {
		return memory{} // as on a new machine
	}
	return m
}

func (f *Fleet) remember(site string, m memory) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replaceFile(f.siteFile(site, "memory.json"), data)
}

// noteGeneration remembers that a generation was given away.
func (f *Fleet) noteGeneration(site string, generation uint64) error {
	m := f.recall(site)
	m.Generation = max(m.Generation, generation)
	return f.remember(site, m)
}

// state turns what a POP said into what a plan is made of.
func (o *Observation) state(site string) POPState {
	s := POPState{POP: o.POP.Name, Room: -1}
	if o.Err != nil {
		s.Unreachable, s.Refused = o.Err.Error(), refuses(o.Err)
		return s
	}
	if d := o.Status.Disk; d.Budget > 0 {
		s.Room = max(0, d.Budget-d.Used)
	}
	s.Batch = o.Status.Batch
	for _, c := range o.Status.Certificates {
		s.Covers = append(s.Covers, c.Names...)
	}
	for _, there := range o.Status.Sites {
		if there.Site == site {
			s.Head, s.HeadKey, s.Active, s.Staged, s.Lease = there.Head, there.HeadKey, there.Active, there.Staged, there.Lease
		}
	}
	return s
}

// states are all of them.
func states(seen []Observation, site string) []POPState {
	all := make([]POPState, len(seen))
	for i := range seen {
		all[i] = seen[i].state(site)
	}
	return all
}

// donors are the POPs that have a release.
func (f *Fleet) donors(pops []POPState, id string) []*agentClient {
	var all []*agentClient
	for _, s := range pops {
		if slices.Contains(s.Staged, id) {
			all = append(all, f.agent(s.POP))
		}
	}
	return all
}

// lacks estimates what each POP lacks of a release, from the manifests of what it has.
func (f *Fleet) lacks(pops []POPState, m *release.Manifest, id string) {
	const looked = 3 // releases of a POP that are looked at, those first that cost least
	known := make(map[string]Amount)
	for i := range pops {
		s := &pops[i]
		if s.Unreachable != "" || slices.Contains(s.Staged, id) {
			continue
		}
		staged := s.Staged[:min(len(s.Staged), looked)]
		if at := slices.Index(s.Staged, s.Active); at > 0 { // what it serves is most like it
			staged = append([]string{s.Active}, staged...)
		}
		key := strings.Join(staged, " ")
		if _, done := known[key]; !done {
			known[key] = f.lackedWith(staged, m)
		}
		s.Lacks = known[key]
	}
}

// lackedWith returns what whoever has other releases lacks of one, as far as this machine
// knows.
func (f *Fleet) lackedWith(others []string, m *release.Manifest) Amount {
	var first *release.Manifest
	for len(others) > 0 && first == nil {
		first, others = f.manifestHere(others[0]), others[1:]
	}
	lacked := make(map[release.Hash]int64)
	changes := release.Diff(first, m)
	for _, file := range changes.Added {
		lacked[file.Hash] = file.Size
	}
	for _, c := range changes.Changed {
		lacked[c.New.Hash] = c.New.Size
	}
	without := func(m *release.Manifest) {
		for i := range m.Files {
			delete(lacked, m.Files[i].Hash)
		}
	}
	if first != nil {
		without(first)
	}
	for _, other := range others {
		if len(lacked) <= len(m.Files)/few {
			break // to read another manifest is more work than it may save
		}
		if there := f.manifestHere(other); there != nil {
			without(there)
		}
	}
	a := Amount{Objects: len(lacked)}
	for _, size := range lacked {
		a.Bytes += size
	}
	return a
}

// few is what part of a release's files is so small that nobody need look closer.
const few = 20

// findRelease returns the whole name of a release of which the first digits are given.
func findRelease(pops []POPState, site, prefix string) (string, error) {
	found := make(map[string]bool)
	for _, s := range pops {
		for _, id := range s.Staged {
			if strings.HasPrefix(id, strings.ToLower(prefix)) {
				found[id] = true
			}
		}
	}
	hint := "penny releases " + site + " lists them"
	switch len(found) {
	case 0:
		return "", &mistake.Error{What: fmt.Sprintf("no POP that answers has a release %s of %s", prefix, site), Hint: hint}
	case 1:
		for id := range found {
			return id, nil
		}
	}
	return "", &mistake.Error{What: fmt.Sprintf("%d releases of %s begin with %s", len(found), site, prefix), Hint: hint}
}

// opener returns what opens a file of a release that is not on this machine: POPs send
// it.
func (f *Fleet) opener(ctx context.Context, site string, donors []*agentClient) func(release.File) (io.ReadCloser, error) {
	return func(file release.File) (io.ReadCloser, error) {
		if in, err := f.store.OpenVerified(file.Hash); err == nil {
			return in, nil
		}
		if err := f.fetch(ctx, f.store, site, []release.Hash{file.Hash}, donors); err != nil {
			return nil, fmt.Errorf("fetch %s: %w", file.Path, err)
		}
		return f.store.Open(file.Hash)
	}
}

// fetch brings objects into a store, from the first POP that sends them all.
func (f *Fleet) fetch(ctx context.Context, into *release.Store, site string, objects []release.Hash, donors []*agentClient) error {
	var errs []error
	for _, a := range donors {
		missing := into.Missing(objects)
		if len(missing) == 0 {
			return nil
		}
		if err := f.fetchFrom(ctx, into, site, missing, a); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.pop.Name, err))
		}
	}
	if missing := into.Missing(objects); len(missing) > 0 {
		return fmt.Errorf("no POP that answers sends %d objects, %s among them: %w", len(missing), missing[0].Short(), errors.Join(errs...))
	}
	return nil
}

func (f *Fleet) fetchFrom(ctx context.Context, into *release.Store, site string, missing []release.Hash, a *agentClient) error {
	wanted := make(map[release.Hash]bool, len(missing))
	for _, h := range missing {
		wanted[h] = true
	}
	body, err := a.objects(ctx, site, missing)
	if err != nil {
		return err
	}
	defer body.Close()
	r, err := release.ReadPack(ctx, body, into, release.PackOptions{Accept: func(h release.Hash, _ int64) error {
		if !wanted[h] {
			return errors.New("nobody has asked for it")
		}
		return nil
	}})
	if err == nil && len(r.Bad) > 0 {
		err = fmt.Errorf("object %s: %s", r.Bad[0].Hash.Short(), r.Bad[0].Reason)
	}
	return err
}

// topOf is the newest head that POPs have, nil for none.
func topOf(pops []POPState) *api.Head {
	var up []POPState
	for _, s := range pops {
		if s.Unreachable == "" {
			up = append(up, s)
		}
	}
	top, _ := newest(up)
	return top
}
