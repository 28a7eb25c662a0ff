//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// A bar is something that was to be reached.
type bar struct {
	what string // "time", "bytes"
	got  float64
	most float64
	text string
}

func (b bar) met() bool { return b.got <= b.most }

// String says how a bar stands.
func (b bar) String() string {
	if b.met() {
		return b.text + ": met"
	}
	return b.text + ": missed"
}

// median is the middle of a figure over samples, the upper one of two.
func median(all []sample, of func(sample) float64) float64 {
	values := make([]float64, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func seconds(s sample) float64 { return s.Seconds }
func cpu(s sample) float64     { return s.CPU }
func wire(s sample) float64    { return float64(s.Traffic.total()) }

// ratio is ours by theirs, turn by turn, and then the median.
func (r *rowReport) ratio(of func(sample) float64) float64 {
	ratios := make([]float64, len(r.Penny))
	for i := range ratios {
		ratios[i] = of(r.Penny[i]) / of(r.Rsync[i])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// bars are those of a row that has numbers.
func (r *rowReport) bars() []bar {
	if r.Failed != "" {
		return nil
	}
	plan := r.plan.row
	all := []bar{ratioBar("time", r.ratio(seconds), plan.time), ratioBar("bytes", r.ratio(wire), plan.bytes)}
	if far := r.plan.far; far != nil {
		took, sent := median(r.Penny, seconds), median(r.Penny, wire)
		all = append(all,
			bar{"time", took, far.seconds, fmt.Sprintf("%.2f s, at most %g s", took, far.seconds)},
			bar{"bytes", sent, float64(far.bytes), fmt.Sprintf("%.1f KB, at most %g KB", sent/1e3, float64(far.bytes)/1e3)})
	}
	return all
}

func ratioBar(what string, got, most float64) bar {
	return bar{what, got, most, fmt.Sprintf("%s %.2f of rsync's, at most %g", what, got, most)}
}

// size writes bytes for people.
func size(bytes float64) string {
	switch {
	case bytes < 1e6:
		return fmt.Sprintf("%.1f KB", bytes/1e3)
	default:
		return fmt.Sprintf("%.2f MB", bytes/1e6)
	}
}

// cells are a row's figures, in the order of heads.
func (r *rowReport) cells() []string {
	if r.Failed != "" {
		return append([]string{r.Name, "failed"}, slices.Repeat([]string{"-"}, len(heads())-2)...)
	}
	pair := func(format func(float64) string, of func(sample) float64) []string {
		return []string{format(median(r.Penny, of)), format(median(r.Rsync, of)), fmt.Sprintf("%.2f", r.ratio(of))}
	}
	plain := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	cells := slices.Concat([]string{r.Name}, pair(plain, seconds), pair(plain, cpu), pair(size, wire))
	return append(cells, size(median(r.Penny, func(s sample) float64 { return float64(s.Traffic.Visitors) })))
}

func heads() []string {
	return []string{"row", "s, penny", "rsync", "ratio", "CPU s, penny", "rsync", "ratio", "bytes, penny", "rsync", "ratio", "of them to verify"}
}

// print prints a row as soon as it is there.
func (r *rowReport) print(out io.Writer) {
	if r.Failed != "" {
		fmt.Fprintf(out, "%s: failed: %s\n", r.Name, r.Failed)
		return
	}
	c := r.cells()
	fmt.Fprintf(out, "%s: %s s / %s s = %s; CPU %s / %s = %s; bytes %s / %s = %s\n", c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9])
}

// print prints all rows and how the bars stand.
func (r report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heads(), "\t"))
	for i := range r.Rows {
		fmt.Fprintln(w, strings.Join(r.Rows[i].cells(), "\t"))
	}
	_ = w.Flush() // it has the errors of out alone
	met, all := r.count()
	fmt.Fprintf(out, "\nbars: %d of %d met\n", met, all)
	for i := range r.Rows {
		for _, b := range r.Rows[i].bars() {
			fmt.Fprintf(out, "  %s: %s\n", r.Rows[i].Name, b)
		}
	}
}

// count is how many bars are met.
func (r report) count() (met, all int) {
	for i := range r.Rows {
		for _, b := range r.Rows[i].bars() {
			if all++; b.met() {
				met++
			}
		}
	}
	return met, all
}
