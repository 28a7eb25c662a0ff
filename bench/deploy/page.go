//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// writePage writes the page about a run.
func writePage(file string, r report) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	page(f, r)
	return nil
}

func markdown(out io.Writer, head []string, rows [][]string) {
	fmt.Fprintf(out, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(out)
}

// page is docs/performance-deploy.md.
func page(out io.Writer, r report) {
	fmt.Fprintf(out, `# Performance of a deploy

What `+"`penny deploy`"+` needs beside

    printf 'a\nb\nc\n' | xargs -P0 -I{} rsync -az --delete TREE/ {}:DIRECTORY/

through a real sshd: the same trees, three destinations, the same network. This page is written by the benchmark and not by hand:

    %s

[The benchmark's own page](../bench/deploy/README.md) says how everything is measured, and what is not the same on both sides:
penny also verifies from outside what it has deployed, as it does by default, and switches all files at once.

`, r.Command)
	machineTable(out, r)
	fmt.Fprint(out, `## Rows

Seconds of the whole command; CPU seconds of all processes at both ends; bytes of payload in both directions, to all three
destinations together. Medians over the turns; a ratio is ours by rsync's of the same turn, and then the median. Lower is better.

`)
	var rows [][]string
	for i := range r.Rows {
		rows = append(rows, r.Rows[i].cells())
	}
	markdown(out, heads(), rows)
	if len(r.Rows) < r.Planned {
		fmt.Fprintf(out, "The run was interrupted: %d rows of %d.\n\n", len(r.Rows), r.Planned)
	}
	barTable(out, r)
	failures(out, r)
}

func machineTable(out io.Writer, r report) {
	rows := [][]string{
		{"date", r.Date.Format(time.DateOnly)},
		{"CPU", fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(r.Machine.Memory)/(1<<20))},
		{"kernel", "Linux " + r.Machine.Kernel},
		{"other work", "load average " + r.Machine.Load + " before the run"},
		{"Go", r.Machine.Go},
		{"penny", r.Versions["penny"]},
		{"rsync", r.Versions["rsync"]},
		{"turns", fmt.Sprintf("%d; the first deploy has one", r.Turns)},
	}
	for _, t := range r.Trees {
		rows = append(rows, []string{"tree `" + t.Name + "`", fmt.Sprintf("%s: %d, %.1f MB in all", t.What, t.Files, float64(t.Bytes)/1e6)})
	}
	for _, w := range []weather{near(), slow(), far()} {
		rows = append(rows, []string{"network `" + w.name + "`", w.what})
	}
	told := make(map[string]bool)
	for _, c := range allCases() {
		if !told[c.row.name] {
			told[c.row.name] = true
			rows = append(rows, []string{"row `" + c.row.name + "`", c.row.what})
		}
	}
	markdown(out, []string{"machine", ""}, rows)
}

func barTable(out io.Writer, r report) {
	met, all := r.count()
	fmt.Fprintf(out, "## Bars\n\n%d of %d are met.\n\n", met, all)
	var rows [][]string
	for i := range r.Rows {
		for _, b := range r.Rows[i].bars() {
			state := "**missed**"
			if b.met() {
				state = "met"
			}
			rows = append(rows, []string{r.Rows[i].Name, b.text, state})
		}
	}
	markdown(out, []string{"row", "bar", ""}, rows)
}

func failures(out io.Writer, r report) {
	for i := range r.Rows {
		if r.Rows[i].Failed != "" {
			fmt.Fprintf(out, "`%s` failed: %s\n\n", r.Rows[i].Name, r.Rows[i].Failed)
		}
	}
}
