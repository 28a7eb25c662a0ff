package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/internal/verdict"
)

// maxTarget is how long a line of a list may be, in bytes.
const maxTarget = 64 << 10

// worldFlags say which simulated internet it is.
type worldFlags struct {
	profile string
	seed    uint64
}

func (f *worldFlags) world() (*simnet.World, error) {
	profile, err := simnet.ParseProfile(f.profile)
	if err != nil {
		return nil, &usageError{what: "--profile: " + err.Error(), hint: "write --profile tonywang2024"}
	}
	return simnet.NewWorld(f.seed, profile), nil
}

type simnetOptions struct {
	*globals
	worldFlags
	dns      string
	http     uint16
	https    uint16
	latency  string
	loss     float64
	ca       string
	admin    string
	untilEOF bool
}

func newSimnet(g *globals, env Env) *cobra.Command {
	o := simnetOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "simnet",
		Short: "Run a simulated internet on this machine",
		Long: `Runs a simulated internet on loopback: a resolver for every name there can be,
and web servers on some hundred addresses of 127.0.0.0/8, which answer or fail as
real ones do. What becomes of a name follows from the name and --seed, so that the
truth about a sweep of it is known: see penny simnet truth.

Port 80 is --http and port 443 is --https. It runs until it is interrupted, and
prints then what it did and the CPU that it took.`,
		Example: "  penny simnet\n  penny simnet --profile hostile --loss 5\n  penny simnet names 1000 > names.txt\n  penny simnet truth names.txt --json",
		Args:    noMore("penny simnet"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runSimnet(cmd.Context(), o, env) },
	}
	shared := cmd.PersistentFlags()
	shared.StringVar(&o.profile, "profile", simnet.TonyWang2024.String(), "`distribution` of fates: tonywang2024, quick or hostile")
	shared.Uint64Var(&o.seed, "seed", 1, "`number` that the names' fates follow from")
	flags := cmd.Flags()
	flags.StringVar(&o.dns, "dns", "127.0.0.1:5300", "`address` of the resolver, UDP and TCP; port 0 for any")
	flags.Uint16Var(&o.http, "http", 18080, "`port` that stands for 80; 0 for any")
	flags.Uint16Var(&o.https, "https", 18443, "`port` that stands for 443; 0 for any")
	flags.StringVar(&o.latency, "latency", "", "real, none, or a `factor` of the real one (default real, and none for quick)")
	flags.Float64Var(&o.loss, "loss", 0, "`percent` of DNS packets that are lost, each way")
	flags.StringVar(&o.ca, "ca", "", "`file` to write the certificate authority to (PEM)")
	flags.StringVar(&o.admin, "admin", "", "`address` where faults are switched: PUT /cut on, PUT /throttle 1000")
	flags.BoolVar(&o.untilEOF, "until-eof", false, "end when standard input does, for programs that start this one")
	cmd.AddCommand(newSimnetNames(g, env, &o.worldFlags), newSimnetTruth(g, env, &o.worldFlags))
	return cmd
}

// noMore refuses arguments of a command that takes none, but has commands.
func noMore(command string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return &usageError{what: fmt.Sprintf("%s has no command %q", command, args[0]), hint: command + " --help lists the commands"}
	}
}

// config reads what the flags say.
func (o *simnetOptions) config(w *simnet.World) (simnet.Config, error) {
	c := simnet.Config{HTTP: o.http, HTTPS: o.https, Loss: o.loss / 100}
	var err error
	if c.DNS, err = netip.ParseAddrPort(o.dns); err != nil || !c.DNS.Addr().IsLoopback() {
		return c, &usageError{what: fmt.Sprintf("--dns %s is not an address of this machine's loopback with a port", o.dns), hint: "write --dns 127.0.0.1:5300"}
	}
	switch o.latency {
	case "":
		if w.Profile() != simnet.Quick {
			c.Latency = 1
		}
	case "real":
		c.Latency = 1
	case "none":
	default:
		if c.Latency, err = strconv.ParseFloat(o.latency, 64); err != nil || !(c.Latency >= 0 && c.Latency <= 60) {
			return c, &usageError{what: fmt.Sprintf("--latency %s is not real, none, or a factor of at most 60", o.latency), hint: "write --latency 0.5 for half of the real one"}
		}
	}
	switch {
	case !(o.loss >= 0 && o.loss < 100): // NaN is neither
		return c, &usageError{what: fmt.Sprintf("--loss %v is not a percentage below 100", o.loss), hint: "write --loss 5 for one packet in twenty"}
	case o.http != 0 && o.http == o.https:
		return c, &usageError{what: fmt.Sprintf("--http and --https are both %d", o.http), hint: "write --https " + strconv.Itoa(int(o.https)+1)}
	case o.admin != "" && !hasPort(o.admin):
		return c, &usageError{what: fmt.Sprintf("--admin %s is not an address with a port", o.admin), hint: "write --admin 127.0.0.1:5380"}
	}
	return c, nil
}

