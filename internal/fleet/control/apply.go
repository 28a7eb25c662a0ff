package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// A ConfigPlan is what giving the POPs a configuration changes.
type ConfigPlan struct {
	Config api.Config      `json:"config"` // with the number that it will have
	POPs   []POPConfigPlan `json:"pops"`
}

// A POPConfigPlan is one POP of a [ConfigPlan].
type POPConfigPlan struct {
	POP     string         `json:"pop"`
	Has     uint64         `json:"has"`             // the number of its configuration; 0 for none
	Error   string         `json:"error,omitempty"` // why it could not be asked
	Changes []ConfigChange `json:"changes"`

	err error
}

// Nothing reports whether every POP that answers has the configuration already.
func (p *ConfigPlan) Nothing() bool {
	first := uint64(0)
	for _, pop := range p.POPs {
		if pop.err != nil {
			continue
		}
		if first == 0 {
			first = pop.Has
		}
		if pop.Has == 0 || pop.Has != first || len(pop.Changes) > 0 {
			return false
		}
	}
	return true
}

// Err is what was wrong with asking, POP by POP.
func (p *ConfigPlan) Err() error {
	var errs []error
	for _, pop := range p.POPs {
		if pop.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", pop.POP, pop.err))
		}
	}
	return errors.Join(errs...)
}

// PlanConfig asks every POP for its configuration, and says what another one would
// change. Its number and time are made here: it is higher than every one that was ever
// seen from here. The error says that no POP answers.
func (f *Fleet) PlanConfig(ctx context.Context, c api.Config) (*ConfigPlan, error) {
	seen, err := f.Observe(ctx) // which sees to it that all have the same roster
	if err != nil {
		return nil, err
	}
	has := make([]api.Config, len(seen))
	errs := f.everywhere(func(i int, a *agentClient) (err error) {
		if err = seen[i].Err; err == nil {
			has[i], err = f.configuration(ctx, a)
		}
		return err
	})
	plan := &ConfigPlan{Config: c, POPs: make([]POPConfigPlan, len(seen))}
	highest, answered := f.recallConfig().Number, 0
	for i, o := range seen {
		pop := POPConfigPlan{POP: o.POP.Name, err: errs[i], Changes: []ConfigChange{}}
		if errs[i] != nil {
			pop.Error = errs[i].Error()
		} else {
			answered++
			pop.Has, pop.Changes = has[i].Number, DiffConfig(has[i], c)
			highest = max(highest, has[i].Number)
		}
		plan.POPs[i] = pop
	}
	if answered == 0 && len(seen) > 0 {
		return nil, &mistake.Error{What: "no POP can be asked: " + plan.Err().Error(), Hint: f.whereAll()}
	}
	plan.Config.Number = highest + 1
	plan.Config.Time = f.Now().UTC().Truncate(time.Second)
	return plan, nil
}

// An Applied is what has come of a [ConfigPlan].
type Applied struct {
	Number uint64   `json:"number"`
	Live   []string `json:"live"` // POPs that have it
	// Restart are POPs on which some of it holds only after the next start of their
	// agents.
	Restart []string `json:"restart"`
	Behind  []Behind `json:"behind"` // POPs that do not have it
}

// Apply gives a configuration to every POP that was asked for its own. POPs that answer
// no more are left behind; they get it from the next apply, or from penny control. The
// error is the first no of a POP.
func (f *Fleet) Apply(ctx context.Context, plan *ConfigPlan) (*Applied, error) {
	done := &Applied{Number: plan.Config.Number, Live: []string{}, Restart: []string{}, Behind: []Behind{}}
	st, err := f.sign(api.KindConfig, plan.Config)
	if err != nil {
		return nil, err
	}
	if err := f.rememberConfig(st); err != nil { // no number is given away twice
		return nil, err
	}
	results := make([]api.ConfigResult, len(f.agents))
	errs := f.everywhere(func(i int, a *agentClient) error {
		if err := plan.POPs[i].err; err != nil {
			return &GoneError{POP: a.pop.Name, Err: err}
		}
		ctx, cancel := context.WithTimeoutCause(ctx, smallLimit, fmt.Errorf("it does not take the configuration within %v", smallLimit))
		defer cancel()
		body, err := jsonBody(st)
		if err != nil {
			return err
		}
		return a.do(ctx, call{method: http.MethodPut, path: apiPath("config"), body: body, result: &results[i]})
	})
	var refused []error
	for i, a := range f.agents {
		if errs[i] != nil {
			done.Behind = append(done.Behind, Behind{POP: a.pop.Name, Why: errs[i].Error()})
			if _, gone := errors.AsType[*GoneError](errs[i]); !gone {
				refused = append(refused, fmt.Errorf("send configuration %d: %s: %w", done.Number, a.pop.Name, errs[i]))
			}
			continue
		}
		done.Live = append(done.Live, a.pop.Name)
		if len(results[i].Restart) > 0 {
			done.Restart = append(done.Restart, a.pop.Name)
		}
	}
	return done, errors.Join(refused...)
}

// Drift says what an apply would change: how a configuration differs from the newest that
// POPs have. It asks a POP only if this machine does not know that one already.
func (f *Fleet) drift(ctx context.Context, seen []Observation, want api.Config) ([]ConfigChange, error) {
	var newest *Observation
	for i := range seen {
		if o := &seen[i]; o.Err == nil && (newest == nil || o.Status.Config > newest.Status.Config) {
			newest = o
		}
	}
	if newest == nil {
		return nil, nil
	}
	if newest.Status.Config == 0 {
		return DiffConfig(api.Config{}, want), nil
	}
	has := f.recallConfig()
	if has.Number != newest.Status.Config {
		ctx, cancel := context.WithTimeoutCause(ctx, smallLimit, fmt.Errorf("it does not say its configuration within %v", smallLimit))
		defer cancel()
		var err error
		if has, err = f.configuration(ctx, f.agent(newest.POP.Name)); err != nil {
			return nil, fmt.Errorf("ask %s for the configuration: %w", newest.POP.Name, err)
		}
	}
	return DiffConfig(has, want), nil
}

// configFile keeps the newest configuration that was seen or made here.
const configFile = "config.json"

// recallConfig is the newest configuration that was seen or made here. It saves work,
// and keeps numbers from being given away twice where no POP knows better; what cannot
// be read, or is of somebody who may operate the fleet no more, is as on a new machine.
func (f *Fleet) recallConfig() api.Config {
	var c api.Config
	file, err := os.Open(f.in("cache", configFile))
	if err != nil {
		return c
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, keys.MaxStatement+1))
	if err != nil {
		return c
	}
	st, err := keys.ParseStatement(data)
	if err != nil {
		return c
	}
	payload, err := st.Verify(f.ID.Fleet, api.KindConfig)
	if err != nil {
		return c
	}
	if r := f.currentRoster(); r == nil || !r.May(st.Key, keys.Right{What: keys.Operate}) || json.Unmarshal(payload, &c) != nil {
		return api.Config{}
	}
	return c
}

// rememberConfig keeps a configuration that has been verified, or was made here.
func (f *Fleet) rememberConfig(st *keys.Statement) error {
	data, err := json.Marshal(st)
	if err == nil {
		err = replaceFile(f.in("cache", configFile), data)
	}
	if err != nil {
		return fmt.Errorf("remember the configuration: %w", err)
	}
	return nil
}
