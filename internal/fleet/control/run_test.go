package control_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
)

// A world is a fleet in memory that does what steps say, and keeps its promises: it
// refuses to activate what is not staged, and heads that are not newer.
type world struct {
	mu    sync.Mutex // guards all
	pops  map[string]*control.POPState
	trace []string
	holds map[string]string // POP -> who has its lease
	// before, which may be nil, is asked before every step.
	before func(ctx context.Context, s control.Step) error
}

func newWorld(states ...control.POPState) *world {
	w := &world{pops: make(map[string]*control.POPState), holds: make(map[string]string)}
	for _, s := range states {
		w.pops[s.POP] = &s
	}
	return w
}

// Do does a step.
func (w *world) Do(ctx context.Context, s control.Step) error {
	w.mu.Lock()
	w.trace = append(w.trace, fmt.Sprintf("%s %s", s.Do, s.POP))
	before := w.before
	w.mu.Unlock()
	if before != nil {
		if err := before(ctx, s); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	pop := w.pops[s.POP]
	switch s.Do {
	case control.ActionLease:
		if other := w.holds[s.POP]; other != "" && other != "ada" {
			return &control.LeasedError{Site: site, Lease: api.Lease{Holder: other, Left: time.Minute}}
		}
		w.holds[s.POP] = "ada"
	case control.ActionUnlease:
		if w.holds[s.POP] == "ada" {
			delete(w.holds, s.POP)
		}
	case control.ActionStage:
		pop.Staged = append(pop.Staged, s.Release)
	case control.ActionActivate:
		if !slices.Contains(pop.Staged, s.Release) {
			return fmt.Errorf("%s is not staged", s.Release)
		}
		if pop.Head != nil && pop.Head.Generation >= s.Generation && pop.Head.Release != s.Release {
			return fmt.Errorf("generation %d is not newer", s.Generation)
		}
		pop.Head, pop.Active = head(s.Generation, s.Release, pop.Active), s.Release
	case control.ActionOffer, control.ActionSend, control.ActionKnock, control.ActionPreview, control.ActionVerify:
	}
	return nil
}

func (w *world) states() []control.POPState {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []control.POPState
	for _, name := range slices.Sorted(maps.Keys(w.pops)) {
		s := *w.pops[name]
		s.Staged = slices.Clone(s.Staged)
		all = append(all, s)
	}
	return all
}

func (w *world) active() string {
	var all []string
	for _, s := range w.states() {
		all = append(all, s.POP+"="+s.Active)
	}
	return strings.Join(all, " ")
}

func (w *world) plan(t *testing.T, in control.Intent) *control.Plan {
	t.Helper()
	p, err := control.Make(in, w.states())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func three() *world {
	return newWorld(serves("au", head(4, "old", "older")), serves("fr", head(4, "old", "older")), serves("ny", head(4, "old", "older")))
}

func TestARunActivatesOneVerifiesItAndThenTheOthers(t *testing.T) {
	w := three()
	var events []control.Event
	r, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{Events: func(e control.Event) { events = append(events, e) }})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.active(), "au=new fr=new ny=new"; got != want {
		t.Errorf("they serve %s", got)
	}
	if diff := cmp.Diff([]string{"au", "fr", "ny"}, r.Live); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	at := func(what string) int { return slices.Index(w.trace, what) }
	for _, pop := range []string{"fr", "ny"} {
		if at("activate "+pop) < at("verify au") || at("activate "+pop) < at("stage ny") {
			t.Errorf("%s was activated too soon: %v", pop, w.trace)
		}
	}
	for _, pop := range []string{"au", "fr", "ny"} {
		if at("stage "+pop) > at("activate au") || at("lease "+pop) > at("offer au") {
			t.Errorf("the first was activated before all had staged: %v", w.trace)
		}
	}
	if len(w.holds) > 0 {
		t.Errorf("leases are left: %v", w.holds)
	}
	if len(events) == 0 || events[0].Kind != control.EventWave || events[0].Wave != control.WaveLease {
		t.Errorf("the events are %+v", events)
	}
}

// refused fails one action at one POP, or at all.
func refused(do control.Action, pop string, err error) func(context.Context, control.Step) error {
	return func(_ context.Context, s control.Step) error {
		if s.Do == do && (pop == "" || s.POP == pop) && s.Release != "old" {
			return err
		}
		return nil
	}
}

func TestSomethingWrongBeforeAnActivationChangesNothing(t *testing.T) {
	for _, do := range []control.Action{control.ActionOffer, control.ActionSend, control.ActionStage} {
		t.Run(string(do), func(t *testing.T) {
			w := three()
			w.before = refused(do, "fr", errors.New("no space"))
			r, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
			if err == nil || err.Error() != "fr: no space" {
				t.Errorf("got %v", err)
			}
			if got, want := w.active(), "au=old fr=old ny=old"; got != want || len(r.Live) > 0 || len(w.holds) > 0 {
				t.Errorf("they serve %s, live is %v, leases %v", got, r.Live, w.holds)
			}
		})
	}
}

func TestSomethingWrongAfterAnActivationTakesEveryPOPBack(t *testing.T) {
	for _, c := range []struct{ do, pop string }{{"activate", "au"}, {"verify", "au"}, {"activate", "fr"}, {"verify", "fr"}, {"verify", "ny"}} {
		t.Run(c.do+" "+c.pop, func(t *testing.T) {
			w := three()
			w.before = refused(control.Action(c.do), c.pop, errors.New("a page differs"))
			_, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
			undone, ok := errors.AsType[*control.UndoneError](err)
			if !ok || undone.Failed != nil || !strings.Contains(err.Error(), c.pop+": a page differs; every POP went back to old") {
				t.Fatalf("got %v", err)
			}
			for _, s := range w.states() {
				if s.Active != "old" || s.Head.Generation != 6 {
					t.Errorf("%s serves %s, generation %d", s.POP, s.Active, s.Head.Generation)
				}
			}
			if len(w.holds) > 0 {
				t.Errorf("leases are left: %v", w.holds)
			}
		})
	}
}

func TestAFirstReleaseThatIsWrongStaysAndTheErrorSaysSo(t *testing.T) {
	w := newWorld(serves("au", nil), serves("fr", nil))
	wrong := errors.New("it answers 421")
	w.before = refused(control.ActionVerify, "au", wrong)
	_, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
	if !errors.Is(err, wrong) || !strings.Contains(err.Error(), "there is none to go back to") {
		t.Errorf("got %v", err)
	}
	if got, want := w.active(), "au=new fr="; got != want {
		t.Errorf("they serve %s", got)
	}
}

func TestAPOPThatStopsAnsweringIsLeftBehind(t *testing.T) {
	for _, do := range []control.Action{control.ActionLease, control.ActionOffer, control.ActionSend, control.ActionStage, control.ActionKnock, control.ActionActivate, control.ActionVerify} {
		t.Run(string(do), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := three()
				w.before = refused(do, "ny", &control.GoneError{POP: "ny", Err: errors.New("cut")})
				r, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]control.Behind{{POP: "ny", Why: "cut"}}, r.Behind); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if diff := cmp.Diff([]string{"au", "fr"}, r.Live); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if got := strings.Count(strings.Join(w.trace, "\n")+"\n", string(do)+" ny\n"); got != 3 {
					t.Errorf("it was tried %d times", got)
				}
			})
		})
	}
}

