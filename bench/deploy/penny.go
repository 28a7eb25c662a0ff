//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/up"
)

const (
	fleetName = "bench"
	siteName  = "www.bench.example"
)

// pennySide is penny with three agents, each a process of its own, behind proxies.
type pennySide struct {
	spawn   *spawner
	binary  string
	dir     string
	network *network
	agents  []*pennyAgent
	roots   string
}

// A pennyAgent is a POP.
type pennyAgent struct {
	name string
	*daemon
	up.AgentRunning
}

func newPenny(ctx context.Context, spawn *spawner, binary, dir string) (*pennySide, error) {
	s := &pennySide{spawn: spawn, binary: binary, dir: dir, network: newNetwork(context.WithoutCancel(ctx), near())}
	if err := s.reset(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *pennySide) name() string { return "penny" }

func (s *pennySide) state() string { return filepath.Join(s.dir, "state") }

// reset makes a new fleet: keys, agents, a site and its certificate.
func (s *pennySide) reset(ctx context.Context) error {
	s.stopAgents()
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: s.state(), Fleet: fleetName, Random: rand.Reader, Now: time.Now}); err != nil {
		return err
	}
	owner, err := keys.OpenFleet(s.state(), fleetName, nil, time.Now)
	if err != nil {
		return err
	}
	for _, name := range destinations() {
		if err := s.startAgent(ctx, owner, name); err != nil {
			return fmt.Errorf("start the agent %s: %w", name, err)
		}
	}
	if err := s.configure(ctx, owner.Identity()); err != nil {
		return err
	}
	return s.weather(ctx, s.network.line.weather)
}

// startAgent enrols an agent and starts it, at ports that it finds itself.
func (s *pennySide) startAgent(ctx context.Context, owner *keys.Owner, name string) error {
	dir := filepath.Join(s.dir, "agent-"+name)
	key, err := agent.Key(dir)
	if err != nil {
		return err
	}
	if err := owner.AddPOP(name, key); err != nil {
		return err
	}
	leaf, err := owner.IssuePOP(name)
	if err != nil {
		return err
	}
	if err := agent.InstallLeaf(dir, agent.Enrolment{Fleet: fleetName, POP: name, Owner: owner.Identity().Owner}, leaf); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "agent-"+name+".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.binary, "agent", "--json", "--state", dir, "--api", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--http", "")
	cmd.Stderr = log
	said, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	cmd.Stdout = out
	d, err := s.spawn.daemon(cmd)
	out.Close()
	if err != nil {
		return err
	}
	a := &pennyAgent{name: name, daemon: d}
	s.agents = append(s.agents, a)
	if err := said.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if err := json.NewDecoder(said).Decode(&a.AgentRunning); err != nil {
		text, readErr := os.ReadFile(log.Name())
		return errors.Join(fmt.Errorf("it does not say where it is: %w: %s", err, lastLines(string(text))), readErr)
	}
	return nil
}

// configure tells the agents of the site, directly, before anything is measured.
func (s *pennySide) configure(ctx context.Context, id *keys.Identity) error {
	ca, err := keys.OpenCA(filepath.Join(s.dir, "visitors"), "bench", keys.Constraints{Names: []string{siteName}}, time.Now)
	if err != nil {
		return err
	}
	s.roots = ca.File()
	cert, err := ca.Issue([]string{siteName}, nil)
	if err != nil {
		return err
	}
	pair, err := keys.EncodePair(cert)
	if err != nil {
		return err
	}
	where := &control.POPs{Roots: s.roots}
	for _, a := range s.agents {
		where.POPs = append(where.POPs, control.POP{Name: a.name, API: a.API, Edge: a.HTTPS})
	}
	fleet, err := control.Open(control.Options{StateDir: s.state(), ID: id, POPs: where, Events: func(control.Event) {}})
	if err != nil {
		return err
	}
	defer fleet.Close()
	seen, err := fleet.Observe(ctx) // and brings the roster
	for _, o := range seen {
		err = errors.Join(err, o.Err)
	}
	if err != nil {
		return err
	}
	if _, err := fleet.Configure(ctx, api.Config{Sites: []api.ConfigSite{{Name: siteName}}}); err != nil {
		return err
	}
	return fleet.SetCertificate(ctx, siteName, pair)
}

// weather puts new proxies before the agents, and writes where they are.
func (s *pennySide) weather(ctx context.Context, w weather) error {
	s.network.shut()
	s.network = newNetwork(context.WithoutCancel(ctx), w)
	where := &control.POPs{Roots: s.roots}
	for _, a := range s.agents {
		members, err := s.network.tcp(a.API, false)
		if err != nil {
			return err
		}
		visitors, err := s.network.edge(a.HTTPS)
		if err != nil {
			return err
		}
		where.POPs = append(where.POPs, control.POP{Name: a.name, API: members, Edge: visitors})
	}
	return where.Write(s.state(), fleetName)
}

