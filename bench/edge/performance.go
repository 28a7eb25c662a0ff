//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine is where a run took place.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"` // that the program may use
	MemoryMiB  int64  `json:"memory_mib"`
	Kernel     string `json:"kernel"`
	Congestion string `json:"congestion_control"`
	Go         string `json:"go"`   // of this program
	Load       string `json:"load"` // averages over 1, 5 and 15 minutes before the run: other work
}

func thisMachine() machine {
	m := machine{CPU: cpuModel(), Cores: runtime.NumCPU(), Kernel: kernel(), Congestion: "unknown", Go: runtime.Version()}
	if text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control"); err == nil {
		m.Congestion = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(text))[:3], ", ")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.MemoryMiB = kibLine(string(text), "MemTotal:") / 1024
	}
	return m
}

// writePerformance writes the page about the run.
func (b *bench) writePerformance() (err error) {
	if b.opts.performance == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(b.opts.performance), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Create(b.opts.performance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	page(f, b.report)
	return nil
}

// page is docs/performance.md.
func page(out io.Writer, r report) {
	fmt.Fprintf(out, `# Performance

What `+"`penny`"+` needs beside nginx, H2O and Caddy: the same files, certificate and header fields, one core for the server and another
for the load, in turns. This page is written by the benchmark and not by hand:

    %s

[The benchmark's own page](../bench/edge/README.md) says how everything is measured and how each server is set up.

`, r.Command)
	pageMachine(out, r)
	cpu := casesOf(r.Cases, kindCPU)
	if len(cpu) > 0 {
		pageCPU(out, r, cpu)
	}
	if some := casesOf(r.Cases, kindIdle); len(some) > 0 {
		pageIdle(out, some)
	}
	if some := casesOf(r.Cases, kindFair); len(some) > 0 {
		pageFair(out, r, some)
	}
	pageNoise(out, cpu)
	pageCases(out, r.Cases)
}

func pageMachine(out io.Writer, r report) {
	g := grid{head: []string{"machine", ""}}
	g.add("date", r.Date.Format(time.DateOnly))
	g.add("CPU", fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores))
	g.add("memory", fmt.Sprintf("%.1f GiB", float64(r.Machine.MemoryMiB)/1024))
	g.add("kernel", fmt.Sprintf("Linux %s, congestion control %s, loopback", r.Machine.Kernel, r.Machine.Congestion))
	g.add("other work", "load average "+r.Machine.Load+" before the run")
	g.add("Go", r.Machine.Go)
	for _, name := range append(slices.Clone(r.Servers), "wrk", "h2load") {
		g.add(name, r.Versions[name])
	}
	g.add("turns", fmt.Sprintf("%d of about %d s each; at most %d of mixtures and of many connections, one of idle ones", r.Turns, r.Seconds, crowdTurns))
	g.markdown(out)
}

