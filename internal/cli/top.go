package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

type topOptions struct {
	*globals
	fleetFlags
	every time.Duration
	times int
}

func newTop(g *globals, env Env) *cobra.Command {
	o := topOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what the fleet is doing, again and again",
		Long: `Shows how the POPs are, how many requests each answers, and what is asked for most,
until Ctrl-C: on a terminal on one screen, elsewhere one block after the other, and
with --json one object a line. Requests are counted from the access logs, which are
written every second.

It needs the right to operate the fleet.`,
		Example: "  penny top\n  penny top --every 10s --json",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runTop(cmd.Context(), o, env) },
	}
	flags := cmd.Flags()
	o.add(flags)
	flags.DurationVar(&o.every, "every", 2*time.Second, "how often")
	flags.IntVar(&o.times, "times", 0, "end after `N` times; 0 never does")
	return cmd
}

const (
	// busiest is how many of what is asked for most are shown.
	busiest = 8
	// maxCounted bounds the paths that are counted between two looks; a visitor can
	// make up any number of them.
	maxCounted = 20_000
)

// A moment is what top shows at a time.
type moment struct {
	*control.Status
	Seconds float64     `json:"seconds"` // that the traffic was counted for
	Traffic []traffic   `json:"traffic"` // of every POP, in the order of the fleet
	Busiest []requested `json:"busiest"`
}

// A traffic is what a POP has answered since the last look.
type traffic struct {
	POP      string  `json:"pop"`
	Requests int64   `json:"requests"`
	Bytes    int64   `json:"bytes"`
	Errors   int64   `json:"errors"`  // answers of 500 and more
	Missing  int64   `json:"missing"` // answers of 404
	Slowest  float64 `json:"slowest_ms"`
}

// A requested is something that is asked for much.
type requested struct {
	Status   int    `json:"status"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Requests int64  `json:"requests"`
}

// A counter counts lines of access logs.
type counter struct {
	mu    sync.Mutex // guards what follows
	pops  map[string]*traffic
	paths map[requested]int64 // Requests is not set
}

func newCounter() *counter {
	return &counter{pops: make(map[string]*traffic), paths: make(map[requested]int64)}
}

// add counts a line.
func (c *counter) add(l api.LogLine) error {
	var a accessed
	if json.Unmarshal(l.Access, &a) != nil {
		return nil // what is no request is not counted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.pops[l.POP]
	if t == nil {
		t = &traffic{POP: l.POP}
		c.pops[l.POP] = t
	}
	n := a.requests()
	t.Requests += n
	t.Bytes += n * a.Bytes
	t.Slowest = max(t.Slowest, a.Duration)
	switch {
	case a.Status >= 500:
		t.Errors += n
	case a.Status == 404:
		t.Missing += n
	}
	key := requested{Status: a.Status, Host: a.Host, Path: a.Path}
	if _, known := c.paths[key]; known || len(c.paths) < maxCounted {
		c.paths[key] += n
	}
	return nil
}

// take returns what was counted, and begins anew.
func (c *counter) take(pops []control.POPStatus) (all []traffic, most []requested) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range pops {
		t := traffic{POP: p.POP}
		if counted := c.pops[p.POP]; counted != nil {
			t = *counted
		}
		all = append(all, t)
	}
	most = []requested{}
	for _, key := range slices.SortedFunc(maps.Keys(c.paths), func(x, y requested) int {
		return cmp.Or(cmp.Compare(c.paths[y], c.paths[x]), cmp.Compare(x.Host, y.Host), cmp.Compare(x.Path, y.Path), cmp.Compare(x.Status, y.Status))
	}) {
		if len(most) == busiest {
			break
		}
		key.Requests = c.paths[key]
		most = append(most, key)
	}
	c.pops, c.paths = make(map[string]*traffic), make(map[requested]int64)
	return all, most
}

func runTop(ctx context.Context, o topOptions, env Env) error {
	switch {
	case o.every < time.Second:
		return &usageError{what: fmt.Sprintf("--every %v is less than a second", o.every), hint: "write --every 2s"}
	case o.times < 0:
		return &usageError{what: fmt.Sprintf("--times %d is less than 0", o.times), hint: "--times 0 goes on until Ctrl-C"}
	}
	return o.withFleet(ctx, o.globals, env, keys.Right{What: keys.Operate}, func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
		if _, err := fleet.Observe(ctx); err != nil { // POPs that have an old roster get the latest
			return err
		}
		counter := newCounter()
		counting, stop := context.WithCancel(ctx)
		counted := make(chan error, 1) // so that it ends also if nobody asks any more
		go func() {
			counted <- fleet.Logs(counting, control.LogOptions{Kind: kindAccess, Since: time.Now(), Follow: true, Unordered: true}, counter.add)
		}()
		err := o.show(ctx, fleet, counter, env)
		stop()
		if ctx.Err() != nil { // Ctrl-C
			err = nil
		}
		return cmp.Or(err, <-counted)
	})
}

// show shows moments, as often as was asked for.
func (o *topOptions) show(ctx context.Context, fleet *control.Fleet, counter *counter, env Env) error {
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	before := time.Now()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		status, err := fleet.Status(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		m := moment{Status: status, Seconds: now.Sub(before).Seconds()}
		m.Traffic, m.Busiest = counter.take(status.POPs)
		before = now
		if o.json {
			err = json.NewEncoder(env.Stdout).Encode(m)
		} else {
			err = m.print(env.Stdout, isTerminal(env.Stdout))
		}
		if err != nil || n == o.times {
			return err
		}
	}
}

// print shows a moment to people.
func (m *moment) print(w io.Writer, terminal bool) error {
	if terminal {
		_, _ = io.WriteString(w, "\x1b[H\x1b[J") // the upper left corner, and nothing below
	}
	_, _ = fmt.Fprintf(w, "fleet %s at %s\n\n", m.Fleet, m.Time.Local().Format(time.TimeOnly))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "POP\tUP\tLOAD\tMEMORY\tREQUESTS/S\tOUT/S\t404\t5XX\tSLOWEST")
	for i, p := range m.POPs {
		up, load, memory := "-", "-", "-"
		if p.Says != nil {
			up, load, memory = ago(time.Duration(p.Says.Uptime)*time.Second), fmt.Sprintf("%.2f", p.Says.Load[0]), bytes(p.Says.Memory.Resident)
		}
		t := m.Traffic[i]
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f\t%s\t%d\t%d\t%.3g ms\n", p.POP, up, load, memory, float64(t.Requests)/m.Seconds,
			bytes(int64(float64(t.Bytes)/m.Seconds)), t.Missing, t.Errors, t.Slowest)
	}
	_, _ = fmt.Fprintln(table, "\nSITE\tRELEASE\tLIVE ON\tBEHIND")
	for _, s := range m.Sites {
		var behind []string
		for _, b := range s.Behind {
			behind = append(behind, b.POP)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Site, cmp.Or(control.Short(s.Release), "-"), names(s.Live), names(behind))
	}
	if len(m.Busiest) > 0 {
		_, _ = fmt.Fprintln(table, "\nREQUESTS\tSTATUS\tASKED FOR")
	}
	for _, r := range m.Busiest {
		_, _ = fmt.Fprintf(table, "%d\t%d\t%s\n", r.Requests, r.Status, plain(cut(r.Host+r.Path, 100)))
	}
	_ = table.Flush() // the last line has the error
	for _, p := range m.POPs {
		if p.Error != "" {
			_, _ = fmt.Fprintln(w, plain(silence(&p)))
		}
		for _, warning := range p.Warnings {
			_, _ = fmt.Fprintln(w, plain(p.POP+": "+warning))
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}
