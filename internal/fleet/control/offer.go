package control

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

// offer sends a POP the manifest of a release, and learns what it lacks.
func (o *operation) offer(ctx context.Context, at *begun, id string) error {
	if done, err := o.wasAhead(ctx, at, id); done || err != nil {
		return err
	}
	p, err := o.parcel(ctx, id)
	if err != nil {
		return err
	}
	base, of := o.baseFor(at, id)
	how := offered{base: base, patch: base != ""}
	missing, err := o.offerAs(ctx, at, p, how, of)
	if how.patch && unknownCoding(err) { // the agent is older than patches
		how.patch = false
		missing, err = o.offerAs(ctx, at, p, how, of)
	}
	if base != "" && apiCode(err) == api.CodeNoBase {
		missing, err = o.offerAs(ctx, at, p, offered{}, nil)
	}
	if err != nil {
		return err
	}
	at.missing, at.tried = missing, false
	return nil
}

func (o *operation) offerAs(ctx context.Context, at *begun, p *parcel, how offered, of *release.Manifest) ([]release.Hash, error) {
	coded, err := p.offer(how, of)
	if err != nil {
		return nil, err
	}
	return at.agent.offer(ctx, o.plan.Site, p.id, how, coded, p)
}

// unknownCoding reports whether an agent has refused a body for its coding.
func unknownCoding(err error) bool {
	refused, ok := errors.AsType[*api.Error](err)
	return ok && refused.Status == http.StatusUnsupportedMediaType
}

// baseFor is a release that a POP has, other than the one that it is offered, and whose
// manifest is here: "" for none.
func (o *operation) baseFor(at *begun, id string) (string, *release.Manifest) {
	for _, base := range []string{o.plan.Previous, o.plan.Release} {
		if base == "" || base == id || !slices.Contains(at.staged, base) {
			continue
		}
		if m := o.fleet.manifestHere(base); m != nil {
			return base, m
		}
	}
	return "", nil
}
