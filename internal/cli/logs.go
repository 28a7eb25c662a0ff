package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

// The kinds of lines of logs.
const (
	kindAgent  = "agent"
	kindAccess = "access"
)

type logsOptions struct {
	*globals
	fleetFlags
	pops   []string
	kind   string
	follow bool
	since  string
	last   int
}

func newLogs(g *globals, env Env) *cobra.Command {
	o := logsOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Print what the POPs have logged, by time",
		Long: `Prints the last lines of all POPs' logs, in the order of their times: what the agents
have done, and who asked for what. With --follow it goes on until Ctrl-C, and a line
may come two or three seconds after it was written, in its place.

It needs the right to operate the fleet.`,
		Example: "  penny logs\n  penny logs --follow --pop au\n  penny logs --kind agent --since 1h --lines 0 --json",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runLogs(cmd.Context(), o, env) },
	}
	flags := cmd.Flags()
	o.add(flags)
	flags.StringArrayVar(&o.pops, "pop", nil, "of this `POP` only; may be given several times")
	flags.StringVar(&o.kind, "kind", "", "lines of this `kind` only: agent or access")
	flags.BoolVar(&o.follow, "follow", false, "go on with what comes")
	flags.StringVar(&o.since, "since", "", "nothing older: a `time` such as 2026-11-29T07:00:00Z, or how long ago, such as 90s, 1h or 2d")
	flags.IntVar(&o.last, "lines", 100, "the last `N` of what is there already; 0 for all")
	return cmd
}

// from is the time that --since means, zero for none.
func (o *logsOptions) from(now time.Time) (time.Time, error) {
	if o.since == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, o.since); err == nil {
		return at, nil
	}
	long, err := config.ParseHSTS(o.since)
	if err != nil {
		return time.Time{}, &usageError{what: fmt.Sprintf("--since %s is neither a time nor how long ago", o.since), hint: "write --since 1h, or --since 2026-11-29T07:00:00Z"}
	}
	return now.Add(-long), nil
}

func runLogs(ctx context.Context, o logsOptions, env Env) error {
	switch {
	case o.last < 0:
		return &usageError{what: fmt.Sprintf("--lines %d is less than 0", o.last), hint: "--lines 0 prints all that there are"}
	case o.kind != "" && o.kind != kindAgent && o.kind != kindAccess:
		return &usageError{what: fmt.Sprintf("there is no kind %q", o.kind), hint: "--kind agent, or --kind access"}
	}
	since, err := o.from(time.Now())
	if err != nil {
		return err
	}
	return o.withFleet(ctx, o.globals, env, keys.Right{What: keys.Operate}, func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
		if _, err := fleet.Observe(ctx); err != nil { // POPs that have an old roster get the latest
			return err
		}
		encoder := json.NewEncoder(env.Stdout)
		return fleet.Logs(ctx, control.LogOptions{POPs: o.pops, Kind: o.kind, Since: since, Last: o.last, Follow: o.follow}, func(l api.LogLine) error {
			if o.json {
				return encoder.Encode(&l)
			}
			_, err := fmt.Fprintln(env.Stdout, logLine(&l))
			return err
		})
	})
}

// An accessed is what is shown of a line of the access log (docs/access-log.md).
type accessed struct {
	Client   string  `json:"client"`
	Host     string  `json:"host"`
	Method   string  `json:"method"`
	Path     string  `json:"path"`
	Status   int     `json:"status"`
	Bytes    int64   `json:"bytes"`
	Duration float64 `json:"ms"`
	Protocol string  `json:"protocol"`
	Refused  string  `json:"refused"`
	Sample   int64   `json:"sample"`
}

// requests is how many requests a line stands for.
func (a *accessed) requests() int64 { return max(1, a.Sample) }

// logLine writes a line of a log for people. Whatever is in it, it stays one line,
// and means nothing to a terminal.
func logLine(l *api.LogLine) string {
	at := l.Time.Local().Format("2006-01-02 15:04:05.000")
	var a accessed
	if l.Kind == kindAccess && json.Unmarshal(l.Access, &a) == nil {
		text := fmt.Sprintf("%s %s %d %s %s%s %s %s %.3g ms %s", at, l.POP, a.Status, a.Method, a.Host, a.Path, a.Protocol, bytes(a.Bytes), a.Duration, a.Client)
		if a.Refused != "" {
			text += " refused: " + a.Refused
		}
		return plain(text)
	}
	var text strings.Builder
	text.WriteString(at + " " + l.POP + " ")
	if l.Level != "" && l.Level != "INFO" {
		text.WriteString(strings.ToLower(l.Level) + ": ")
	}
	text.WriteString(l.Message)
	for _, key := range slices.Sorted(maps.Keys(l.Facts)) {
		text.WriteString(" " + key + "=" + quoted(fact(l.Facts[key])))
	}
	return plain(text.String())
}

// fact writes what JSON had: numbers of bytes and milliseconds without an exponent.
func fact(v any) string {
	if n, ok := v.(float64); ok && n == float64(int64(n)) {
		return fmt.Sprint(int64(n))
	}
	return fmt.Sprint(v)
}

// plain replaces what would move a cursor, or change what was written before.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
