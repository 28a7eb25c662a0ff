package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

// What is small goes to a POP in one call: the wish for the lease, the manifest, the
// objects that it will lack, and the wish to stage. Over a long way that spares three
// ways there and back. It is no more than a guess: where it was wrong, the steps of the
// plan do what is missing.
const (
	// maxAhead bounds the objects of such a call, in bytes of identity forms, and
	// maxAheadManifest its manifest, in bytes as it is sent.
	maxAhead         = 256 << 10
	maxAheadManifest = 256 << 10
)

// errNotAhead says that there is no such call, and that the lease is to be taken alone.
var errNotAhead = errors.New("it is too much for one call")

// An ahead is such a call under way.
type ahead struct {
	leased chan error // what came of the lease, once

	over   chan struct{} // closed when what follows is known
	staged bool          // all went well
	sent   Amount
}

// bringing notes what the plan sends to each POP.
func (o *operation) bringing() {
	for _, w := range o.plan.Waves {
		for _, l := range w.Lanes {
			for _, s := range l.Steps {
				if at := o.begun[l.POP]; at != nil && s.Do == ActionSend && s.Release == o.plan.Release {
					at.expected = &s.Expected
				}
			}
		}
	}
}

// mayAhead reports whether all of a POP's release may go into one call.
func (o *operation) mayAhead(at *begun) bool {
	var size int64
	for _, f := range o.likely {
		size += f.Size
	}
	return o.aside != nil && at.batch && at.ahead == nil && at.expected != nil && at.expected.Bytes <= maxAhead && size <= maxAhead &&
		slices.Contains(at.staged, o.plan.Previous) // and will lack what has changed since, and no more
}

// leaseAhead takes the lease of a POP in the call that brings the release.
func (o *operation) leaseAhead(ctx context.Context, at *begun) error {
	a := &ahead{leased: make(chan error, 1), over: make(chan struct{})} // who waits for the lease may be gone
	at.ahead = a
	o.aside(func(ctx context.Context) {
		defer close(a.over)
		o.bringAhead(ctx, at, a)
	})
	select {
	case err := <-a.leased:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wasAhead waits for the call that takes a POP's lease, if that brings a release too, and
// reports whether it has.
func (o *operation) wasAhead(ctx context.Context, at *begun, id string) (bool, error) {
	if at.ahead == nil || id != o.plan.Release {
		return false, nil
	}
	select {
	case <-at.ahead.over:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	at.sent, at.ahead.sent = at.sent.plus(at.ahead.sent), Amount{}
	return at.ahead.staged, nil
}

// bringAhead makes the call.
func (o *operation) bringAhead(ctx context.Context, at *begun, a *ahead) {
	calls, sent, err := o.callsAhead(ctx, at)
	if err != nil {
		a.leased <- errNotAhead // whoever does it step by step meets the error again
		return
	}
	b, err := at.agent.batch(ctx, calls)
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Answer.Code != api.CodeForbidden {
		err = errNotAhead
	}
	if err != nil {
		a.leased <- err
		return
	}
	defer b.close()
	err = leaseOf(o.plan.Site, b.next(ctx, nil))
	if a.leased <- err; err != nil {
		return
	}
	var offered api.ManifestResult
	var packed api.PackResult
	var staged api.StageResult
	if b.next(ctx, &offered) != nil {
		return
	}
	if sent.Objects > 0 && (b.next(ctx, &packed) != nil || len(packed.Bad) > 0) {
		return
	}
	if b.next(ctx, &staged) != nil {
		return
	}
	a.staged, a.sent = true, sent
	o.tellNotes(at, staged.Notes)
}

// callsAhead are the calls of which the one is made.
func (o *operation) callsAhead(ctx context.Context, at *begun) ([]partCall, Amount, error) {
	site, id := o.plan.Site, o.plan.Release
	p, err := o.parcel(ctx, id)
	if err != nil {
		return nil, Amount{}, err
	}
	if p.spool == nil {
		return nil, Amount{}, errNotAhead
	}
	base, of := o.baseFor(at, id)
	how := offered{base: base, patch: base != ""}
	manifest, err := p.offer(how, of)
	if err != nil {
		return nil, Amount{}, err
	}
	if len(manifest) > maxAheadManifest {
		return nil, Amount{}, errNotAhead
	}
	header, err := how.header(p.statement)
	if err != nil {
		return nil, Amount{}, err
	}
	lease, err := json.Marshal(api.LeaseRequest{Holder: o.fleet.holder, TTL: int64(leaseTTL.Seconds())})
	if err != nil {
		return nil, Amount{}, err
	}
	pack, sent, err := o.packAhead(ctx, p)
	if err != nil {
		return nil, Amount{}, err
	}
	calls := []partCall{
		{method: http.MethodPut, path: apiPath("sites", site, "lease"), body: lease},
		{method: http.MethodPut, path: apiPath("sites", site, "releases", id), header: header, body: manifest},
	}
	if sent.Objects > 0 {
		calls = append(calls, partCall{method: http.MethodPost, path: apiPath("sites", site, "pack"), header: http.Header{"Content-Type": {api.TypePack}}, body: pack})
	}
	return append(calls, partCall{method: http.MethodPost, path: apiPath("sites", site, "releases", id, "stage")}), sent, nil
}

// packAhead is what has changed as a pack, made once for all POPs.
func (o *operation) packAhead(ctx context.Context, p *parcel) ([]byte, Amount, error) {
	o.packing.Lock()
	defer o.packing.Unlock()
	if o.packed != nil {
		return o.packed.Bytes(), o.packedOf, nil
	}
	var sent Amount
	var objects []release.File
	known := make(map[release.Hash]bool)
	for _, f := range o.likely {
		if !known[f.Hash] {
			known[f.Hash] = true
			objects = append(objects, f)
		}
	}
	pack := new(bytes.Buffer)
	err := p.pack(ctx, pack, p.spool, objects, way{numbers: o.allNumber()}, func(f release.File) { sent.Objects, sent.Bytes = sent.Objects+1, sent.Bytes+f.Size })
	if err != nil {
		return nil, Amount{}, err
	}
	o.packed, o.packedOf = pack, sent
	return pack.Bytes(), sent, nil
}

// allNumber reports whether all POPs take packs of version 2.
func (o *operation) allNumber() bool {
	for _, at := range o.begun {
		if !at.agent.numbers() {
			return false
		}
	}
	return true
}

// tellNotes tells what a POP has to say about a release's rules.
func (o *operation) tellNotes(at *begun, notes []string) {
	for _, note := range notes {
		o.fleet.tell(Event{Kind: EventNote, Site: o.plan.Site, POP: at.agent.pop.Name, Text: note})
	}
}
