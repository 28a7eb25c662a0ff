package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

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

// An eventPrinter shows what a fleet does: on a terminal in one line that changes,
// elsewhere a line for every wave, with --json every event, and nothing with --quiet.
type eventPrinter struct {
	*progressPrinter
	env     Env
	sending map[string]control.Event // the latest of each POP
	began   time.Time
}

func newEventPrinter(g *globals, env Env) *eventPrinter {
	return &eventPrinter{progressPrinter: newProgress(g, env), env: env, sending: make(map[string]control.Event)}
}

// show shows one event. Standard error may be closed; there is nobody to tell then.
func (p *eventPrinter) show(e control.Event) {
	if p.json {
		if !p.quiet {
			_ = json.NewEncoder(p.w).Encode(e)
		}
		return
	}
	switch e.Kind {
	case control.EventBehind:
		p.say(fmt.Sprintf("note: %s is left behind: %s", e.POP, e.Text))
	case control.EventRetry:
		p.say(fmt.Sprintf("note: %s: %s once more: %s", e.POP, e.Do, e.Text))
	case control.EventNote:
		p.say("note: " + strings.TrimPrefix(e.POP+": ", ": ") + e.Text)
	case control.EventWaiting:
		p.say("waiting: " + e.Text)
	case control.EventUndo:
		p.say("going back: " + e.Text)
	case control.EventWave:
		p.sending, p.began = make(map[string]control.Event), e.Time
		p.line(e.Time, wavesTold[e.Wave])
	case control.EventProgress:
		p.sending[e.POP] = e
		p.line(e.Time, p.progress(e))
	case control.EventStep, control.EventRoster:
	}
}

// wavesTold is what a wave is, for people.
var wavesTold = map[control.WaveName]string{
	control.WaveLease: "taking the lease", control.WavePrepare: "sending and staging", control.WaveActivate: "activating and verifying", control.WaveFinish: "giving the lease back",
}

// progress is how far the POPs are together, with a rate and the time that is left.
func (p *eventPrinter) progress(e control.Event) string {
	var done, total int64
	pops := 0
	for _, of := range p.sending {
		if of.Do == e.Do {
			done, total, pops = done+of.Done, total+of.Total, pops+1
		}
	}
	if e.Do == control.ActionVerify {
		return fmt.Sprintf("verifying at %s: %s of %s URLs", count(pops, "POP"), thousands(done), thousands(total))
	}
	if e.Do == control.ActionRefine {
		return fmt.Sprintf("making the best codings: %s of %s files", thousands(done), thousands(total))
	}
	text := fmt.Sprintf("sending to %s: %s of %s", count(pops, "POP"), bytes(done), bytes(total))
	if took := e.Time.Sub(p.began); took > time.Second && done > 0 {
		rate := float64(done) / took.Seconds()
		text += fmt.Sprintf(", %s/s, %s left", bytes(int64(rate)), roughly(time.Duration(float64(total-done)/rate*float64(time.Second))))
	}
	return text
}

// line shows how far it is: on a terminal at once, elsewhere when it goes on for long.
func (p *eventPrinter) line(at time.Time, text string) {
	const seldom = 10 * time.Second
	switch {
	case p.quiet || text == "":
	case p.terminal:
		_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", cut(text, 118))
		p.shown = true
	case p.last.IsZero():
		p.last = at
	case at.Sub(p.last) >= seldom:
		p.last = at
		_, _ = fmt.Fprintln(p.w, text)
	}
}

// say prints a line that stays.
func (p *eventPrinter) say(text string) {
	if p.end(); !p.quiet {
		_, _ = fmt.Fprintln(p.w, text)
	}
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
