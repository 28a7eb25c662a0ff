package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

type deployOptions struct {
	*globals
	fleetFlags
	dir     string
	all     bool
	wait    bool
	dryRun  bool
	catchUp bool
	best    bool
	preview bool
	expires string // how long a preview lasts; "" is what the fleet file says
	promote string // a release by its first digits; "" is none
	end     string // the host of a preview; "" is none

	shown time.Duration // how long a preview lasts; 0 is none
}

func newDeploy(g *globals, env Env) *cobra.Command {
	o := deployOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "deploy [SITE...]",
		Short: "Put what a site's directory has on every POP, at once, and prove it",
		Long: `Puts the files of sites, of all sites of the fleet file if none is named, on every
POP. Each POP is sent what it lacks. When all have everything, one POP is switched to
the new release and asked for it from outside, as a visitor would; then the others
are. If something is wrong by then, every POP goes back by itself.

A POP that cannot be reached does not stop the others, unless --all is given; it is
brought up to the rest by the next deploy, or by --catch-up, also from a machine that
does not have the files. What was interrupted is typed again, and goes on.

With --preview the site is left alone, and the release is to be seen on every POP at
a host of its own that nobody can guess, until it expires. --promote makes a release
that the POPs have what visitors see, in the same steps as a deploy, and sends nothing.

In CI all that is needed is a fleet file and a key in PENNY_KEY: see penny key add.`,
		Example: "  penny deploy\n  penny deploy example.org --dry-run\n  penny deploy example.org --dir ./public --all\n  penny deploy example.org --preview --expires 3d\n  penny deploy example.org --promote bd193fbf\n  PENNY_KEY=$(cat ci.key) penny deploy example.org --wait --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDeploy(cmd.Context(), o, args, env)
		},
	}
	flags := cmd.Flags()
	o.add(flags)
	flags.StringVar(&o.dir, "dir", "", "`directory` to deploy instead of the fleet file's; for one site")
	addMove(flags, &o.all, &o.wait, &o.dryRun)
	flags.BoolVar(&o.best, "best", false, "make the best codings here, once it is live, and send them to POPs that lack them; with --catch-up from any machine")
	flags.BoolVar(&o.preview, "preview", false, "show the release at a host of its own, and leave the site alone")
	flags.StringVar(&o.expires, "expires", "", "with --preview, for how `long`, such as 3d; default what [retention] says, 14d")
	flags.StringVar(&o.promote, "promote", "", "make a `release` that POPs have, by its first digits, what visitors see")
	flags.StringVar(&o.end, "end-preview", "", "end the preview at a `host` before it expires")
	flags.BoolVar(&o.catchUp, "catch-up", false, "bring POPs that are behind up to what the others serve, and deploy nothing new")
	return cmd
}

// checkPreview finds flags that cannot be meant together.
func (o *deployOptions) checkPreview(args []string) error {
	only := map[string]bool{"--preview": o.preview, "--promote": o.promote != "", "--end-preview": o.end != "", "--catch-up": o.catchUp}
	var asked []string
	for _, name := range []string{"--preview", "--promote", "--end-preview", "--catch-up"} {
		if only[name] {
			asked = append(asked, name)
		}
	}
	switch {
	case len(asked) > 1:
		return &usageError{what: asked[0] + " and " + asked[1] + " are two different things", hint: "type one after the other"}
	case o.expires != "" && !o.preview:
		return &usageError{what: "--expires is for previews", hint: "penny deploy --preview --expires " + o.expires}
	case o.best && len(asked) > 0 && !o.catchUp:
		return &usageError{what: "--best and " + asked[0] + " do not go together", hint: "penny deploy --best sends the best codings once it is live"}
	case o.dir != "" && (o.promote != "" || o.end != ""):
		return &usageError{what: asked[0] + " deploys no directory", hint: "leave --dir out"}
	case o.dryRun && o.end != "":
		return &usageError{what: "--end-preview has no plan", hint: "penny releases lists the previews"}
	case len(args) > 1 && (o.promote != "" || o.end != ""):
		return &usageError{what: asked[0] + " is for one site", hint: "name the one"}
	}
	if o.expires == "" {
		return nil
	}
	var err error
	if o.shown, err = config.ParsePreview(o.expires); err != nil {
		return &usageError{what: "--expires: " + err.Error(), hint: "penny deploy --preview --expires 3d"}
	}
	return nil
}

