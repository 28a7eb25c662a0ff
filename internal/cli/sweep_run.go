package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/garbage"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/internal/sweep/resolve"
	"pennyfarthing/internal/sweep/simnet"
)

// runSweep begins a run, or goes on with the one that the same command began.
func runSweep(ctx context.Context, o *sweepOptions, flags *pflag.FlagSet, args []string, env Env) error {
	if err := o.settle(ctx, flags, args, env); err != nil {
		return err
	}
	return o.sweep(ctx, o.directory(), env)
}

// runsDir is where runs are kept that have no directory of their own.
const runsDir = "runs"

// directory is where the run is kept.
func (o *sweepOptions) directory() string {
	if o.dir != "" {
		return o.dir
	}
	if dir := sweep.Unfinished(runsDir, &o.settings); dir != "" {
		return dir
	}
	name := "simnet"
	if len(o.settings.Lists) > 0 {
		name = filepath.Base(o.settings.Lists[0])
		for _, ext := range []string{".gz", ".zst", ".zip", ".csv", ".tsv", ".txt"} {
			name = strings.TrimSuffix(name, ext)
		}
		if name == "" || o.settings.Lists[0] == "-" {
			name = "stdin"
		}
	}
	return filepath.Join(runsDir, name+"-"+time.Now().UTC().Format("20060102-150405"))
}

// sweep runs the settings' run in a directory, and shows its report.
func (o *sweepOptions) sweep(ctx context.Context, dir string, env Env) error {
	prices, err := loadPrices(o.prices)
	if err != nil {
		return err
	}
	c := sweep.Config{Settings: o.settings, Dir: dir, Version: buildVersion(), Stdin: env.Stdin, Log: o.log(env), Metrics: o.metrics, DNSOnly: o.dnsOnly}
	s := &c.Settings
	if o.roots != "" {
		text, err := os.ReadFile(o.roots)
		if err != nil {
			return &mistake.Error{File: o.roots, What: fmt.Sprintf("cannot be read: %v", errors.Unwrap(err)), Hint: "it must have certificates in PEM form"}
		}
		if c.Roots, err = trusting(text, o.roots); err != nil {
			return err
		}
	}
	var internet *simnet.Child
	switch {
	case s.Simnet != nil:
		if internet, err = startInternet(ctx, &c, env); err != nil {
			return err
		}
		defer func() {
			if internet != nil {
				_, _ = internet.Stop(context.WithoutCancel(ctx)) // the run has failed already
			}
		}()
	case len(s.Resolvers) == 0:
		if s.Resolvers, err = resolve.System(); err != nil {
			return fmt.Errorf("find this machine's resolvers (--resolver names others): %w", err)
		}
	}
	defer keepPace(ctx)()
	progress := newProgress(o.globals, env)
	c.Progress = progress.show
	c.Say = func(text string) {
		progress.end()
		if !o.quiet && !o.json {
			_, _ = fmt.Fprintln(env.Stderr, text)
		}
	}
	if o.fleetControls {
		c.Say(fmt.Sprintf("note: whether our own line is well is told by the fleet's sites, %s; --control names others", strings.Join(s.Controls, ", ")))
	}
	m, err := sweep.Run(ctx, &c)
	progress.end()
	if internet != nil {
		final, stopErr := internet.Stop(context.WithoutCancel(ctx))
		internet = nil
		if m != nil && stopErr == nil {
			m.Sessions[len(m.Sessions)-1].Internet = time.Duration((final.UserSeconds + final.SystemSeconds) * float64(time.Second))
			stopErr = m.Save(dir)
		}
		err = errors.Join(err, stopErr)
	}
	if err != nil || o.noReport {
		return err
	}
	return finishReport(ctx, o.globals, dir, prices, env)
}

// sweepPace is for targets under way, which live long, and rows, which soon are garbage:
// more of it than this buys little.
var sweepPace = garbage.Pace{Bytes: 6 << 20, Least: 20, Most: 100, Every: 100 * time.Millisecond}

// keepPace has the garbage of a sweep collected in time, until stop is called.
func keepPace(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { sweepPace.Keep(ctx) })
	return func() {
		cancel()
		keeping.Wait()
	}
}

