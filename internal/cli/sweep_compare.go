package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/internal/sweep/report"
	"pennyfarthing/internal/sweep/result"
)

func newSweepDiff(g *globals, env Env) *cobra.Command {
	var definition, file string
	limit := 20
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what died and what came back between two runs",
		Long: `Compares two runs target by target: what was alive in A and is dead in B, what came
back, and what answers otherwise. Dead is what --definition says it is.`,
		Example: "  penny sweep diff runs/october runs/november\n  penny sweep diff runs/october runs/november --definition revised --csv changes.csv",
		Args:    runs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if limit < 0 {
				return &usageError{what: fmt.Sprintf("--limit %d is less than nothing", limit), hint: "write --limit 20"}
			}
			o, err := diffOptions(args, definition, limit)
			if err != nil {
				return err
			}
			write := func(d *report.Difference) error {
				if g.json {
					return d.WriteJSON(env.Stdout)
				}
				return d.WriteText(env.Stdout)
			}
			if file == "" {
				return compareRuns(args, o, write)
			}
			return writeReport(file, func(w io.Writer) error {
				each, flush := report.ChangesCSV(w)
				o.Each = each
				return errors.Join(compareRuns(args, o, write), flush())
			})
		},
	}
	cmd.Flags().StringVar(&definition, "definition", "strict", "what dead means: tonywang2024, strict, revised, or an `expression`")
	cmd.Flags().IntVar(&limit, "limit", limit, "list `N` targets of each kind of change")
	cmd.Flags().StringVar(&file, "csv", "", "write all changes to this `file`")
	return cmd
}

// diffOptions has the definition judge by what both runs have asked.
func diffOptions(dirs []string, definition string, limit int) (report.DiffOptions, error) {
	o := report.DiffOptions{Limit: limit, Before: dirs[0], After: dirs[1]}
	for _, dir := range dirs {
		m, err := sweep.Open(dir)
		if err != nil {
			return o, err
		}
		list, err := definitions(m, []string{definition})
		if err != nil {
			return o, err
		}
		all := judges(list)
		i := slices.IndexFunc(all, func(j report.Judge) bool { return j.Name == definition })
		if i < 0 {
			i = len(all) - 1 // an expression's, which came last
		}
		o.Judge = all[i]
		if why := list[i].Unasked(); why != "" {
			return o, &mistake.Error{File: dir, What: fmt.Sprintf("%s cannot be said of this run: %s", definition, why), Hint: "write another --definition"}
		}
	}
	return o, nil
}

func compareRuns(dirs []string, o report.DiffOptions, write func(*report.Difference) error) error {
	d, err := report.Diff(result.Rows(dirs[0]), result.Rows(dirs[1]), o)
	if err != nil {
		return err
	}
	return write(d)
}

func newSweepTrace(g *globals, env Env) *cobra.Command {
	var at string
	window, limit := report.DefaultWindow, 50
	cmd := &cobra.Command{
		Use:   "trace ADDRESS|NAME [RUN…]",
		Short: "Answer \"was this you?\" from runs",
		Long: `Looks for every try of a run that could have been seen by who asks: to an address, a
network, a name and what lies below it, or a URL, whether the list had it or
another site redirected there. Without RUN it looks into all below ./runs.`,
		Example: "  penny sweep trace 198.51.100.7 --at 2026-11-29T03:15:00Z\n  penny sweep trace example.org runs/domains-20261129-031500",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{what: "there is nobody to look for", hint: "penny sweep trace 198.51.100.7"}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			o := report.TraceOptions{Window: window, Limit: limit}
			var err error
			if o.At, err = parseTime(at); err != nil {
				return err
			}
			query, err := report.ParseQuery(args[0])
			if err != nil {
				return err
			}
			dirs := args[1:]
			if len(dirs) == 0 {
				if dirs, err = allRuns(); err != nil {
					return err
				}
			}
			return traceRuns(g, dirs, query, o, env)
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "`time` that somebody noted, as 2026-11-29T03:15:00Z")
	cmd.Flags().DurationVar(&window, "window", window, "how far that time may be from ours")
	cmd.Flags().IntVar(&limit, "limit", limit, "show `N` tries; others are counted")
	return cmd
}

// parseTime reads a time as logs have it. Without a zone it is UTC.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "02/Jan/2006:15:04:05 -0700", time.RFC1123, time.RFC1123Z} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, &usageError{what: fmt.Sprintf("--at: %q is not a time", text), hint: "write --at 2026-11-29T03:15:00Z"}
}

// allRuns are the runs that have no directory of their own.
func allRuns() ([]string, error) {
	entries, err := os.ReadDir(runsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for runs: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		dir := filepath.Join(runsDir, e.Name())
		if _, err := sweep.Open(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, &mistake.Error{What: "there are no runs below ./" + runsDir, Hint: "name one: penny sweep trace 198.51.100.7 RUN"}
	}
	return dirs, nil
}

func traceRuns(g *globals, dirs []string, query report.Query, o report.TraceOptions, env Env) error {
	var answers []json.RawMessage
	for i, dir := range dirs {
		m, err := sweep.Open(dir)
		if err != nil {
			return err
		}
		o.Facts = facts(m)
		a, err := report.Trace(result.Rows(dir), query, o)
		if err != nil {
			return err
		}
		if g.json {
			one, err := json.Marshal(a)
			if err != nil {
				return fmt.Errorf("write the answer: %w", err)
			}
			answers = append(answers, one)
			continue
		}
		if i > 0 {
			_, _ = fmt.Fprintln(env.Stdout)
		}
		_, _ = fmt.Fprintf(env.Stdout, "%s\n", dir)
		if err := a.WriteText(env.Stdout); err != nil {
			return err
		}
	}
	if g.json {
		return json.NewEncoder(env.Stdout).Encode(answers)
	}
	return nil
}
