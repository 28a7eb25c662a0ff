package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

type applyOptions struct {
	*globals
	fleetFlags
	all    bool
	dryRun bool
}

// An applyReport is what apply prints with --json.
type applyReport struct {
	*control.ConfigPlan
	DryRun  bool             `json:"dry_run,omitempty"`
	Nothing bool             `json:"nothing"`
	Applied *control.Applied `json:"applied,omitempty"`
}

func newApply(g *globals, env Env) *cobra.Command {
	o := applyOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Tell the POPs what penny.toml says",
		Long: `Tells every POP what the fleet file says of sites and their names, proxies and limits,
POPs and who answers whom; not how to reach machines, prices and whom to alert. First
it prints what that changes at which POP. Each configuration is signed and has a
number; POPs take a higher one only. A POP that cannot be reached gets it from the
next apply, or from penny control.

It needs the right to operate the fleet. A deploy never changes a configuration, and
says what an apply would change.`,
		Example: "  penny apply --dry-run\n  penny apply\n  penny apply -f other.toml --json",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runApply(cmd.Context(), o, env) },
	}
	flags := cmd.Flags()
	o.add(flags)
	flags.BoolVar(&o.all, "all", false, "do nothing unless every POP can be reached")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print what would be changed, and do nothing")
	return cmd
}

func runApply(ctx context.Context, o applyOptions, env Env) error {
	need := keys.Right{What: keys.Operate}
	if o.dryRun {
		need = keys.Right{} // whoever may read the status may look
	}
	return o.withFleet(ctx, o.globals, env, need, func(ctx context.Context, fleet *control.Fleet, file *config.Fleet) error {
		plan, err := fleet.PlanConfig(ctx, fleet.Compile(file))
		if err != nil {
			return err
		}
		report := applyReport{ConfigPlan: plan, DryRun: o.dryRun, Nothing: plan.Nothing()}
		if !o.json {
			if err := printConfigPlan(env.Stdout, &report); err != nil {
				return err
			}
		}
		if unasked := plan.Err(); o.all && unasked != nil {
			return &mistake.Error{What: "not every POP can be reached: " + unasked.Error(), Hint: "without --all the others go ahead"}
		}
		if !o.dryRun && !report.Nothing {
			report.Applied, err = fleet.Apply(ctx, plan)
		}
		if report.Applied == nil && err != nil {
			return err
		}
		if o.json {
			return errors.Join(err, json.NewEncoder(env.Stdout).Encode(report))
		}
		return errors.Join(err, printApplied(env.Stdout, &report))
	})
}

// printConfigPlan prints what changes, once for all POPs where it is the same.
func printConfigPlan(w io.Writer, r *applyReport) error {
	type group struct {
		pops    []string
		changes []string
	}
	var groups []*group
	var err error
	for _, p := range r.POPs {
		if p.Error != "" {
			_, err = fmt.Fprintf(w, "%s cannot be asked: %s\n", p.POP, p.Error)
			continue
		}
		var changes []string
		for _, c := range p.Changes {
			changes = append(changes, c.String())
		}
		who := fmt.Sprintf("%s (has %d)", p.POP, p.Has)
		i := slices.IndexFunc(groups, func(g *group) bool { return slices.Equal(g.changes, changes) })
		if i < 0 {
			groups = append(groups, &group{changes: changes})
			i = len(groups) - 1
		}
		groups[i].pops = append(groups[i].pops, who)
	}
	for _, g := range groups {
		if len(g.changes) == 0 {
			_, err = fmt.Fprintf(w, "%s: nothing changes\n", strings.Join(g.pops, ", "))
			continue
		}
		_, err = fmt.Fprintf(w, "%s:\n", strings.Join(g.pops, ", "))
		for _, c := range g.changes {
			_, err = fmt.Fprintf(w, "  %s\n", c)
		}
	}
	return err
}

// printApplied prints what has come of it.
func printApplied(w io.Writer, r *applyReport) error {
	switch {
	case r.Nothing:
		_, err := fmt.Fprintln(w, "nothing to do")
		return err
	case r.DryRun:
		_, err := fmt.Fprintf(w, "penny apply would make this configuration %d\n", r.Config.Number)
		return err
	}
	_, err := fmt.Fprintf(w, "configuration %d is at %d of %d\n", r.Applied.Number, len(r.Applied.Live), len(r.POPs))
	for _, b := range r.Applied.Behind {
		_, err = fmt.Fprintf(w, "%s is behind: %s\n", b.POP, b.Why)
	}
	if len(r.Applied.Restart) > 0 {
		_, err = fmt.Fprintf(w, "note: the limits of [edge] hold at %s after the next start of the agent\n", strings.Join(r.Applied.Restart, ", "))
	}
	return err
}

// printDrift says what a deploy has not changed.
func printDrift(w io.Writer, drift []control.ConfigChange) error {
	if len(drift) == 0 {
		return nil
	}
	const most = 3
	var texts []string
	for _, c := range drift[:min(len(drift), most)] {
		texts = append(texts, c.String())
	}
	if len(drift) > most {
		texts = append(texts, fmt.Sprintf("and %d more", len(drift)-most))
	}
	_, err := fmt.Fprintf(w, "note: penny apply would change: %s\n", strings.Join(texts, "; "))
	return err
}
