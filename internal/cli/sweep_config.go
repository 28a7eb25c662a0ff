package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/internal/sweep/optout"
)

// configure takes over what [sweep] of the fleet file says and no flag does, and
// the lists of who opted out.
func (o *sweepOptions) configure(flags *pflag.FlagSet, env Env) error {
	fleet, err := fleetFile(o.file)
	if err != nil {
		return err
	}
	s := &o.settings
	if fleet != nil {
		s.Configure(&fleet.Sweep, o.typed(flags))
		o.takeFiles(flags, &fleet.Sweep)
		if len(s.Controls) == 0 && o.simnet == 0 {
			s.Controls = sweep.FleetControls(fleet)
			o.fleetControls = len(s.Controls) > 0
		}
	}
	if err := o.addOptouts(fleet, env); err != nil {
		return err
	}
	_, err = definitions(&sweep.Manifest{Settings: *s}, nil) // or the run ends in a mistake
	return err
}

// goOn takes over from the fleet file what a run does not keep itself. Who opted out
// since it began is not asked.
func (o *sweepOptions) goOn(flags *pflag.FlagSet, env Env) error {
	fleet, err := fleetFile(o.file)
	if err != nil {
		return err
	}
	if fleet != nil {
		o.takeFiles(flags, &fleet.Sweep)
	}
	return o.addOptouts(fleet, env)
}

// typed returns what tells which flags have been typed; the phases of --timeout are
// flags of their own.
func (o *sweepOptions) typed(flags *pflag.FlagSet) func(string) bool {
	return func(flag string) bool {
		if phase, ok := strings.CutPrefix(flag, "timeout."); ok {
			return o.phases.typed[phase]
		}
		return flags.Changed(flag)
	}
}

// takeFiles takes over what is no setting of a run's rows.
func (o *sweepOptions) takeFiles(flags *pflag.FlagSet, c *config.Sweep) {
	take := func(flag string, into *string, value string) {
		if value != "" && !flags.Changed(flag) {
			*into = value
		}
	}
	if o.simnet == 0 { // a try on the simulated internet is not the run that the file is about
		take("output", &o.dir, c.Output)
	}
	take("queue", &o.queue, c.Queue)
	take("metrics", &o.metrics, c.Metrics)
	take("roots", &o.roots, c.Roots)
	take("prices", &o.prices, c.Prices)
}

// addOptouts adds the lists of who opted out to those that flags name.
func (o *sweepOptions) addOptouts(fleet *config.Fleet, env Env) error {
	for _, file := range optoutFiles(fleet, o.globals, env) {
		_, err := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist) && fleet != nil && file == fleet.Sweep.OptOutList:
			return &mistake.Error{File: fleet.File, What: "`optout_list`: there is no file " + file, Hint: "penny sweep optout add NAME makes it; an empty one will do if nobody has opted out yet"}
		case errors.Is(err, fs.ErrNotExist): // nobody has opted out yet
		case !slices.Contains(o.settings.Optout, file):
			o.settings.Optout = append(o.settings.Optout, file)
		}
	}
	return nil
}

// optoutFiles are the lists of who opted out that every run honours, whether they
// are there or not; new names go into the first. It is the fleet file's, or what
// lies beside that; and one for this machine, so that nobody is forgotten who opted
// out when there was no fleet file yet.
func optoutFiles(fleet *config.Fleet, g *globals, env Env) []string {
	var files []string
	if fleet != nil {
		file := fleet.Sweep.OptOutList
		if file == "" {
			file = filepath.Join(fleet.Dir, optout.FileName)
		}
		files = append(files, file)
	}
	if state, err := g.stateDir(env); err == nil { // without one there is no list in it
		files = append(files, filepath.Join(state, optout.FileName))
	}
	return files
}

// pricesFile is the file of prices that a flag names, or else [sweep] of the fleet
// file; empty if neither does.
func pricesFile(typed, file string) (string, error) {
	if typed != "" {
		return typed, nil
	}
	fleet, err := fleetFile(file)
	if err != nil || fleet == nil {
		return "", err
	}
	return fleet.Sweep.Prices, nil
}
