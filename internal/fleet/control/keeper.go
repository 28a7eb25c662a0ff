package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/keys"
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
// renewed by themselves. Beside that it makes the best codings of what is served, when the
// machine has nothing else to do. Open and Log are required.
//
// It holds nothing that matters: where it is not running the fleet serves on, and any
// number of them may run.
type Keeper struct {
	// Open opens the fleet, which the keeper closes; it is asked in every round, so
	// that POPs and keys may come and go. What happens has to be told to events. It is
	// never asked twice at once.
	Open func(events func(Event)) (*Fleet, error)
	// Authority opens the fleet's CA. The error is fs.ErrNotExist where there is none;
	// nil means that there is none.
	Authority func() (*keys.CA, error)
	Log       *slog.Logger
	// Every is the time between two rounds; 0 means a minute.
	Every time.Duration
	// Best makes Run make the best codings of what POPs serve between its rounds, on one
	// processor at the lowest priority, and send them behind.
	Best bool
	// Busy reports whether this machine has something better to do than codings, beside
	// deploys from its state directory, which count as well; nil asks the system for its
	// load, where it tells.
	Busy func() bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	opening sync.Mutex         // lets Open be asked once at a time
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
	// Warnings are what is well still, and will not be by itself.
	Warnings []string `json:"warnings,omitempty"`
}

// Done is something that was done for a POP.
type Done struct {
	Do         ChoreKind `json:"do"`
	POP        string    `json:"pop"`
	Site       string    `json:"site,omitempty"`
	Release    string    `json:"release,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
	Number     uint64    `json:"number,omitempty"`   // of the roster, or of the configuration
	Expires    time.Time `json:"expires,omitzero"`   // of the certificate, or of the preview
	Ended      bool      `json:"ended,omitempty"`    // a preview has been ended
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
	looked := make(chan struct{}, 1) // one look that nobody has heard of is enough
	var behind sync.WaitGroup
	defer behind.Wait()
	if k.Best {
		behind.Go(func() { k.refine(ctx, looked) })
	}
	for ctx.Err() == nil {
		_, err := k.Round(ctx)
		if err != nil && ctx.Err() == nil {
			k.tell(ctx, []Failed{{Error: err.Error(), err: err}}, nil)
		}
		if err == nil {
			select {
			case looked <- struct{}{}:
			default:
			}
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
	f, err := k.open(func(e Event) { r.event(ctx, e) })
	if err != nil {
		return nil, fmt.Errorf("open the fleet: %w", err)
	}
	r.fleet = f
	err = r.run(ctx)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if ctx.Err() == nil {
		k.tell(ctx, r.Failed, r.Warnings)
	}
	return &r.Round, nil
}

func (k *Keeper) open(events func(Event)) (*Fleet, error) {
	k.opening.Lock()
	defer k.opening.Unlock()
	return k.Open(events)
}

// tell logs what is wrong, or will be, unless it was just told, and what is no longer.
func (k *Keeper) tell(ctx context.Context, failed []Failed, warnings []string) {
	now := make(map[string]trouble)
	for _, text := range warnings {
		was, known := k.trouble[text]
		if now[text] = was; !known || k.now().Sub(was.at) >= remindEvery {
			now[text] = trouble{at: k.now()}
			k.Log.LogAttrs(ctx, slog.LevelWarn, "look at this", slog.String("what", text))
		}
	}
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
