package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/lockfile"
	"pennyfarthing/internal/mistake"
)

// FleetOptions are what `penny up` can be told. It needs a state directory.
type FleetOptions struct {
	Common
	Fleet   *config.Fleet // see [Demo] for one without a file
	Version string
	// Getenv is the environment, where somebody's key may be, and Passphrase is asked
	// if the owner's key is encrypted and needed.
	Getenv     func(string) string
	Passphrase func() (string, error)
	// Events is told how the deploys at the start go on; nil writes to Log what is
	// worth a warning.
	Events func(control.Event)

	now   func() time.Time // the clock; nil is time.Now
	every time.Duration    // how often certificates are looked at; 0 is every hour
}

// Demo returns the fleet that `penny up` runs without a fleet file.
func Demo() *config.Fleet {
	return &config.Fleet{Name: "demo", POPs: []config.POP{
		{Name: "au", Place: "Sydney", Default: true}, {Name: "ny", Place: "New York"}, {Name: "fr", Place: "Strasbourg"},
	}}
}

// Running is what Fleet reports once everything answers.
type Running struct {
	Name string `json:"fleet"`
	// File is the fleet file by which other commands find this fleet: its own, or one
	// in the state directory if it has none.
	File  string        `json:"file"`
	POPs  []RunningPOP  `json:"pops"`
	Sites []RunningSite `json:"sites"`
	CA    string        `json:"ca"`
	Admin string        `json:"admin"`

	// NotYet are the sites that this version cannot start, with the reason.
	NotYet []string `json:"not_yet,omitempty"`

	NewCA   bool     `json:"-"`
	NewKeys string   `json:"-"` // the file of the owner's key, if it was just made
	Skipped []string `json:"-"` // files that are not served, with the reason
}

// A RunningPOP is a POP with the URLs of its first site.
type RunningPOP struct {
	Name  string `json:"name"`
	Place string `json:"place,omitempty"`
	HTTPS string `json:"https"`
	HTTP  string `json:"http"`
	API   string `json:"api"` // address of its agent
}

// A RunningSite is a site with its URL on the first POP.
type RunningSite struct {
	Name  string   `json:"name"`
	Hosts []string `json:"hosts"`
	URL   string   `json:"url"`
	Files int      `json:"files"`
	Bytes int64    `json:"bytes"`
	Dir   string   `json:"dir"`
	// Release is what the POPs serve, and Generation counts what they have served.
	Release    string `json:"release"`
	Generation uint64 `json:"generation"`
	// Deployed says that the POPs did not serve it before.
	Deployed bool `json:"deployed"`
}

// Fleet runs every POP of a fleet on this machine until ctx ends, or those of
// [Demo] if it has none: an agent each, to which the sites are deployed as by
// `penny deploy`. It calls ready once when all serve what their directories hold.
func Fleet(ctx context.Context, o FleetOptions, ready func(Running)) error {
	if len(o.Fleet.POPs) == 0 {
		fleet := *o.Fleet
		fleet.POPs = Demo().POPs
		o.Fleet = &fleet
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.every == 0 {
		o.every = time.Hour
	}
	f := &fleet{FleetOptions: o, dir: filepath.Join(o.State, "up", o.Fleet.Name)}
	giveBack, err := f.lock()
	if err != nil {
		return err
	}
	if f.AccessLog == "" {
		f.AccessLog = filepath.Join(f.dir, accessLogName) // penny logs shows it
	}
	if f.process, err = newProcess(ctx, f.Common); err != nil {
		return errors.Join(err, giveBack())
	}
	if err := f.prepare(ctx); err != nil {
		return errors.Join(err, f.abandon(ctx), f.process.close(), giveBack())
	}
	return errors.Join(f.run(ctx, ready), giveBack())
}

// A fleet is a fleet that is being put together, or runs.
type fleet struct {
	FleetOptions
	process *process
	dir     string // of its state
	pops    []*pop
	sites   []runningSite
	named   []config.Site // for which the CA may speak
	ca      *keys.CA      // that browsers are to trust
	id      *keys.Identity
	where   control.POPs // where the agents are
	report  Running
}

// lock lets one process at a time run the fleet.
func (f *fleet) lock() (giveBack func() error, err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, &mistake.Error{What: fmt.Sprintf("there is no place for the fleet's state: %v", err), Hint: "--state names a directory that you can write to"}
	}
	giveBack, err = lockfile.Take(lockOf(f.State, f.Fleet.Name))
	if errors.Is(err, lockfile.ErrLocked) {
		return nil, &mistake.Error{
			What: fmt.Sprintf("the fleet %s runs already, in another penny up", f.Fleet.Name),
			Hint: "penny status says how it is; --state DIR runs another one beside it",
		}
	}
	return giveBack, err
}

