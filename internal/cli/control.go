package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/lockfile"
	"pennyfarthing/internal/mistake"
)

type controlOptions struct {
	*globals
	fleetFlags
	every time.Duration
	once  bool
	best  bool
}

func newControl(g *globals, env Env) *cobra.Command {
	o := controlOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Keep the fleet up: the daemon at home",
		Long: `Looks at every POP, at once and then every minute, and does what is missing: POPs that
are behind get the release that the others serve, from POPs that have it, and the
newest configuration and roster, and previews; certificates of agents are renewed when
a third of their life is left, and when they have expired. It logs each thing that it
did, and ends with Ctrl-C or SIGTERM.

While the machine has nothing else to do it makes the best codings of what is served, on
one processor at the lowest priority, and sends them behind (--best=false: it does not).

It only dials out, so it may run behind any router. It works as a key of this machine
that may renew certificates, or as PENNY_KEY; what that may not do it leaves, and says
so. The fleet serves on without it.`,
		Example: "  penny key add home --may deploy --may renew --may operate --keep\n  penny control\n  penny control --once --json",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runControl(cmd.Context(), o, env) },
	}
	flags := cmd.Flags()
	o.add(flags)
	flags.DurationVar(&o.every, "every", time.Minute, "how often it looks")
	flags.BoolVar(&o.once, "once", false, "look once, and end; with exit code 1 if something is wrong still")
	flags.BoolVar(&o.best, "best", true, "make the best codings while the machine has nothing else to do, and send them behind")
	cmd.AddCommand(newControlBackup(g, env), newControlRestore(g, env))
	return cmd
}

func runControl(ctx context.Context, o controlOptions, env Env) error {
	if o.every < time.Second {
		return &usageError{what: fmt.Sprintf("--every %v is less than a second", o.every), hint: "penny control --every 1m"}
	}
	file, err := o.load()
	if err != nil {
		return err
	}
	state, err := o.stateDir(env)
	if err != nil {
		return err
	}
	id, err := keys.FindIdentity(keys.FindOptions{
		Getenv: env.Getenv, StateDir: state, Fleet: file.Name, Need: keys.Right{What: keys.Renew}, Passphrase: env.passphrase("the owner's key of " + file.Name),
	})
	if err != nil {
		return err
	}
	giveBack, err := lockControl(state, file.Name)
	if err != nil {
		return err
	}
	log := o.log(env)
	reader := fleetReader{flags: o.fleetFlags, log: log, last: file}
	k := &control.Keeper{
		Open: func(events func(control.Event)) (*control.Fleet, error) {
			pops, err := control.FindPOPs(state, file.Name, reader.read(ctx))
			if err != nil {
				return nil, err
			}
			return control.Open(control.Options{StateDir: state, ID: id, POPs: pops, Events: events})
		},
		Authority: func() (*keys.CA, error) { return keys.FindAuthority(state, file.Name, time.Now) },
		Log:       log, Every: o.every, Best: o.best,
	}
	if o.once {
		return errors.Join(controlOnce(ctx, o.globals, k, env.Stdout), giveBack())
	}
	log.LogAttrs(ctx, slog.LevelInfo, "keeping the fleet up", slog.String("fleet", file.Name), slog.String("as", id.Name), slog.Duration("every", o.every))
	err = k.Run(ctx)
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "stopped")
	return errors.Join(err, giveBack())
}

// lockControl lets one daemon at a time keep a fleet up from a state directory.
func lockControl(state, fleet string) (giveBack func() error, err error) {
	dir := keys.FleetDir(state, fleet)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	giveBack, err = lockfile.Take(filepath.Join(dir, "control.lock"))
	if errors.Is(err, lockfile.ErrLocked) {
		err = &mistake.Error{What: "another penny control keeps the fleet " + fleet + " up from here", Hint: "one is enough; penny status says how the fleet is"}
	}
	return giveBack, err
}

// A fleetReader reads the fleet file again and again. While that cannot be read, what it
// said before holds: a fleet is kept up also while somebody edits it.
type fleetReader struct {
	flags fleetFlags
	log   *slog.Logger
	last  *config.Fleet
	told  string // what was wrong when it was last read
}

func (r *fleetReader) read(ctx context.Context) *config.Fleet {
	file, err := r.flags.load()
	if err == nil && file.Name != r.last.Name {
		err = &mistake.Error{File: r.flags.file, What: fmt.Sprintf("it is of the fleet %s now, and was of %s", file.Name, r.last.Name), Hint: "start penny control again"}
	}
	if err == nil {
		r.last, r.told = file, ""
		return file
	}
	if text := err.Error(); text != r.told {
		r.told = text
		r.log.LogAttrs(ctx, slog.LevelWarn, "fleet file not read", slog.Any("err", err))
	}
	return r.last
}

// controlOnce looks once, and prints what has come of it.
func controlOnce(ctx context.Context, g *globals, k *control.Keeper, w io.Writer) error {
	r, err := k.Round(ctx)
	if err != nil {
		return err
	}
	if g.json {
		err = json.NewEncoder(w).Encode(struct {
			OK bool `json:"ok"`
			*control.Round
		}{r.OK(), r})
	} else {
		_, err = fmt.Fprintf(w, "%s looked at, %d done, %d failed\n", count(r.POPs, "POP"), len(r.Done), len(r.Failed))
	}
	for _, warning := range r.Warnings {
		if !g.json { // where the round has them
			_, err = fmt.Fprintln(w, "note: "+warning)
		}
	}
	if err == nil && !r.OK() {
		err = errReported
	}
	return err
}
