//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pennyfarthing/bench/debian"
)

// leastCPU is how long a server must have run for its time to be known: the clock ticks every 10 ms.
const leastCPU = 30 * clockTick

// attempts is how often a starved measurement is taken.
const attempts = 3

var errStarved = errors.New("the machine is too busy with other work")

// report is everything, for -json.
type report struct {
	Date     time.Time         `json:"date"`
	Machine  machine           `json:"machine"`
	Servers  []string          `json:"servers"` // of the ordinary cases, in the order of the tables
	Turns    int               `json:"turns"`
	Seconds  int               `json:"seconds"`
	Versions map[string]string `json:"versions"`
	Command  string            `json:"command"`
	Traffic  []traffic         `json:"traffic,omitempty"`
	Logs     string            `json:"logs,omitempty"` // access logs of the mixed cases
	Heads    map[string]string `json:"heads"`          // of each server in each mode, as they came
	Cases    []caseReport      `json:"cases"`
}

// traffic is what a server sends in a mixed case.
type traffic struct {
	Case   string `json:"case"`
	Server string `json:"server"`
	What   string `json:"what"`
}

type caseReport struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"` // which table it is in
	What  string `json:"what"`
	Goals []goal `json:"goals,omitempty"`
	Cells []cell `json:"cells"`
}

// bench is one run.
type bench struct {
	opts     options
	cases    []benchCase
	out      io.Writer
	dir      string
	spawner  *spawner
	loader   *loader
	site     *site
	cert     *certificate
	binaries map[string]string
	running  map[string]map[mode]*server
	failed   map[string]map[mode]error // servers that did not start or did not pass the check
	variants map[string]map[mode]map[mixed]variant
	report   report
}

func run(ctx context.Context, opts options, cases []benchCase, out io.Writer) (err error) {
	tools := []debian.Tool{{Program: "wrk", Package: "wrk"}, {Program: "h2load", Package: "nghttp2-client"}, {Program: "taskset", Package: "util-linux"}}
	for _, name := range opts.servers {
		if isPeer(name) {
			tools = append(tools, debian.Tool{Program: name, Package: programNamed(name).debian})
			if name == "nginx" {
				tools = append(tools, debian.Tool{Program: nginxBrotli, Package: "libnginx-mod-http-brotli-static"})
			}
		}
	}
	if opts.manual == defaultManual {
		tools = append(tools, debian.Tool{Program: defaultManual, Package: "postgresql-doc-15"})
	}
	if err := debian.Ensure(ctx, debian.Missing(tools), opts.install, out); err != nil {
		return err
	}
	sp, err := newSpawner(opts.urgent)
	if err != nil {
		return err
	}
	defer sp.close()
	dir, err := os.MkdirTemp("", "bench-edge-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // servers may become another user
		return err
	}
	b := &bench{
		opts: opts, cases: cases, out: out, dir: dir, spawner: sp,
		binaries: map[string]string{}, running: map[string]map[mode]*server{}, failed: map[string]map[mode]error{},
		variants: map[string]map[mode]map[mixed]variant{},
		report: report{
			Date: time.Now().UTC(), Machine: thisMachine(), Servers: opts.servers, Turns: opts.turns, Seconds: opts.seconds, Command: opts.command,
			Versions: map[string]string{}, Heads: map[string]string{},
		},
	}
	defer b.stopServers()
	return b.run(ctx)
}

func (b *bench) run(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.startServers(ctx); err != nil {
		return err
	}
	if err := b.checkServers(ctx); err != nil {
		return err
	}
	failed := false
	for i, c := range b.cases {
		done, err := b.runCase(ctx, i, c)
		if err != nil {
			return err
		}
		failed = failed || slices.ContainsFunc(done.Cells, func(c cell) bool { return c.Failed != "" && c.Failed != notServed })
		b.report.Cases = append(b.report.Cases, done)
		printCase(b.out, done)
		if err := errors.Join(b.writeJSON(), b.writePerformance()); err != nil { // after every case, so that an interrupted run keeps what it has
			return err
		}
	}
	printSummary(b.out, b.report.Cases, b.opts.servers)
	if failed {
		return errFailedCells
	}
	return nil
}