func TestWhereAllAreWantedAPOPThatStopsAnsweringEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := three()
		w.before = refused(control.ActionSend, "ny", &control.GoneError{POP: "ny", Err: errors.New("cut")})
		if _, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{All: true}); err == nil || !strings.Contains(err.Error(), "ny does not answer") {
			t.Errorf("got %v", err)
		}
		if got, want := w.active(), "au=old fr=old ny=old"; got != want {
			t.Errorf("they serve %s", got)
		}
	})
}

func TestIfTheFirstDoesNotTakeTheHeadAnotherIsTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := three()
		w.before = refused(control.ActionActivate, "au", &control.GoneError{POP: "au", Err: errors.New("cut")})
		r, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
		if err != nil || w.active() != "au=old fr=new ny=new" || len(r.Behind) != 1 {
			t.Errorf("they serve %s, behind are %v: %v", w.active(), r.Behind, err)
		}
		if slices.Index(w.trace, "activate ny") < slices.Index(w.trace, "verify fr") {
			t.Errorf("fr was not the first: %v", w.trace)
		}
	})
}

func TestAFirstThatBreaksTakesTheReleaseBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := three()
		w.before = refused(control.ActionVerify, "au", &control.GoneError{POP: "au", Err: errors.New("cut")})
		_, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
		if _, ok := errors.AsType[*control.UndoneError](err); !ok || w.active() != "au=old fr=old ny=old" {
			t.Errorf("they serve %s: %v", w.active(), err)
		}
		if slices.Contains(w.trace, "verify fr") {
			t.Error("others were activated")
		}
	})
}

