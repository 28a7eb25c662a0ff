package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// Configure gives every POP a configuration, and returns the POPs on which some of it
// holds only after the next start of their agents. Its number and time are made here:
// POPs that all have the same already are left alone.
func (f *Fleet) Configure(ctx context.Context, c api.Config) (restart []string, err error) {
	has := make([]api.Config, len(f.agents))
	err = f.atEvery(func(i int, a *agentClient) (err error) {
		has[i], err = f.configuration(ctx, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the configuration: %w", err)
	}
	c.Number = 0
	same := true
	for i := range has {
		c.Number = max(c.Number, has[i].Number)
		same = same && has[i].Number > 0 && has[i].Number == has[0].Number && sameConfig(has[i], c)
	}
	if same {
		return nil, nil
	}
	c.Number++
	c.Time = f.Now().UTC().Truncate(time.Second)
	st, err := f.sign(api.KindConfig, c)
	if err != nil {
		return nil, err
	}
	results := make([]api.ConfigResult, len(f.agents))
	err = f.atEvery(func(i int, a *agentClient) error {
		body, err := jsonBody(st)
		if err != nil {
			return err
		}
		return a.do(ctx, call{method: http.MethodPut, path: apiPath("config"), body: body, result: &results[i]})
	})
	if err != nil {
		return nil, fmt.Errorf("send configuration %d: %w", c.Number, err)
	}
	for i, r := range results {
		if len(r.Restart) > 0 {
			restart = append(restart, f.agents[i].pop.Name)
		}
	}
	return restart, nil
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

// sameConfig compares two configurations, other than by number and time.
func sameConfig(x, y api.Config) bool {
	x.Number, x.Time, y.Number, y.Time = 0, time.Time{}, 0, time.Time{}
	a, errA := json.Marshal(x)
	b, errB := json.Marshal(y)
	return errA == nil && errB == nil && bytes.Equal(a, b)
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

// atEvery does something with every POP, all at the same time, and joins what was wrong.
func (f *Fleet) atEvery(do func(i int, a *agentClient) error) error {
	errs := make([]error, len(f.agents))
	var wait sync.WaitGroup
	for i, a := range f.agents {
		wait.Go(func() {
			if err := do(i, a); err != nil {
				errs[i] = fmt.Errorf("%s: %w", a.pop.Name, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
