// Bench/sweep measures penny sweep beside plain pools of net/http and fasthttp, on
// the same simulated internet, in the same run:
//
//	go run ./bench/sweep
//
// It builds penny, starts penny simnet as a child, and has each client ask the same
// names in a process of its own. It prints targets a second, CPU a target (user and
// system, of the client alone), the peak of resident memory, and how many rows are
// wrong, as penny simnet truth knows them. In the end penny alone asks with limits for
// addresses and networks, and it is counted whether they were kept. Wall times on a shared machine are noisy:
// compare CPU and ratios.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	targets  int
	inFlight []int
	clients  []string
	kinds    []string
	profile  string
	latency  string
	seed     uint64
	rounds   int
	out      string
	asJSON   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, args []string, w io.Writer) error {
	if len(args) > 0 && args[0] == "pool" {
		return runPool(ctx, args[1:])
	}
	fs := flag.NewFlagSet("bench/sweep", flag.ContinueOnError)
	var o options
	var inFlight, clients, kinds string
	fs.IntVar(&o.targets, "targets", 100_000, "targets over plain HTTP; a fifth of them over TLS")
	fs.StringVar(&inFlight, "in-flight", "200,2000,15000", "how many are to be under way")
	fs.StringVar(&clients, "clients", "penny,nethttp,fasthttp", "penny, penny-plain, nethttp, fasthttp")
	fs.StringVar(&kinds, "kinds", "plain,tls,paced", "plain, tls; penny alone: dns, paced")
	fs.StringVar(&o.profile, "profile", "quick", "of the simulated internet")
	fs.StringVar(&o.latency, "latency", "none", "of the simulated internet")
	fs.Uint64Var(&o.seed, "seed", 1, "of the simulated internet")
	fs.IntVar(&o.rounds, "rounds", 1, "of everything; the median counts")
	fs.BoolVar(&o.asJSON, "json", false, "print JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	for text := range strings.SplitSeq(inFlight, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-in-flight: %q is no number", text)
		}
		o.inFlight = append(o.inFlight, n)
	}
	o.clients, o.kinds = strings.Split(clients, ","), strings.Split(kinds, ",")
	dir, err := os.MkdirTemp("", "bench-sweep-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // temporary
	o.out = dir
	return bench(ctx, &o, w)
}

// runPool is a peer, in a process of its own.
func runPool(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("pool", flag.ContinueOnError)
	kind := fs.String("kind", "nethttp", "")
	dns := fs.String("dns", "", "")
	port := fs.Int("port", 80, "")
	secure := fs.Bool("tls", false, "")
	n := fs.Int("n", 200, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := newMuxResolver(ctx, *dns)
	if err != nil {
		return err
	}
	p := &pool{resolver: r, port: *port, secure: *secure, concurrency: *n}
	ask := p.netHTTP(ctx)
	if *kind == "fasthttp" {
		ask = p.fastHTTP(ctx)
	}
	return p.run(fs.Arg(0), fs.Arg(1), ask)
}

// An internet is a penny simnet that runs.
type internet struct {
	cmd             *exec.Cmd
	DNS, HTTP, TLS  string
	ca, list, short string
	truth           map[string]map[string]int // by kind, status by name
}

// A measurement is one client's run.
type measurement struct {
	Client   string  `json:"client"`
	Kind     string  `json:"kind"`
	InFlight int     `json:"in_flight"`
	Targets  int     `json:"targets"`
	Seconds  float64 `json:"seconds"`
	PerSec   float64 `json:"targets_per_second"`
	User     float64 `json:"user_us_per_target"`
	System   float64 `json:"system_us_per_target"`
	CPU      float64 `json:"cpu_us_per_target"`
	PeakMB   float64 `json:"peak_rss_mb"`
	Wrong    int     `json:"wrong"`
	Missing  int     `json:"missing"`
	Pacing   *pacing `json:"pacing,omitempty"`
}

func bench(ctx context.Context, o *options, w io.Writer) error {
	penny := filepath.Join(o.out, "penny")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", penny, "./cmd/penny")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build penny (run this from the project's root): %w", err)
	}
	net, err := startInternet(ctx, o, penny)
	if err != nil {
		return err
	}
	defer net.stop()
	_, _ = fmt.Fprintf(w, "%s, %d processors, Go %s, %s; profile %s, latency %s, %d targets (TLS: %d)\n\n",
		machine(), runtime.NumCPU(), runtime.Version(), time.Now().UTC().Format(time.DateOnly), o.profile, o.latency, o.targets, o.targets/5)
	_, _ = fmt.Fprintf(w, "%-12s %-6s %9s %11s %8s %8s %8s %9s %7s %8s\n", "client", "kind", "in flight", "targets/s", "user us", "sys us", "CPU us", "peak MB", "wrong", "missing")
	var all []measurement
	for _, kind := range o.kinds {
		if kind == "paced" {
			m, err := net.paced(ctx, o, penny)
			if err != nil {
				return fmt.Errorf("paced: %w", err)
			}
			all = append(all, m)
			m.write(w)
			continue
		}
		for _, n := range o.inFlight {
			for _, client := range o.clients {
				if kind == "dns" && !strings.HasPrefix(client, "penny") {
					continue
				}
				var rounds []measurement
				for range o.rounds {
					m, err := net.measure(ctx, o, penny, client, kind, n)
					if err != nil {
						return fmt.Errorf("%s, %s, %d in flight: %w", client, kind, n, err)
					}
					rounds = append(rounds, m)
				}
				slices.SortFunc(rounds, func(a, b measurement) int { return int(math.Copysign(1, a.CPU-b.CPU)) })
				m := rounds[len(rounds)/2]
				all = append(all, m)
				m.write(w)
			}
		}
	}
	if o.asJSON {
		return json.NewEncoder(w).Encode(all)
	}
	ratios(w, all)
	for i := range all {
		if all[i].Pacing != nil {
			all[i].writePacing(w, all)
		}
	}
	return nil
}

