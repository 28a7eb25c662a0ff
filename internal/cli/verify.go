package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
)

func newVerify(g *globals, env Env) *cobra.Command {
	var f fleetFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "verify SITE",
		Short: "Ask every POP whether it serves what it should",
		Long: `Asks every POP for the URLs of a site, as visitors do, and compares what comes with
the release that was deployed: a sample over HTTP/2, and one of each kind over
HTTP/1.1 and HTTP/3; with --all every URL over each of them. It ends with exit code 1
if a POP serves anything else, or cannot be asked.`,
		Example: "  penny verify example.org\n  penny verify example.org --all --json",
		Args:    oneSite,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withFleet(cmd.Context(), g, env, mayDeploy(args[0]), func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
				c, err := fleet.Verify(ctx, args[0], all)
				if err != nil {
					return err
				}
				if err := printChecked(g, env.Stdout, c); err != nil {
					return err
				}
				if !c.OK() {
					return errReported
				}
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "ask for every URL, over every protocol")
	return cmd
}

func printChecked(g *globals, w io.Writer, c *control.Checked) error {
	if g.json {
		return json.NewEncoder(w).Encode(struct {
			OK bool `json:"ok"`
			*control.Checked
		}{c.OK(), c})
	}
	asked, differences := 0, 0
	for _, p := range c.POPs {
		for _, d := range p.Differs {
			_, _ = fmt.Fprintf(w, "differs: %s\n", d)
		}
		if more := p.Differences - len(p.Differs); more > 0 {
			_, _ = fmt.Fprintf(w, "differs: %s more at %s\n", thousands(int64(more)), p.POP)
		}
		for over, why := range p.Unasked {
			_, _ = fmt.Fprintf(w, "not asked: %s over %s: %s\n", p.POP, over, why)
		}
		asked, differences = asked+p.URLs+p.Others, differences+p.Differences
	}
	for _, b := range c.Behind {
		_, _ = fmt.Fprintf(w, "behind: %s: %s\n", b.POP, b.Why)
	}
	sample := ""
	if c.Left > 0 {
		sample = fmt.Sprintf("; %s URLs were not asked for, --all asks for them", thousands(int64(c.Left)))
	}
	_, err := fmt.Fprintf(w, "%s: %s, generation %d: %s answers of %s are as they should be, %s differ%s; %s\n",
		c.Site, control.Short(c.Release), c.Generation, thousands(int64(asked)), count(len(c.POPs), "POP"), thousands(int64(differences)), sample, seconds(c.Took))
	return err
}

// A diffResult is what diff prints with --json.
type diffResult struct {
	Site    string     `json:"site"`
	Live    string     `json:"live,omitempty"`
	Release string     `json:"release"`
	Added   []diffFile `json:"added"`
	Changed []diffFile `json:"changed"`
	Removed []diffFile `json:"removed"`
	Same    int        `json:"same"`
	Bytes   int64      `json:"bytes"` // of what is new
}

type diffFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	Was  int64  `json:"was,omitempty"` // the size before, of what changed
}

func newDiff(g *globals, env Env) *cobra.Command {
	var f fleetFlags
	var dir string
	cmd := &cobra.Command{
		Use:     "diff SITE",
		Short:   "Say what a deploy would change",
		Long:    "Compares a site's directory with what the POPs serve, file by file.",
		Example: "  penny diff example.org\n  penny diff example.org --dir ./public --json",
		Args:    oneSite,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withFleet(cmd.Context(), g, env, mayDeploy(args[0]), func(ctx context.Context, fleet *control.Fleet, file *config.Fleet) error {
				s, err := filesOf(file, args[0])
				if err != nil {
					return err
				}
				if dir != "" {
					s.Files = dir
				}
				d, err := fleet.Diff(ctx, control.DeployOptions{Site: s.Name, Dir: s.Files, Dialect: string(s.Dialect)})
				if err != nil {
					return err
				}
				return printDiff(g, env.Stdout, d)
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` to compare instead of the fleet file's")
	return cmd
}

func printDiff(g *globals, w io.Writer, d *control.Differences) error {
	r := diffResult{Site: d.Site, Live: d.Live, Release: d.Release, Added: []diffFile{}, Changed: []diffFile{}, Removed: []diffFile{}, Same: d.Changes.Same, Bytes: d.Changes.Bytes}
	for _, f := range d.Changes.Added {
		r.Added = append(r.Added, diffFile{Path: f.Path, Size: f.Size})
	}
	for _, c := range d.Changes.Changed {
		r.Changed = append(r.Changed, diffFile{Path: c.New.Path, Size: c.New.Size, Was: c.Old.Size})
	}
	for _, f := range d.Changes.Removed {
		r.Removed = append(r.Removed, diffFile{Path: f.Path, Size: f.Size})
	}
	if g.json {
		return json.NewEncoder(w).Encode(r)
	}
	for _, f := range r.Added {
		_, _ = fmt.Fprintf(w, "added    %s (%s)\n", f.Path, bytes(f.Size))
	}
	for _, f := range r.Changed {
		_, _ = fmt.Fprintf(w, "changed  %s (%s, was %s)\n", f.Path, bytes(f.Size), bytes(f.Was))
	}
	for _, f := range r.Removed {
		_, _ = fmt.Fprintf(w, "removed  %s\n", f.Path)
	}
	live := "nothing is live yet"
	if r.Live != "" {
		live = control.Short(r.Live) + " is live"
	}
	_, err := fmt.Fprintf(w, "%s: %d changed, %d added, %d removed, %d the same; %s\n", r.Site, len(r.Changed), len(r.Added), len(r.Removed), r.Same, live)
	return err
}

func newPull(g *globals, env Env) *cobra.Command {
	var f fleetFlags
	var dir, release string
	cmd := &cobra.Command{
		Use:   "pull SITE --dir DIR",
		Short: "Bring a site's files back from the POPs",
		Long: `Brings the files of the release that is served, or of another one, back into a
directory, which must be empty or not be there. Every file is checked against its
hash in the release.`,
		Example: "  penny pull example.org --dir ./back\n  penny pull example.org --dir ./back --release bd193fbf",
		Args:    oneSite,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir == "" {
				return &usageError{what: "into which directory?", hint: "penny pull " + args[0] + " --dir ./" + args[0]}
			}
			return f.withFleet(cmd.Context(), g, env, mayDeploy(args[0]), func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
				p, err := fleet.Pull(ctx, args[0], release, dir)
				if err != nil {
					return err
				}
				if g.json {
					return json.NewEncoder(env.Stdout).Encode(p)
				}
				_, err = fmt.Fprintf(env.Stdout, "%s: %s of release %s, %s, in %s\n", p.Site, count(p.Files, "file"), control.Short(p.Release), bytes(p.Bytes), p.Dir)
				return err
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` to bring them into")
	cmd.Flags().StringVar(&release, "release", "", "the first `digits` of another release's name")
	return cmd
}
