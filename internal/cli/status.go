package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

func newStatus(g *globals, env Env) *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the fleet is",
		Long: `Asks every POP how it is: which releases it serves and who is behind, versions, load,
memory, disk, certificates, and when it last heard from somebody who works with the
fleet. It ends with exit code 1 if a POP does not answer, or does not serve what it
should.`,
		Example: "  penny status\n  penny status --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withFleet(cmd.Context(), g, env, keys.Right{}, func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
				s, err := fleet.Status(ctx)
				if err != nil {
					return err
				}
				if g.json {
					err = json.NewEncoder(env.Stdout).Encode(struct {
						OK bool `json:"ok"`
						*control.Status
					}{s.OK(), s})
				} else {
					err = printFleetStatus(env.Stdout, s, isTerminal(env.Stdout) && env.Getenv("NO_COLOR") == "")
				}
				if err == nil && !s.OK() {
					err = errReported
				}
				return err
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// heardLongAgo is after how long without anybody from the fleet a POP is something to look
// at: penny control comes every minute.
const heardLongAgo = time.Hour

// silence is why a POP says nothing of itself.
func silence(p *control.POPStatus) string {
	if p.Refused {
		return p.Error // which names it
	}
	return p.POP + " does not answer: " + p.Error
}

// printFleetStatus prints a fleet at a glance. What is wrong, and what is old, is red on a
// terminal.
func printFleetStatus(w io.Writer, s *control.Status, colour bool) error {
	red := func(text string) string {
		if !colour {
			return text
		}
		return "\x1b[31m" + text + "\x1b[0m"
	}
	_, _ = fmt.Fprintf(w, "fleet %s, roster %d\n\n", s.Fleet, s.Roster)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "POP\tVERSION\tUP\tLOAD\tMEMORY\tDISK\tHEARD\tCERTIFICATE UNTIL")
	for _, p := range s.POPs {
		if p.Says == nil {
			_, _ = fmt.Fprintf(table, "%s\t-\t-\t-\t-\t-\t-\t-\n", p.POP)
			continue
		}
		says := p.Says
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%s\t%s of %s\t%s\t%s\n", p.POP, says.Version, ago(time.Duration(says.Uptime)*time.Second), says.Load[0],
			bytes(says.Memory.Resident), bytes(says.Disk.Used), bytes(says.Disk.Budget), since(s.Time, says.ControlSeen), day(says.LeafExpires))
	}
	_, _ = fmt.Fprintln(table, "\nSITE\tRELEASE\tGENERATION\tSINCE\tLIVE ON\tBEHIND")
	for _, site := range s.Sites {
		var behind []string
		for _, b := range site.Behind {
			behind = append(behind, b.POP)
		}
		release, at := "-", "-"
		if site.Release != "" {
			release, at = control.Short(site.Release), site.Since.Local().Format(time.DateTime)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", site.Site, release, site.Generation, at, names(site.Live), names(behind))
	}
	_ = table.Flush() // a builder takes everything
	lines := strings.Split(text.String(), "\n")
	for i, p := range s.POPs { // the first line has the titles; colours before would move columns
		if p.Says == nil || s.Time.Sub(p.Says.ControlSeen) < heardLongAgo {
			continue
		}
		heard := "  " + since(s.Time, p.Says.ControlSeen) + "  "
		lines[i+1] = strings.Replace(lines[i+1], heard, "  "+red(strings.TrimSpace(heard))+"  ", 1)
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	for _, warning := range s.Warnings {
		_, err = fmt.Fprintln(w, red(warning))
	}
	for _, p := range s.POPs {
		if p.Error != "" {
			_, err = fmt.Fprintln(w, red(silence(&p)))
		}
		for _, warning := range p.Warnings {
			_, err = fmt.Fprintln(w, red(p.POP+": "+warning))
		}
	}
	for _, site := range s.Sites {
		for _, b := range site.Behind {
			_, err = fmt.Fprintln(w, red(fmt.Sprintf("%s is behind with %s: %s", b.POP, site.Site, b.Why)))
		}
	}
	if !s.Until.IsZero() {
		_, err = fmt.Fprintf(w, "serves without control until %s, when %s\n", day(s.Until), s.Because)
	}
	return err
}

// ago writes how long something has lasted.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

func since(now, at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return ago(max(0, now.Sub(at))) + " ago"
}

func day(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Local().Format(time.DateOnly)
}
