package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
)

const (
	// resends is how often objects are sent again that did not arrive well.
	resends = 2
	// progressEvery is how often a step that goes on says so.
	progressEvery = 200 * time.Millisecond
)

// An operation is a plan under way: the [Doer] of real POPs.
type operation struct {
	fleet *Fleet
	plan  *Plan
	check *verifier
	begun map[string]*begun // by POP
	// aside does something beside the steps, and waits for it in the end; nil: nothing is.
	aside  func(do func(context.Context))
	likely []release.File // that POPs will lack

	packing  sync.Mutex // guards packed and packedOf
	packed   *bytes.Buffer
	packedOf Amount

	mu      sync.Mutex // guards what follows
	parcels map[string]*parcel
	heads   map[uint64]*keys.Statement // by generation
	leased  map[string]bool
}

// Begun is how far an operation is at one POP. Only the POP's own lane changes it.
type begun struct {
	agent   *agentClient
	staged  []string       // releases that the POP had before
	missing []release.Hash // objects of the release that was offered last
	tried   bool           // something may have been sent since it was offered
	sent    Amount         // objects that were sent

	batch    bool    // the POP takes several calls in one
	expected *Amount // what the plan sends; nil: nothing
	ahead    *ahead  // the call that takes its lease, if that does more; nil: it does not
}

func (f *Fleet) newOperation(p *Plan, pops []POPState, check *verifier) *operation {
	o := &operation{
		fleet: f, plan: p, check: check, begun: make(map[string]*begun),
		parcels: make(map[string]*parcel), heads: make(map[uint64]*keys.Statement), leased: make(map[string]bool),
	}
	for _, s := range pops {
		o.begun[s.POP] = &begun{agent: f.agent(s.POP), staged: s.Staged, batch: s.Batch}
	}
	o.bringing()
	return o
}

// Do does a step at a POP.
func (o *operation) Do(ctx context.Context, s Step) error {
	at := o.begun[s.POP]
	if at == nil {
		return fmt.Errorf("the fleet has no POP %s", s.POP)
	}
	site := o.plan.Site
	switch s.Do {
	case ActionLease:
		if err := o.lease(ctx, at); err != nil {
			return err
		}
		o.hold(s.POP, true)
	case ActionUnlease:
		o.hold(s.POP, false)
		return at.agent.unlease(ctx, site, o.fleet.holder)
	case ActionOffer:
		return o.offer(ctx, at, s.Release)
	case ActionSend:
		return o.send(ctx, at, s.Release)
	case ActionStage:
		return o.stage(ctx, at, s.Release)
	case ActionKnock:
		return o.check.knocked(ctx, s.POP)
	case ActionActivate:
		return o.activate(ctx, at, s)
	case ActionPreview:
		return at.agent.put(ctx, apiPath("sites", site, "previews", o.check.preview.Host), o.check.preview.statement)
	case ActionVerify:
		return o.check.verify(ctx, s.POP)
	case ActionRefine:
		return errors.New("codings are sent behind a release, and not by a plan")
	}
	return nil
}

// parcel returns a release to be sent. One that is not ours to begin with is fetched.
func (o *operation) parcel(ctx context.Context, id string) (*parcel, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.parcels[id]
	if p == nil {
		return nil, fmt.Errorf("release %s is not at hand", Short(id))
	}
	if p.manifest != nil {
		return p, nil
	}
	m, st, err := o.fleet.manifest(ctx, o.plan.Site, id, p.donors)
	if err != nil {
		return nil, err
	}
	whole := newParcel(id, m, st)
	whole.donors = p.donors
	o.parcels[id] = whole
	return whole, nil
}

// send sends what the POP lacks. After a cut the POP is asked again: what had arrived
// is there.
func (o *operation) send(ctx context.Context, at *begun, id string) error {
	if at.tried {
		if err := o.offer(ctx, at, id); err != nil {
			return err
		}
	}
	p, err := o.parcel(ctx, id)
	if err != nil {
		return err
	}
	for try := 0; len(at.missing) > 0; try++ {
		at.tried = true
		bad, err := o.sendOnce(ctx, at, p, try > 0)
		if err != nil {
			return err
		}
		if len(bad) > 0 && try == resends {
			return fmt.Errorf("%d objects do not arrive well at %s, %s among them: %s", len(bad), at.agent.pop.Name, Short(bad[0].Object), bad[0].Error)
		}
		names := make([]string, len(bad))
		for i, b := range bad {
			names[i] = b.Object
		}
		if at.missing, err = at.agent.hashes(names); err != nil {
			return err
		}
	}
	return nil
}