// prepare finds the programs, makes the certificate and the files.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	for _, name := range b.allServers() {
		prog := programNamed(name)
		switch {
		case name == theFloor:
			b.binaries[name], err = os.Executable()
		case isPeer(name):
			b.binaries[name], err = debian.Find(name)
		case b.binaries[ours] != "":
			b.binaries[name] = b.binaries[ours]
		case b.opts.penny != "":
			b.binaries[name], err = filepath.Abs(b.opts.penny)
		default:
			b.binaries[name], err = buildPenny(ctx, b.dir)
		}
		if err != nil {
			return err
		}
		if b.report.Versions[name], err = prog.version(ctx, b.binaries[name]); err != nil {
			return err
		}
	}
	if b.cert, err = makeCertificate(b.dir); err != nil {
		return err
	}
	if err := b.chooseLogs(ctx); err != nil {
		return err
	}
	if b.site, err = buildSite(b.dir, b.opts.manual, b.mixes()); err != nil {
		return err
	}
	if b.loader, err = newLoader(b.spawner, b.dir, b.opts.seconds, b.site.draw); err != nil {
		return err
	}
	return b.printHeading(ctx)
}

func (b *bench) printHeading(ctx context.Context) error {
	var err1, err2 error
	b.report.Versions["wrk"], err1 = firstLine(ctx, b.loader.wrk, "-v")
	b.report.Versions["h2load"], err2 = firstLine(ctx, b.loader.h2load, "--version")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	b.report.Versions["wrk"], _, _ = strings.Cut(b.report.Versions["wrk"], " Copyright")
	fmt.Fprintf(b.out, "%s, %s, Linux %s; server on CPU %d, load on CPU %d\n",
		b.report.Date.Format(time.DateOnly), b.report.Machine.CPU, b.report.Machine.Kernel, b.spawner.serverCPU, b.spawner.loadCPU)
	for _, name := range b.opts.servers {
		fmt.Fprintf(b.out, "%-7s %s (manual: %s)\n", name, b.report.Versions[name], programNamed(name).serves)
	}
	fmt.Fprintf(b.out, "load    %s; %s\n", b.report.Versions["wrk"], b.report.Versions["h2load"])
	fmt.Fprintf(b.out, "TLS     1.3, %s, X25519, ECDSA P-256, never resumed\n", theCipher)
	fmt.Fprintf(b.out, "manual  %s: %d files, %.1f MiB, %d requests drawn (the k-th page with weight 1/k)\n",
		b.opts.manual, b.site.files, float64(b.site.bytes)/(1<<20), len(b.site.draw))
	fmt.Fprintf(b.out, "%d turns, about %d s each, after %s of warm-up", b.opts.turns, b.opts.seconds, warmUp)
	if b.opts.urgent {
		fmt.Fprint(b.out, "; scheduled before other work of the machine")
	}
	fmt.Fprintln(b.out)
	return nil
}

// serversOf are the servers of a case: where memory is measured, both engines of ours.
func (b *bench) serversOf(c benchCase) []string {
	servers := b.opts.servers
	at := slices.Index(servers, ours)
	if c.load != loadIdle || at < 0 || b.opts.engine == "plain" || slices.Contains(servers, oursPlain) {
		return servers
	}
	return slices.Insert(slices.Clone(servers), at+1, oursPlain)
}