func runDeploy(ctx context.Context, o deployOptions, args []string, env Env) error {
	if err := o.checkPreview(args); err != nil {
		return err
	}
	switch {
	case o.dir != "" && len(args) != 1:
		return &usageError{what: "--dir is for one site", hint: "penny deploy example.org --dir " + o.dir}
	case o.dir != "" && o.catchUp:
		return &usageError{what: "--catch-up deploys no directory", hint: "leave --dir out, or --catch-up"}
	}
	file, err := o.find(o.globals, env)
	if err != nil {
		return err
	}
	sites, err := o.sites(file, args)
	if err != nil {
		return err
	}
	if len(sites) > 1 && (o.promote != "" || o.end != "") {
		return &usageError{what: fmt.Sprintf("%s has %d sites, and this is about one", file.File, len(sites)), hint: "name it, as in penny deploy " + sites[0].Name}
	}
	if o.preview && o.shown == 0 {
		o.shown = file.Retention.Preview
	}
	need := keys.Right{What: keys.Deploy}
	if len(sites) == 1 { // who may deploy this one need not be allowed all
		need = mayDeploy(sites[0].Name)
	}
	return o.withFleet(ctx, o.globals, env, need, func(ctx context.Context, fleet *control.Fleet, _ *config.Fleet) error {
		told := new(fleet.Compile(file)) // how it differs is said once, and not for every site
		for i, s := range sites {
			if i > 0 {
				told = nil
			}
			if err := o.deploy(ctx, fleet, told, s, env); err != nil {
				return err
			}
		}
		return nil
	})
}

// sites are those that are named, or all that have files.
func (o *deployOptions) sites(file *config.Fleet, args []string) ([]config.Site, error) {
	var sites []config.Site
	for _, name := range args {
		s, err := filesOf(file, name)
		if err != nil {
			return nil, err
		}
		if o.dir != "" {
			s.Files = o.dir
		}
		sites = append(sites, s)
	}
	if len(args) > 0 {
		return sites, nil
	}
	for _, s := range file.Sites {
		if s.Kind() == config.KindFiles {
			sites = append(sites, s)
		}
	}
	if len(sites) == 0 {
		return nil, errors.New(file.File + " has no site with files to deploy")
	}
	return sites, nil
}

func (o *deployOptions) deploy(ctx context.Context, fleet *control.Fleet, told *api.Config, s config.Site, env Env) error {
	var r *control.Report
	var err error
	move := control.RollbackOptions{Site: s.Name, Release: o.promote, All: o.all, Wait: o.wait, DryRun: o.dryRun}
	switch {
	case o.end != "":
		return o.endPreview(ctx, fleet, s, env)
	case o.catchUp:
		return o.bringUp(ctx, fleet, move, env)
	case o.promote != "":
		r, err = fleet.Promote(ctx, move)
	default:
		r, err = fleet.Deploy(ctx, control.DeployOptions{Site: s.Name, Dir: s.Files, Dialect: string(s.Dialect), All: o.all, Wait: o.wait, DryRun: o.dryRun, Best: o.best, Config: told, Preview: o.shown})
	}
	if r != nil {
		err = errors.Join(err, printReport(o.globals, env.Stdout, r, err == nil))
	}
	return explain(err)
}

// A caughtUp is what --catch-up prints with --json: what has become of the head, and the
// previews that were brought.
type caughtUp struct {
	*control.Report
	Previews []control.BroughtPreview `json:"previews,omitempty"`
}

// bringUp brings POPs that are behind up to what the others have: the head, and previews.
func (o *deployOptions) bringUp(ctx context.Context, fleet *control.Fleet, move control.RollbackOptions, env Env) error {
	move.Best = o.best
	r, err := fleet.CatchUp(ctx, move)
	if r == nil {
		return explain(err)
	}
	all := caughtUp{Report: r}
	if err == nil && !o.dryRun {
		all.Previews, err = fleet.BringPreviews(ctx, move.Site)
	}
	if o.json {
		return errors.Join(explain(err), json.NewEncoder(env.Stdout).Encode(all))
	}
	printed := printReport(o.globals, env.Stdout, r, err == nil)
	for _, p := range all.Previews {
		if p.Ended {
			_, printed = fmt.Fprintf(env.Stdout, "told %s that the preview at %s has ended\n", names(p.POPs), p.Host)
			continue
		}
		_, printed = fmt.Fprintf(env.Stdout, "brought %s the preview of %s\n", names(p.POPs), control.Short(p.Release))
	}
	return errors.Join(explain(err), printed)
}

