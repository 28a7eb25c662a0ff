package sweep

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennyfarthing/internal/sweep/queue/local"
)

// plan says what the run will do.
func (r *run) plan() string {
	s := &r.Settings
	if limits, paced := s.limits(); !paced {
		return fmt.Sprintf("asking as fast as this machine can, at most %d targets at a time", s.Concurrency)
	} else if !s.Pacing {
		return fmt.Sprintf("asking %g requests a second, and nobody in particular less", limits.All)
	}
	text := fmt.Sprintf("asking at most %g/s of an address and %g/s of a network (/24, /48)", s.AddressRate, s.NetworkRate)
	if s.DomainRate > 0 {
		text += fmt.Sprintf(", %g/s of a domain", s.DomainRate)
	}
	if s.Rate > 0 {
		text += fmt.Sprintf(", %g/s in all", s.Rate)
	}
	return text + "; how long that takes is known when names have been resolved"
}

// known says how long the run takes at least, as far as the list and the caps on
// everything together tell before any name is resolved. It is empty where that is less
// than a second, and where nothing tells.
func (s *Settings) known(targets, names int64) string {
	limits, _ := s.limits()
	var least time.Duration
	var why string
	for _, c := range []struct {
		n    int64
		rate float64
		why  string
	}{
		{targets, limits.All, "targets are asked at %g/s in all"},
		{names, s.ResolverRate * float64(len(s.Resolvers)), "names are resolved at %g/s"},
	} {
		if c.rate <= 0 || c.n <= 0 {
			continue
		}
		if d := time.Duration(float64(c.n) / c.rate * float64(time.Second)); d > least {
			least, why = d, fmt.Sprintf("its %d "+c.why, c.n, c.rate)
		}
	}
	if least < time.Second {
		return ""
	}
	return fmt.Sprintf("the list takes about %v at least, because %s", least.Round(time.Second), why)
}

// tellKnown says what is known of the whole list, without what has its row already.
func (r *run) tellKnown() {
	list := r.manifest.List
	if list == nil { // it was read by an earlier process, which was killed
		return
	}
	share := float64(r.counters.Listed.Load()-r.counters.Earlier.Load()) / float64(max(1, r.counters.Listed.Load()))
	text := r.Settings.known(int64(share*float64(list.Targets)), int64(share*float64(list.Names)))
	if text != "" {
		r.Say(text)
	}
}

// floorText says how long a polite run takes at least, and why.
func floorText(p *Progress) string {
	return fmt.Sprintf("at least %v, because about %d of the targets are in %s", p.Floor.Round(time.Second), p.InBusiest, p.Busiest)
}

// tell says what the run will do, once there is something to ask: a list that cannot be
// read is refused before. Nobody is asked until it has been said. It reports whether the
// list is known as a whole, and what is known of it was said, too.
func (r *run) tell(ctx context.Context) (all bool) {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return false
	}
	const short = 100 * time.Millisecond // a list that is read by then is known as a whole
	select {
	case <-r.listed:
		all = true
	case <-time.After(short):
	case <-ctx.Done():
		return false
	}
	r.Say(r.plan())
	if all {
		r.tellKnown()
	}
	close(r.told)
	return all
}

// report tells the progress.
func (r *run) report(ctx context.Context) error {
	listed := r.listed
	if r.tell(ctx) {
		listed = nil
	}
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	floor := time.Minute // less is not worth a word
	for {
		select {
		case <-listed:
			listed = nil
			r.tellKnown()
		case now := <-ticker.C:
			p := r.counters.progress(r.began, now)
			if p.Floor > floor+floor/2 {
				floor = p.Floor
				r.Say(floorText(&p))
			}
			if r.Progress != nil {
				r.Progress(ctx, p)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Unfinished finds the newest run below a directory that the same settings began and
// that is not finished, or is empty.
func Unfinished(below string, s *Settings) string {
	entries, err := os.ReadDir(below)
	if err != nil {
		return ""
	}
	found, newest := "", time.Time{}
	for _, e := range entries {
		dir := filepath.Join(below, e.Name())
		m, err := readManifest(dir)
		if err == nil && m.Finished == nil && m.Settings.same(s) == "" && m.Started.After(newest) && !strings.HasPrefix(e.Name(), ".") {
			found, newest = dir, m.Started
		}
	}
	return found
}

// A Status is how far a run is.
type Status struct {
	Dir        string    `json:"dir"`
	Started    time.Time `json:"started"`
	Finished   bool      `json:"finished"`
	Running    bool      `json:"running"` // by some penny, now
	Shards     int64     `json:"shards"`
	ShardsDone int64     `json:"shards_done"`
	Targets    int64     `json:"targets"`
	Rows       int64     `json:"rows"`
}

// ReadStatus reads how far a run is. While a penny works on it the parts that are
// there say so.
func ReadStatus(ctx context.Context, dir string) (*Status, error) {
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	s := &Status{Dir: dir, Started: m.Started, Finished: m.Finished != nil}
	if m.List != nil {
		s.Targets = m.List.Targets
	}
	q, err := local.Open(dir, time.Now)
	if err != nil {
		s.Running = true
		parts, err := os.ReadDir(filepath.Join(dir, partsDir))
		for _, p := range parts {
			if !strings.HasPrefix(p.Name(), ".") {
				s.ShardsDone++
			}
		}
		s.Rows = s.ShardsDone * int64(m.Settings.ShardSize)
		return s, err
	}
	defer q.Close() // it was only read
	p, err := q.Progress(ctx)
	if err != nil {
		return nil, err
	}
	s.Shards, s.ShardsDone, s.Targets, s.Rows = int64(p.Shards), int64(p.Done), p.Targets, p.Rows
	return s, nil
}