// allServers are those of any case.
func (b *bench) allServers() []string {
	var all []string
	for _, c := range b.cases {
		for _, name := range b.serversOf(c) {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// mixes says whether there are mixed cases.
func (b *bench) mixes() bool {
	return slices.ContainsFunc(b.cases, func(c benchCase) bool { return c.load == loadMix })
}

// chooseLogs gives the mixed cases processes with an access log of one request in a hundred, unless ours cannot do that:
// then no server has a log.
func (b *bench) chooseLogs(ctx context.Context) error {
	if !b.mixes() {
		return nil
	}
	for _, name := range b.opts.servers {
		if !isOurs(name) {
			continue
		}
		can, err := pennySamples(ctx, b.binaries[name])
		if err != nil {
			return err
		}
		if !can {
			b.report.Logs = "none (" + name + " has no " + logSampleFlag + ")"
			return nil
		}
	}
	b.report.Logs = fmt.Sprintf("one request in %d; H2O and Caddy, which cannot write so few, none", logOneIn)
	for i := range b.cases {
		if b.cases[i].load == loadMix {
			b.cases[i].mode = b.cases[i].mode.withLog()
		}
	}
	return nil
}

// learnVariants asks the server for everything of the mixed cases, if it has a part in one. A difference is the server's failure.
func (b *bench) learnVariants(ctx context.Context, s *server, m mode) error {
	known := map[mixed]variant{}
	for _, c := range b.cases {
		if c.load != loadMix || c.mode != m || !programNamed(s.name).answers(c) {
			continue
		}
		requests := b.mixtures(c)
		more, err := variants(ctx, s, b.site, requests)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.failed[s.name][m] = err
			return nil
		}
		maps.Copy(known, more)
		if !c.h2 {
			what := mixFigures(requests, known)
			b.report.Traffic = append(b.report.Traffic, traffic{c.name, s.name, what})
			fmt.Fprintf(b.out, "check   %s %s: %s: %s\n", s.name, m, c.name, what)
		}
	}
	b.variants[s.name][m] = known
	return nil
}

// hasPart says whether a server answers in any case of a mode.
func (b *bench) hasPart(name string, m mode) bool {
	return slices.ContainsFunc(b.cases, func(c benchCase) bool { return c.mode == m && programNamed(name).answers(c) })
}

func (b *bench) modes() []mode {
	var modes []mode
	for _, c := range b.cases {
		if c.load != loadIdle && !slices.Contains(modes, c.mode) {
			modes = append(modes, c.mode)
		}
	}
	return modes
}

// startServers starts every server in every mode that a case needs, and waits until all are at rest.
func (b *bench) startServers(ctx context.Context) error {
	var all []*server
	for _, name := range b.opts.servers {
		b.running[name], b.failed[name], b.variants[name] = map[mode]*server{}, map[mode]error{}, map[mode]map[mixed]variant{}
		for _, m := range b.modes() {
			if !b.hasPart(name, m) {
				continue
			}
			port, err := freePort(ctx)
			if err != nil {
				return err
			}
			s, err := startServer(ctx, b.spawner, programNamed(name), place{
				engine: b.opts.engine,
				binary: b.binaries[name], dir: filepath.Join(b.dir, name+"-"+string(m)), root: b.site.bare, rootGzip: b.site.withGzip,
				mode: m, port: port, cert: b.cert, privilege: os.Geteuid() == 0,
			})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				b.failed[name][m] = err
				continue
			}
			b.running[name][m] = s
			all = append(all, s)
		}
	}
	return settle(ctx, all, 6)
}

func (b *bench) stopServers() {
	for _, byMode := range b.running {
		for _, s := range byMode {
			s.stop()
		}
	}
}

// checkServers proves that all serve the same, and prints how alike the heads are.
func (b *bench) checkServers(ctx context.Context) error {
	for _, m := range b.modes() {
		var names []string
		var heads []map[string]string
		for _, name := range b.opts.servers {
			s := b.running[name][m]
			if s == nil {
				continue
			}
			a, err := checkServer(ctx, s, b.site)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				b.failed[name][m] = err
				continue
			}
			names, heads = append(names, name), append(heads, a.fields)
			b.report.Heads[name+" "+string(m)] = a.head
			fmt.Fprintf(b.out, "check   %s %s: %d paths are the files; head %d bytes; manual: %d files as gzip, %.0f bytes a request\n",
				name, m, a.paths, len(a.head)+len("\r\n"), a.gzip, a.mean)
			if err := b.learnVariants(ctx, s, m); err != nil {
				return err
			}
		}
		for _, note := range compareHeads(names, heads) {
			fmt.Fprintf(b.out, "unlike  %s %s, beside %s\n", m, note, names[0])
		}
	}
	return nil
}

