package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/up"
)

type upOptions struct {
	*globals
	runFlags
	site string
	file string
}

func newUp(g *globals, env Env) *cobra.Command {
	o := upOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a whole fleet on this machine",
		Long: `Runs every POP of the fleet file on this machine, on loopback, each with ports
of its own and an agent, with certificates of a private CA, and deploys every site
to them as penny deploy does. Without a fleet file, or with one that has no POPs,
it runs three POPs, and without a site the built-in welcome site. Sites with an app
or an origin are not run yet.

What is served is what was deployed: it stays until the next penny deploy, penny
rollback or penny up. Those, and penny status, diff, releases, verify, logs and
pull, work with this fleet from another terminal; the state directory tells them
where it is. Only while it runs: then they know the fleet file's addresses again.`,
		Example: "  penny up\n  penny up --site ./public\n  penny up -f penny.toml",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), o, env) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.site, "site", "", "serve this `directory` instead of the fleet file's sites")
	flags.StringVarP(&o.file, "file", "f", "", "fleet `file` (default penny.toml if it is there)")
	o.add(flags)
	return cmd
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := cmd.CommandPath() + " --help lists the flags"
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		hint = "did you mean " + cmd.CommandPath() + " " + like[0] + "?"
	}
	return &usageError{what: fmt.Sprintf("%s takes no argument, but got %q", cmd.CommandPath(), args[0]), hint: hint}
}

// siteName is what a directory given by --site is called.
const siteName = "site.localhost"

func runUp(ctx context.Context, o upOptions, env Env) error {
	if err := o.validate(); err != nil {
		return err
	}
	fleet, err := loadFleet(o.file)
	if err != nil {
		return err
	}
	if o.site != "" {
		fleet.Sites = []config.Site{{Name: siteName, Files: o.site, Dialect: config.DialectNetlify}}
		fleet.Sweep.OptOut = "" // the fleet file's sites have the page
		fleet.File = ""         // it does not say what runs
	} else if list := config.CheckFiles(fleet); len(list) > 0 {
		return list.Err()
	}
	common, err := o.common(o.globals, env)
	if err != nil {
		return err
	}
	fleetOptions := up.FleetOptions{
		Common: common, Fleet: fleet, Version: buildVersion(), Getenv: env.Getenv, Passphrase: env.passphrase("the owner's key of " + fleet.Name),
	}
	end := func() {}
	if !o.json { // where the log has warnings
		printer := newEventPrinter(o.globals, env)
		fleetOptions.Events, end = printer.show, sync.OnceFunc(printer.end)
	}
	defer end()
	return up.Fleet(ctx, fleetOptions, func(r up.Running) {
		end()
		if o.json { // where the text has notes
			logSkipped(ctx, common.Log, r.Skipped)
		}
		o.print(env.Stdout, r)
	})
}

// loadFleet reads the fleet file, the one in this directory if none is named, or
// takes the demo fleet if there is none.
func loadFleet(file string) (*config.Fleet, error) {
	fleet, err := fleetFile(file)
	if err == nil && fleet == nil {
		fleet = up.Demo()
	}
	return fleet, err
}

// fleetFile reads the fleet file, the one in this directory if none is named, which
// need not be there: the fleet is nil then.
func fleetFile(file string) (*config.Fleet, error) {
	named := file != ""
	if !named {
		file = config.FileName
	}
	fleet, err := config.Load(file)
	switch {
	case err == nil:
		return fleet, nil
	case errors.Is(err, fs.ErrNotExist) && !named:
		return nil, nil // no fleet is no mistake
	case errors.Is(err, fs.ErrNotExist):
		return nil, &mistake.Error{File: file, What: "there is no such file", Hint: "penny init -f " + file + " writes one"}
	}
	return nil, err
}

// print tells what runs, in a table.
func (o *upOptions) print(w io.Writer, r up.Running) {
	if o.json {
		_ = json.NewEncoder(w).Encode(r) // standard output may be closed
		return
	}
	_, _ = fmt.Fprintf(w, "fleet %s: %s on this machine; Ctrl-C stops everything\n\n", r.Name, count(len(r.POPs), "POP"))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "POP\tPLACE\tHTTPS\tHTTP")
	for _, p := range r.POPs {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Name, p.Place, p.HTTPS, p.HTTP)
	}
	_, _ = fmt.Fprintln(table, "\nSITE\tFILES\tSIZE\tON THE FIRST POP")
	for _, s := range r.Sites {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", s.Name, s.Files, bytes(s.Bytes), s.URL)
	}
	_ = table.Flush()
	_, _ = fmt.Fprintln(w)
	for _, reason := range r.NotYet {
		_, _ = fmt.Fprintf(w, "note: %s\n", reason)
	}
	if o.quiet {
		return
	}
	for _, reason := range r.Skipped {
		_, _ = fmt.Fprintf(w, "note: %s\n", reason)
	}
	if r.Admin != "" {
		_, _ = fmt.Fprintf(w, "metrics at %s/metrics\n", r.Admin)
	}
	printTrust(w, r.CA, r.NewCA)
	if r.NewKeys != "" {
		_, _ = fmt.Fprintf(w, "made the keys of the fleet; the owner's is %s\n", r.NewKeys)
	}
	flag := ""
	if r.File != config.FileName {
		flag = " -f " + r.File
	}
	_, _ = fmt.Fprintf(w, "what is served is what was deployed: change a file, then: penny deploy%s\n", flag)
}