func runSimnet(ctx context.Context, o simnetOptions, env Env) error {
	w, err := o.world()
	if err != nil {
		return err
	}
	c, err := o.config(w)
	if err != nil {
		return err
	}
	if o.untilEOF {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		defer stop()
		go func() { // ends with the input or with the process
			_, _ = io.Copy(io.Discard, env.Stdin) // an error is an end, too
			stop()
		}()
	}
	s, err := simnet.Start(w, c)
	if err != nil {
		return err
	}
	defer s.Close()
	if o.ca != "" {
		if err := os.WriteFile(o.ca, s.PEM(), 0o644); err != nil { //nolint:gosec // it is public
			return fmt.Errorf("write the certificate authority: %w", err)
		}
	}
	ready := simnet.Ready{DNS: s.DNS().String(), Profile: w.Profile().String(), Seed: w.Seed(), CA: string(s.PEM()), Controls: w.Controls()}
	ready.HTTP, ready.HTTPS = s.Ports()
	if o.admin != "" {
		end, at, err := serveAdmin(ctx, o.admin, s.Admin())
		if err != nil {
			return err
		}
		defer end()
		ready.Admin = at
	}
	o.printReady(env.Stdout, &ready)
	<-ctx.Done()
	if err := s.Close(); err != nil {
		return err
	}
	user, system := simnet.CPU()
	o.printFinal(env.Stdout, simnet.Final{Stats: s.Stats(), UserSeconds: user.Seconds(), SystemSeconds: system.Seconds()})
	return nil
}

// serveAdmin serves a handler until end is called.
func serveAdmin(ctx context.Context, address string, handler http.Handler) (end func(), at string, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, "", fmt.Errorf("listen for --admin: %w", err)
	}
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // it was closed
	}()
	return func() { server.Close(); <-done }, listener.Addr().String(), nil
}

// printReady tells that everything answers. Standard output may be closed; there is
// nobody to tell then.
func (o *simnetOptions) printReady(w io.Writer, r *simnet.Ready) {
	if o.json {
		_ = json.NewEncoder(w).Encode(r)
		return
	}
	text := fmt.Sprintf("the internet of %s, seed %d: DNS at %s, port 80 is %d, port 443 is %d", r.Profile, r.Seed, r.DNS, r.HTTP, r.HTTPS)
	if r.Admin != "" {
		text += ", faults at http://" + r.Admin
	}
	fmt.Fprintln(w, text)
}

func (o *simnetOptions) printFinal(w io.Writer, f simnet.Final) {
	if o.json {
		_ = json.NewEncoder(w).Encode(f)
		return
	}
	lost := ""
	if f.Lost > 0 {
		lost = fmt.Sprintf(" (%s lost)", count(int(f.Lost), "packet"))
	}
	fmt.Fprintf(w, "%d DNS queries%s, %s, %s, %s\n", f.DNS, lost,
		count(int(f.Connections), "connection"), count(int(f.Requests), "request"), count(int(f.Handshakes), "TLS handshake"))
	fmt.Fprintf(w, "%.2f s of CPU, %.2f user and %.2f system\n", f.UserSeconds+f.SystemSeconds, f.UserSeconds, f.SystemSeconds)
}

func newSimnetNames(g *globals, env Env, world *worldFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "names N",
		Short:   "Print names of the simulated internet",
		Long:    "Prints the first N names of the simulated internet's list, one a line.",
		Example: "  penny simnet names 1000",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			w, err := world.world()
			if err != nil {
				return err
			}
			n := -1
			if len(args) == 1 {
				if parsed, err := strconv.ParseUint(args[0], 10, 31); err == nil {
					n = int(parsed) //nolint:gosec // 31 bits
				}
			}
			if n < 0 {
				return &usageError{what: "how many names are to be printed?", hint: "penny simnet names 1000"}
			}
			out := bufio.NewWriter(env.Stdout)
			for i := range n {
				if g.json {
					fmt.Fprintf(out, "{\"target\":%q}\n", w.Name(i))
					continue
				}
				fmt.Fprintln(out, w.Name(i))
			}
			return out.Flush()
		},
	}
}

type truthOptions struct {
	*globals
	list    string
	https   string
	www     bool
	follow  int
	retries int
	body    size
	method  string
	robots  bool
	dnsOnly bool
	block   []string
	optout  []string
}