func (s *pennySide) deploy(ctx context.Context, t *tree, c change) (sample, error) {
	file := filepath.Join(s.dir, "penny.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "fleet = %q\n\n[sites.%q]\nfiles = %q\n", fleetName, siteName, t.dir), 0o600); err != nil {
		return sample{}, err
	}
	cmd := exec.Command(s.binary, "deploy", "--json", "--quiet", "--all", "--state", s.state(), "-f", file) //nolint:noctx // the spawner ends it
	var said string
	out, err := measure(s.network, s.daemons(), func() (took, cpu time.Duration, err error) {
		said, took, cpu, err = s.spawn.run(ctx, cmd)
		return took, cpu, err
	})
	if err != nil {
		return out, err
	}
	var r deployed
	if err := json.Unmarshal([]byte(said), &r); err != nil {
		return out, fmt.Errorf("read what penny deploy says: %w", err)
	}
	out.Said = said
	return out, checkReport(&r, c)
}

// deployed is what `penny deploy --json` says of itself, as far as it is checked.
type deployed struct {
	Nothing  bool `json:"nothing"`
	Added    int  `json:"added"`
	Changed  int  `json:"changed"`
	Removed  int  `json:"removed"`
	Verified int  `json:"verified"`
	POPs     []struct {
		POP      string `json:"pop"`
		Live     bool   `json:"live"`
		Verified *struct {
			Differences int               `json:"differences"`
			Unasked     map[string]string `json:"unasked"`
		} `json:"verified"`
	} `json:"pops"`
}

// live is how many POPs serve the release.
func (d *deployed) live() int {
	n := 0
	for _, p := range d.POPs {
		if p.Live {
			n++
		}
	}
	return n
}

// checkReport sees whether the release is live, and verified, and has what was changed.
func checkReport(r *deployed, c change) error {
	if r.live() != len(destinations()) {
		return fmt.Errorf("penny: live on %d of %d", r.live(), len(destinations()))
	}
	switch {
	case c.first && (r.Nothing || r.Verified == 0), !c.first && r.Nothing != (len(c.names) == 0):
		return fmt.Errorf("penny: nothing done: %t, %d URLs verified", r.Nothing, r.Verified)
	case !c.first && r.Changed+r.Added+r.Removed != len(c.names):
		return fmt.Errorf("penny: %d files changed, %d added, %d removed, where %d changed", r.Changed, r.Added, r.Removed, len(c.names))
	}
	for _, p := range r.POPs {
		if v := p.Verified; v != nil && (v.Differences > 0 || len(v.Unasked) > 0) {
			return fmt.Errorf("penny: %s was not verified over every protocol: %v", p.POP, v.Unasked)
		}
	}
	return nil
}

func (s *pennySide) pause(paused bool) error {
	var errs []error
	for _, a := range s.agents {
		errs = append(errs, a.pause(paused))
	}
	return errors.Join(errs...)
}

// daemons are the agents' processes.
func (s *pennySide) daemons() []*daemon {
	all := make([]*daemon, len(s.agents))
	for i, a := range s.agents {
		all[i] = a.daemon
	}
	return all
}

// rest waits until the agents have made the codings of what was deployed before, which
// takes a while after a first deploy: not longer than restPatience.
func (s *pennySide) rest(ctx context.Context) error {
	const every, little, quiet = time.Second, 20 * time.Millisecond, 3 // seconds in a row with little CPU time
	before, err := cpuOf(s.daemons())
	if err != nil {
		return err
	}
	for since, end := 0, time.Now().Add(restPatience); since < quiet && time.Now().Before(end); {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now, err := cpuOf(s.daemons())
		if err != nil {
			return err
		}
		if since++; now-before > little {
			since = 0
		}
		before = now
	}
	return nil
}

// restPatience is how long agents may go on with what they were given before.
const restPatience = 4 * time.Minute

func (s *pennySide) version() string {
	info, err := buildinfo.ReadFile(s.binary)
	if err != nil {
		return "unknown"
	}
	version := info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			version = setting.Value[:min(len(setting.Value), 12)]
		}
	}
	return version + ", " + info.GoVersion
}

func (s *pennySide) tell(out io.Writer) {
	for _, a := range s.agents {
		fmt.Fprintf(out, "penny: agent %s is process %d, its profiles are at %s/debug/pprof/\n", a.name, a.cmd.Process.Pid, a.Admin)
	}
	fmt.Fprintf(out, "penny: %s deploy --state %s -f %s\n", s.binary, s.state(), filepath.Join(s.dir, "penny.toml"))
}

func (s *pennySide) stopAgents() {
	for _, a := range s.agents {
		a.stop()
	}
	s.agents = nil
}

func (s *pennySide) close() {
	s.stopAgents()
	s.network.shut()
}

// buildPenny builds the program as it is released.
func buildPenny(ctx context.Context, to string, out io.Writer) error {
	fmt.Fprintln(out, "go build ./cmd/penny")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", to, "pennyfarthing/cmd/penny")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build penny: %w: %s", err, text)
	}
	return nil
}
