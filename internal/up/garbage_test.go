package up

import "testing"

func TestALargeHeapIsCollectedMoreOften(t *testing.T) {
	set := usualPercent
	for _, step := range []struct {
		live uint64
		want int
	}{
		{4 << 20, smallHeapPercent},
		{smallHeap, usualPercent},
		{smallHeap - 1, usualPercent}, // not back and forth
		{smallHeap / 2, smallHeapPercent},
		{largeHeap / 2, usualPercent},
		{largeHeap - 1, usualPercent},
		{largeHeap, largeHeapPercent},
		{largeHeap - 1, largeHeapPercent}, // not back and forth
		{largeHeap / 2, largeHeapPercent},
		{largeHeap/2 - 1, usualPercent},
		{largeHeap, largeHeapPercent},
		{1 << 20, smallHeapPercent},
	} {
		if set = garbagePercent(step.live, set); set != step.want {
			t.Errorf("with %d bytes: %d %%, want %d", step.live, set, step.want)
		}
	}
}