func (o *deployOptions) endPreview(ctx context.Context, fleet *control.Fleet, s config.Site, env Env) error {
	if err := fleet.EndPreview(ctx, s.Name, o.end); err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{"site": s.Name, "ended": o.end})
	}
	_, err := fmt.Fprintf(env.Stdout, "%s: the preview at %s has ended\n", s.Name, o.end)
	return err
}

// explain says what can be done about what keeps a site from being moved.
func explain(err error) error {
	if held, ok := errors.AsType[*control.LeasedError](err); ok {
		return &usefulError{err: held, hint: "--wait waits for it"}
	}
	if undone, ok := errors.AsType[*control.UndoneError](err); ok {
		hint := "mend it and deploy again; penny verify " + undone.Site + " says what the POPs serve"
		if errors.Is(err, context.Canceled) {
			hint = "deploy again to go on"
		}
		return &usefulError{err: undone, hint: hint}
	}
	if withdrawn, ok := errors.AsType[*control.WithdrawnError](err); ok {
		return &usefulError{err: withdrawn, hint: "penny deploy " + withdrawn.Site + " --preview once more; penny verify " + withdrawn.Site + " says whether the POPs serve the site as they should"}
	}
	if overtaken, ok := errors.AsType[*control.OvertakenError](err); ok {
		return &usefulError{err: overtaken, hint: "penny diff " + overtaken.Site + " says how it differs from yours"}
	}
	return err
}

// printReport prints what has become of a deploy or a rollback.
func printReport(g *globals, w io.Writer, r *control.Report, well bool) error {
	if g.json {
		return json.NewEncoder(w).Encode(r)
	}
	if !g.quiet {
		if err := printDrift(w, r.Drift); err != nil {
			return err
		}
	}
	if r.DryRun {
		return printPlan(w, r)
	}
	if !well {
		return nil // the error says it
	}
	if r.Nothing {
		_, err := fmt.Fprintf(w, "%s: nothing to do; %s is live on %d of %d\n", r.Site, control.Short(r.Release), r.Live(), len(r.POPs))
		return errors.Join(err, printNotes(g, w, r), printBehind(w, r), printRefined(w, r))
	}
	_, _ = fmt.Fprintf(w, "%s: %s changed, %d added, %d removed, of %s (%s)\n", r.Site, count(r.Changed, "file"), r.Added, r.Removed, count(r.Files, "file"), bytes(r.Bytes))
	_ = printNotes(g, w, r) // the last line has the error
	if !g.quiet {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, p := range r.POPs {
			if p.Live {
				_, _ = fmt.Fprintf(table, "  %s\t%s sent\t%s over the network\n", p.POP, count(p.Sent.Objects, "file"), bytes(p.Wire))
			}
		}
		_ = table.Flush() // the last line has the error
	}
	if r.Preview != nil {
		return printPreview(g, w, r)
	}
	_, _ = fmt.Fprintf(w, "%s: live on %d of %d in %s, %s\n", control.Short(r.Release), r.Live(), len(r.POPs), seconds(r.Took), verified(r))
	err := errors.Join(printBehind(w, r), printRefined(w, r))
	if r.Previous != "" && r.Kind != control.CatchUp && !g.quiet {
		_, err = fmt.Fprintf(w, "to go back to %s: penny rollback %s\n", control.Short(r.Previous), r.Site)
	}
	return err
}

// printNotes prints what is worth knowing, such as files that are left out.
func printNotes(g *globals, w io.Writer, r *control.Report) (err error) {
	for _, note := range r.Notes {
		if !g.quiet {
			_, err = fmt.Fprintf(w, "note: %s\n", note)
		}
	}
	return err
}

// printRefined prints what was sent behind the release.
func printRefined(w io.Writer, r *control.Report) error {
	if r.Refined.Objects == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "the best codings of %s (%s) were sent behind, in %s\n", count(r.Refined.Objects, "file"), bytes(r.Refined.Bytes), seconds(r.Refining))
	return err
}

