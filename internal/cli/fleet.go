package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/up"
)

// fleetFlags are the flags of commands that work with a fleet's POPs.
type fleetFlags struct {
	file  string
	flags *pflag.FlagSet // says whether the file was named
}

func (f *fleetFlags) add(flags *pflag.FlagSet) {
	f.flags = flags
	flags.StringVarP(&f.file, "file", "f", config.FileName, "fleet `file`")
}

// load reads the fleet file, which must be there.
func (f *fleetFlags) load() (*config.Fleet, error) {
	fleet, err := config.Load(f.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &mistake.Error{File: f.file, What: "there is no such file", Hint: "-f names another fleet file; penny init writes one"}
	}
	return fleet, err
}

// find is load, or where no file is named and there is none in this directory, that of the
// fleet that penny up runs, which it says. From then on it is as if that had been named.
func (f *fleetFlags) find(g *globals, env Env) (*config.Fleet, error) {
	fleet, err := f.load()
	if _, statErr := os.Lstat(f.file); err == nil || !errors.Is(statErr, fs.ErrNotExist) || f.flags == nil || f.flags.Changed("file") {
		return fleet, err
	}
	state, stateErr := g.stateDir(env)
	if stateErr != nil {
		return nil, stateErr
	}
	running, runErr := up.RunningFleets(state)
	switch {
	case runErr != nil:
		return nil, runErr
	case len(running) == 0:
		return nil, err
	case len(running) > 1:
		var names []string
		for _, r := range running {
			names = append(names, fmt.Sprintf("%s (-f %s)", r.Name, r.File))
		}
		return nil, &mistake.Error{File: f.file, What: "there is no such file, and penny up runs more than one fleet", Hint: "name the one: " + strings.Join(names, ", ")}
	case running[0].File == f.file: // found before
		return nil, err
	}
	f.file = running[0].File
	if !g.quiet && !g.json {
		_, _ = fmt.Fprintf(env.Stderr, "note: there is no %s here: this is the fleet %s that penny up runs, -f %s\n", config.FileName, running[0].Name, f.file)
	}
	return f.load()
}

// open opens the fleet of the fleet file, as somebody who may do what is needed.
func (f *fleetFlags) open(g *globals, env Env, fleet *config.Fleet, need keys.Right, events func(control.Event)) (*control.Fleet, error) {
	state, err := g.stateDir(env)
	if err != nil {
		return nil, err
	}
	id, err := keys.FindIdentity(keys.FindOptions{
		Getenv: env.Getenv, StateDir: state, Fleet: fleet.Name, Need: need, Passphrase: env.passphrase("the owner's key of " + fleet.Name),
	})
	if err != nil {
		return nil, err
	}
	pops, err := control.FindPOPs(state, fleet.Name, fleet)
	if err != nil {
		return nil, err
	}
	return control.Open(control.Options{StateDir: state, ID: id, POPs: pops, Events: events})
}

// siteOf is a site of the fleet file by its name.
func siteOf(fleet *config.Fleet, name string) (config.Site, error) {
	var names []string
	for _, s := range fleet.Sites {
		if s.Name == strings.ToLower(name) {
			return s, nil
		}
		names = append(names, s.Name)
	}
	hint := "there is none; add a table [sites.\"" + name + "\"]"
	if len(names) > 0 {
		hint = "there are " + strings.Join(names, ", ")
	}
	return config.Site{}, &mistake.Error{File: fleet.File, What: "it has no site " + name, Hint: hint}
}

// filesOf is a site whose files can be deployed.
func filesOf(fleet *config.Fleet, name string) (config.Site, error) {
	s, err := siteOf(fleet, name)
	if err == nil && s.Kind() != config.KindFiles {
		err = &mistake.Error{File: fleet.File, Line: s.Line, What: fmt.Sprintf("site %s: this version cannot deploy a site with %s yet", s.Name, s.Kind())}
	}
	return s, err
}

// mayDeploy is the right to deploy a site.
func mayDeploy(site string) keys.Right { return keys.Right{What: keys.Deploy, Site: site} }

// oneSite checks the arguments of commands about one site.
func oneSite(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return &usageError{what: "which site?", hint: cmd.CommandPath() + " example.org"}
	case 1:
		return nil
	}
	return &usageError{what: fmt.Sprintf("%s is about one site, not %d", cmd.CommandPath(), len(args)), hint: cmd.CommandPath() + " " + args[0]}
}

// withFleet reads the fleet file, opens the fleet, and does something with it.
func (f *fleetFlags) withFleet(ctx context.Context, g *globals, env Env, need keys.Right, do func(context.Context, *control.Fleet, *config.Fleet) error) error {
	file, err := f.find(g, env)
	if err != nil {
		return err
	}
	printer := newEventPrinter(g, env)
	fleet, err := f.open(g, env, file, need, printer.show)
	if err != nil {
		return err
	}
	err = do(ctx, fleet, file)
	printer.end()
	fleet.Finish(ctx)
	return errors.Join(err, fleet.Close())
}
