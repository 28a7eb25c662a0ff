package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/api"
)

const (
	ringLines = 2000 // that the agent remembers of its own log
	factBytes = 2048 // of one fact in a line; longer ones are cut
)

// A logRing remembers the last lines of the agent's log for those who ask later.
type logRing struct {
	pop string

	mu      sync.Mutex // guards lines, first and changed
	lines   []api.LogLine
	first   uint64        // how many lines were forgotten
	changed chan struct{} // closed when a line is added
}

func newLogRing(pop string) *logRing {
	return &logRing{pop: pop, changed: make(chan struct{})}
}

func (r *logRing) add(line api.LogLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == ringLines {
		r.lines = slices.Delete(r.lines, 0, ringLines/4) // now and then, not for every line
		r.first += ringLines / 4
	}
	r.lines = append(r.lines, line)
	close(r.changed)
	r.changed = make(chan struct{})
}

// since returns the lines from number n on, the number of the line after them,
// and what is closed when there are more.
func (r *logRing) since(n uint64) (lines []api.LogLine, next uint64, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = max(n, r.first)
	next = r.first + uint64(len(r.lines))
	if n < next {
		lines = slices.Clone(r.lines[n-r.first:])
	}
	return lines, next, r.changed
}

// A ringHandler writes log records to a ring.
type ringHandler struct {
	ring  *logRing
	attrs []slog.Attr
}

// Enabled keeps what people write in passing out of the ring.
func (h *ringHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// WithAttrs returns a handler that adds attrs to every line.
func (h *ringHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &ringHandler{ring: h.ring, attrs: append(slices.Clip(h.attrs), attrs...)}
}

// WithGroup returns the same handler: nothing in the agent uses groups.
func (h *ringHandler) WithGroup(string) slog.Handler { return h }

// Handle adds a line.
func (h *ringHandler) Handle(_ context.Context, r slog.Record) error {
	line := api.LogLine{Time: r.Time.UTC().Round(0), POP: h.ring.pop, Kind: "agent", Level: r.Level.String(), Message: r.Message}
	if n := len(h.attrs) + r.NumAttrs(); n > 0 {
		line.Facts = make(map[string]any, n)
	}
	for _, a := range h.attrs {
		line.Facts[a.Key] = fact(a.Value)
	}
	r.Attrs(func(a slog.Attr) bool {
		line.Facts[a.Key] = fact(a.Value)
		return true
	})
	h.ring.add(line)
	return nil
}

// fact returns a value that JSON has, and that no later change of the original
// reaches.
func fact(v slog.Value) any {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindBool:
		return v.Bool()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	default:
		text := v.String()
		if len(text) > factBytes {
			text = fmt.Sprintf("%s… (%d bytes)", text[:factBytes], len(text))
		}
		return text
	}
}