// write is the measurement as a line of the table.
func (m *measurement) write(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%-12s %-6s %9d %11.0f %8.1f %8.1f %8.1f %9.1f %7d %8d\n", m.Client, m.Kind, m.InFlight, m.PerSec, m.User, m.System, m.CPU, m.PeakMB, m.Wrong, m.Missing)
}

// ratios compares penny with each peer, case by case.
func ratios(w io.Writer, all []measurement) {
	_, _ = fmt.Fprintln(w)
	for _, m := range all {
		if m.Client != "penny" {
			continue
		}
		for _, peer := range all {
			if peer.Kind == m.Kind && peer.InFlight == m.InFlight && !strings.HasPrefix(peer.Client, "penny") {
				_, _ = fmt.Fprintf(w, "%s, %d in flight: penny needs %.2f of the CPU of %s, and %.2f of its memory\n", m.Kind, m.InFlight, m.CPU/peer.CPU, peer.Client, m.PeakMB/peer.PeakMB)
			}
		}
	}
}

func machine() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOOS
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func startInternet(ctx context.Context, o *options, penny string) (*internet, error) {
	n := &internet{ca: filepath.Join(o.out, "ca.pem"), list: filepath.Join(o.out, "names"), short: filepath.Join(o.out, "names-short"), truth: map[string]map[string]int{}}
	seed := strconv.FormatUint(o.seed, 10)
	names, err := exec.CommandContext(ctx, penny, "simnet", "names", strconv.Itoa(o.targets), "--profile", o.profile, "--seed", seed).Output()
	if err != nil {
		return nil, fmt.Errorf("make the names: %w", err)
	}
	short := names
	for i, left := 0, o.targets/5; left > 0 && i < len(names); i++ {
		if names[i] == '\n' {
			left--
			short = names[:i+1]
		}
	}
	if err := errors.Join(os.WriteFile(n.list, names, 0o600), os.WriteFile(n.short, short, 0o600)); err != nil {
		return nil, err
	}
	for kind, https := range map[string]string{"plain": "never", "tls": "only"} {
		cmd := exec.CommandContext(ctx, penny, "simnet", "truth", n.list, "--json", "--profile", o.profile, "--seed", seed, "--https", https, "--www=false", "--follow", "0", "--retries", "0")
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("ask for the truth: %w", err)
		}
		byName := map[string]int{}
		for line := range strings.Lines(string(out)) {
			var row struct {
				Target string `json:"target"`
				Status int    `json:"status"`
			}
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				return nil, fmt.Errorf("read the truth: %w", err)
			}
			byName[row.Target] = row.Status
		}
		n.truth[kind] = byName
	}
	n.cmd = exec.CommandContext(ctx, penny, "simnet", "--dns", "127.0.0.1:0", "--http", "0", "--https", "0", "--profile", o.profile, "--seed", seed, "--latency", o.latency, "--ca", n.ca, "--json")
	n.cmd.Cancel = func() error { return n.cmd.Process.Signal(syscall.SIGTERM) }
	n.cmd.Stderr = os.Stderr
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		return nil, errors.New("the simulated internet did not start")
	}
	var ready struct {
		DNS   string `json:"dns"`
		HTTP  int    `json:"http"`
		HTTPS int    `json:"https"`
	}
	if err := json.Unmarshal(lines.Bytes(), &ready); err != nil {
		return nil, fmt.Errorf("read what the simulated internet says: %w", err)
	}
	n.DNS, n.HTTP, n.TLS = ready.DNS, strconv.Itoa(ready.HTTP), strconv.Itoa(ready.HTTPS)
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return n, nil
}

