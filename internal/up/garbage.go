package up

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// largeHeap is from what live heap on memory counts more than the time that
	// collecting takes: thousands of idle connections are mostly heap, and what
	// their handshakes leave behind would stay as long as they do.
	largeHeap = 32 << 20
	// largeHeapPercent is how much garbage there may be beside it, in percent.
	largeHeapPercent = 25
	// usualPercent is Go's default, for heaps so small that the garbage is little.
	usualPercent = 100
	// smallHeapPercent is for those below smallHeap, as a site has that is visited by
	// few at a time. Collecting would take a tenth of what new connections cost, and
	// the garbage stays below 32 MiB.
	smallHeap        = 8 << 20
	smallHeapPercent = 400

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
// until the heap has become much smaller.
func garbagePercent(live uint64, set int) int {
	switch {
	case live >= largeHeap:
		return largeHeapPercent
	case set == largeHeapPercent && live >= largeHeap/2:
		return set
	case live >= smallHeap:
		return usualPercent
	case set == usualPercent && live >= smallHeap*3/4:
		return set
	}
	return smallHeapPercent
}
