package edge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Record is one request in the access log. Of the client only its network is
// kept, and of the target only the path: queries carry secrets.
type Record struct {
	Time     time.Time `json:"time"`
	POP      string    `json:"pop,omitempty"`
	Client   string    `json:"client"` // a /24 or a /48
	Host     string    `json:"host"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Status   int       `json:"status"`
	Bytes    int64     `json:"bytes"` // of the body
	Duration float64   `json:"ms"`    // until the last byte was handed to the system
	Protocol string    `json:"protocol"`
	Cache    string    `json:"cache"` // "hit" (memory), "disk", or "none"
	Agent    string    `json:"user_agent,omitempty"`
	Referrer string    `json:"referrer,omitempty"`

	client netip.Addr // until it is written
}

// AccessLogOptions say where an access log goes and how much of it is kept. Zero
// fields mean the defaults.
type AccessLogOptions struct {
	File     string        // required; rotated ones lie beside it
	MaxSize  int64         // bytes after which a file is rotated, 64 MiB
	MaxAge   time.Duration // after which a file is rotated, 24 h
	MaxTotal int64         // bytes of all files together, 512 MiB; the oldest go
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
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// recordQueue is how many records wait for the disk; a second of ten thousand
// requests fits.
const recordQueue = 16 << 10

// An AccessLog writes records as JSON lines. Requests hand their records over
// without waiting: when the disk is slower than the visitors, records are
// dropped and counted. [AccessLog.Run] is the goroutine that writes.
type AccessLog struct {
	options AccessLogOptions
	records chan Record
	dropped atomic.Int64

	// Run's own.
	file    *os.File
	out     *bufio.Writer
	written int64
	opened  time.Time
	failing bool
}

// OpenAccessLog opens the log's file, appending to what is there.
func OpenAccessLog(o AccessLogOptions) (*AccessLog, error) {
	l := &AccessLog{options: o.withDefaults(), records: make(chan Record, recordQueue)}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
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
	flush := time.NewTicker(time.Second)
	defer flush.Stop()
	for {
		select {
		case r := <-l.records:
			l.write(&r)
		case <-flush.C:
			l.flush()
			l.rotateIfDue(time.Now())
		case <-ctx.Done():
			return l.finish()
		}
	}
}

func (l *AccessLog) finish() error {
	for {
		select {
		case r := <-l.records:
			l.write(&r)
		default:
			l.flush()
			if l.file == nil {
				return nil
			}
			return l.file.Close()
		}
	}
}

func (l *AccessLog) write(r *Record) {
	r.Client = cut(r.client, 24, 48).String()
	line, err := json.Marshal(r)
	if err == nil && l.out == nil {
		err = errors.New("the file is not open")
	}
	if err == nil {
		_, err = l.out.Write(append(line, '\n'))
	}
	if err != nil {
		l.fail(err)
		return
	}
	l.written += int64(len(line)) + 1
	if l.written >= l.options.MaxSize {
		l.rotateIfDue(time.Now())
	}
}

// fail counts a record that was lost and tells once.
func (l *AccessLog) fail(err error) {
	l.dropped.Add(1)
	if !l.failing {
		l.failing = true
		l.options.Log.LogAttrs(context.Background(), slog.LevelError, "access log not written", slog.String("file", l.options.File), slog.Any("err", err))
	}
}

func (l *AccessLog) flush() {
	if l.out == nil {
		if err := l.open(); err != nil {
			return // told already
		}
	}
	if err := l.out.Flush(); err != nil {
		l.fail(err)
		_ = l.file.Close()
		l.file, l.out = nil, nil // a bufio.Writer keeps its error; begin anew
		return
	}
	if _, err := os.Stat(l.options.File); errors.Is(err, os.ErrNotExist) { // moved away by somebody else's rotation
		_ = l.file.Close()
		l.file, l.out = nil, nil
		return
	}
	l.failing = false
}

func (l *AccessLog) open() error {
	f, err := os.OpenFile(l.options.File, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("stat access log: %w", err), f.Close())
	}
	l.file, l.out, l.written, l.opened = f, bufio.NewWriterSize(f, 64<<10), info.Size(), time.Now()
	return nil
}

// rotateIfDue gives a file that is full or old a name with the time in it and
// begins a new one.
func (l *AccessLog) rotateIfDue(now time.Time) {
	if l.out == nil || l.written == 0 || l.written < l.options.MaxSize && now.Sub(l.opened) < l.options.MaxAge {
		return
	}
	if err := l.rotate(now); err != nil {
		l.fail(err)
	}
}

func (l *AccessLog) rotate(now time.Time) error {
	err := errors.Join(l.out.Flush(), l.file.Close())
	l.file, l.out = nil, nil
	rotated := l.options.File + "." + now.UTC().Format("20060102T150405.000000000Z")
	err = errors.Join(err, os.Rename(l.options.File, rotated), l.open())
	return errors.Join(err, l.prune())
}

// prune removes the oldest rotated files until all fit.
func (l *AccessLog) prune() error {
	dir, base := filepath.Split(l.options.File)
	entries, err := os.ReadDir(filepath.Clean(filepath.Join(dir, ".")))
	if err != nil {
		return fmt.Errorf("list access logs: %w", err)
	}
	var names []string
	sizes := make(map[string]int64)
	total := l.options.MaxSize // what the current file may become
	for _, e := range entries {
		suffix, ours := strings.CutPrefix(e.Name(), base+".")
		if _, err := time.Parse("20060102T150405.000000000Z", suffix); !ours || err != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			names = append(names, e.Name())
			sizes[e.Name()] = info.Size()
			total += info.Size()
		}
	}
	slices.Sort(names) // by time
	var errs []error
	for _, name := range names {
		if total <= l.options.MaxTotal {
			break
		}
		errs = append(errs, os.Remove(filepath.Join(dir, name)))
		total -= sizes[name]
	}
	return errors.Join(errs...)
}