// prepare does what needs no agent that runs.
func (f *fleet) prepare(ctx context.Context) error {
	f.report.Name = f.Fleet.Name
	if err := f.listen(ctx); err != nil {
		return err
	}
	if err := f.chooseSites(); err != nil {
		return err
	}
	if err := f.enrol(); err != nil {
		return err
	}
	if err := f.writeFile(); err != nil {
		return err
	}
	for _, p := range f.pops {
		if err := p.open(ctx); err != nil {
			return fmt.Errorf("POP %s: %w", p.Name, err)
		}
	}
	return nil
}

// listen binds ports for every POP.
func (f *fleet) listen(ctx context.Context) error {
	for i, c := range f.Fleet.POPs {
		p := &pop{POP: c, fleet: f, dir: filepath.Join(f.dir, "pops", c.Name), again: make(chan chan error)}
		f.pops = append(f.pops, p)
		if err := p.listen(ctx, firstHTTPS+i, firstHTTP+i, len(f.Fleet.POPs)); err != nil {
			return fmt.Errorf("POP %s: %w", c.Name, err)
		}
		f.report.POPs = append(f.report.POPs, RunningPOP{
			Name: c.Name, Place: c.Place, HTTPS: "https://localhost:" + strconv.Itoa(p.https), HTTP: "http://localhost:" + strconv.Itoa(p.http), API: p.address,
		})
	}
	return nil
}

// abandon gives back what prepare took.
func (f *fleet) abandon(ctx context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancel()
	var errs []error
	for _, p := range f.pops {
		errs = append(errs, p.abandon(ctx))
	}
	return errors.Join(errs...)
}

// run runs the agents until ctx ends or one fails, and stops everything in order:
// the agents, with what is on its way; then what they write to and wait on.
func (f *fleet) run(ctx context.Context, ready func(Running)) error {
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	logging, stopLogging := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLogging()
	var agents, behind errorGroup
	f.process.runBehind(logging, stopServing, &behind)
	for _, p := range f.pops {
		agents.run(serving, stopServing, p.run)
	}
	settled := f.settle(serving)
	if settled == nil {
		for _, p := range f.pops {
			f.process.servers = append(f.process.servers, p.agent.Edge())
		}
		f.process.runAdmin(logging, stopServing, &behind)
		behind.run(serving, stopServing, f.renewing)
		ready(f.report)
	} else {
		if serving.Err() != nil {
			settled = nil // somebody stopped it, or an agent says why it ended
		}
		settled = errors.Join(settled, f.process.close())
		stopServing()
	}
	err := f.process.waitFor(serving, &agents)
	stopLogging()
	return errors.Join(settled, err, behind.wait(), f.forget())
}

// settle makes the agents serve what they should: it is control.
func (f *fleet) settle(ctx context.Context) error {
	file, err := filepath.Abs(f.report.File)
	if err != nil {
		return err
	}
	f.where = control.POPs{Roots: f.ca.File(), File: file}
	for _, p := range f.pops {
		f.where.POPs = append(f.where.POPs, control.POP{Name: p.Name, API: p.address, Edge: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.https))})
	}
	if err := f.where.Write(f.State, f.Fleet.Name); err != nil {
		return err
	}
	return f.control(ctx, f.settleBy)
}

// control does something with the fleet as whoever works with it.
func (f *fleet) control(ctx context.Context, do func(context.Context, *control.Fleet) error) error {
	events := f.Events
	if events == nil {
		events = f.warn
	}
	c, err := control.Open(control.Options{StateDir: f.State, ID: f.id, POPs: &f.where, Events: events, Now: f.now})
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, c), c.Close())
}

func (f *fleet) settleBy(ctx context.Context, c *control.Fleet) error {
	seen, err := c.Observe(ctx)
	if err != nil {
		return err
	}
	for _, o := range seen {
		if o.Err != nil {
			return fmt.Errorf("the agent of %s does not say how it is: %w", o.POP.Name, o.Err)
		}
	}
	restart, err := c.Configure(ctx, f.configuration())
	if err != nil {
		return err
	}
	for _, p := range f.pops {
		if !slices.Contains(restart, p.Name) {
			continue
		}
		if err := p.restart(ctx); err != nil {
			return fmt.Errorf("POP %s: %w", p.Name, err)
		}
	}
	if err := f.sendCertificates(ctx, c, seen); err != nil {
		return err
	}
	for i := range f.sites {
		if err := f.deploy(ctx, c, &f.sites[i]); err != nil {
			return fmt.Errorf("deploy %s: %w", f.sites[i].Name, err)
		}
	}
	f.report.Admin = f.process.adminURL()
	return f.look(ctx, c)
}

// warn logs what is worth a warning about a deploy.
func (f *fleet) warn(e control.Event) {
	switch e.Kind { //nolint:exhaustive // the others are progress
	case control.EventRetry, control.EventBehind, control.EventUndo:
		f.Log.LogAttrs(context.Background(), slog.LevelWarn, "deploy not straight", slog.String("event", string(e.Kind)), slog.String("site", e.Site), slog.String("pop", e.POP), slog.String("why", e.Text))
	}
}

// forget removes what tells others where the POPs are: they are there no more.
func (f *fleet) forget() error { return control.RemovePOPs(f.State, f.Fleet.Name) }
