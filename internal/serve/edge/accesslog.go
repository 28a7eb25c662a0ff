package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// AccessLogOptions say where an access log goes and how much of it is kept. Zero
// fields mean the defaults.
type AccessLogOptions struct {
	File     string        // required; rotated ones lie beside it
	MaxSize  int64         // bytes after which a file is rotated, 64 MiB
	MaxAge   time.Duration // after which a file is rotated, 24 h
	MaxTotal int64         // bytes of all files together, 512 MiB; the oldest go
	Sample   int           // write one record in so many, chosen at random, and all of refusals; 1
	Log      *slog.Logger  // told when the disk does not take the log
}

func (o AccessLogOptions) withDefaults() AccessLogOptions {
	if o.MaxSize <= 0 {
		o.MaxSize = 64 << 20
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 24 * time.Hour
	}
	if o.MaxTotal <= 0 {
		o.MaxTotal = 512 << 20
	}
	if o.Sample <= 0 {
		o.Sample = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// recordQueue is how many records wait for the disk; a second of ten thousand
// requests fits.
const recordQueue = 16 << 10

// flushEvery is how long a line may wait in memory, and how soon a file that was
// moved away or could not be written is looked for again.
const flushEvery = time.Second

// An AccessLog writes records as JSON lines. Requests hand their records over
// without waiting: when the disk is slower than the visitors, records are
// dropped and counted. [AccessLog.Run] is the goroutine that writes.
type AccessLog struct {
	options AccessLogOptions
	records chan Record
	dropped atomic.Int64

	file    logFile // Run's own, like failing
	failing bool
}

// OpenAccessLog opens the log's file, appending to what is there.
func OpenAccessLog(o AccessLogOptions) (*AccessLog, error) {
	l := &AccessLog{options: o.withDefaults(), records: make(chan Record, recordQueue)}
	l.file.options = l.options
	if err := l.file.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// Wants reports whether the request at hand is one of those that are written.
// Refusals are in any case.
func (l *AccessLog) Wants() bool {
	return l.options.Sample <= 1 || rand.IntN(l.options.Sample) == 0
}

// Add hands a record over. It never waits.
func (l *AccessLog) Add(r Record) {
	select {
	case l.records <- r:
	default:
		l.dropped.Add(1)
	}
}

// Dropped returns how many records were lost because the disk was too slow or
// did not take them.
func (l *AccessLog) Dropped() int64 { return l.dropped.Load() }

// Run writes records until ctx ends, and then those that are still waiting. A
// disk that fails does not end it: records are dropped until it takes them again.
func (l *AccessLog) Run(ctx context.Context) error {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case r := <-l.records:
			l.write(ctx, &r)
		case <-ticker.C:
			l.tend(ctx, time.Now())
		case <-ctx.Done():
			return l.finish(ctx)
		}
	}
}

func (l *AccessLog) finish(ctx context.Context) error {
	for {
		select {
		case r := <-l.records:
			l.write(ctx, &r)
			continue
		default:
		}
		lost, err := l.file.close()
		l.dropped.Add(int64(lost))
		if err != nil {
			return fmt.Errorf("write access log: %w", err)
		}
		return nil
	}
}

func (l *AccessLog) write(ctx context.Context, r *Record) {
	r.Client = cut(r.client, 24, 48).String()
	if l.options.Sample > 1 && r.Refused == "" {
		r.Sample = l.options.Sample
	}
	line, err := json.Marshal(r)
	if err != nil { // a duration that is no number; there is none
		l.fail(ctx, 1, err)
		return
	}
	if lost, err := l.file.write(append(escapeControls(line), '\n')); err != nil {
		l.fail(ctx, lost, err)
	}
}

// tend flushes, rotates and looks whether the file is still where it was.
func (l *AccessLog) tend(ctx context.Context, now time.Time) {
	lost, err := l.file.tend(now)
	switch {
	case err != nil:
		l.fail(ctx, lost, err)
	case l.failing:
		l.failing = false
		l.options.Log.LogAttrs(ctx, slog.LevelInfo, "access log written again", slog.String("file", l.options.File), slog.Int64("dropped", l.Dropped()))
	}
}

// fail counts records that were lost and tells once.
func (l *AccessLog) fail(ctx context.Context, lost int, err error) {
	l.dropped.Add(int64(lost))
	if !l.failing {
		l.failing = true
		l.options.Log.LogAttrs(ctx, slog.LevelError, "access log not written", slog.String("file", l.options.File), slog.Any("err", err))
	}
}

// escapeControls escapes the controls that JSON allows in strings and terminals
// obey: DEL, and U+0080 to U+009F, among them CSI. encoding/json has escaped the
// others.
func escapeControls(line []byte) []byte {
	var escaped []byte // nil as long as there is nothing to escape
	done := 0
	for i, c := range line {
		var control byte
		switch {
		case c == 0x7f:
			control = c
		case 0x80 <= c && c <= 0x9f && i > 0 && line[i-1] == 0xc2: // UTF-8 of U+0080 to U+009F
			control = c
		default:
			continue
		}
		start := i
		if control != 0x7f {
			start--
		}
		escaped = fmt.Appendf(append(escaped, line[done:start]...), `\u%04x`, control)
		done = i + 1
	}
	if escaped == nil {
		return line
	}
	return append(escaped, line[done:]...)
}
