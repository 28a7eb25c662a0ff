package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/internal/sweep/resolve"
)

// runSweep begins a run, or goes on with the one that the same command began.
func runSweep(ctx context.Context, o *sweepOptions, flags *pflag.FlagSet, args []string, env Env) error {
	if err := o.fromFleet(flags); err != nil {
		return err
	}
	if err := o.settle(args); err != nil {
		return err
	}
	dir, err := o.directory()
	if err != nil {
		return err
	}
	return o.sweep(ctx, dir, nil, env)
}

// directory is where the run is kept.
func (o *sweepOptions) directory() (string, error) {
	if o.dir != "" {
		return o.dir, nil
	}
	if dir := sweep.Unfinished("runs", &o.settings); dir != "" {
		return dir, nil
	}
	name := "simnet"
	if len(o.settings.Lists) > 0 {
		name = strings.TrimSuffix(filepath.Base(o.settings.Lists[0]), ".gz")
		name = strings.TrimSuffix(name, filepath.Ext(name))
		if name == "" || o.settings.Lists[0] == "-" {
			name = "stdin"
		}
	}
	return filepath.Join("runs", name+"-"+time.Now().UTC().Format("20060102-150405")), nil
}

// sweep runs a run in a directory.
func (o *sweepOptions) sweep(ctx context.Context, dir string, resumed *sweep.Manifest, env Env) error {
	s := &o.settings
	c := sweep.Config{Settings: *s, Dir: dir, Version: buildVersion(), Stdin: os.Stdin, Log: o.log(env), Metrics: o.metrics, DNSOnly: o.dnsOnly}
	if resumed != nil {
		c.Settings = resumed.Settings
		s = &c.Settings
	}
	if o.roots != "" {
		pool, err := trusting(o.roots)
		if err != nil {
			return err
		}
		c.Roots = pool
	}
	var internet *simulatedInternet
	if s.Simnet != nil {
		temp, err := os.MkdirTemp("", "penny-simnet-")
		if err != nil {
			return fmt.Errorf("prepare the simulated internet: %w", err)
		}
		defer os.RemoveAll(temp) //nolint:errcheck // temporary
		if internet, err = startSimnet(context.WithoutCancel(ctx), s.Simnet, temp, env); err != nil {
			return err
		}
		defer func() {
			if internet != nil {
				internet.stop()
			}
		}()
		pool, err := trusting(internet.roots)
		if err != nil {
			return err
		}
		c.Roots = pool
		c.Settings.AllowPrivate, c.Settings.ResolverRate = true, 0
		c.Settings.Ports = portMap{80: internet.ready.HTTP, 443: internet.ready.HTTPS}
		c.Settings.Resolvers = resolvers{internet.ready.DNS}
	} else if len(c.Settings.Resolvers) == 0 {
		system, err := resolve.System()
		if err != nil {
			return fmt.Errorf("find this machine's resolvers: %w", err)
		}
		c.Settings.Resolvers = system
	}
	progress := newProgress(o.globals, env)
	c.Progress = progress.show
	c.Say = func(text string) {
		progress.end()
		if !o.quiet && !o.json {
			_, _ = fmt.Fprintln(env.Stderr, text)
		}
	}
	m, err := sweep.Run(ctx, &c)
	progress.end()
	if internet != nil {
		cpu := internet.stop()
		internet = nil
		if m != nil && len(m.Sessions) > 0 {
			m.Sessions[len(m.Sessions)-1].Internet = cpu
			err = errors.Join(err, m.Save(dir))
		}
	}
	if err != nil {
		return err
	}
	if o.noReport {
		return nil
	}
	return printReport(ctx, o.globals, dir, m, o.prices, o.html, env)
}

// trusting is the system's roots and those of a file.
func trusting(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, &mistake.Error{File: file, What: "there is no certificate in it", Hint: "it must have certificates in PEM form"}
	}
	return pool, nil
}

func oneRun(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return &usageError{what: fmt.Sprintf("%s takes the directory of one run, not %d arguments", cmd.CommandPath(), len(args)), hint: cmd.CommandPath() + " runs/domains-20261129-031500"}
}

func newSweepResume(g *globals, env Env) *cobra.Command {
	o := &sweepOptions{globals: g, settings: sweep.Defaults()}
	cmd := &cobra.Command{
		Use:   "resume RUN",
		Short: "Go on with a run that was interrupted",
		Long: `Goes on where a run ended, however it ended, with its own settings. What was under
way is asked again; every target gets one row.`,
		Example: "  penny sweep resume runs/domains-20261129-031500",
		Args:    oneRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := sweep.Open(args[0])
			if err != nil {
				return err
			}
			if m.Finished != nil {
				return &mistake.Error{File: args[0], What: "this run is finished", Hint: "penny sweep report " + args[0]}
			}
			o.settings = m.Settings
			return o.sweep(cmd.Context(), args[0], m, env)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.roots, "roots", "", "`file` of certificates that are trusted beside the system's")
	flags.StringVar(&o.metrics, "metrics", "", "`address` for Prometheus' metrics")
	flags.StringVar(&o.prices, "prices", "", "`file` of prices for the bill")
	return cmd
}

func newSweepStatus(g *globals, env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "status RUN",
		Short:   "Say how far a run is",
		Long:    "Says how far a run is, from its directory, whether it runs or not.",
		Example: "  penny sweep status runs/domains-20261129-031500",
		Args:    oneRun,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := sweep.ReadStatus(args[0])
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
	state := "interrupted: penny sweep resume " + s.Dir
	switch {
	case s.Finished:
		state = "finished"
	case s.Running:
		state = "running"
	}
	_, _ = fmt.Fprintf(w, "%s: %s\n%s of %s targets have their row, in %s of %s shards\n", s.Dir, state, thousands(s.Rows), thousands(s.Targets), thousands(s.ShardsDone), thousands(s.Shards))
}
