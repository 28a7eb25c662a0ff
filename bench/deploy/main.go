//go:build linux

// Command deploy measures `penny deploy` beside rsync over SSH: the same trees, the same three destinations, the same
// network between, in turns. See README.md for what the figures mean.
//
// The main types: bench is one run; tree is a directory that is deployed; a weather is a network; a row is what is
// changed before a deploy; a side is penny or rsync, with everything that it needs at both ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"
	"syscall"
)

// errFailedRows says that the run went through, but not every row has numbers.
var errFailedRows = errors.New("some rows have no numbers, see \"failed\" above")

var errUsage = errors.New("used wrongly")

type options struct {
	turns       int
	scale       float64
	only        []string
	dir         string
	json        string
	performance string
	penny       string
	install     bool
	hold        bool
	list        bool
	command     string // as it was typed, for the page
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := realMain(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench/deploy:", err)
		os.Exit(1)
	}
}

func realMain(ctx context.Context, args []string, out io.Writer) error {
	opts, err := parseOptions(args)
	if err != nil {
		return err
	}
	cases, err := selectCases(allCases(), opts.only)
	if err != nil {
		return err
	}
	if opts.list {
		for _, c := range cases {
			fmt.Fprintf(out, "%-26s %s\n", c.name(), c.row.what)
		}
		return nil
	}
	return run(ctx, opts, cases, out)
}

func parseOptions(args []string) (options, error) {
	opts := options{command: strings.Join(append([]string{"go run ./bench/deploy"}, args...), " ")}
	var only string
	fs := flag.NewFlagSet("deploy", flag.ContinueOnError)
	fs.IntVar(&opts.turns, "turns", 3, "how often each side has its turn in every row but the first deploy, which has one")
	fs.Float64Var(&opts.scale, "scale", 1, "the share of the files that the trees have, to try the benchmark")
	fs.StringVar(&only, "only", "", "rows by name or pattern, comma-separated: 'files/near/*' (default all)")
	fs.StringVar(&opts.dir, "dir", "", "a directory for trees, destinations and agents (default: a temporary one; some 3 GB)")
	fs.StringVar(&opts.json, "json", "", "also write everything to this file")
	fs.StringVar(&opts.performance, "performance", "", "also write a page of Markdown about the run to this file, such as docs/performance-deploy.md")
	fs.StringVar(&opts.penny, "penny", "", "a penny binary (default: built from ./cmd/penny)")
	fs.BoolVar(&opts.install, "install", false, "install the Debian packages that are missing (as root)")
	fs.BoolVar(&opts.hold, "hold", false, "after the last row keep all running until Ctrl-C, and say where it is: to profile")
	fs.BoolVar(&opts.list, "list", false, "list the rows and stop")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return opts, err
		}
		return opts, fmt.Errorf("%w: %w", errUsage, err)
	}
	opts.only = strings.FieldsFunc(only, func(r rune) bool { return r == ',' || r == ' ' })
	return opts, opts.validate(fs.Args())
}

func (o options) validate(rest []string) error {
	var errs []error
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected arguments: %s", strings.Join(rest, " ")))
	}
	if o.turns < 1 || o.turns > 100 {
		errs = append(errs, errors.New("-turns is between 1 and 100"))
	}
	if !(o.scale >= 0.001 && o.scale <= 1) {
		errs = append(errs, errors.New("-scale is between 0.001 and 1"))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", errUsage, errors.Join(errs...))
}

// selectCases keeps the cases that a pattern of only names, in the order of the plan.
func selectCases(all []benchCase, only []string) ([]benchCase, error) {
	if len(only) == 0 {
		return all, nil
	}
	picked := make([]bool, len(all))
	for _, pattern := range only {
		used := false
		for i, c := range all {
			ok, err := path.Match(pattern, c.name())
			if err != nil {
				return nil, fmt.Errorf("%w: -only %q: %w", errUsage, pattern, err)
			}
			picked[i], used = picked[i] || ok, used || ok
		}
		if !used {
			return nil, fmt.Errorf("%w: -only %q names no row (-list shows them)", errUsage, pattern)
		}
	}
	i := -1
	return slices.DeleteFunc(slices.Clone(all), func(benchCase) bool { i++; return !picked[i] }), nil
}
