package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"pennyfarthing/internal/mistake"
)

// A textHandler writes log records for people: the time, the event, its facts,
// and mistakes in files on lines of their own.
type textHandler struct {
	level slog.Level
	attrs []slog.Attr
	out   *lockedWriter
}

type lockedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func newTextHandler(w io.Writer, level slog.Level) *textHandler {
	return &textHandler{level: level, out: &lockedWriter{w: w}}
}

// Enabled reports whether a level is written.
func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// WithAttrs returns a handler that adds attrs to every record.
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &textHandler{level: h.level, attrs: append(slices.Clip(h.attrs), attrs...), out: h.out}
}

// WithGroup returns the same handler: groups mean nothing to people.
func (h *textHandler) WithGroup(string) slog.Handler { return h }

// Handle writes one record.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	var problems []problem
	line.WriteString(r.Time.Format("15:04:05 "))
	if r.Level >= slog.LevelWarn {
		line.WriteString(strings.ToLower(r.Level.String()) + ": ")
	}
	line.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			for _, m := range mistake.Of(err) {
				problems = append(problems, problem(*m))
			}
			if len(problems) > 0 {
				return true
			}
		}
		_, _ = fmt.Fprintf(&line, " %s=%v", a.Key, quoted(a.Value.String())) // a Builder takes everything
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := fmt.Fprintln(h.out.w, line.String())
	for _, p := range problems {
		printProblem(h.out.w, "  ", p)
	}
	return err
}

// quoted puts quotation marks around what is not one word.
func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " \t\r\n\"\x1b") {
		return fmt.Sprintf("%q", s)
	}
	return s
}