func newSimnetTruth(g *globals, env Env, world *worldFlags) *cobra.Command {
	o := truthOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "truth LIST",
		Short: "Print what a sweep of the simulated internet must find",
		Long: `Prints the verdict and the status that a sweep's row about each target of LIST must
have, when penny sweep asks the simulated internet with the same flags: it takes
all of the sweep's that change either. Nothing is asked for it. LIST has a target a
line: a name, name:port, or a URL; - is standard input.`,
		Example: "  penny simnet truth names.txt --json\n  penny simnet names 10 | penny simnet truth - --https both",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			w, err := world.world()
			if err != nil {
				return err
			}
			if len(args) != 1 {
				return &usageError{what: "which list is it about?", hint: "penny simnet truth names.txt, or - for standard input"}
			}
			o.list = args[0]
			return runTruth(o, w, env)
		},
	}
	d := simnet.DefaultPolicy()
	flags := cmd.Flags()
	flags.StringVar(&o.https, "https", d.HTTPS.String(), "which `schemes` the sweep asks by: first, both, only or never")
	flags.BoolVar(&o.www, "www", d.WWW, "the sweep asks the name with www., or without, before it calls it dead")
	flags.IntVar(&o.follow, "follow", d.Follow, "`redirects` that the sweep follows")
	flags.IntVar(&o.retries, "retries", d.Retries, "`times` that the sweep asks again")
	flags.Var(&o.body, "body", "the sweep's sample of bodies (default what a title needs)")
	flags.StringVar(&o.method, "method", "GET", "the sweep's `method`: GET or HEAD")
	flags.BoolVar(&o.robots, "robots", false, "the sweep obeys robots.txt")
	flags.BoolVar(&o.dnsOnly, "dns-only", false, "the sweep resolves the names, and asks nobody")
	flags.StringArrayVar(&o.block, "block", nil, "`file` of networks and names that the sweep does not ask")
	flags.StringArrayVar(&o.optout, "optout", nil, "`file` of names whose owners have opted out")
	return cmd
}

func (o *truthOptions) policy() (simnet.Policy, error) {
	p := simnet.Policy{WWW: o.www, Follow: o.follow, Retries: o.retries, Body: int(o.body), Head: o.method == "HEAD", Robots: o.robots, DNSOnly: o.dnsOnly}
	var err error
	if p.Block, err = block.ReadFiles(o.block); err != nil {
		return p, err
	}
	if p.Optout, err = block.ReadFiles(o.optout); err != nil {
		return p, err
	}
	switch {
	case o.method != "GET" && o.method != "HEAD":
		return p, &usageError{what: fmt.Sprintf("--method: a sweep does not send %q", o.method), hint: "write GET or HEAD"}
	case o.body != 0 && (o.body < simnet.LeastBody || o.body > simnet.MostBody):
		return p, &usageError{what: fmt.Sprintf("--body: there is one truth about samples from %d bytes to %d MiB", simnet.LeastBody, simnet.MostBody>>20), hint: "write --body 64K"}
	}
	if p.HTTPS, err = simnet.ParseHTTPSMode(o.https); err != nil {
		return p, &usageError{what: "--https: " + err.Error(), hint: "write --https first"}
	}
	const most = 100
	for _, f := range []struct {
		flag  string
		value int
	}{{"--follow", o.follow}, {"--retries", o.retries}} {
		if f.value < 0 || f.value > most {
			return p, &usageError{what: fmt.Sprintf("%s %d is not between 0 and %d", f.flag, f.value, most), hint: "write " + f.flag + " 1"}
		}
	}
	return p, nil
}

// aTruth is one line of what penny simnet truth prints.
type aTruth struct {
	Target  string       `json:"target"`
	Verdict verdict.Code `json:"verdict"`
	Status  int          `json:"status"`
	Or      string       `json:"or,omitempty"` // what a sweep may find as well
}

func runTruth(o truthOptions, w *simnet.World, env Env) error {
	p, err := o.policy()
	if err != nil {
		return err
	}
	in := env.Stdin
	if o.list != "-" {
		file, err := os.Open(o.list)
		if err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		defer file.Close()
		in = file
	}
	out := bufio.NewWriter(env.Stdout)
	encode := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxTarget)
	number := 0
	for lines.Scan() {
		number++
		t := aTruth{Target: strings.TrimSpace(lines.Text())}
		if t.Target == "" {
			continue
		}
		t.Verdict, t.Status = w.Truth(p, t.Target)
		or := simnet.Or(p, t.Target, t.Verdict)
		if or != verdict.None {
			t.Or = or.String()
		}
		if !o.json {
			fmt.Fprintf(out, "%s\t%v\t%d", t.Target, t.Verdict, t.Status)
			if t.Or != "" {
				fmt.Fprintf(out, "\tor %s", t.Or)
			}
			fmt.Fprintln(out)
			continue
		}
		if err := encode.Encode(t); err != nil {
			return fmt.Errorf("print the truth: %w", err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("read the list: line %d is longer than %s", number+1, bytes(maxTarget))
	} else if err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	return out.Flush()
}
