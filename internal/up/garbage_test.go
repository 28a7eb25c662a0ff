package up

import "testing"

func TestALargeHeapIsCollectedMoreOften(t *testing.T) {
	set := usualPercent
	for _, step := range []struct {
		live uint64
		want int
	}{
		{0, mostPercent},
		{4 << 20, mostPercent},
		{16 << 20, 200},
		{18 << 20, 200}, // not back and forth
		{15 << 20, 200},
		{32 << 20, 100},
		{64 << 20, 50},
		{128 << 20, leastPercent},
		{1 << 40, leastPercent},
		{100 << 20, 32},
		{1 << 20, mostPercent},
	} {
		if set = garbagePercent(step.live, set); set != step.want {
			t.Errorf("with %d bytes: %d %%, want %d", step.live, set, step.want)
		}
	}
}
