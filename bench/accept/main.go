//go:build linux

// Command accept measures two ways to accept TCP connections: one listening socket with one accept loop, and one socket a
// processor (SO_REUSEPORT), each with a loop of its own. Everything behind the loops is the same. See README.md for what
// the figures mean.
//
// The main types: setup is one row of the plan; server is a process that serves in one setup; sample is what it showed in
// one turn.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	mostTurns   = 100
	longestTurn = time.Minute
	mostWorkers = 1000
	mostCPUs    = 256
)

type options struct {
	cpus    []int
	turns   int
	length  time.Duration // of a turn
	workers int           // connections at a time
	most    int64         // connections of a turn
	child   string        // hidden: this process is the server or the load
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := realMain(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench/accept:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("used wrongly")

func realMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	opts, err := parseOptions(args)
	if err != nil {
		return err
	}
	switch opts.child {
	case asServer:
		var s setup
		input := json.NewDecoder(in)
		if err := input.Decode(&s); err != nil {
			return err
		}
		return serve(ctx, s, input, json.NewEncoder(out))
	case asLoad:
		var order loadOrder
		if err := json.NewDecoder(in).Decode(&order); err != nil {
			return err
		}
		report, err := load(ctx, order)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(report)
	}
	return run(ctx, opts, out)
}

func parseOptions(args []string) (options, error) {
	opts := options{most: math.MaxInt64}
	var cpus string
	fs := flag.NewFlagSet("accept", flag.ContinueOnError)
	fs.StringVar(&cpus, "cpus", "1,2", "how many processors the server has, and so how many sockets there are; several numbers are measured one after the other")
	fs.IntVar(&opts.turns, "turns", 5, "how often each way has its turn")
	fs.DurationVar(&opts.length, "length", time.Second, "about how long one turn lasts")
	fs.IntVar(&opts.workers, "connections", 16, "how many connections there are at a time")
	fs.StringVar(&opts.child, childFlag, "", "internal: be the server or the load")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return opts, err
		}
		return opts, fmt.Errorf("%w: %w", errUsage, err)
	}
	for text := range strings.SplitSeq(cpus, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > mostCPUs {
			return opts, fmt.Errorf("%w: -cpus: %q is no number from 1 to %d", errUsage, text, mostCPUs)
		}
		opts.cpus = append(opts.cpus, n)
	}
	return opts, opts.validate(fs.Args())
}

func (o options) validate(rest []string) error {
	var errs []error
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected arguments: %s", strings.Join(rest, " ")))
	}
	if o.turns < 1 || o.turns > mostTurns {
		errs = append(errs, fmt.Errorf("-turns is from 1 to %d", mostTurns))
	}
	if o.length <= 0 || o.length > longestTurn {
		errs = append(errs, fmt.Errorf("-length is at most %s", longestTurn))
	}
	if o.workers < 1 || o.workers > mostWorkers {
		errs = append(errs, fmt.Errorf("-connections is from 1 to %d", mostWorkers))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", errUsage, errors.Join(errs...))
}