// sendOnce sends the objects that are missing in one stream, and returns those that did
// not arrive well.
func (o *operation) sendOnce(ctx context.Context, at *begun, p *parcel, plain bool) ([]api.BadObject, error) {
	if p.spool == nil {
		return o.gather(ctx, at, p, plain)
	}
	w := way{numbers: at.agent.numbers(), again: plain}
	// What an object may refer to are objects of the release before.
	w.plain = plain || !slices.Contains(at.staged, o.plan.Previous)
	return o.stream(ctx, at, p, p.spool, at.missing, w)
}

// gather sends objects of which not all are here: what this machine has kept from here,
// and the others from POPs that have them. What does not arrive well from here comes
// from there too.
func (o *operation) gather(ctx context.Context, at *begun, p *parcel, again bool) ([]api.BadObject, error) {
	if p.shelf == nil || again {
		return o.forward(ctx, at, p, at.missing)
	}
	var here, elsewhere []release.Hash
	for _, h := range at.missing {
		if o.fleet.store.Has(h) {
			here = append(here, h)
		} else {
			elsewhere = append(elsewhere, h)
		}
	}
	var bad []api.BadObject
	if len(here) > 0 {
		var err error
		bad, err = o.stream(ctx, at, p, p.shelf, here, way{numbers: at.agent.numbers(), plain: true})
		if _, gone := errors.AsType[*GoneError](err); gone || ctx.Err() != nil {
			return nil, err
		}
		if err != nil { // something is wrong with what was kept
			if err := o.offer(ctx, at, p.id); err != nil {
				return nil, err
			}
			bad, elsewhere = nil, at.missing
		}
	}
	if len(elsewhere) == 0 {
		return bad, nil
	}
	more, err := o.forward(ctx, at, p, elsewhere)
	return append(bad, more...), err
}

// stream sends objects from this machine in one stream, and returns those that did not
// arrive well.
func (o *operation) stream(ctx context.Context, at *begun, p *parcel, from *spool, missing []release.Hash, w way) ([]api.BadObject, error) {
	asked := make(map[release.Hash]bool, len(missing))
	for _, h := range missing {
		asked[h] = true
	}
	objects := make([]release.File, 0, len(missing))
	files := p.files(asked)
	var total int64
	for _, h := range missing {
		file, ok := files[h]
		if !ok {
			return nil, fmt.Errorf("%s lacks %s, which is not in the release", at.agent.pop.Name, h.Short())
		}
		objects, total = append(objects, file), total+file.Size
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watch := o.watch(ctx, at, total, stop)
	defer watch.end()
	in, out := io.Pipe()
	var wait sync.WaitGroup
	var ours error // what went wrong here, and not at the POP
	wait.Go(func() {
		ours = p.pack(ctx, out, from, objects, w, func(f release.File) {
			watch.done.Add(f.Size)
			at.sent.Objects, at.sent.Bytes = at.sent.Objects+1, at.sent.Bytes+f.Size
		})
		_ = out.CloseWithError(ours) // never fails
	})
	r, err := at.agent.pack(ctx, o.plan.Site, in)
	_ = in.CloseWithError(io.ErrClosedPipe) // never fails; the writer ends
	wait.Wait()
	if _, refused := errors.AsType[*RefusedError](err); err != nil && ours != nil && !refused && !errors.Is(ours, io.ErrClosedPipe) && !cut(ours) {
		return nil, ours
	}
	if err != nil {
		return nil, err
	}
	return r.Bad, nil
}

// forward has objects that are not here sent by a POP that has them, through us.
func (o *operation) forward(ctx context.Context, at *begun, p *parcel, missing []release.Hash) ([]api.BadObject, error) {
	var errs []error
	for _, donor := range p.donors {
		if donor == at.agent {
			continue
		}
		bad, err := func() ([]api.BadObject, error) {
			ctx, stop := context.WithCancelCause(ctx)
			defer stop(nil)
			watch := o.watch(ctx, at, 0, stop)
			defer watch.end()
			body, err := donor.objects(ctx, o.plan.Site, missing)
			if err != nil {
				return nil, err
			}
			defer body.Close()
			r, err := at.agent.pack(ctx, o.plan.Site, body)
			if err != nil {
				return nil, err
			}
			at.sent.Objects += r.Stored
			return r.Bad, nil
		}()
		if err == nil || ctx.Err() != nil {
			return bad, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("nobody who answers has what %s lacks of release %s", at.agent.pop.Name, Short(p.id))
	}
	return nil, errors.Join(errs...)
}

// A watch tells how a stream goes on, and ends it when nothing moves any more.
type watch struct {
	done atomic.Int64 // bytes of identity forms
	stop chan struct{}
	wait sync.WaitGroup
}

// watch begins to watch what goes to a POP.
func (o *operation) watch(ctx context.Context, at *begun, total int64, stop context.CancelCauseFunc) *watch {
	w := &watch{stop: make(chan struct{})}
	w.wait.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		seen, since := at.agent.wire.total(), time.Duration(0)
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.stop:
				return
			case <-tick.C:
			}
			now := at.agent.wire.total()
			if since += progressEvery; now != seen {
				seen, since = now, 0
			}
			if since > stall {
				stop(&GoneError{POP: at.agent.pop.Name, Err: fmt.Errorf("nothing has moved for %v", stall)})
				return
			}
			o.fleet.tell(Event{
				Kind: EventProgress, Site: o.plan.Site, POP: at.agent.pop.Name, Do: ActionSend,
				Done: w.done.Load(), Total: total, Wire: at.agent.wire.since(),
			})
		}
	})
	return w
}

