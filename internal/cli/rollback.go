package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

type rollbackOptions struct {
	*globals
	fleetFlags
	all    bool
	wait   bool
	dryRun bool
}

// addMove adds the flags of commands that change what is served.
func addMove(flags *pflag.FlagSet, all, wait, dryRun *bool) {
	flags.BoolVar(all, "all", false, "do nothing unless every POP can be reached")
	flags.BoolVar(wait, "wait", false, "wait while somebody else deploys the site")
	flags.BoolVar(dryRun, "dry-run", false, "print what would be done, and do nothing")
}

func newRollback(g *globals, env Env) *cobra.Command {
	o := rollbackOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "rollback SITE [RELEASE]",
		Short: "Go back to a release that was served before",
		Long: `Makes a release that the POPs still have what visitors see: the one before, or one by
the first digits of its name. POPs that have it are sent nothing, so it takes a
moment. Afterwards it is verified as in a deploy. Going back twice leads forth again.`,
		Example: "  penny rollback example.org\n  penny rollback example.org bd193fbf",
		Args: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0, 1:
				return oneSite(cmd, args)
			case 2:
				return nil
			}
			return &usageError{what: fmt.Sprintf("penny rollback takes a site and a release, not %d arguments", len(args)), hint: "penny rollback " + args[0] + " " + args[1]}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withFleet(cmd.Context(), g, env, mayDeploy(args[0]), func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
				r, err := fleet.Rollback(ctx, control.RollbackOptions{Site: args[0], Release: strings.Join(args[1:], ""), All: o.all, Wait: o.wait, DryRun: o.dryRun})
				if r != nil {
					err = errors.Join(err, printReport(g, env.Stdout, r, err == nil))
				}
				return explain(err)
			})
		},
	}
	o.add(cmd.Flags())
	addMove(cmd.Flags(), &o.all, &o.wait, &o.dryRun)
	return cmd
}

// A releaseList is what releases prints with --json.
type releaseList struct {
	Site     string                `json:"site"`
	Releases []control.ReleaseInfo `json:"releases"`
	Behind   []control.Behind      `json:"behind"` // POPs that were not asked
}

func newReleases(g *globals, env Env) *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:     "releases SITE",
		Short:   "List the releases of a site",
		Long:    "Lists the releases of a site that POPs have, the newest first, with who deployed\nthem, which POPs serve them, and which could at once; and, for who may deploy the site,\nwhere previews are to be seen.",
		Example: "  penny releases example.org\n  penny releases example.org --json",
		Args:    oneSite,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withFleet(cmd.Context(), g, env, keys.Right{}, func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
				list, behind, err := fleet.Releases(ctx, args[0])
				if err != nil {
					return err
				}
				return printReleases(g, env, releaseList{args[0], list, behind})
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func printReleases(g *globals, env Env, list releaseList) error {
	if g.json {
		return json.NewEncoder(env.Stdout).Encode(list)
	}
	if len(list.Releases) == 0 {
		_, err := fmt.Fprintf(env.Stdout, "%s has no release yet\n", list.Site)
		return err
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "RELEASE\tDEPLOYED\tBY\tFILES\tSIZE\tLIVE ON\tSTAGED ON")
	for _, r := range list.Releases {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", control.Short(r.Release.Release), r.Time.Local().Format(time.DateTime), r.By, r.Files, bytes(r.Bytes), names(r.Live), names(r.Staged))
	}
	err := w.Flush()
	for _, r := range list.Releases {
		for _, p := range r.Previews {
			_, err = fmt.Fprintf(env.Stdout, "preview of %s until %s, on %s: %s\n", control.Short(p.Release), p.Expires.Local().Format(time.DateTime), names(p.POPs), p.URL)
		}
	}
	for _, b := range list.Behind {
		_, err = fmt.Fprintf(env.Stdout, "not asked: %s: %s\n", b.POP, b.Why)
	}
	return err
}

// names lists names, or says that there are none.
func names(all []string) string {
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, " ")
}
