//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

const (
	theBar  = "caddy" // who must not be cheaper in any case
	levelAt = 1.05    // differences below are noise
)

// sample is what one server showed in one turn of one case.
type sample struct {
	CPUMicros  float64 `json:"cpu_us_per_request"`
	Rate       float64 `json:"requests_per_second"`
	P99Millis  float64 `json:"p99_ms"`
	Memory     memory  `json:"memory"`
	ServerBusy float64 `json:"server_busy"` // of its core
	LoadBusy   float64 `json:"load_busy"`   // of its core
	Requests   int64   `json:"requests"`

	Classes []classFigures `json:"classes,omitempty"` // of the crowd; P99Millis is the first one's
	Idle    *idleFigures   `json:"idle,omitempty"`
}

// cell is what one server showed in one case. It has a sample a turn, or a reason why it has none.
type cell struct {
	Server  string   `json:"server"`
	Failed  string   `json:"failed,omitempty"`
	Samples []sample `json:"samples,omitempty"`
}

// metric is one of the four figures.
type metric struct {
	name         string
	of           func(sample) float64
	higherBetter bool
}

var metrics = []metric{
	{"CPU", func(s sample) float64 { return s.CPUMicros }, false},
	{"req/s", func(s sample) float64 { return s.Rate }, true},
	{"p99", func(s sample) float64 { return s.P99Millis }, false},
	{"memory", func(s sample) float64 { return float64(s.Memory.Pss) }, false},
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func (c cell) values(of func(sample) float64) []float64 {
	var values []float64
	for _, s := range c.Samples {
		values = append(values, of(s))
	}
	return values
}

func (c cell) median(of func(sample) float64) float64 { return median(c.values(of)) }

// ratio is the median over the turns of ours divided by the best of the peers in the same turn, and who was best by
// median. ok is false when ours or every peer has no number.
func ratio(m metric, cells []cell, peers ...string) (value float64, best string, ok bool) {
	at := slices.IndexFunc(cells, func(c cell) bool { return c.Server == ours })
	if at < 0 || cells[at].Failed != "" {
		return 0, "", false
	}
	var rivals []cell
	for _, c := range cells {
		if isPeer(c.Server) && c.Failed == "" && (len(peers) == 0 || slices.Contains(peers, c.Server)) {
			rivals = append(rivals, c)
		}
	}
	if len(rivals) == 0 {
		return 0, "", false
	}
	better := func(a, b float64) int {
		if m.higherBetter {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	}
	var quotients []float64
	for turn, mine := range cells[at].Samples {
		var theirs []float64
		for _, r := range rivals {
			if turn < len(r.Samples) {
				theirs = append(theirs, m.of(r.Samples[turn]))
			}
		}
		if divisor := slices.MinFunc(theirs, better); divisor > 0 {
			quotients = append(quotients, m.of(mine)/divisor)
		}
	}
	champion := slices.MinFunc(rivals, func(a, b cell) int { return better(a.median(m.of), b.median(m.of)) })
	return median(quotients), champion.Server, len(quotients) > 0
}

// printCase is the table of one case.
func printCase(out io.Writer, c caseReport) {
	fmt.Fprintf(out, "\n%s: %s\n", c.Name, c.What)
	if c.Kind != kindCPU {
		g := idleGrid
		if c.Kind == kindFair {
			g = fairGrid
		}
		table := g([]caseReport{c})
		table.text(out)
		printFailures(out, c)
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tCPU us/req\tleast..most\treq/s\tp99 ms\tmemory MiB\tbusy server\tbusy load\t")
	for _, cell := range c.Cells {
		if cell.Failed != "" {
			continue
		}
		cpu := cell.values(metrics[0].of)
		fmt.Fprintf(w, "%s\t%.2f\t%.2f..%.2f\t%.0f\t%.2f\t%.1f\t%.0f%%\t%.0f%%\t\n", cell.Server, median(cpu), slices.Min(cpu), slices.Max(cpu),
			cell.median(metrics[1].of), cell.median(metrics[2].of), cell.median(metrics[3].of)/1024,
			100*cell.median(func(s sample) float64 { return s.ServerBusy }), 100*cell.median(func(s sample) float64 { return s.LoadBusy }))
	}
	_ = w.Flush() // it has the errors of out alone
	printFailures(out, c)
	printRatios(out, c.Cells)
}

func printFailures(out io.Writer, c caseReport) {
	for _, cell := range c.Cells {
		switch cell.Failed {
		case "":
		case notServed:
			fmt.Fprintf(out, "  %s: %s\n", cell.Server, notServed)
		default:
			fmt.Fprintf(out, "  %s failed: %s\n", cell.Server, cell.Failed)
		}
	}
}

func printRatios(out io.Writer, cells []cell) {
	var parts []string
	for _, m := range metrics {
		if value, best, ok := ratio(m, cells); ok {
			parts = append(parts, fmt.Sprintf("%s %.2f (%s)", m.name, value, best))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(out, "  %s / best peer: %s\n", ours, strings.Join(parts, ", "))
	}
}

// printSummary has the tables of the whole run.
func printSummary(out io.Writer, cases []caseReport, servers []string) {
	if cpu := casesOf(cases, kindCPU); len(cpu) > 0 {
		fmt.Fprintln(out, "\nCPU microseconds a request, median over the turns (lower is better)")
		g := cpuGrid(cpu, servers)
		g.text(out)
		if slices.Contains(servers, ours) {
			printBars(out, cpu, servers)
		}
	}
	for _, part := range []struct {
		kind, title string
		table       func([]caseReport) grid
	}{
		{kindIdle, "Idle connections: resident memory before and with them", idleGrid},
		{kindFair, "Many connections with one request in flight each", fairGrid},
	} {
		if some := casesOf(cases, part.kind); len(some) > 0 {
			fmt.Fprintln(out, "\n"+part.title)
			g := part.table(some)
			g.text(out)
		}
	}
	printIdleBar(out, cases)
}

// printIdleBar says whether ours holds its idle connections in as much memory as it may.
func printIdleBar(out io.Writer, cases []caseReport) {
	for _, c := range casesOf(cases, kindIdle) {
		for _, it := range c.Cells {
			if total, ok := idleTotal(c, it); ok && isOurs(it.Server) {
				fmt.Fprintf(out, "bar: %s holds %d idle TLS connections in %.1f MiB, at most %d MiB: %s (%s)\n",
					it.Server, idleBarConnections, total, idleBarMiB, verdict(true, total, idleBarMiB), c.Name)
			}
		}
	}
}

func orDash(ok bool, format string, args ...any) string {
	if !ok {
		return "-"
	}
	return fmt.Sprintf(format, args...)
}

// printBars says where ours is level with the one that must not be cheaper, and where it keeps its own bars.
func printBars(out io.Writer, cases []caseReport, servers []string) {
	if slices.Contains(servers, theBar) {
		b := countBars(cases, func(c caseReport) (float64, float64, bool) {
			value, _, ok := ratio(metrics[0], c.Cells, theBar)
			return value, levelAt, ok
		})
		fmt.Fprintf(out, "bar: level with %s (CPU ratio at most %.2f) in %s\n", theBar, levelAt, b)
	}
	var goals bars
	for _, c := range cases {
		for _, g := range c.Goals {
			goals.all++
			value, _, ok := ratio(metrics[0], c.Cells, g.Peer)
			goals.judge(fmt.Sprintf("%s of %s", c.Name, g.Peer), value, g.Most, ok)
		}
	}
	fmt.Fprintf(out, "goals: CPU ratio in %s\n", goals)
}

// bars is how many cases keep a bar, and which do not.
type bars struct {
	all             int
	missed, unknown []string
}

func countBars(cases []caseReport, of func(caseReport) (value, bar float64, ok bool)) bars {
	b := bars{all: len(cases)}
	for _, c := range cases {
		value, bar, ok := of(c)
		b.judge(c.Name, value, bar, ok)
	}
	return b
}

func (b *bars) judge(name string, value, bar float64, ok bool) {
	switch {
	case !ok:
		b.unknown = append(b.unknown, name)
	case value > bar:
		b.missed = append(b.missed, fmt.Sprintf("%s (%.2f, at most %.2f)", name, value, bar))
	}
}

func (b bars) String() string {
	text := fmt.Sprintf("%d of %d", b.all-len(b.missed)-len(b.unknown), b.all)
	if len(b.missed) > 0 {
		text += "\n  missed: " + strings.Join(b.missed, ", ")
	}
	if len(b.unknown) > 0 {
		text += "\n  no number: " + strings.Join(b.unknown, ", ")
	}
	return text
}
