//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

func (s setup) protocol() string {
	if s.TLS {
		return "TLS 1.3"
	}
	return "plain"
}

func (s setup) way() string {
	if s.ReusePort {
		return fmt.Sprintf("SO_REUSEPORT, %d", s.CPUs)
	}
	return "one socket"
}

func (s setup) String() string { return fmt.Sprintf("%s, %s, %d CPUs", s.protocol(), s.way(), s.CPUs) }

// printTable prints all rows, and below each second one how it compares with the first.
func printTable(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "CPUs\tprotocol\tsockets\tCPU us/conn\tleast..most\tconn/s\tp99 ms\tchosen\t")
	for _, r := range rows {
		cpu := r.values(cpuMicros)
		fmt.Fprintf(w, "%d\t%s\t%s\t%.1f\t%.1f..%.1f\t%.0f\t%.2f\t%.1f..%.1f %%\t\n", r.setup.CPUs, r.setup.protocol(), r.setup.way(),
			median(cpu), slices.Min(cpu), slices.Max(cpu), median(r.values(rate)), median(r.values(p99)),
			100*median(r.values(func(s sample) float64 { return s.least })), 100*median(r.values(func(s sample) float64 { return s.most })))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nSO_REUSEPORT / one socket, median over the turns:")
	for i := 0; i+1 < len(rows); i += 2 {
		one, many := rows[i], rows[i+1]
		fmt.Fprintf(out, "  -cpus %d, %s: CPU %.3f, conn/s %.3f, p99 %.3f\n", one.setup.CPUs, one.setup.protocol(),
			ratio(many, one, cpuMicros), ratio(many, one, rate), ratio(many, one, p99))
	}
	return nil
}

func cpuMicros(s sample) float64 { return s.cpuMicros }
func rate(s sample) float64      { return s.rate }
func p99(s sample) float64       { return s.p99.Seconds() * 1e3 }

func (r row) values(of func(sample) float64) []float64 {
	var values []float64
	for _, s := range r.samples {
		values = append(values, of(s))
	}
	return values
}

// ratio is the median of a's figures by b's of the same turn.
func ratio(a, b row, of func(sample) float64) float64 {
	var quotients []float64
	for turn := range a.samples {
		quotients = append(quotients, of(a.samples[turn])/of(b.samples[turn]))
	}
	return median(quotients)
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// fileLine is the first line of a file of the kernel's, or "unknown".
func fileLine(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}
