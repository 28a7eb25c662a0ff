// Package garbage sets the pace of the garbage collector by the size of the heap.
package garbage

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A Pace says how much garbage there may be before it is collected.
type Pace struct {
	// Bytes of garbage there may be in any case: collecting small heaps more often
	// would cost more than it saves.
	Bytes uint64
	// Least and Most are how much garbage there may be beside the live heap, in
	// percent, whatever Bytes says.
	Least, Most int
	// Every is how often the heap is looked at.
	Every time.Duration
}

// usual is Go's default, in percent.
const usual = 100

// Keep fits the collector to the heap until ctx ends, and then has it go at the pace
// that it had before. It does nothing if the user has set one by GOGC.
func (p Pace) Keep(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := usual
	before := debug.SetGCPercent(percent)
	defer debug.SetGCPercent(before)
	ticker := time.NewTicker(p.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(live)
		if want := p.percent(live[0].Value.Uint64(), percent); want != percent {
			percent = want
			debug.SetGCPercent(percent)
		}
	}
}

// percent is what suits a live heap of so many bytes. What is set stays until that
// differs by a quarter.
func (p Pace) percent(live uint64, set int) int {
	want := p.Most
	if live > 0 {
		want = int(min(max(p.Bytes*100/live, uint64(p.Least)), uint64(p.Most))) //nolint:gosec // percents are small
	}
	if want*4 > set*3 && want*4 < set*5 {
		return set
	}
	return want
}
