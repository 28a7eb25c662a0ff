package sweep

import (
	"sync/atomic"
	"time"

	"pennyfarthing/internal/verdict"
)

// Counters are what a run counts as it goes. Any goroutine may read them.
type Counters struct {
	Listed, Duplicates, Bad  atomic.Int64 // targets, lines, lines
	AllListed                atomic.Bool
	Done                     atomic.Int64 // rows that are committed
	Asked                    atomic.Int64 // rows that are complete
	Earlier                  atomic.Int64 // rows that were committed before this process began
	Shards, ShardsDone       atomic.Int64
	Active, Parked           atomic.Int64
	Suspect                  atomic.Int64 // rows
	Tries                    atomic.Int64
	Sent, Received           atomic.Int64 // bytes of HTTP and TLS
	Controls, ControlsFailed atomic.Int64
	IllSeconds               atomic.Int64
	Ill                      atomic.Bool
	Waiting                  atomic.Int64 // that wait for the busiest network
	Busiest                  atomic.Pointer[string]
	InBusiest                atomic.Int64      // targets of the list, as far as can be told
	Floor                    atomic.Int64      // nanoseconds that the busiest network takes at least
	Verdicts                 [256]atomic.Int64 // by code
	OwnFaults                [256]atomic.Int64 // by code
}

// A Progress is the counters at a moment.
type Progress struct {
	At                     time.Time        `json:"at"`
	Elapsed                time.Duration    `json:"elapsed_ns"`
	Listed                 int64            `json:"listed"`
	AllListed              bool             `json:"all_listed"`
	Asked                  int64            `json:"asked"`
	Done                   int64            `json:"done"`
	PerSecond              float64          `json:"per_second"`
	ETA                    time.Duration    `json:"eta_ns"` // 0: not known
	Active                 int64            `json:"in_flight"`
	Parked                 int64            `json:"waiting"`
	Suspect                int64            `json:"suspect"`
	Ill                    bool             `json:"ill"`
	Classes                map[string]int64 `json:"classes"`
	Busiest                string           `json:"busiest_network,omitempty"`
	InBusiest              int64            `json:"targets_in_busiest_network,omitempty"` // of the whole list, as far as can be told
	WaitingForBusiest      int64            `json:"waiting_for_busiest_network,omitempty"`
	Floor                  time.Duration    `json:"floor_ns,omitempty"` // that the busiest network takes at least
	Controls               int64            `json:"controls"`
	ControlsFailed         int64            `json:"controls_failed"`
	Verdicts               map[string]int64 `json:"verdicts"`
	SecondsOfOwnIllness    int64            `json:"seconds_of_own_illness"`
	BadLines, Duplicates   int64            `json:"-"`
	FaultsOfOur            map[string]int64 `json:"own_faults,omitempty"`
	CommittedByEarlierRuns int64            `json:"committed_earlier"`
}

// progress reads the counters.
func (c *Counters) progress(began, now time.Time) Progress {
	p := Progress{
		At: now, Elapsed: now.Sub(began), Listed: c.Listed.Load(), AllListed: c.AllListed.Load(), Asked: c.Asked.Load(), Done: c.Done.Load(),
		Active: c.Active.Load(), Parked: c.Parked.Load(), Suspect: c.Suspect.Load(), Ill: c.Ill.Load(),
		Controls: c.Controls.Load(), ControlsFailed: c.ControlsFailed.Load(), SecondsOfOwnIllness: c.IllSeconds.Load(),
		WaitingForBusiest: c.Waiting.Load(), InBusiest: c.InBusiest.Load(), Floor: time.Duration(c.Floor.Load()), BadLines: c.Bad.Load(), Duplicates: c.Duplicates.Load(), CommittedByEarlierRuns: c.Earlier.Load(),
		Classes: map[string]int64{}, Verdicts: map[string]int64{}, FaultsOfOur: map[string]int64{},
	}
	if name := c.Busiest.Load(); name != nil {
		p.Busiest = *name
	}
	for i := range c.Verdicts {
		code := verdict.Code(i) //nolint:gosec // 256
		if n := c.Verdicts[i].Load(); n > 0 {
			p.Verdicts[code.String()] += n
			p.Classes[code.Class().String()] += n
		}
		if n := c.OwnFaults[i].Load(); n > 0 {
			p.FaultsOfOur[code.String()] += n
		}
	}
	if s := p.Elapsed.Seconds(); s > 0 {
		p.PerSecond = float64(p.Asked) / s
	}
	if left := p.Floor - p.Elapsed; p.Floor > 0 && left > 0 {
		p.ETA = left
	}
	// The last ones are the slow ones: how long they take no rate can say.
	if left := p.Listed - c.Earlier.Load() - p.Asked; p.AllListed && p.PerSecond > 0 && left > p.Active+p.Parked {
		p.ETA = max(p.ETA, time.Duration(float64(left)/p.PerSecond*float64(time.Second)))
	}
	return p
}
