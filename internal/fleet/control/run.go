package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Doer does steps. Whatever it does may be asked of it again.
type Doer interface {
	// Do does one step. A POP that does not answer is a [*GoneError], a lease that
	// somebody else holds a [*LeasedError].
	Do(ctx context.Context, s Step) error
}

// RunOptions say how a plan is carried out. The zero value is what is usual.
type RunOptions struct {
	// All makes a POP that stops answering an error while nothing is activated yet.
	All bool
	// Wait waits for a lease that somebody else holds, for as long as the context
	// lets it.
	Wait bool
	// Parallel bounds the POPs that do something at a time; 0 means 32.
	Parallel int
	// Attempts is how often a step is tried whose POP does not answer; 0 means 3.
	Attempts int
	// Events is told what happens; nil for nobody.
	Events func(Event)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Aside does what nobody has to wait for; nil does it at once.
	Aside func(do func())
}

func (o RunOptions) withDefaults() RunOptions {
	if o.Parallel == 0 {
		o.Parallel = 32
	}
	if o.Attempts == 0 {
		o.Attempts = 3
	}
	if o.Events == nil {
		o.Events = func(Event) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Aside == nil {
		o.Aside = func(do func()) { do() }
	}
	return o
}

// limit is how long a step may take. Sending has no limit of its own: who sends gives
// up when nothing moves any more.
func (a Action) limit() time.Duration {
	switch a {
	case ActionLease, ActionUnlease:
		return 10 * time.Second
	case ActionOffer, ActionStage:
		return 5 * time.Minute
	case ActionActivate, ActionPreview:
		return time.Minute
	case ActionKnock:
		return 15 * time.Second
	case ActionVerify:
		return 2 * time.Minute
	case ActionSend, ActionRefine:
	}
	return 0
}

// undoLimit bounds what is done after the context has ended: going back, and giving the
// lease back.
const undoLimit = time.Minute

// A Result is what a run has come to.
type Result struct {
	Live   []string `json:"live"`   // POPs that serve the release, in order
	Behind []Behind `json:"behind"` // POPs that do not
	// Since and Until are when the first POP was activated, and when the last one
	// was verified.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Run carries a plan out. If it fails before a POP was activated nothing that a visitor
// sees has changed; if it fails after that, or the context ends, every POP goes back and
// the error is an [*UndoneError]. Only where somebody else has deployed meanwhile, an
// [*OvertakenError], nothing is taken back: it is theirs now.
func Run(ctx context.Context, p *Plan, d Doer, o RunOptions) (*Result, error) {
	r := &runner{
		plan: p, doer: d, RunOptions: o.withDefaults(), gone: make(map[string]bool),
		result: Result{Live: []string{}, Behind: slices.Clip(append([]Behind{}, p.Behind...))},
	}
	var err error
	for i := range p.Waves {
		if err = r.wave(ctx, &p.Waves[i]); err != nil {
			break
		}
	}
	if _, overtaken := errors.AsType[*OvertakenError](err); err != nil && r.touched && !overtaken { // going back would undo another's deploy
		err = r.undo(ctx, err)
	}
	if err != nil && r.leased {
		r.finish(ctx)
	}
	return &r.result, err
}

// A runner is a plan under way.
type runner struct {
	RunOptions
	plan   *Plan
	doer   Doer
	leased bool // some lease may be ours
	// touched says that a POP may have been activated.
	touched bool

	mu     sync.Mutex // guards what follows, and lets one event go at a time
	gone   map[string]bool
	before map[string]bool // gone before the first POP was activated
	result Result
}

// wave carries one wave out.
func (r *runner) wave(ctx context.Context, w *Wave) error {
	r.event(Event{Kind: EventWave, Wave: w.Name})
	lanes := slices.DeleteFunc(slices.Clone(w.Lanes), func(l Lane) bool { return r.isGone(l.POP) })
	switch w.Name {
	case WaveLease:
		return r.lease(ctx, w, lanes)
	case WaveActivate:
		return r.activate(ctx, w, lanes)
	case WaveFinish:
		r.finish(ctx)
		return nil
	case WavePrepare, WaveUndo:
	}
	return r.enough(ctx, w, r.together(ctx, lanes))
}

// enough looks at how a wave went: POPs that are gone are left behind, as long as there
// are others.
func (r *runner) enough(ctx context.Context, w *Wave, errs map[string]error) error {
	if err := fault(ctx, w.Lanes, errs); err != nil {
		return err
	}
	well := 0
	for _, l := range w.Lanes {
		err, done := errs[l.POP]
		gone, isGone := errors.AsType[*GoneError](err)
		switch {
		case isGone && r.All && !r.touched:
			return fmt.Errorf("%s does not answer: %w", l.POP, err)
		case isGone:
			r.leave(l.POP, gone)
		case done:
			well++
		}
	}
	if well < w.Need {
		return fmt.Errorf("%s: only %d of %d POPs still answer", w.Name, well, len(w.Lanes))
	}
	return nil
}

// fault is what ended a wave before its time: the first lane's error that is more than
// a POP that is gone, or the end of the context.
func fault(ctx context.Context, lanes []Lane, errs map[string]error) error {
	for _, l := range lanes {
		err := errs[l.POP]
		if _, gone := errors.AsType[*GoneError](err); err != nil && !gone && !cut(err) {
			return fmt.Errorf("%s: %w", l.POP, err)
		}
	}
	return ctx.Err()
}

// cut reports whether something was ended from outside.
func cut(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// together does lanes at the same time, and returns how each ended. The first that
// fails, and not because its POP is gone, ends the others.
func (r *runner) together(ctx context.Context, lanes []Lane) map[string]error {
	var mu sync.Mutex // guards errs
	errs := make(map[string]error, len(lanes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Parallel)
	for _, l := range lanes {
		g.Go(func() error {
			err := r.lane(ctx, l)
			mu.Lock()
			errs[l.POP] = err
			mu.Unlock()
			if _, gone := errors.AsType[*GoneError](err); gone {
				return nil
			}
			return err
		})
	}
	_ = g.Wait() // it is in errs
	return errs
}

// lane does the steps of one POP.
func (r *runner) lane(ctx context.Context, l Lane) error {
	for _, s := range l.Steps {
		if err := r.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// step does one step, several times if the POP does not answer.
func (r *runner) step(ctx context.Context, s Step) error {
	began := r.Now()
	for attempt := 1; ; attempt++ {
		err := r.try(ctx, s)
		if err == nil {
			r.event(Event{Kind: EventStep, POP: s.POP, Do: s.Do, Took: r.Now().Sub(began)})
			return nil
		}
		if _, gone := errors.AsType[*GoneError](err); !gone || attempt >= r.Attempts || ctx.Err() != nil {
			return err
		}
		r.event(Event{Kind: EventRetry, POP: s.POP, Do: s.Do, Text: err.Error()})
		if err := pause(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

// try does one step within its time.
func (r *runner) try(ctx context.Context, s Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	inner, cancel := ctx, context.CancelFunc(func() {})
	if limit := s.Do.limit(); limit > 0 {
		inner, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s is not done within %v", s.Do, limit))
	}
	defer cancel()
	err := r.doer.Do(inner, s)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case inner.Err() != nil:
		return &GoneError{POP: s.POP, Err: context.Cause(inner)}
	}
	return err
}

// backoff is how long to wait after so many attempts: up to a quarter of a second, a
// whole one, four; by chance, so that many do not come back at once.
func backoff(attempt int) time.Duration {
	most := 250 * time.Millisecond << (2 * min(attempt-1, 3))
	return most/2 + rand.N(most/2) //nolint:gosec // nobody gains from guessing it
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// lease takes the lease on a majority. If somebody else has it, what we got is given
// back, so that two who wait do not hold each other up for ever.
func (r *runner) lease(ctx context.Context, w *Wave, lanes []Lane) error {
	for attempt := 1; ; attempt++ {
		r.leased = true
		errs := r.each(ctx, lanes)
		if err := ctx.Err(); err != nil {
			return err
		}
		var held *LeasedError
		got := 0
		for _, l := range lanes {
			err := errs[l.POP]
			gone, isGone := errors.AsType[*GoneError](err)
			leased, isLeased := errors.AsType[*LeasedError](err)
			switch {
			case err == nil:
				got++
			case isLeased:
				held = leased
			case isGone && !r.All:
				r.leave(l.POP, gone)
			default:
				return fmt.Errorf("%s: %w", l.POP, err)
			}
		}
		lanes = slices.DeleteFunc(lanes, func(l Lane) bool { return r.isGone(l.POP) })
		if got >= majority(len(lanes)) {
			return nil
		}
		if held == nil {
			return fmt.Errorf("%s: only %d of %d POPs still answer", w.Name, got, len(w.Lanes))
		}
		r.giveBack(ctx)
		if !r.Wait {
			return held
		}
		r.event(Event{Kind: EventWaiting, Text: held.Error()})
		if err := pause(ctx, min(max(held.Lease.Left/4, 250*time.Millisecond), 2*time.Second)+backoff(1)); err != nil {
			return err
		}
	}
}

// activate makes the release what visitors see: at one POP first, and when that one is
// well at all others.
func (r *runner) activate(ctx context.Context, w *Wave, lanes []Lane) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	r.touched, r.result.Since, r.before = r.plan.NewHead, r.Now(), maps.Clone(r.gone)
	r.mu.Unlock()
	errs := make(map[string]error)
	for w.OneFirst && len(lanes) > 0 {
		first := lanes[0]
		lanes = lanes[1:]
		errs[first.POP] = r.first(ctx, first)
		if errs[first.POP] == nil {
			break
		}
		if err := fault(ctx, w.Lanes, errs); err != nil {
			return err
		}
	}
	maps.Copy(errs, r.together(ctx, lanes))
	if err := r.enough(ctx, w, errs); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Until = r.Now()
	for _, l := range w.Lanes {
		if err, done := errs[l.POP]; done && err == nil {
			r.result.Live = append(r.result.Live, l.POP)
		}
	}
	return nil
}

// first does the lane that all others wait for. A POP that does not take the head is
// gone, and another may be the first; one that does not answer after it has taken the
// head may have broken because of it.
func (r *runner) first(ctx context.Context, l Lane) error {
	for i, s := range l.Steps {
		err := r.step(ctx, s)
		if gone, ok := errors.AsType[*GoneError](err); ok && i > 0 {
			return fmt.Errorf("it does not answer any more: %w", gone.Err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// undo takes every POP back.
func (r *runner) undo(ctx context.Context, why error) error {
	if r.plan.Undo == nil {
		return fmt.Errorf("%w; it is the first release, and stays where it was activated: there is none to go back to", why)
	}
	r.event(Event{Kind: EventUndo, Wave: WaveUndo, Text: why.Error()})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	undone := &UndoneError{Site: r.plan.Site, Release: r.plan.Release, Previous: r.plan.Previous, Err: why}
	r.mu.Lock()
	r.result.Live, r.result.Until = []string{}, r.Now()
	r.mu.Unlock()
	lanes := slices.DeleteFunc(slices.Clone(r.plan.Undo.Lanes), func(l Lane) bool { return r.before[l.POP] })
	for pop, err := range r.each(ctx, lanes) {
		if gone, ok := errors.AsType[*GoneError](err); ok {
			r.leave(pop, gone)
		} else if err != nil {
			undone.Failed = errors.Join(undone.Failed, fmt.Errorf("%s: %w", pop, err))
		}
	}
	return undone
}

// each does lanes at the same time, and lets none end another.
func (r *runner) each(ctx context.Context, lanes []Lane) map[string]error {
	var mu sync.Mutex // guards errs
	errs := make(map[string]error, len(lanes))
	var g errgroup.Group
	g.SetLimit(r.Parallel)
	for _, l := range lanes {
		g.Go(func() error {
			err := r.lane(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			errs[l.POP] = err
			return nil
		})
	}
	_ = g.Wait() // it is in errs
	return errs
}

// finish gives the lease back, for which nobody has to wait. A lease that cannot be given
// back runs out.
func (r *runner) finish(ctx context.Context) {
	r.Aside(func() { r.giveBack(ctx) })
	r.leased = false
}

func (r *runner) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ActionUnlease.limit())
	defer cancel()
	for _, w := range r.plan.Waves {
		if w.Name != WaveFinish {
			continue
		}
		lanes := slices.DeleteFunc(slices.Clone(w.Lanes), func(l Lane) bool { return r.isGone(l.POP) })
		for pop, err := range r.each(ctx, lanes) {
			if _, others := errors.AsType[*LeasedError](err); err != nil && !others {
				r.event(Event{Kind: EventNote, POP: pop, Text: fmt.Sprintf("its lease could not be given back and will run out: %v", err)})
			}
		}
	}
}

// leave leaves a POP behind.
func (r *runner) leave(pop string, why error) {
	r.mu.Lock()
	known := r.gone[pop]
	if !known {
		r.gone[pop] = true
		r.result.Behind = append(r.result.Behind, Behind{POP: pop, Why: why.Error()})
	}
	r.mu.Unlock()
	if !known {
		r.event(Event{Kind: EventBehind, POP: pop, Text: why.Error()})
	}
}

func (r *runner) isGone(pop string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone[pop]
}

// event tells what happened.
func (r *runner) event(e Event) {
	e.Time, e.Site = r.Now(), r.plan.Site
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Events(e)
}
