package up

import (
	"context"
	"log/slog"
)

// warnings returns a log that takes warnings and errors only, unless the given one
// takes everything: what agents tell besides is what penny logs is for.
func warnings(ctx context.Context, log *slog.Logger) *slog.Logger {
	if log.Enabled(ctx, slog.LevelDebug) {
		return log
	}
	return slog.New(warningHandler{log.Handler()})
}

type warningHandler struct{ slog.Handler }

// Enabled leaves out what is no warning.
func (h warningHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// WithAttrs and WithGroup leave it out from there on too.
func (h warningHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warningHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup is for the same.
func (h warningHandler) WithGroup(name string) slog.Handler {
	return warningHandler{h.Handler.WithGroup(name)}
}
