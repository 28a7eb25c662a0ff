//go:build linux

// Command edge measures penny beside nginx, H2O and Caddy: the same files, certificate and header fields, one core for
// the server, one for the load, one after the other in turns. See README.md for what the figures mean.
//
// The main types: bench is one run; server is one process of a program in one mode (plain or TLS); benchCase is one
// row of the plan; cell is what one server showed in one case, over all turns.
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

// errFailedCells says that the run went through, but not every cell has a number.
var errFailedCells = errors.New("some cells have no number, see \"failed\" above")

type options struct {
	turns, seconds int
	idle           int // connections of the cases of idle ones
	only, servers  []string
	manual         string
	json           string
	performance    string
	penny          string
	engine         string
	install, list  bool
	urgent         bool
	command        string // as it was typed, for the page
	handshake      string // hidden: this process is the TLS load, see handshake.go
	crowd          string // hidden: this process is the load of many connections, see crowd.go
	floor          string // hidden: this process is a server, see floor.go
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
		fmt.Fprintln(os.Stderr, "bench/edge:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("used wrongly")

func realMain(ctx context.Context, args []string, out io.Writer) error {
	opts, err := parseOptions(args)
	if err != nil {
		return err
	}
	if opts.handshake != "" {
		return handshakeChild(ctx, opts.handshake, out)
	}
	if opts.crowd != "" {
		return crowdChild(ctx, opts.crowd, os.Stdin, out)
	}
	if opts.floor != "" {
		return floorChild(ctx, opts.floor)
	}
	cases, err := selectCases(allCases(), opts.only)
	opts.command = strings.Join(append([]string{"go run ./bench/edge"}, args...), " ")
	if err != nil {
		return err
	}
	if opts.list {
		for _, c := range cases {
			fmt.Fprintf(out, "%-18s %s\n", c.name, c.describe())
		}
		return nil
	}
	return run(ctx, opts, cases, out)
}

func parseOptions(args []string) (options, error) {
	var opts options
	var only, servers string
	fs := flag.NewFlagSet("edge", flag.ContinueOnError)
	fs.IntVar(&opts.turns, "turns", 3, "how often every server has its turn in every case")
	fs.IntVar(&opts.seconds, "seconds", 1, "about how long one measurement lasts")
	fs.StringVar(&only, "only", "", "cases by name or pattern, comma-separated: h1-1k,'h2-16k-*' (default all)")
	fs.StringVar(&servers, "servers", strings.Join(usualNames(), ","), "which servers, of "+strings.Join(programNames(), ", "))
	fs.StringVar(&opts.manual, "manual", defaultManual, "the directory of the manual that is served by a Zipf draw")
	fs.StringVar(&opts.json, "json", "", "also write everything to this file")
	fs.StringVar(&opts.performance, "performance", "", "also write a page of Markdown about the run to this file, such as docs/performance.md")
	fs.IntVar(&opts.idle, "idle", idleDefault, "how many connections the idle-* cases hold open")
	fs.StringVar(&opts.penny, "penny", "", "a penny binary (default: built from ./cmd/penny)")
	fs.StringVar(&opts.engine, "engine", "fast", "penny's engine: plain or fast")
	fs.BoolVar(&opts.install, "install", false, "install the Debian packages that are missing (as root)")
	fs.BoolVar(&opts.urgent, "urgent", false, "schedule servers and loads before all other work of the machine (as root)")
	fs.BoolVar(&opts.list, "list", false, "list the cases and stop")
	fs.StringVar(&opts.handshake, handshakeFlag, "", "internal: be the load of new TLS connections")
	fs.StringVar(&opts.crowd, crowdFlag, "", "internal: be the load of many connections")
	fs.StringVar(&opts.floor, floorFlag, "", "internal: be the server that is named floor")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return opts, err
		}
		return opts, fmt.Errorf("%w: %w", errUsage, err)
	}
	opts.only, opts.servers = splitList(only), splitList(servers)
	return opts, opts.validate(fs.Args())
}

func (o options) validate(rest []string) error {
	var errs []error
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected arguments: %s", strings.Join(rest, " ")))
	}
	if o.turns < 1 || o.seconds < 1 {
		errs = append(errs, errors.New("-turns and -seconds are at least 1"))
	}
	if o.idle < 1 {
		errs = append(errs, errors.New("-idle is at least 1"))
	}
	if len(o.servers) == 0 {
		errs = append(errs, errors.New("-servers names none"))
	}
	for i, name := range o.servers {
		if !slices.Contains(programNames(), name) {
			errs = append(errs, fmt.Errorf("-servers: %q is none of %s", name, strings.Join(programNames(), ", ")))
		}
		if slices.Contains(o.servers[:i], name) {
			errs = append(errs, fmt.Errorf("-servers: %q is named twice", name))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", errUsage, errors.Join(errs...))
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// selectCases keeps the cases that a name or pattern of only names, in the order of the plan.
func selectCases(all []benchCase, only []string) ([]benchCase, error) {
	if len(only) == 0 {
		return all, nil
	}
	var picked []benchCase
	used := map[string]bool{}
	for _, c := range all {
		for _, pattern := range only {
			ok, err := path.Match(pattern, c.name)
			if err != nil {
				return nil, fmt.Errorf("%w: -only %q: %w", errUsage, pattern, err)
			}
			if ok && !used[c.name] {
				picked = append(picked, c)
				used[c.name] = true
			}
			used[pattern] = used[pattern] || ok
		}
	}
	for _, pattern := range only {
		if !used[pattern] {
			return nil, fmt.Errorf("%w: -only %q names no case (-list shows them)", errUsage, pattern)
		}
	}
	return picked, nil
}