func pageCPU(out io.Writer, r report, cpu []caseReport) {
	fmt.Fprintf(out, `## CPU

Microseconds of CPU time, user and system, that the server's processes took for each request; the median over the turns. Lower is
better. The ratio is ours by the best peer's of the same turn, then the median over the turns; the peer named is the best by
its own median. The goals are ratios to one peer, made in the same way. They come from what a bare loop over sockets reached, less
what an edge must do besides.

`)
	g := cpuGrid(cpu, r.Servers)
	g.markdown(out)
	fmt.Fprintf(out, "Access logs in the `*-mix-*` cases: %s. They are off in all others.\n\n", orNone(r.Logs))
	pageTraffic(out, r)
	fmt.Fprint(out, `## Memory

Resident memory in MiB right after each case, pages shared by several processes counted once. A process has gone through all cases
above its own. Ours has the whole site in memory, with its codings; the others have what the kernel caches, which is in none of
these figures.

`)
	g = memoryGrid(cpu, r.Servers)
	g.markdown(out)
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// pageTraffic says what each server sent in the mixed cases.
func pageTraffic(out io.Writer, r report) {
	if len(r.Traffic) == 0 {
		return
	}
	fmt.Fprint(out, "What the mixtures are made of, as served:\n\n")
	g := grid{head: []string{"case", "server", "answers"}}
	for _, t := range r.Traffic {
		g.add(t.Case, t.Server, t.What)
	}
	g.markdown(out)
}

func pageIdle(out io.Writer, idle []caseReport) {
	fmt.Fprintf(out, `## Idle connections

Each connection fetched one file of 1 KiB and is then kept open; %s later the resident memory of the server's processes is read, and
then every connection is used once more, to prove that none was dropped. The server is a new process that serves three small files
and has had %d connections before. The kernel's own memory for sockets is the same for all and is not in these figures. The bar
is %d idle connections over TLS in at most %d MiB, the program itself included. One turn.

`, idleSettle, idleFew, idleBarConnections, idleBarMiB)
	g := idleGrid(idle)
	g.markdown(out)
}

func pageFair(out io.Writer, r report, fair []caseReport) {
	fmt.Fprintf(out, `## Fairness

%d connections over TLS at the same time, each with one request in flight always; in the mixed cases one connection in %d fetches
1 MiB each time and the others 1 KiB. Answers on a connection are least..median..most while it counted; Jain's index is 1 when
all connections of a kind got the same number. In such a closed loop latency follows from speed: p99 beside p50 tells more about
fairness than p99 alone, and a server that neglects the large answers has more time for the small. %s

`, fairConnections, fairLargeOneIn, turnsText(min(r.Turns, crowdTurns)))
	g := fairGrid(fair)
	g.markdown(out)
}

func turnsText(n int) string {
	if n == 1 {
		return "One turn."
	}
	return fmt.Sprintf("%d turns.", n)
}

// pageNoise says how much the figures wander, in figures.
func pageNoise(out io.Writer, cpu []caseReport) {
	fmt.Fprint(out, `## How far to trust this

One machine, loopback, one core for the server. The server's writes also run the client's half of TCP there, so that a good part of every
figure is not the server's; with a real network the differences in user space weigh more. On virtual machines the same binary
differs by a tenth and more from run to run, so only figures of one run can be compared, and a difference below a tenth is a tie.
The load is one core as well: where the server was not busy all the time, requests a second would be the load's limit, which is why
CPU time is what is compared. The peers are the versions of the distribution; newer ones may be faster.

`)
	if middle, most, where, ok := spread(cpu); ok {
		fmt.Fprintf(out, `In this run the turns of one server in one case lay %.0f %% apart in the median (greatest less least, by the median), and %.0f %% at the
most (%s).

`, 100*middle, 100*most, where)
	}
}

// spread is how far the turns of a cell lie apart: the median over all cells, and the worst.
func spread(cases []caseReport) (middle, most float64, where string, ok bool) {
	var all []float64
	for _, c := range cases {
		for _, it := range c.Cells {
			values := it.values(metrics[0].of)
			if len(values) < 2 {
				continue
			}
			wide := (slices.Max(values) - slices.Min(values)) / median(values)
			if all = append(all, wide); wide > most {
				most, where = wide, it.Server+" in "+c.Name
			}
		}
	}
	return median(all), most, where, len(all) > 0
}

func pageCases(out io.Writer, cases []caseReport) {
	fmt.Fprint(out, "## The cases\n\n")
	g := grid{head: []string{"case", "what is asked"}}
	for _, c := range cases {
		g.add(c.Name, c.What)
	}
	g.markdown(out)
	var failures []string
	for _, c := range cases {
		for _, it := range c.Cells {
			if it.Failed != "" && it.Failed != notServed {
				failures = append(failures, fmt.Sprintf("* %s, %s: %s", c.Name, it.Server, lastLine(it.Failed)))
			}
		}
	}
	if len(failures) > 0 {
		fmt.Fprintf(out, "No figure:\n\n%s\n", strings.Join(failures, "\n"))
	}
}
