package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

const (
	// keepEvery is how long a keeper waits between two looks at the fleet.
	keepEvery = time.Minute
	// keptAtOnce bounds how many small chores are done at a time.
	keptAtOnce = 16
	// smallLimit is how long a chore may take that sends no content.
	smallLimit = 30 * time.Second
	// siteLimit is how long a site may take. What has arrived by then is there in the
	// next round, and the other sites have waited long enough.
	siteLimit = 30 * time.Minute
	// remindEvery is how often trouble that stays is told.
	remindEvery = time.Hour
)

// A Keeper keeps a fleet up: it is the daemon at home. It looks at every POP, again and
// again, and does what [Chores] says: so a POP that was away has what the others have
// soon after it is back, whoever deployed meanwhile, and certificates of agents are
// renewed by themselves. Open and Log are required.
//
// It holds nothing that matters: where it is not running the fleet serves on, and any
// number of them may run.
type Keeper struct {
	// Open opens the fleet, which the keeper closes; it is asked in every round, so
	// that POPs and keys may come and go. What happens has to be told to events.
	Open func(events func(Event)) (*Fleet, error)
	// Authority opens the fleet's CA. The error is fs.ErrNotExist where there is none;
	// nil means that there is none.
	Authority func() (*keys.CA, error)
	Log       *slog.Logger
	// Every is the time between two rounds; 0 means a minute.
	Every time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	trouble map[string]trouble // by what it is about; only the keeper's goroutine has it
}

// A trouble is something wrong that has been told.
type trouble struct {
	text string // without numbers
	at   time.Time
}

// A Round is what one look at the fleet has come to.
type Round struct {
	Time   time.Time `json:"time"`
	POPs   int       `json:"pops"`
	Done   []Done    `json:"done"`
	Failed []Failed  `json:"failed"`
}

