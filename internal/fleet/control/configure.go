package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// Configure gives every POP a configuration, and returns the POPs on which some of it
// holds only after the next start of their agents. Its number and time are made here:
// POPs that all have the same already are left alone. A POP that does not answer is an
// error; see [Fleet.PlanConfig] and [Fleet.Apply] for more patience.
func (f *Fleet) Configure(ctx context.Context, c api.Config) (restart []string, err error) {
	plan, err := f.PlanConfig(ctx, c)
	if err == nil {
		err = plan.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the configuration: %w", err)
	}
	if plan.Nothing() {
		return nil, nil
	}
	done, err := f.Apply(ctx, plan)
	if err != nil {
		return nil, err
	}
	if len(done.Behind) > 0 {
		return nil, fmt.Errorf("send configuration %d: %s", done.Number, reasons(done.Behind))
	}
	return done.Restart, nil
}

// configuration is what a POP has; its number is 0 if it has none.
func (f *Fleet) configuration(ctx context.Context, a *agentClient) (api.Config, error) {
	var c api.Config
	st, err := a.statement(ctx, apiPath("config"))
	if refused, ok := errors.AsType[*api.Error](err); ok && refused.Code == api.CodeNotFound {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	payload, err := st.Verify(f.ID.Fleet, api.KindConfig)
	if err != nil {
		return c, fmt.Errorf("the configuration that %s has: %w", a.pop.Name, err)
	}
	if r := f.currentRoster(); r == nil || !r.May(st.Key, keys.Right{What: keys.Operate}) {
		c.Number = numberOf(payload) // whoever signed it may not any more: it is replaced
		return c, nil
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, fmt.Errorf("the configuration that %s has: %w", a.pop.Name, err)
	}
	if c.Number > f.recallConfig().Number {
		return c, f.rememberConfig(st)
	}
	return c, nil
}

// numberOf reads a configuration's number alone.
func numberOf(payload []byte) uint64 {
	var c struct {
		Number uint64 `json:"number"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return 0
	}
	return c.Number
}

// SetCertificate gives every POP the certificate that visitors are shown for some names,
// under a name of its own: the chain and its key, in PEM.
func (f *Fleet) SetCertificate(ctx context.Context, name string, pair []byte) error {
	err := f.atEvery(func(_ int, a *agentClient) error {
		return a.do(ctx, call{
			method: http.MethodPut, path: apiPath("certificates", name), header: http.Header{"Content-Type": {api.TypePEM}}, body: bytes.NewReader(pair),
		})
	})
	if err != nil {
		return fmt.Errorf("send the certificate %s: %w", name, err)
	}
	return nil
}

// everywhere does something with every POP, all at the same time, and returns what was
// wrong with each.
func (f *Fleet) everywhere(do func(i int, a *agentClient) error) []error {
	errs := make([]error, len(f.agents))
	var g errgroup.Group
	g.SetLimit(observedAtOnce)
	for i, a := range f.agents {
		g.Go(func() error {
			errs[i] = do(i, a)
			return nil
		})
	}
	_ = g.Wait() // it is in errs
	return errs
}

// atEvery is everywhere with all that was wrong in one error.
func (f *Fleet) atEvery(do func(i int, a *agentClient) error) error {
	errs := f.everywhere(do)
	for i, a := range f.agents {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%s: %w", a.pop.Name, errs[i])
		}
	}
	return errors.Join(errs...)
}
