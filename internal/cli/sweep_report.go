package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/cost"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/internal/sweep/define"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/report"
	"pennyfarthing/internal/sweep/result"
)

// loadPrices reads the table of prices: a file, the user's, or ours.
func loadPrices(file string) (*cost.Prices, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = "" // there is none: ours, then
	}
	return cost.Load(file, dir)
}

// definitions are the built-in ones and those of a run or of flags.
func definitions(m *sweep.Manifest, more []string) ([]*define.Definition, error) {
	s := &m.Settings
	p := define.Policy{HTTPS: s.HTTPS, WWW: s.WWW, Follow: s.Follow, Retries: s.Retries, Resolvers: len(s.Resolvers)}
	list := define.Builtin(p)
	for _, text := range append(append([]string(nil), s.Definitions...), more...) {
		d, err := define.Parse(text, p)
		if err != nil {
			return nil, err
		}
		if !known(list, d) {
			list = append(list, d)
		}
	}
	return list, nil
}

func known(list []*define.Definition, d *define.Definition) bool {
	for _, other := range list {
		if other.Name() == d.Name() {
			return true
		}
	}
	return false
}

func judges(list []*define.Definition) []report.Judge {
	var all []report.Judge
	for _, d := range list {
		all = append(all, report.Judge{Name: d.Name(), Class: func(row *evidence.Row) string { return string(d.Judge(row)) }})
	}
	return all
}

// facts are what a run's description says for its report.
func facts(m *sweep.Manifest) report.Facts {
	s := &m.Settings
	f := report.Facts{
		ID: m.ID, Version: m.Version, Lists: s.Lists, Simnet: s.Simulated, Vantage: m.Vantage.Name, Address: m.Vantage.Address, Agent: s.UserAgent(m.Version), Contact: s.Contact, Optout: s.OptoutPage,
		Started: m.Started, Sessions: len(m.Sessions), Machines: 1, Paced: s.Pacing, Rate: s.Rate, ResolverRate: s.ResolverRate, Concurrency: s.Concurrency,
	}
	if s.Pacing {
		f.AddressRate, f.NetworkRate, f.DomainRate = s.AddressRate, s.NetworkRate, s.DomainRate
	}
	if m.Finished != nil {
		f.Finished = *m.Finished
	}
	for i := range m.Sessions {
		p := &m.Sessions[i]
		f.Wall += p.Ended.Sub(p.Began)
		f.User += p.User
		f.System += p.System
		f.PeakRSS = max(f.PeakRSS, p.PeakRSS)
		f.Tries += p.Tries
		f.Queries += p.Queries
		f.Sent += p.Sent
		f.Received += p.Received
		f.Controls += p.Controls
		f.ControlsFailed += p.Failed
		f.IllSeconds += p.Ill
	}
	if l := m.List; l != nil {
		f.Lines, f.Listed, f.Duplicates, f.Bad, f.BadLines = l.Lines, l.Targets, l.Duplicates, l.Bad, l.BadLines
	}
	return f
}

// makeReport reads a run's rows.
func makeReport(dir string, prices *cost.Prices, more []string) (*report.Report, *sweep.Manifest, error) {
	m, err := sweep.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	list, err := definitions(m, more)
	if err != nil {
		return nil, nil, err
	}
	r, err := report.Make(result.Rows(dir), facts(m), prices, judges(list)...)
	return r, m, err
}

// finishReport writes the report of a run that has just ended beside its rows, and
// shows it.
func finishReport(_ context.Context, g *globals, dir string, prices *cost.Prices, env Env) error {
	r, m, err := makeReport(dir, prices, nil)
	if err != nil {
		return err
	}
	for name, write := range map[string]func(io.Writer) error{"report.json": r.WriteJSON, "report.txt": r.WriteText} {
		if err := writeReport(filepath.Join(dir, name), write); err != nil {
			return err
		}
	}
	if g.json {
		return r.WriteJSON(env.Stdout)
	}
	if err := r.WriteText(env.Stdout); err != nil {
		return err
	}
	printRun(env.Stdout, dir, m)
	return nil
}

// printRun says where the rows are, and what a simulated internet needed.
func printRun(w io.Writer, dir string, m *sweep.Manifest) {
	if n := len(m.Sessions); n > 0 && m.Sessions[n-1].Internet > 0 && m.Sessions[n-1].Targets > 0 {
		s := &m.Sessions[n-1]
		per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(s.Targets) }
		_, _ = fmt.Fprintf(w, "\nCPU a target: %.0f us here, %.0f us in the simulated internet\n", per(s.User+s.System), per(s.Internet))
	}
	_, _ = fmt.Fprintf(w, "\nrows in %s; penny sweep report %s --html page.html makes a page of this\n", filepath.Join(dir, "parts"), dir)
}

func writeReport(name string, write func(io.Writer) error) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := write(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("write the report %s: %w", name, err)
	}
	return f.Close()
}

func newSweepReport(g *globals, env Env) *cobra.Command {
	var page, prices, fleet string
	var more []string
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Show what a run found, and what it cost",
		Long: `Reads the rows of a run, finished or not, and shows totals, what is dead under each
definition, statuses, times, and the bill. --html writes the same as one page that
needs nothing else.`,
		Example: "  penny sweep report runs/domains-20261129-031500\n  penny sweep report runs/domains-20261129-031500 --html page.html\n  penny sweep report RUN --definition 'gone=status == 404 || status == 410'",
		Args:    runs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := pricesFile(prices, fleet)
			if err != nil {
				return err
			}
			table, err := loadPrices(file)
			if err != nil {
				return err
			}
			r, m, err := makeReport(args[0], table, more)
			if err != nil {
				return err
			}
			if page != "" {
				if err := writeReport(page, r.WriteHTML); err != nil {
					return err
				}
				if !g.quiet && !g.json {
					_, _ = fmt.Fprintf(env.Stdout, "wrote %s\n", page)
				}
				return nil
			}
			if g.json {
				return r.WriteJSON(env.Stdout)
			}
			if err := r.WriteText(env.Stdout); err != nil {
				return err
			}
			printRun(env.Stdout, args[0], m)
			return nil
		},
	}
	cmd.Flags().StringVar(&page, "html", "", "write a page to this `file`")
	cmd.Flags().StringVar(&prices, "prices", "", "`file` of prices for the bill")
	cmd.Flags().StringVarP(&fleet, "file", "f", "", "fleet `file` that names the prices (default penny.toml if it is there)")
	cmd.Flags().StringArrayVar(&more, "definition", nil, "another thing that dead may mean: an `expression`, or name=expression")
	return cmd
}
