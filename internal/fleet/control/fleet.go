package control

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
)

// Options say which fleet is worked with, and as whom. StateDir, ID and POPs are
// required.
type Options struct {
	StateDir string
	ID       *keys.Identity
	POPs     *POPs
	// Events is told what happens; nil for nobody.
	Events func(Event)
	// Knock is how long a POP's edge has to answer before anything is activated, and
	// over a connection that may be dead; 0 means 4 s.
	Knock time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// A Fleet is a fleet that somebody works with from here, doing one thing at a time.
type Fleet struct {
	Options
	dir    string // the fleet's, in the state directory
	agents []*agentClient
	roster atomic.Pointer[rosterState]
	store  *release.Store // manifests that we have seen
	holder string
	pem    []byte // whom visitors believe beside the system's roots; nil: nobody

	rooting sync.Once // makes roots
	roots   *x509.CertPool

	unshelved []unshelved       // what Finish has to do
	behind    sync.WaitGroup    // what Finish and Close wait for
	bundles   []*release.Bundle // nil as long as nobody has looked

	reading   sync.Mutex // guards manifests
	manifests map[string]*release.Manifest

	learning sync.Mutex // one roster is learnt at a time
	telling  sync.Mutex // one event is told at a time
}

// A rosterState is the roster in force, with the statement that it is in.
type rosterState struct {
	*keys.Roster
	statement *keys.Statement
}

// Open prepares to work with a fleet. It connects to nobody yet.
func Open(o Options) (_ *Fleet, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Knock == 0 {
		o.Knock = 4 * time.Second
	}
	if o.Events == nil {
		o.Events = func(Event) {}
	}
	f := &Fleet{Options: o, dir: keys.FleetDir(o.StateDir, o.ID.Fleet), manifests: make(map[string]*release.Manifest)}
	if err := os.MkdirAll(f.in("cache"), 0o700); err != nil {
		return nil, fmt.Errorf("make a place for what is known of the fleet: %w", err)
	}
	roster, statement, err := keys.LoadRoster(f.dir, o.ID.Fleet, o.ID.Owner)
	switch {
	case err == nil:
		f.roster.Store(&rosterState{roster, statement})
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if f.holder, err = f.findHolder(); err != nil {
		return nil, err
	}
	if f.pem, err = rootsOf(o.POPs); err != nil {
		return nil, err
	}
	if f.store, err = release.OpenCopies(f.in("cache", "releases")); err != nil {
		return nil, err
	}
	for _, pop := range o.POPs.POPs {
		f.agents = append(f.agents, dialAgent(pop, o.ID, f.currentRoster, o.Now))
	}
	return f, nil
}

// Close ends the connections.
func (f *Fleet) Close() error {
	f.behind.Wait()
	for _, s := range f.unshelved {
		s.close()
	}
	f.closeBundles()
	for _, a := range f.agents {
		a.close()
	}
	return f.store.Close()
}

// aside does something that nobody waits for until the end.
func (f *Fleet) aside(do func()) { f.behind.Go(do) }

// in is a path below the fleet's directory.
func (f *Fleet) in(elements ...string) string {
	return filepath.Join(append([]string{f.dir}, elements...)...)
}

func (f *Fleet) currentRoster() *keys.Roster {
	if s := f.roster.Load(); s != nil {
		return s.Roster
	}
	return nil
}

// rootsOf is whom visitors believe beside the system's roots, as PEM.
func rootsOf(pops *POPs) ([]byte, error) {
	pem := []byte(pops.Certificates)
	if pops.Roots != "" {
		var err error
		if pem, err = readRoots(pops.Roots); err != nil {
			return nil, fmt.Errorf("read whom the POPs' sites are vouched for by: %w", err)
		}
	}
	if len(pem) == 0 {
		return nil, nil // the system's
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, &mistake.Error{File: pops.Roots, What: "there is no certificate among those whom visitors are to believe", Hint: "penny up writes " + POPsFile + " anew"}
	}
	return pem, nil
}

// trusted is whom visitors believe, nil for the system's roots alone. To read those takes a
// while: who verifies nothing does without.
func (f *Fleet) trusted() *x509.CertPool {
	f.rooting.Do(func() {
		if f.pem == nil {
			return
		}
		var err error
		if f.roots, err = x509.SystemCertPool(); err != nil {
			f.roots = x509.NewCertPool() // there is none: the file's alone
		}
		f.roots.AppendCertsFromPEM(f.pem) // it has some: see rootsOf
	})
	return f.roots
}

// findHolder is what we call ourselves when we take a lease. It is the same in every
// run with this state directory, so that what was cut can go on at once, and another
// one elsewhere.
func (f *Fleet) findHolder() (string, error) {
	file := f.in("cache", "holder")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		random := make([]byte, 4)
		_, _ = rand.Read(random) // never fails
		data = []byte(hex.EncodeToString(random))
		err = replaceFile(file, data)
	}
	if err != nil {
		return "", fmt.Errorf("find out what to call ourselves: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed machine"
	}
	return fmt.Sprintf("%s on %.100s (%.16s)", f.ID.Name, host, strings.TrimSpace(string(data))), nil
}

// tell passes an event on.
func (f *Fleet) tell(e Event) {
	f.telling.Lock()
	defer f.telling.Unlock()
	if e.Time.IsZero() {
		e.Time = f.Now()
	}
	f.Events(e)
}

// An Observation is what one POP has said of itself.
type Observation struct {
	POP    POP
	Status *api.Status // nil if it did not answer
	Err    error       // why not
	Took   time.Duration
}

// Observe asks every POP how it is, all at the same time. A POP that does not answer is
// part of what is observed; the error is the context's.
func (f *Fleet) Observe(ctx context.Context) ([]Observation, error) { return f.observeAll(ctx, "") }

// observeAll is Observe of what belongs to one site, with its newest releases alone; or
// of everything if the site is empty.
func (f *Fleet) observeAll(ctx context.Context, site string) ([]Observation, error) {
	all := make([]Observation, len(f.agents))
	var g errgroup.Group
	g.SetLimit(observedAtOnce)
	for i, a := range f.agents {
		g.Go(func() error {
			all[i] = f.observe(ctx, a, site)
			return nil
		})
	}
	_ = g.Wait() // it is in all
	return all, ctx.Err()
}

// observedAtOnce bounds how many POPs are asked at a time.
const observedAtOnce = 64

// observeLimit is how long a POP has to say how it is.
const observeLimit = 15 * time.Second

func (f *Fleet) observe(ctx context.Context, a *agentClient, site string) Observation {
	began := f.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, observeLimit, fmt.Errorf("it does not say how it is within %v", observeLimit))
	defer cancel()
	o := Observation{POP: a.pop}
	o.Status, o.Err = f.ask(ctx, a, site)
	if o.Err != nil {
		o.Status = nil
	}
	o.Took = f.Now().Sub(began)
	return o
}

// ask asks a POP how it is, and sees to it that both have the same roster.
func (f *Fleet) ask(ctx context.Context, a *agentClient, site string) (*api.Status, error) {
	if f.roster.Load() == nil {
		if err := f.learn(ctx, a); err != nil {
			return nil, err
		}
	}
	s, err := a.status(ctx, site)
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Answer.Status == http.StatusForbidden {
		// It may not know us, or nobody, yet. A roster may come from anybody.
		if f.bringRoster(ctx, a, f.roster.Load()) != nil {
			return nil, err
		}
		s, err = a.status(ctx, site)
	}
	if err != nil {
		return nil, err
	}
	speaks, ok := api.Supported().Common(s.API)
	if !ok {
		return nil, &mistake.Error{
			What: fmt.Sprintf("its agent (penny %s) speaks versions %d to %d of the API, and this penny %d to %d", s.Version, s.API.Min, s.API.Max, api.Supported().Min, api.Supported().Max),
			Hint: "upgrade the older of the two",
		}
	}
	a.speaks.Store(int32(speaks)) //nolint:gosec // there are few
	switch ours := f.roster.Load(); {
	case s.Roster > ours.Number:
		return s, f.learn(ctx, a)
	case s.Roster < ours.Number:
		return s, f.bringRoster(ctx, a, ours)
	}
	return s, nil
}

// bringRoster gives a POP the roster that is in force.
func (f *Fleet) bringRoster(ctx context.Context, a *agentClient, r *rosterState) error {
	err := a.put(ctx, apiPath("roster"), r.statement)
	if err == nil {
		f.tell(Event{Kind: EventRoster, POP: a.pop.Name, Number: r.Number})
	}
	return err
}

// learn takes a POP's roster over, if it is newer than ours.
func (f *Fleet) learn(ctx context.Context, a *agentClient) error {
	f.learning.Lock()
	defer f.learning.Unlock()
	st, err := a.statement(ctx, apiPath("roster"))
	if err != nil {
		return err
	}
	before := f.roster.Load()
	inForce, _, err := keys.KeepRoster(f.dir, f.ID.Fleet, f.ID.Owner, st)
	if err != nil && !errors.Is(err, keys.ErrOldRoster) {
		return fmt.Errorf("the roster of %s: %w", a.pop.Name, err)
	}
	roster, statement, err := keys.LoadRoster(f.dir, f.ID.Fleet, f.ID.Owner)
	if err != nil {
		return err
	}
	f.roster.Store(&rosterState{roster, statement})
	if before == nil { // until now only the CA vouched for the POP
		a.close()
	}
	if _, pinned := inForce.POP(a.pop.Name); !pinned {
		return fmt.Errorf("%w: %s", keys.ErrNotPinned, a.pop.Name)
	}
	return nil
}

// readStatement verifies a statement about a site: its signature, and that who signed
// it may say so.
func (f *Fleet) readStatement(st *keys.Statement, kind, site string, payload any) error {
	if err := f.readPayload(st, kind, payload); err != nil {
		return err
	}
	if r := f.currentRoster(); r == nil || !r.May(st.Key, keys.Right{What: keys.Deploy, Site: site}) {
		return fmt.Errorf("%v may not deploy %s", st.Key, site)
	}
	return nil
}

// readPayload verifies the signature of a statement, whoever has made it.
func (f *Fleet) readPayload(st *keys.Statement, kind string, payload any) error {
	data, err := st.Verify(f.ID.Fleet, kind)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, payload)
}

// sign makes a statement.
func (f *Fleet) sign(kind string, payload any) (*keys.Statement, error) {
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	return f.ID.Key().Sign(kind, f.ID.Fleet, data)
}

// agent is the client of a POP.
func (f *Fleet) agent(pop string) *agentClient {
	for _, a := range f.agents {
		if a.pop.Name == pop {
			return a
		}
	}
	return nil
}
