package up

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// leastGarbage is how many bytes of garbage there may be in any case: collecting
	// small heaps more often would take a tenth of what new connections cost.
	leastGarbage = 32 << 20
	// mostPercent and leastPercent are how much garbage there may be beside the live
	// heap, in percent. Thousands of idle connections are mostly heap, and what their
	// handshakes leave behind would stay as long as they do.
	mostPercent  = 400
	leastPercent = 25
	// usualPercent is Go's default.
	usualPercent = 100

	collectEvery = time.Second
)

// tuneGarbage fits the pace of the garbage collector to the heap until ctx ends,
// unless the user set it by GOGC.
func tuneGarbage(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := usualPercent
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		metrics.Read(live)
		if want := garbagePercent(live[0].Value.Uint64(), percent); want != percent {
			percent = want
			debug.SetGCPercent(percent)
		}
	}
}

// garbagePercent is what suits a live heap of so many bytes. What is set stays
// until that differs by a quarter.
func garbagePercent(live uint64, set int) int {
	want := mostPercent
	if live > 0 {
		want = min(max(int(leastGarbage*100/live), leastPercent), mostPercent)
	}
	if want*4 > set*3 && want*4 < set*5 {
		return set
	}
	return want
}