// Done is something that was done for a POP.
type Done struct {
	Do         ChoreKind `json:"do"`
	POP        string    `json:"pop"`
	Site       string    `json:"site,omitempty"`
	Release    string    `json:"release,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
	Number     uint64    `json:"number,omitempty"`   // of the roster, or of the configuration
	Expires    time.Time `json:"expires,omitzero"`   // of the certificate
	Sent       Amount    `json:"sent,omitzero"`      // objects
	Wire       int64     `json:"wire,omitempty"`     // bytes over the network, both ways
	Verified   int       `json:"verified,omitempty"` // URLs
}

// Failed is something that could not be done, or a POP that does not answer: then Do is
// empty.
type Failed struct {
	Do    ChoreKind `json:"do,omitempty"`
	POP   string    `json:"pop,omitempty"`
	Site  string    `json:"site,omitempty"`
	Error string    `json:"error"`

	err error
}

// about is what is the same as long as the trouble is.
func (f *Failed) about() string { return string(f.Do) + " " + f.Site + " " + f.POP }

// OK reports whether every POP answers and has what it should.
func (r *Round) OK() bool { return len(r.Failed) == 0 }

func (k *Keeper) now() time.Time {
	if k.Now == nil {
		return time.Now()
	}
	return k.Now()
}

// Run keeps the fleet up until the context ends, which is no error. The first round is
// at once. What goes wrong is told to the log and tried again in the next round.
func (k *Keeper) Run(ctx context.Context) error {
	every := k.Every
	if every == 0 {
		every = keepEvery
	}
	for ctx.Err() == nil {
		if _, err := k.Round(ctx); err != nil && ctx.Err() == nil {
			k.tell(ctx, []Failed{{Error: err.Error(), err: err}})
		}
		if pause(ctx, every) != nil {
			break
		}
	}
	return nil
}

// Round looks at every POP once, and does what there is to do. The error says why it
// could not look at all.
func (k *Keeper) Round(ctx context.Context) (*Round, error) {
	r := &round{keeper: k, Round: Round{Time: k.now().UTC(), Done: []Done{}, Failed: []Failed{}}}
	f, err := k.Open(func(e Event) { r.event(ctx, e) })
	if err != nil {
		return nil, fmt.Errorf("open the fleet: %w", err)
	}
	r.fleet = f
	err = r.run(ctx)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if ctx.Err() == nil {
		k.tell(ctx, r.Failed)
	}
	return &r.Round, nil
}

// tell logs what is wrong, unless it was just told, and what is no longer.
func (k *Keeper) tell(ctx context.Context, failed []Failed) {
	now := make(map[string]trouble)
	for _, f := range failed {
		about := f.about()
		was, known := k.trouble[about]
		now[about] = was
		text := withoutNumbers(f.Error)
		if f.Do == "" && f.POP != "" {
			text = "" // how it does not answer depends on the moment
		}
		if known && was.text == text && k.now().Sub(was.at) < remindEvery {
			continue
		}
		now[about] = trouble{text, k.now()}
		facts := append(attrs(f.Do, f.POP, f.Site), slog.Any("err", f.err))
		switch {
		case f.Do == "" && f.POP == "":
			k.Log.LogAttrs(ctx, slog.LevelWarn, "fleet not looked at", facts...)
		case f.Do == "":
			k.Log.LogAttrs(ctx, slog.LevelWarn, "POP does not answer", facts...)
		default:
			k.Log.LogAttrs(ctx, slog.LevelWarn, "chore failed", facts...)
		}
	}
	for about := range k.trouble {
		if _, still := now[about]; !still {
			k.Log.LogAttrs(ctx, slog.LevelInfo, "trouble is over", slog.String("what", strings.Join(strings.Fields(about), " ")))
		}
	}
	k.trouble = now
}

// withoutNumbers is a text without its digits: the same trouble comes from another port
// every time.
func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// attrs are the facts that are not empty.
func attrs(do ChoreKind, pop, site string) []slog.Attr {
	var all []slog.Attr
	for _, a := range []slog.Attr{slog.String("do", string(do)), slog.String("pop", pop), slog.String("site", site)} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	return all
}

// A round is a [Round] under way.
type round struct {
	keeper *Keeper
	fleet  *Fleet

	mu sync.Mutex // guards Done and Failed
	Round
}

// event hears what the fleet tells: of interest is what was done by the way.
func (r *round) event(ctx context.Context, e Event) {
	if e.Kind == EventRoster {
		r.done(ctx, Done{Do: ChoreRoster, POP: e.POP, Number: e.Number})
	}
}

// done notes, and logs at once, what was done.
func (r *round) done(ctx context.Context, d Done) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Done = append(r.Done, d)
	log, facts := r.keeper.Log, attrs("", d.POP, d.Site)
	switch d.Do {
	case ChoreRoster:
		log.LogAttrs(ctx, slog.LevelInfo, "roster delivered", append(facts, slog.Uint64("number", d.Number))...)
	case ChoreConfig:
		log.LogAttrs(ctx, slog.LevelInfo, "configuration delivered", append(facts, slog.Uint64("number", d.Number))...)
	case ChoreLeaf:
		log.LogAttrs(ctx, slog.LevelInfo, "certificate renewed", append(facts, slog.Time("expires", d.Expires))...)
	case ChoreSite:
		log.LogAttrs(ctx, slog.LevelInfo, "POP caught up", append(facts, slog.String("release", Short(d.Release)), slog.Uint64("generation", d.Generation),
			slog.Int("objects", d.Sent.Objects), slog.Int("verified", d.Verified))...)
	}
}

func (r *round) failed(do ChoreKind, pop, site string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Failed = append(r.Failed, Failed{Do: do, POP: pop, Site: site, Error: err.Error(), err: err})
}

// run looks, decides and does.
func (r *round) run(ctx context.Context) error {
	seen, err := r.fleet.Observe(ctx)
	if err != nil {
		return err
	}
	r.POPs = len(seen)
	for _, o := range seen {
		if o.Err != nil {
			r.failed("", o.POP.Name, "", o.Err)
		}
	}
	chores := Chores(seen, r.keeper.now())
	for _, kind := range []ChoreKind{ChoreConfig, ChoreLeaf} { // sites wait for the former
		r.small(ctx, kind, chores)
	}
	if r.configured() { // a POP may serve sites now of which it knew nothing
		if seen, err = r.fleet.Observe(ctx); err != nil {
			return err
		}
		chores = Chores(seen, r.keeper.now())
	}
	for _, c := range chores {
		if c.Do == ChoreSite {
			r.site(ctx, c)
		}
	}
	return ctx.Err()
}

// configured reports whether some POP has got a configuration.
func (r *round) configured() bool {
	for _, d := range r.Done {
		if d.Do == ChoreConfig {
			return true
		}
	}
	return false
}

// small does the chores of a kind that sends no content, many at a time.
func (r *round) small(ctx context.Context, kind ChoreKind, chores []Chore) {
	var g errgroup.Group
	g.SetLimit(keptAtOnce)
	for _, c := range chores {
		if c.Do != kind {
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, smallLimit, fmt.Errorf("it is not done within %v", smallLimit))
			defer cancel()
			d := Done{Do: kind, POP: c.POPs[0]}
			var err error
			if kind == ChoreConfig {
				d.Number, err = r.fleet.bringConfig(ctx, c.From, d.POP)
			} else {
				d.Expires, err = r.leaf(ctx, d.POP)
			}
			if err != nil {
				r.failed(kind, d.POP, "", err)
				return nil
			}
			r.done(ctx, d)
			return nil
		})
	}
	_ = g.Wait() // it is in Failed
}

// leaf renews the certificate of a POP's agent.
func (r *round) leaf(ctx context.Context, pop string) (time.Time, error) {
	if err := r.fleet.mayI(keys.Right{What: keys.Renew}); err != nil {
		return time.Time{}, err
	}
	err := fs.ErrNotExist
	var ca *keys.CA
	if r.keeper.Authority != nil {
		ca, err = r.keeper.Authority()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, &mistake.Error{What: "the fleet's CA is not on this machine", Hint: "penny control is to run where penny init did, or where penny control restore has put it"}
	}
	if err != nil {
		return time.Time{}, err
	}
	return r.fleet.RenewLeaf(ctx, pop, ca)
}

// site brings POPs up to the head of a site: all at once, and if something is wrong
// each on its own, so that one does not hold up the others.
func (r *round) site(ctx context.Context, c Chore) {
	err := r.fleet.mayI(mayDeploy(c.Site))
	if err == nil {
		err = r.bring(ctx, c.Site, c.POPs)
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return
	case isTaken(err) || len(c.POPs) == 1 || r.fleet.mayI(mayDeploy(c.Site)) != nil:
		for _, pop := range c.POPs {
			r.failed(ChoreSite, pop, c.Site, err)
		}
		return
	}
	for _, pop := range c.POPs {
		if err := r.bring(ctx, c.Site, []string{pop}); err != nil {
			r.failed(ChoreSite, pop, c.Site, err)
		}
	}
}

// isTaken reports whether somebody is deploying the site: it is theirs for now.
func isTaken(err error) bool {
	_, leased := errors.AsType[*LeasedError](err)
	_, busy := errors.AsType[*BusyError](err)
	return leased || busy
}

// bring brings POPs up to the head of a site.
func (r *round) bring(ctx context.Context, site string, pops []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, siteLimit, fmt.Errorf("it is not done within %v", siteLimit))
	defer cancel()
	report, err := r.fleet.CatchUp(ctx, RollbackOptions{Site: site, Only: pops})
	if err != nil {
		return err
	}
	for _, p := range report.POPs {
		if !slices.Contains(pops, p.POP) {
			continue
		}
		if !p.Live {
			r.failed(ChoreSite, p.POP, site, errors.New(p.Why))
			continue
		}
		if report.Nothing {
			continue // somebody else was quicker
		}
		d := Done{Do: ChoreSite, POP: p.POP, Site: site, Release: report.Release, Generation: report.Generation, Sent: p.Sent, Wire: p.Wire}
		if p.Verified != nil {
			d.Verified = p.Verified.URLs
		}
		r.done(ctx, d)
	}
	return nil
}

// mayDeploy is the right to deploy a site.
func mayDeploy(site string) keys.Right { return keys.Right{What: keys.Deploy, Site: site} }

// mayI says what somebody lacks who works with the fleet from here.
func (f *Fleet) mayI(right keys.Right) error {
	r := f.currentRoster()
	if r == nil || r.May(f.ID.Key().Public(), right) {
		return nil
	}
	return &mistake.Error{
		What: fmt.Sprintf("%s, as whom this machine works with the fleet, may not %s", f.ID.Name, right),
		Hint: fmt.Sprintf("the owner makes a key that may: penny key add NAME --may %s", right),
	}
}

// RenewLeaf gives a POP's agent its next certificate, for the key that the roster pins,
// and returns until when it is valid.
func (f *Fleet) RenewLeaf(ctx context.Context, pop string, ca *keys.CA) (time.Time, error) {
	a, r := f.agent(pop), f.currentRoster()
	if a == nil || r == nil {
		return time.Time{}, fmt.Errorf("renew the certificate of %s: %w", pop, keys.ErrNotPinned)
	}
	key, pinned := r.POP(pop)
	if !pinned {
		return time.Time{}, fmt.Errorf("renew the certificate of %s: %w", pop, keys.ErrNotPinned)
	}
	leaf, err := ca.IssuePOP(f.ID.Fleet, pop, key)
	if err != nil {
		return time.Time{}, err
	}
	var result api.Leaf
	err = a.do(ctx, call{method: http.MethodPut, path: apiPath("leaf"), header: http.Header{"Content-Type": {api.TypePEM}}, body: bytes.NewReader(leaf), result: &result})
	if err != nil {
		return time.Time{}, fmt.Errorf("renew the certificate of %s: %w", pop, err)
	}
	return result.Expires, nil
}

// bringConfig gives a POP the configuration that another one has: the same statement,
// if who signed it may still operate the fleet.
func (f *Fleet) bringConfig(ctx context.Context, from, to string) (uint64, error) {
	if err := f.mayI(keys.Right{What: keys.Operate}); err != nil {
		return 0, err
	}
	st, err := f.agent(from).statement(ctx, apiPath("config"))
	if err != nil {
		return 0, err
	}
	payload, err := st.Verify(f.ID.Fleet, api.KindConfig)
	if err != nil {
		return 0, fmt.Errorf("the configuration that %s has: %w", from, err)
	}
	if r := f.currentRoster(); r == nil || !r.May(st.Key, keys.Right{What: keys.Operate}) {
		return 0, &mistake.Error{
			What: fmt.Sprintf("the configuration that %s has is signed by %s, who may not operate the fleet", from, f.nameOf(st.Key.String())),
			Hint: "penny apply signs a new one",
		}
	}
	return numberOf(payload), f.agent(to).put(ctx, apiPath("config"), st)
}