// runCase gives every server its turns in one case; the order rotates with case and turn.
func (b *bench) runCase(ctx context.Context, number int, c benchCase) (caseReport, error) {
	servers := b.serversOf(c)
	done := caseReport{Name: c.name, Kind: c.kind(), What: c.describe(), Goals: c.goals, Cells: make([]cell, len(servers))}
	for i, name := range servers {
		done.Cells[i].Server = name
		if err := b.failed[name][c.mode]; err != nil && c.load != loadIdle {
			done.Cells[i].Failed = err.Error()
		}
		if !programNamed(name).answers(c) {
			done.Cells[i].Failed = notServed
		}
	}
	for turn := range c.turns(b.opts.turns) {
		for i := range servers {
			it := &done.Cells[(i+turn+number)%len(servers)]
			if it.Failed != "" {
				continue
			}
			got, err := b.measure(ctx, c, it.Server)
			if ctx.Err() != nil {
				return done, context.Cause(ctx)
			}
			if err != nil {
				it.Failed, it.Samples = fmt.Sprintf("turn %d: %v", turn+1, err), nil
				continue
			}
			it.Samples = append(it.Samples, got)
		}
	}
	return done, nil
}

// measure is one server's turn. A measurement that got too little of its core is taken again, for three times as long.
func (b *bench) measure(ctx context.Context, c benchCase, name string) (sample, error) {
	if c.load == loadIdle {
		return b.measureIdle(ctx, c, name)
	}
	s := b.running[name][c.mode]
	for attempt, l := 1, *b.loader; ; attempt++ {
		var got sample
		var err error
		if c.load == loadMix || c.load == loadFair {
			got, err = b.measureCrowd(ctx, c, s, l.seconds)
		} else {
			got, err = b.measureOnce(ctx, &l, c, s)
		}
		if err == nil || attempt == attempts || !errors.Is(err, errStarved) && !errors.Is(err, errNoResponse) {
			return got, err
		}
		l.seconds *= 3
	}
}

// measureOnce is warm-up, reading, load, reading.
func (b *bench) measureOnce(ctx context.Context, l *loader, c benchCase, s *server) (sample, error) {
	rate, err := l.warm(ctx, c, s)
	if err != nil {
		return sample{}, fmt.Errorf("warm-up: %w", err)
	}
	before, err := readTree(s.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	out, err := l.measure(ctx, c, s, rate, b.site.assets[c.path].size)
	wall := time.Since(began)
	if err != nil {
		return sample{}, err
	}
	after, err := readTree(s.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	cpu := after.cpu - before.cpu
	if err := sameProcesses(before, after, wall); err != nil {
		return sample{}, err
	}
	used, err := readMemory(after.pids)
	if err != nil {
		return sample{}, err
	}
	if c.load == loadH2load {
		if out.p99, err = l.latency(ctx, c, s, rate); err != nil {
			return sample{}, fmt.Errorf("latency: %w", err)
		}
	}
	return sample{
		CPUMicros: float64(cpu.Microseconds()) / float64(out.requests), Rate: out.rate(), P99Millis: float64(out.p99.Microseconds()) / 1000,
		Memory: used, ServerBusy: cpu.Seconds() / wall.Seconds(), LoadBusy: out.cpu.Seconds() / wall.Seconds(), Requests: out.requests,
	}, nil
}

// sameProcesses says why what lies between two readings is no measurement: the server is not what it was, or hardly ran.
func sameProcesses(before, after treeUsage, wall time.Duration) error {
	switch cpu := after.cpu - before.cpu; {
	case !slices.Equal(before.pids, after.pids):
		return fmt.Errorf("processes came or went: %v, then %v", before.pids, after.pids)
	case cpu < leastCPU:
		return fmt.Errorf("%w: the server ran for %s of %s", errStarved, cpu, wall.Round(time.Millisecond))
	}
	return nil
}

func (b *bench) writeJSON() error {
	if b.opts.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.opts.json, append(text, '\n'), 0o644)
}

func kernel() string {
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		return "unknown"
	}
	var b strings.Builder
	for _, c := range name.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
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
