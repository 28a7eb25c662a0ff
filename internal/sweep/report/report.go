package report

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"

	"pennyfarthing/internal/fleet/cost"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/target"
)

// Schema is the version of a report's JSON form. It grows when something changes its
// meaning or goes; fields may be added without.
const Schema = 1

// MaxJSON is the size in bytes of a report that [Read] reads. One with as many names
// as can be kept has a few megabytes.
const MaxJSON = 16 << 20

// A Report is what a run says at its end.
type Report struct {
	Schema  int         `json:"schema"`
	Facts   Facts       `json:"run"`
	Summary *Summary    `json:"rows"`
	Bills   []cost.Bill `json:"bills,omitempty"` // none where the run cost nothing that is rented
}

// Facts are what is known of a run beside its rows. What is zero is not known, or did
// not happen.
type Facts struct {
	ID      string    `json:"id"`
	Version string    `json:"penny"`
	Lists   []string  `json:"lists,omitempty"`
	Simnet  bool      `json:"simulated,omitempty"` // the internet was
	Vantage string    `json:"vantage,omitempty"`
	Address string    `json:"address,omitempty"` // of this machine, towards the internet
	Agent   string    `json:"user_agent,omitempty"`
	Contact string    `json:"contact,omitempty"`
	Optout  string    `json:"optout,omitempty"` // a URL
	Started time.Time `json:"started,omitzero"`
	// Finished is zero while rows are missing.
	Finished time.Time     `json:"finished,omitzero"`
	Wall     time.Duration `json:"wall_ns"` // that penny ran, in all sessions
	Sessions int           `json:"sessions"`
	User     time.Duration `json:"user_ns"` // of the processor
	System   time.Duration `json:"system_ns"`
	PeakRSS  int64         `json:"peak_rss"` // bytes
	Machines int           `json:"machines"`

	Tries    int64 `json:"tries"`
	Queries  int64 `json:"queries"`  // of the DNS
	Sent     int64 `json:"sent"`     // bytes
	Received int64 `json:"received"` // bytes

	Paced        bool    `json:"paced"`
	Rate         float64 `json:"rate_per_second,omitempty"` // the most that was allowed; here and below 0 is no limit
	AddressRate  float64 `json:"rate_per_address,omitempty"`
	NetworkRate  float64 `json:"rate_per_network,omitempty"`
	DomainRate   float64 `json:"rate_per_domain,omitempty"`
	ResolverRate float64 `json:"rate_per_resolver,omitempty"`
	Concurrency  int     `json:"concurrency,omitempty"` // the most in flight

	Lines      int64            `json:"lines"`
	Listed     int64            `json:"listed"` // targets
	Duplicates int64            `json:"duplicates"`
	Bad        int64            `json:"bad"` // lines that were no targets
	BadLines   []target.BadLine `json:"bad_lines,omitempty"`

	Controls       int64 `json:"controls"` // that were asked between the targets
	ControlsFailed int64 `json:"controls_failed"`
	IllSeconds     int64 `json:"seconds_of_own_illness"`
}

// perMillion is n for a million targets.
func (r *Report) perMillion(n float64) float64 {
	if r.Summary.Targets == 0 {
		return 0
	}
	return n * 1e6 / float64(r.Summary.Targets)
}

// perSecond is n a second of the run.
func (r *Report) perSecond(n int64) float64 {
	if r.Facts.Wall <= 0 {
		return 0
	}
	return float64(n) / r.Facts.Wall.Seconds()
}

// Usage is what the run is billed for.
func (r *Report) Usage() cost.Usage {
	return cost.Usage{Targets: r.Summary.Targets, Wall: r.Facts.Wall, CPU: r.Facts.User + r.Facts.System, Sent: r.Facts.Sent, Machines: r.Facts.Machines}
}

// Make reads all rows and makes a report of them, with a bill for each machine of the
// prices, which may be nil.
func Make(rows iter.Seq2[*evidence.Row, error], facts Facts, prices *cost.Prices, judges ...Judge) (*Report, error) {
	r := &Report{Schema: Schema, Facts: facts, Summary: NewSummary(judges...)}
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		r.Summary.Add(row)
	}
	if prices != nil {
		for _, m := range prices.Machines {
			r.Bills = append(r.Bills, cost.Of(r.Usage(), m))
		}
	}
	return r, nil
}

// WriteJSON writes the report for machines.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Read reads what WriteJSON wrote.
func Read(src io.Reader) (*Report, error) {
	data, err := io.ReadAll(io.LimitReader(src, MaxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	if len(data) > MaxJSON {
		return nil, fmt.Errorf("read the report: it has more than %d MiB, so it is none", MaxJSON>>20)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	if r.Schema < 1 || r.Schema > Schema {
		return nil, fmt.Errorf("read the report: it has schema %d, and this penny knows 1 to %d", r.Schema, Schema)
	}
	if r.Summary == nil {
		return nil, fmt.Errorf("read the report: it says nothing of rows")
	}
	return &r, nil
}