func (w *watch) end() {
	close(w.stop)
	w.wait.Wait()
}

// stage has the POP check and compile the release. What it finds damaged is sent again.
func (o *operation) stage(ctx context.Context, at *begun, id string) error {
	if done, err := o.wasAhead(ctx, at, id); done || err != nil {
		return err
	}
	for try := 0; ; try++ {
		r, err := at.agent.stage(ctx, o.plan.Site, id)
		if err == nil {
			o.tellNotes(at, r.Notes)
			return nil
		}
		if refused, ok := errors.AsType[*api.Error](err); !ok || refused.Code != api.CodeIncomplete || try == resends {
			return err
		}
		at.tried = true
		if err := o.send(ctx, at, id); err != nil {
			return err
		}
	}
}

// activate sends the head. A head that the POP has already is as good.
func (o *operation) activate(ctx context.Context, at *begun, s Step) error {
	st, err := o.head(s)
	if err != nil {
		return err
	}
	err = at.agent.put(ctx, apiPath("sites", o.plan.Site, "head"), st)
	if refused, ok := errors.AsType[*api.Error](err); ok && refused.Code == api.CodeStale {
		return o.overtaken(refused, err)
	}
	return err
}

// overtaken says who was quicker.
func (o *operation) overtaken(refused *api.Error, err error) error {
	var there api.Head
	st, parseErr := keys.ParseStatement(refused.Current)
	if parseErr != nil || o.fleet.readStatement(st, api.KindHead, o.plan.Site, &there) != nil {
		return err
	}
	return &OvertakenError{Site: o.plan.Site, Head: there, Err: err}
}

// head returns the statement of a step's head, and signs it if nobody has.
func (o *operation) head(s Step) (*keys.Statement, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if st := o.heads[s.Generation]; st != nil {
		return st, nil
	}
	previous := o.plan.Previous
	if s.Release == previous { // going back
		previous = o.plan.Release
	}
	if err := o.fleet.noteGeneration(o.plan.Site, s.Generation); err != nil {
		return nil, err
	}
	st, err := o.fleet.sign(api.KindHead, api.Head{
		Site: o.plan.Site, Generation: s.Generation, Release: s.Release, Time: o.fleet.Now().UTC().Truncate(time.Second), Previous: previous,
	})
	if err != nil {
		return nil, err
	}
	o.heads[s.Generation] = st
	return st, nil
}

// fetchHead takes over the head that a POP has.
func (o *operation) fetchHead(ctx context.Context, from *agentClient) error {
	st, err := from.statement(ctx, apiPath("sites", o.plan.Site, "head"))
	if err != nil {
		return err
	}
	var head api.Head
	if err := o.fleet.readStatement(st, api.KindHead, o.plan.Site, &head); err != nil {
		return fmt.Errorf("the head that %s has: %w", from.pop.Name, err)
	}
	if head.Site != o.plan.Site || head.Generation != o.plan.Generation || head.Release != o.plan.Release {
		return fmt.Errorf("the head that %s has is not the one that it speaks of", from.pop.Name)
	}
	o.heads[head.Generation] = st
	return nil
}
