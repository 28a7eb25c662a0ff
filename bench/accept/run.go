//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	childFlag = "internal-child"
	asServer  = "server"
	asLoad    = "load"
)

// warmUp is how long a server is loaded before a turn.
const warmUp = 200 * time.Millisecond

// sample is what one server showed in one turn.
type sample struct {
	cpuMicros float64 // a connection
	rate      float64 // connections a second
	p99       time.Duration
	least     float64 // share of the socket that was chosen least often, and most often
	most      float64
}

// row is a setup with its samples, one a turn.
type row struct {
	setup   setup
	samples []sample
}

// run measures all setups and prints the table.
func run(ctx context.Context, opts options, out io.Writer) error {
	cpus, err := allowedCPUs()
	if err != nil {
		return err
	}
	if most := slices.Max(opts.cpus); most > len(cpus) {
		return fmt.Errorf("-cpus: the server is to have %d processors, and this process may use %d", most, len(cpus))
	}
	printHeading(out, opts, len(cpus))
	var rows []row
	for _, n := range opts.cpus {
		for _, secure := range []bool{false, true} {
			pair := []row{{setup: setup{CPUs: n, TLS: secure}}, {setup: setup{CPUs: n, TLS: secure, ReusePort: true}}}
			if err := measurePair(ctx, opts, cpus, pair); err != nil {
				return err
			}
			rows = append(rows, pair...)
		}
	}
	return printTable(out, rows)
}

// measurePair gives both ways their turns; who is first changes from turn to turn.
func measurePair(ctx context.Context, opts options, cpus []int, pair []row) (err error) {
	servers := make([]*server, len(pair))
	for i := range pair {
		if servers[i], err = startServer(ctx, cpus, pair[i].setup); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, servers[i].stop()) }()
	}
	for turn := range opts.turns {
		for i := range pair {
			at := (i + turn) % len(pair)
			got, err := measure(ctx, opts, cpus, servers[at])
			if err != nil {
				return fmt.Errorf("%s, turn %d: %w", pair[at].setup, turn+1, err)
			}
			pair[at].samples = append(pair[at].samples, got)
		}
	}
	return nil
}

// measure is warm-up, reading, load, reading.
func measure(ctx context.Context, opts options, cpus []int, s *server) (sample, error) {
	// A load of its own processors where there are some, else it shares the server's.
	loadCPUs := cpus[s.setup.CPUs:]
	if len(loadCPUs) == 0 {
		loadCPUs = cpus
	}
	order := loadOrder{greeting: s.greeting, Workers: opts.workers, Limit: min(warmUp, opts.length), Most: opts.most}
	if _, err := runLoad(ctx, loadCPUs, order); err != nil {
		return sample{}, fmt.Errorf("warm-up: %w", err)
	}
	before, err := s.read()
	if err != nil {
		return sample{}, err
	}
	order.Limit = opts.length
	report, err := runLoad(ctx, loadCPUs, order)
	if err != nil {
		return sample{}, err
	}
	after, err := s.read()
	if err != nil {
		return sample{}, err
	}
	return sampleOf(before, after, report)
}

func sampleOf(before, after reading, report loadReport) (sample, error) {
	got := sample{
		cpuMicros: (after.CPU - before.CPU).Seconds() * 1e6 / float64(report.Done), rate: float64(report.Done) / report.Elapsed.Seconds(),
		p99: report.P99, least: 1,
	}
	var all int64
	for i := range after.Accepted {
		all += after.Accepted[i] - before.Accepted[i]
	}
	if all != report.Done {
		return got, fmt.Errorf("the server accepted %d connections, the load made %d", all, report.Done)
	}
	for i := range after.Accepted {
		share := float64(after.Accepted[i]-before.Accepted[i]) / float64(all)
		got.least, got.most = min(got.least, share), max(got.most, share)
	}
	return got, nil
}

// child starts this program again on some processors. It ends when its input does, or ctx.
func child(ctx context.Context, role string, cpus []int) (*exec.Cmd, error) {
	self, err1 := os.Executable()
	taskset, err2 := exec.LookPath("taskset")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(cpus), " ", ","), "[]")
	cmd := exec.CommandContext(ctx, taskset, "-c", list, self, "-"+childFlag, role)
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", len(cpus)))
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = patience
	return cmd, nil
}

// runLoad runs a load to its end.
func runLoad(ctx context.Context, cpus []int, order loadOrder) (loadReport, error) {
	var report loadReport
	ctx, cancel := context.WithTimeoutCause(ctx, order.Limit+3*patience, errors.New("the load does not end"))
	defer cancel()
	cmd, err := child(ctx, asLoad, cpus)
	if err != nil {
		return report, err
	}
	text, err := json.Marshal(order)
	if err != nil {
		return report, err
	}
	cmd.Stdin = strings.NewReader(string(text))
	printed, err := cmd.Output()
	if err != nil {
		return report, fmt.Errorf("load: %w", errors.Join(err, context.Cause(ctx)))
	}
	return report, json.Unmarshal(printed, &report)
}

// server is a running one.
type server struct {
	greeting
	setup setup
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ask   *json.Encoder
	told  *json.Decoder
}

func startServer(ctx context.Context, cpus []int, s setup) (*server, error) {
	cmd, err := child(ctx, asServer, cpus[:s.CPUs])
	if err != nil {
		return nil, err
	}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	started := &server{setup: s, cmd: cmd, stdin: stdin, ask: json.NewEncoder(stdin), told: json.NewDecoder(stdout)}
	if err := errors.Join(started.ask.Encode(s), started.told.Decode(&started.greeting)); err != nil {
		return nil, fmt.Errorf("start the server of %s: %w", s, errors.Join(err, started.stop()))
	}
	return started, nil
}

// read asks the server how it stands.
func (s *server) read() (reading, error) {
	var r reading
	if err := errors.Join(s.ask.Encode(struct{}{}), s.told.Decode(&r)); err != nil {
		return r, fmt.Errorf("ask the server: %w", err)
	}
	return r, nil
}

func (s *server) stop() error {
	return errors.Join(s.stdin.Close(), s.cmd.Wait())
}

// allowedCPUs are those that this process may use.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read which processors there are: %w", err)
	}
	var cpus []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

func printHeading(out io.Writer, opts options, cpus int) {
	fmt.Fprintf(out, "%s, %s, %d processors, Linux %s, load average %s\n", time.Now().UTC().Format(time.DateOnly), cpuModel(), cpus,
		fileLine("/proc/sys/kernel/osrelease"), strings.Join(strings.Fields(fileLine("/proc/loadavg") + " - - -")[:3], ", "))
	fmt.Fprintf(out, "%s, %d turns of %s, %d connections at a time, medians\n\n", runtime.Version(), opts.turns, opts.length, opts.workers)
}