func (n *internet) stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
}

func (n *internet) measure(ctx context.Context, o *options, penny, client, kind string, inFlight int) (measurement, error) {
	return n.measured(ctx, o, penny, client, kind, inFlight, func(string) error { return nil })
}

// measured is a client's run; look may look at what it has left in its directory.
func (n *internet) measured(ctx context.Context, o *options, penny, client, kind string, inFlight int, look func(dir string) error) (measurement, error) {
	list, targets := n.list, o.targets
	if kind == "tls" {
		list, targets = n.short, o.targets/5
	}
	m := measurement{Client: client, Kind: kind, InFlight: inFlight, Targets: targets}
	dir, err := os.MkdirTemp(o.out, "run-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // temporary
	cmd := n.command(ctx, penny, client, kind, inFlight, targets, list, dir)
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return m, err
	}
	ended := make(chan struct{})
	peak := watchPeak(cmd.Process.Pid, ended)
	err = cmd.Wait()
	close(ended)
	if m.PeakMB = <-peak; err != nil {
		return m, err
	}
	m.Seconds = time.Since(began).Seconds()
	per := func(t time.Duration) float64 { return float64(t.Nanoseconds()) / 1000 / float64(targets) }
	m.User, m.System = per(cmd.ProcessState.UserTime()), per(cmd.ProcessState.SystemTime())
	m.CPU, m.PerSec = m.User+m.System, float64(targets)/m.Seconds
	if kind == "dns" {
		return m, nil
	}
	if err := look(dir); err != nil {
		return m, err
	}
	truth := n.truth[kind]
	if kind == "paced" {
		truth = n.truth["plain"]
	}
	got, err := statuses(client, dir)
	if err != nil {
		return m, err
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return m, err
	}
	for name := range strings.FieldsSeq(string(text)) {
		status, ok := got[name]
		switch {
		case !ok:
			m.Missing++
		case status != truth[name]:
			m.Wrong++
		}
	}
	return m, nil
}

// command is what runs a client. Penny answers the same question as the others: one
// request a target, nothing followed; its rows are written besides.
func (n *internet) command(ctx context.Context, penny, client, kind string, inFlight, targets int, list, dir string) *exec.Cmd {
	https, port := "never", n.HTTP
	if kind == "tls" {
		https, port = "only", n.TLS
	}
	if strings.HasPrefix(client, "penny") {
		args := []string{
			"sweep", list, "-o", filepath.Join(dir, "run"), "--format", "csv", "--https", https, "--www=false", "--follow", "0", "--retries", "0",
			"--resolver", n.DNS, "--per-resolver", "0", "--ports", "80=" + n.HTTP + ",443=" + n.TLS, "--concurrency", strconv.Itoa(inFlight),
			"--contact", "mailto:bench@example.org", "--roots", n.ca, "--quiet", "--no-report",
		}
		if client == "penny-plain" {
			args = append(args, "--engine", "plain")
		}
		if kind == "paced" {
			limits := limitsFor(targets)
			args = append(args, "--per-address", strconv.Itoa(limits.Address), "--per-network", strconv.Itoa(limits.Network))
		} else {
			args = append(args, "--no-pacing")
		}
		if kind == "dns" {
			args = append(args, "--dns-only")
		}
		return exec.CommandContext(ctx, penny, args...)
	}
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	args := []string{"pool", "-kind", client, "-dns", n.DNS, "-port", port, "-n", strconv.Itoa(inFlight)}
	if kind == "tls" {
		args = append(args, "-tls")
	}
	return exec.CommandContext(ctx, self, append(args, list, filepath.Join(dir, "statuses"))...)
}

// statuses are what a client found, by name.
func statuses(client, dir string) (map[string]int, error) {
	got := map[string]int{}
	if !strings.HasPrefix(client, "penny") {
		text, err := os.ReadFile(filepath.Join(dir, "statuses"))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			name, status, _ := strings.Cut(strings.TrimSpace(line), " ")
			got[name], _ = strconv.Atoi(status)
		}
		return got, nil
	}
	parts, err := filepath.Glob(filepath.Join(dir, "run", "parts", "*.csv"))
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		if err := readCSV(part, got); err != nil {
			return nil, err
		}
	}
	return got, nil
}
