package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// A rosterState is a roster with the statement that it came in. It is immutable.
type rosterState struct {
	*keys.Roster
	raw []byte // nil before there is one
}

// loadRoster returns the roster of a state directory, or one that knows the owner
// only.
func (d directory) loadRoster(e Enrolment) (*rosterState, error) {
	raw, err := d.read(api.MaxRoster, rosterFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &rosterState{Roster: keys.NewRoster(e.Fleet, e.Owner)}, nil
	}
	if err != nil {
		return nil, err
	}
	roster, err := openRoster(raw, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.in(rosterFile), err)
	}
	return &rosterState{Roster: roster, raw: raw}, nil
}

func openRoster(raw []byte, e Enrolment) (*keys.Roster, error) {
	st, err := keys.ParseStatement(raw)
	if err != nil {
		return nil, err
	}
	return keys.OpenRoster(st, e.Owner, e.Fleet)
}

func (a *Agent) getRoster(c *call) error {
	has := a.roster.Load()
	if has.raw == nil {
		return &api.Error{Status: http.StatusNotFound, Code: api.CodeNotEnrolled, Message: "this agent has no roster yet", Hint: "bring it one: PUT " + api.Path(a.o.Versions.Max, "roster")}
	}
	return c.answerStatement(has.raw)
}

// putRoster takes a roster of a higher number. Whoever brings it: the owner has
// signed it.
func (a *Agent) putRoster(c *call) error {
	raw, err := c.body(api.MaxRoster)
	if err != nil {
		return err
	}
	next, err := openRoster(raw, a.enrolment)
	if err != nil {
		return invalid(err)
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	has := a.roster.Load()
	if bytes.Equal(bytes.TrimSpace(raw), bytes.TrimSpace(has.raw)) {
		return c.answer(api.RosterResult{Number: has.Number})
	}
	if next.Number <= has.Number {
		return &api.Error{
			Status: http.StatusConflict, Code: api.CodeStale, Current: has.raw,
			Message: fmt.Sprintf("this is roster %d, and the agent has %d", next.Number, has.Number),
			Hint:    "take the newer one: GET " + api.Path(a.o.Versions.Max, "roster"),
		}
	}
	if err := a.dir.write(raw, rosterFile); err != nil {
		return err
	}
	a.roster.Store(&rosterState{Roster: next, raw: raw})
	a.log.LogAttrs(c.r.Context(), slog.LevelInfo, "roster taken", slog.Uint64("number", next.Number), slog.Int("members", len(next.Members)), slog.Int("pops", len(next.POPs)))
	return c.answer(api.RosterResult{Number: next.Number})
}