// printPreview prints where a preview is to be seen.
func printPreview(g *globals, w io.Writer, r *control.Report) error {
	_, _ = fmt.Fprintf(w, "%s: a preview on %d of %d in %s, %s\n", control.Short(r.Release), r.Live(), len(r.POPs), seconds(r.Took), verified(r))
	err := printBehind(w, r)
	_, _ = fmt.Fprintf(w, "%s\n", r.Preview.URL)
	if !g.quiet {
		_, err = fmt.Fprintf(w, "until %s; to make it live: penny deploy %s --promote %s\n", r.Preview.Expires.Local().Format(time.DateTime), r.Site, control.Short(r.Release))
	}
	return err
}

// verified says what was verified.
func verified(r *control.Report) string {
	fewest, others := -1, 0
	for _, p := range r.POPs {
		if v := p.Verified; v != nil && p.Live {
			others += v.Others
			if fewest < 0 || v.URLs < fewest {
				fewest = v.URLs
			}
		}
	}
	if fewest < 0 {
		return "nothing verified"
	}
	text := thousands(int64(fewest)) + " URLs verified"
	if fewest == 1 {
		text = "1 URL verified"
	}
	if r.Left > 0 {
		text += fmt.Sprintf(" of %s that changed, a sample", thousands(int64(fewest+r.Left)))
	}
	return text
}

// printBehind prints which POPs do not serve the release, and what could not be
// verified.
func printBehind(w io.Writer, r *control.Report) error {
	var err error
	for _, p := range r.POPs {
		if !p.Live {
			_, err = fmt.Fprintf(w, "behind: %s: %s\n", p.POP, p.Why)
		}
		if p.Verified == nil {
			continue
		}
		for over, why := range p.Verified.Unasked {
			_, err = fmt.Fprintf(w, "not verified at %s over %s, where nobody answered before either: %s\n", p.POP, over, why)
		}
		if c := p.Verified.Certificate; c.String() != "ok" {
			_, err = fmt.Fprintf(w, "the certificate of %s at %s: %s\n", r.Site, p.POP, c.Text())
		}
	}
	return err
}

// printPlan prints what would be done.
func printPlan(w io.Writer, r *control.Report) error {
	p := r.Plan
	if p.Nothing() {
		_, err := fmt.Fprintf(w, "%s: nothing to do; %s is live\n", r.Site, control.Short(p.Release))
		return err
	}
	_, _ = fmt.Fprintf(w, "%s: %s changed, %d added, %d removed, of %s (%s)\n", r.Site, count(r.Changed, "file"), r.Added, r.Removed, count(r.Files, "file"), bytes(r.Bytes))
	as := fmt.Sprintf(" as generation %d", p.Generation)
	if p.Kind == control.Preview {
		as = ""
	}
	_, _ = fmt.Fprintf(w, "%s of release %s%s would be:\n", p.Kind, control.Short(p.Release), as)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	waves := p.Waves
	if p.Undo != nil {
		waves = append(slices.Clip(waves), *p.Undo)
	}
	for _, wave := range waves {
		for i, lane := range wave.Lanes {
			name := string(wave.Name)
			switch {
			case wave.Name == control.WaveUndo:
				name = "if anything is wrong"
			case wave.OneFirst && i == 0:
				name += ", first"
			case wave.OneFirst:
				name += ", then"
			}
			_, _ = fmt.Fprintf(table, "  %s\t%s\t", name, lane.POP)
			for j, step := range lane.Steps {
				if j > 0 {
					_, _ = fmt.Fprint(table, ", ")
				}
				_, _ = fmt.Fprint(table, stepText(step))
			}
			_, _ = fmt.Fprintln(table)
		}
	}
	err := table.Flush()
	for _, b := range p.Behind {
		_, err = fmt.Fprintf(w, "behind: %s: %s\n", b.POP, b.Why)
	}
	return err
}

func stepText(s control.Step) string {
	switch s.Do {
	case control.ActionSend:
		return fmt.Sprintf("send about %s (%s)", count(s.Expected.Objects, "file"), bytes(s.Expected.Bytes))
	case control.ActionActivate:
		return fmt.Sprintf("activate %s", control.Short(s.Release))
	case control.ActionPreview:
		return "show " + control.Short(s.Release) + " at a host of its own"
	case control.ActionLease, control.ActionOffer, control.ActionStage, control.ActionKnock, control.ActionVerify, control.ActionUnlease, control.ActionRefine:
	}
	return string(s.Do)
}

// seconds writes a short time.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
