//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// grid is a table for people, before it is text or Markdown.
type grid struct {
	head []string
	rows [][]string
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) text(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{g.head}, g.rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // it has the errors of out alone
}

func (g *grid) markdown(out io.Writer) {
	fmt.Fprintf(out, "| %s |\n|%s\n", strings.Join(g.head, " | "), strings.Repeat("---|", len(g.head)))
	for _, row := range g.rows {
		fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(out)
}

// The bar of memory: so many idle connections over TLS in so much, the program itself included.
const (
	idleBarConnections = 10000
	idleBarMiB         = 200
)

// casesOf are the cases of one kind.
func casesOf(cases []caseReport, kind string) []caseReport {
	return slices.DeleteFunc(slices.Clone(cases), func(c caseReport) bool { return c.Kind != kind })
}

// verdict says whether a figure is at most its bar.
func verdict(ok bool, value, bar float64) string {
	switch {
	case !ok || bar == 0:
		return "-"
	case value <= bar:
		return "met"
	}
	return "missed"
}

// cpuGrid has one row a case: CPU microseconds a request, and how ours stands.
func cpuGrid(cases []caseReport, servers []string) grid {
	compare := slices.Contains(servers, ours)
	g := grid{head: append([]string{"case"}, servers...)}
	if compare {
		g.head = append(g.head, ours+" / best peer", "goals", ours+" / "+theBar)
	}
	for _, c := range cases {
		row := []string{c.Name}
		for _, cell := range c.Cells {
			row = append(row, cell.show("%.2f", metrics[0].of))
		}
		if compare {
			best, who, ok := ratio(metrics[0], c.Cells)
			level, _, known := ratio(metrics[0], c.Cells, theBar)
			row = append(row, orDash(ok, "%.2f (%s)", best, who), goalsOf(c), orDash(known, "%.2f", level))
		}
		g.rows = append(g.rows, row)
	}
	return g
}

// goalsOf tells of each goal whether it is met.
func goalsOf(c caseReport) string {
	var all []string
	for _, g := range c.Goals {
		value, _, ok := ratio(metrics[0], c.Cells, g.Peer)
		all = append(all, fmt.Sprintf("%s of %s, at most %.2f: %s", orDash(ok, "%.2f", value), g.Peer, g.Most, verdict(ok, value, g.Most)))
	}
	return orNone(strings.Join(all, "; "))
}

// memoryGrid has one row a case: resident memory in MiB right after it.
func memoryGrid(cases []caseReport, servers []string) grid {
	g := grid{head: append([]string{"case"}, servers...)}
	for _, c := range cases {
		row := []string{c.Name}
		for _, cell := range c.Cells {
			row = append(row, cell.show("%.1f", func(s sample) float64 { return float64(s.Memory.Pss) / 1024 }))
		}
		g.rows = append(g.rows, row)
	}
	return g
}

// show is the median of a figure, or that there is none.
func (c cell) show(format string, of func(sample) float64) string {
	if c.Failed != "" {
		return c.without()
	}
	return fmt.Sprintf(format, c.median(of))
}

// without is what stands where there is no figure.
func (c cell) without() string {
	if c.Failed == notServed {
		return notServed
	}
	return "failed"
}

// idleGrid has one row a case and server.
func idleGrid(cases []caseReport) grid {
	g := grid{head: []string{"case", "server", "connections", "before, MiB", "with them, MiB", "KiB a connection", fmt.Sprintf("at most %d MiB", idleBarMiB)}}
	for _, c := range cases {
		for _, cell := range c.Cells {
			if cell.Failed != "" {
				g.add(c.Name, cell.Server, cell.without(), "-", "-", "-", "-")
				continue
			}
			total, ok := idleTotal(c, cell)
			bar := "-"
			if ok && isOurs(cell.Server) {
				bar = verdict(true, total, idleBarMiB)
			}
			g.add(c.Name, cell.Server,
				cell.show("%.0f", func(s sample) float64 { return float64(s.Idle.Connections) }),
				cell.show("%.1f", func(s sample) float64 { return float64(s.Idle.Before.Rss) / 1024 }),
				cell.show("%.1f", func(s sample) float64 { return float64(s.Memory.Rss) / 1024 }),
				cell.show("%.1f", sample.perConnection), bar)
		}
	}
	return g
}

// idleTotal is a server's resident memory in MiB, if it is one that the bar is about.
func idleTotal(c caseReport, it cell) (float64, bool) {
	if c.Name == "idle-h1" || it.Failed != "" || len(it.Samples) == 0 || it.Samples[0].Idle == nil || it.Samples[0].Idle.Connections != idleBarConnections {
		return 0, false
	}
	return it.median(func(s sample) float64 { return float64(s.Memory.Rss) / 1024 }), true
}

// fairGrid has one row a case, kind of answers and server.
func fairGrid(cases []caseReport) grid {
	g := grid{head: []string{
		"case", "answers", "server", "a second", "p50 ms", "p99 ms", "max ms", ours + " / best peer, p99", "on a connection", "Jain", "busy server", "busy load",
	}}
	for _, c := range cases {
		for class, what := range fairClasses(c) {
			p99 := metric{of: func(s sample) float64 { return s.Classes[class].P99Millis }}
			share, best, ok := ratio(p99, c.Cells)
			for _, it := range c.Cells {
				if it.Failed != "" {
					g.add(c.Name, what, it.Server, it.without(), "-", "-", "-", "-", "-", "-", "-", "-")
					continue
				}
				of := func(f func(classFigures) float64) func(sample) float64 {
					return func(s sample) float64 { return f(s.Classes[class]) }
				}
				g.add(c.Name, what, it.Server,
					it.show("%.0f", func(s sample) float64 { return s.Rate * float64(s.Classes[class].Done) / float64(s.Requests) }),
					it.show("%.2f", of(func(f classFigures) float64 { return f.P50Millis })),
					it.show("%.2f", p99.of),
					it.show("%.2f", of(func(f classFigures) float64 { return f.MaxMillis })),
					orDash(ok && it.Server == ours, "%.2f (%s)", share, best),
					it.show("%.0f", of(func(f classFigures) float64 { return float64(f.Least) }))+".."+
						it.show("%.0f", of(func(f classFigures) float64 { return f.Middle }))+".."+
						it.show("%.0f", of(func(f classFigures) float64 { return float64(f.Most) })),
					it.show("%.4f", of(func(f classFigures) float64 { return f.Jain })),
					it.show("%.0f%%", func(s sample) float64 { return 100 * s.ServerBusy }),
					it.show("%.0f%%", func(s sample) float64 { return 100 * s.LoadBusy }))
			}
		}
	}
	return g
}

// fairClasses names the kinds of answers of a case, of any server that has some.
func fairClasses(c caseReport) []string {
	var names []string
	for _, it := range c.Cells {
		for _, s := range it.Samples {
			for i, class := range s.Classes {
				if i == len(names) {
					names = append(names, class.What)
				}
			}
		}
	}
	return names
}