// startInternet starts the simulated internet of a run, and points the run at it.
func startInternet(ctx context.Context, c *sweep.Config, env Env) (*simnet.Child, error) {
	s := c.Settings.Simnet
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	profile, err := simnet.ParseProfile(s.Profile)
	if err != nil {
		return nil, err
	}
	// It outlives an interrupt, until what is under way has ended.
	child, err := simnet.StartChild(context.WithoutCancel(ctx), simnet.ChildConfig{Penny: self, Profile: profile, Seed: s.Seed, Latency: s.Latency, Loss: s.Loss, Stderr: env.Stderr})
	if err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	dns, err := netip.ParseAddrPort(child.Ready.DNS)
	if err != nil {
		return nil, fmt.Errorf("read where the simulated internet is: %w", err)
	}
	if c.Roots, err = trusting([]byte(child.Ready.CA), "the simulated internet's CA"); err != nil {
		return nil, err
	}
	c.Settings.ResolverRate = 0
	c.Settings.Ports = portMap{80: child.Ready.HTTP, 443: child.Ready.HTTPS}
	c.Settings.Resolvers = resolvers{dns}
	return child, nil
}

// trusting is the system's roots and those of a file.
func trusting(text []byte, name string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // there is none: the file's alone
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, &mistake.Error{File: name, What: "there is no certificate in it", Hint: "it must have certificates in PEM form"}
	}
	return pool, nil
}

// runs checks the arguments of commands about so many runs.
func runs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return &usageError{what: fmt.Sprintf("%s takes %s, not %s", cmd.CommandPath(), count(n, "directory of a run"), count(len(args), "argument")), hint: "write " + cmd.UseLine()}
	}
}

func newSweepResume(g *globals, env Env) *cobra.Command {
	o := &sweepOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "resume RUN",
		Short: "Go on with a run that was interrupted",
		Long: `Goes on where a run ended, however it ended, with its own settings. What was under
way is asked again; every target gets one row.`,
		Example: "  penny sweep resume runs/domains-20261129-031500",
		Args:    runs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := sweep.Open(args[0])
			if err != nil {
				return err
			}
			if m.Finished != nil {
				return &mistake.Error{File: args[0], What: "this run is finished", Hint: "penny sweep report " + args[0] + " shows it"}
			}
			if o.settings = m.Settings; m.Settings.Simnet != nil {
				o.simnet = m.Settings.Simnet.Targets
			}
			if err := o.goOn(cmd.Flags(), env); err != nil {
				return err
			}
			return o.sweep(cmd.Context(), args[0], env)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.roots, "roots", "", "`file` of certificates that are trusted beside the system's")
	flags.StringVar(&o.metrics, "metrics", "", "`address` for Prometheus' metrics")
	flags.StringVar(&o.prices, "prices", "", "`file` of prices for the bill")
	flags.StringVarP(&o.file, "file", "f", "", "fleet `file` with the defaults of these flags (default penny.toml if it is there)")
	return cmd
}

func newSweepStatus(g *globals, env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "status RUN",
		Short:   "Say how far a run is",
		Long:    "Says how far a run is, from its directory, whether it runs or not.",
		Example: "  penny sweep status runs/domains-20261129-031500",
		Args:    runs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := sweep.ReadStatus(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if g.json {
				return json.NewEncoder(env.Stdout).Encode(s)
			}
			printStatus(env.Stdout, s)
			return nil
		},
	}
}

func printStatus(w io.Writer, s *sweep.Status) {
	state := "interrupted; penny sweep resume " + s.Dir + " goes on"
	switch {
	case s.Finished:
		state = "finished"
	case s.Running:
		state = "running"
	}
	_, _ = fmt.Fprintf(w, "%s: %s\n", s.Dir, state)
	if s.Shards > 0 {
		_, _ = fmt.Fprintf(w, "%s of %s targets have their row, %s of %s shards\n", thousands(s.Rows), thousands(s.Targets), thousands(s.ShardsDone), thousands(s.Shards))
	} else {
		_, _ = fmt.Fprintf(w, "about %s targets have their row\n", thousands(s.Rows))
	}
}