// TestARunThatIsEndedAnywhereIsMadeWholeByTheNext kills a run before each of its steps,
// once as Ctrl-C does and once as kill -9 does, after which nothing more is done.
func TestARunThatIsEndedAnywhereIsMadeWholeByTheNext(t *testing.T) {
	full := three()
	if _, err := control.Run(t.Context(), full.plan(t, deploy("new")), full, control.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(full.trace) < 20 {
		t.Fatalf("a run has only %d steps", len(full.trace))
	}
	for _, hard := range []bool{false, true} {
		for n := range full.trace {
			t.Run(fmt.Sprintf("step %d, killed %v", n, hard), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := three()
					ctx, kill := context.WithCancel(t.Context())
					defer kill()
					count, dead := 0, false
					w.before = func(ctx context.Context, _ control.Step) error {
						w.mu.Lock()
						count++
						if count == n+1 {
							dead = hard
							kill()
						}
						was := dead
						w.mu.Unlock()
						if was {
							return errors.New("dead")
						}
						return ctx.Err()
					}
					_, err := control.Run(ctx, w.plan(t, deploy("new")), w, control.RunOptions{})
					finishing := strings.HasPrefix(full.trace[n], "unlease")
					if err == nil && !finishing {
						t.Fatal("the run ended well")
					}
					if !hard && !finishing {
						if got, want := w.active(), "au=old fr=old ny=old"; got != want {
							t.Errorf("after Ctrl-C they serve %s (%v)", got, err)
						}
						if len(w.holds) > 0 {
							t.Errorf("leases are left: %v", w.holds)
						}
					}
					w.before = nil
					again, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
					if err != nil || w.active() != "au=new fr=new ny=new" || len(again.Behind) > 0 {
						t.Errorf("the next run left %s, behind %v: %v", w.active(), again.Behind, err)
					}
					if p := w.plan(t, deploy("new")); !p.Nothing() {
						t.Errorf("and there is still %v", lines(p))
					}
				})
			})
		}
	}
}

func TestALeaseThatIsHeldIsReportedOrWaitedFor(t *testing.T) {
	w := three()
	w.holds["au"], w.holds["fr"] = "bob", "bob"
	_, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
	if held, ok := errors.AsType[*control.LeasedError](err); !ok || held.Lease.Holder != "bob" {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff(map[string]string{"au": "bob", "fr": "bob"}, w.holds); diff != "" {
		t.Errorf("what was got was not given back (-want +got)\n%s", diff)
	}
	synctest.Test(t, func(t *testing.T) {
		w := three()
		w.holds["au"], w.holds["fr"] = "bob", "bob"
		waits := 0
		_, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{Wait: true, Events: func(e control.Event) {
			if e.Kind != control.EventWaiting {
				return
			}
			if waits++; waits == 3 {
				w.mu.Lock()
				delete(w.holds, "fr")
				w.mu.Unlock()
			}
		}})
		if err != nil || waits != 3 || w.active() != "au=new fr=new ny=new" {
			t.Errorf("waited %d times, they serve %s: %v", waits, w.active(), err)
		}
	})
}

func TestAStepThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := three()
		w.before = func(ctx context.Context, s control.Step) error {
			if s.Do == control.ActionStage && s.POP == "fr" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		r, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
		if err != nil || len(r.Behind) != 1 || !strings.Contains(r.Behind[0].Why, "stage is not done within") {
			t.Errorf("behind are %v: %v", r.Behind, err)
		}
	})
}

func TestWhoIsOvertakenDoesNotUndoWhatTheOtherDid(t *testing.T) {
	for _, pop := range []string{"au", "ny"} {
		w := three()
		overtaken := &control.OvertakenError{Site: site, Head: *head(5, "theirs", "old"), Err: errors.New("stale")}
		w.before = func(_ context.Context, s control.Step) error {
			if s.Do != control.ActionActivate || s.POP != pop {
				return nil
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.pops[pop].Head, w.pops[pop].Active = head(5, "theirs", "old"), "theirs"
			return overtaken
		}
		_, err := control.Run(t.Context(), w.plan(t, deploy("new")), w, control.RunOptions{})
		if got, ok := errors.AsType[*control.OvertakenError](err); !ok || got != overtaken {
			t.Errorf("got %v", err)
		}
		if !strings.Contains(w.active(), pop+"=theirs") || strings.Contains(strings.Join(w.trace, " "), "offer old") || len(w.holds) > 0 {
			t.Errorf("they serve %s, leases %v", w.active(), w.holds)
		}
	}
}
