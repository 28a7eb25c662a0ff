package control

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/mistake"
)

// LogOptions say which lines of the POPs' logs are wanted.
type LogOptions struct {
	POPs   []string  // of these POPs; empty: of all
	Kind   string    // of this kind, "agent" or "access"; empty: of both
	Since  time.Time // none that are older; zero: all that there are
	Last   int       // of those that are there already only the last so many; 0: all
	Follow bool      // go on with what comes, until the context ends
	// Unordered hands lines that come later over at once, in the order of each POP.
	Unordered bool
}

const (
	maxLogLine = 1 << 20  // bytes of a line
	maxLogs    = 64 << 20 // bytes that a POP may send of what is there already
	// settleTime is how long a line that has arrived waits for older ones of other
	// POPs, whose logs are looked at every half a second and written every second.
	settleTime = 1500 * time.Millisecond
	// maxHeld is how many lines wait at most; beyond that, order matters less.
	maxHeld = 100_000
	// againAfter is how soon a POP is asked again that has hung up.
	againAfter = 2 * time.Second
)

// Logs hands over the lines of the agents' and the access logs of all POPs, in the order
// of their times; those that come later, as far as they arrive in time for that. A POP
// that does not answer is told by the error, or, while others are followed, by an event,
// and is asked again.
func (f *Fleet) Logs(ctx context.Context, o LogOptions, line func(api.LogLine) error) error {
	agents, err := f.named(o.POPs)
	if err != nil {
		return err
	}
	if o.Follow {
		return f.follow(ctx, agents, o, line)
	}
	var mu sync.Mutex // guards all
	var all []api.LogLine
	errs := make([]error, len(agents))
	var wait sync.WaitGroup
	for i, a := range agents {
		wait.Go(func() {
			var own []api.LogLine
			errs[i] = a.logs(ctx, o.Since, false, func(l api.LogLine) error {
				if o.wants(l) {
					own = append(own, l)
				}
				return nil
			})
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", a.pop.Name, errs[i])
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	byTime(all)
	for _, l := range last(all, o.Last) {
		if err := line(l); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func (o *LogOptions) wants(l api.LogLine) bool { return o.Kind == "" || o.Kind == l.Kind }

// named returns the clients of some POPs, or of all.
func (f *Fleet) named(names []string) ([]*agentClient, error) {
	if len(names) == 0 {
		return f.agents, nil
	}
	var all []*agentClient
	for _, name := range names {
		a := f.agent(name)
		if a == nil {
			var there []string
			for _, a := range f.agents {
				there = append(there, a.pop.Name)
			}
			return nil, &mistake.Error{What: fmt.Sprintf("the fleet has no POP %.80q", name), Hint: "there are " + strings.Join(there, ", ")}
		}
		all = append(all, a)
	}
	return all, nil
}

// logs reads one POP's log.
func (a *agentClient) logs(ctx context.Context, since time.Time, follow bool, line func(api.LogLine) error) error {
	query := make(url.Values)
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if follow {
		query.Set("follow", "1")
	}
	resp, err := a.send(ctx, call{method: http.MethodGet, path: apiPath("logs") + "?" + query.Encode()})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := io.Reader(resp.Body)
	if !follow {
		in = io.LimitReader(in, maxLogs)
	}
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLogLine)
	for scanner.Scan() {
		var l api.LogLine
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			return fmt.Errorf("read a line of its log: %w", err)
		}
		if err := line(l); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return a.gone(ctx, err)
	}
	return nil
}

// follow hands lines over until the context ends, which is no error.
func (f *Fleet) follow(ctx context.Context, agents []*agentClient, o LogOptions, line func(api.LogLine) error) error {
	ctx, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	lines := make(chan api.LogLine)
	for _, a := range agents {
		wait.Go(func() { f.keepReading(ctx, a, o, lines) })
	}
	merger := merger{last: o.Last}
	tick := time.NewTicker(settleTime / 3)
	defer tick.Stop()
	for {
		wanted := f.Now()
		if !o.Unordered {
			wanted = wanted.Add(-settleTime)
		}
		select {
		case l := <-lines:
			merger.add(l, f.Now())
			if len(merger.held) <= maxHeld {
				continue
			}
			wanted = f.Now()
		case <-tick.C:
		case <-ctx.Done():
			wanted = f.Now()
		}
		for _, l := range merger.due(wanted) {
			if err := line(l); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// keepReading reads one POP's log, again and again if it hangs up.
func (f *Fleet) keepReading(ctx context.Context, a *agentClient, o LogOptions, lines chan<- api.LogLine) {
	told, since := "", o.Since
	for ctx.Err() == nil {
		err := a.logs(ctx, since, true, func(l api.LogLine) error {
			told = ""
			since = l.Time.Add(1) // what came is not wanted again
			if !o.wants(l) {
				return nil
			}
			select {
			case lines <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			f.tell(Event{Kind: EventNote, POP: a.pop.Name, Text: "its log cannot be read, and is tried again: " + told})
		}
		_ = pause(ctx, againAfter) // the loop looks at the context
	}
}

// A merger brings lines of several POPs into the order of their times.
type merger struct {
	last int // how many of the first ones are handed over; 0: all
	held []heldLine
	some bool // there were lines already
}

type heldLine struct {
	api.LogLine
	arrived time.Time
}

func (m *merger) add(l api.LogLine, now time.Time) { m.held = append(m.held, heldLine{l, now}) }

// due returns the lines that arrived until then, and those that are older than the
// newest of them.
func (m *merger) due(until time.Time) []api.LogLine {
	var newest time.Time
	some := false
	for _, h := range m.held {
		if !h.arrived.After(until) {
			some = true
			if h.Time.After(newest) {
				newest = h.Time
			}
		}
	}
	if !some {
		return nil
	}
	var due []api.LogLine
	m.held = slices.DeleteFunc(m.held, func(h heldLine) bool {
		if h.Time.After(newest) {
			return false
		}
		due = append(due, h.LogLine)
		return true
	})
	byTime(due)
	if !m.some {
		m.some = true
		due = last(due, m.last)
	}
	return due
}

func byTime(lines []api.LogLine) {
	slices.SortStableFunc(lines, func(x, y api.LogLine) int { return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.POP, y.POP)) })
}

// last returns the last n, or all if n is 0.
func last(lines []api.LogLine, n int) []api.LogLine {
	if n == 0 || n > len(lines) {
		return lines
	}
	return lines[len(lines)-n:]
}
