package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"pennyfarthing/internal/fleet/api"
)

// followEvery is how often the access log is looked at for somebody who follows;
// it is flushed every second.
const followEvery = 500 * time.Millisecond

// getLogs writes what the agent remembers of its own log and the end of the access
// log, by time, and goes on with what comes if it is asked to follow.
func (a *Agent) getLogs(c *call) error {
	query := c.r.URL.Query()
	var since time.Time
	if text := query.Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("since=%.40s is not a time", text), Hint: "write it as in since=2026-11-29T07:00:00Z"}
		}
	}
	if !a.followers.try() {
		return tooMany("readers of logs")
	}
	defer a.followers.give()
	access := newAccessTail(a.o.AccessFile, a.enrolment.POP)
	defer access.close() //nolint:errcheck // it was read from
	out := c.patientWriter()
	c.w.Header().Set("Content-Type", api.TypeLines)
	encoder := json.NewEncoder(out)
	follow := query.Get("follow") == "1"
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for next := uint64(0); ; {
		own, after, more := a.ring.since(next)
		next = after
		lines, err := access.next()
		if err != nil {
			return err
		}
		lines = append(lines, own...)
		slices.SortStableFunc(lines, func(x, y api.LogLine) int { return x.Time.Compare(y.Time) })
		for i := range lines {
			if lines[i].Time.Before(since) {
				continue
			}
			if err := encoder.Encode(&lines[i]); err != nil {
				return nil //nolint:nilerr // the reader is gone
			}
		}
		if !follow {
			return nil
		}
		if err := out.control.Flush(); err != nil {
			return nil //nolint:nilerr // the reader is gone
		}
		if !a.wait(c.r.Context(), ticker.C, more) {
			return nil
		}
	}
}

// wait waits for a tick or for more, and reports whether to go on.
func (a *Agent) wait(ctx context.Context, tick <-chan time.Time, more <-chan struct{}) bool {
	select {
	case <-tick:
	case <-more:
	case <-ctx.Done():
		return false
	case <-a.stopping:
		return false
	}
	return true
}
