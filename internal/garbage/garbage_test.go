package garbage

import "testing"

func TestALargeHeapIsCollectedMoreOften(t *testing.T) {
	p := Pace{Bytes: 32 << 20, Least: 25, Most: 400}
	set := usual
	for _, step := range []struct {
		live uint64
		want int
	}{
		{0, p.Most},
		{4 << 20, p.Most},
		{16 << 20, 200},
		{18 << 20, 200}, // not back and forth
		{15 << 20, 200},
		{32 << 20, 100},
		{64 << 20, 50},
		{128 << 20, p.Least},
		{1 << 40, p.Least},
		{100 << 20, 32},
		{1 << 20, p.Most},
	} {
		if set = p.percent(step.live, set); set != step.want {
			t.Errorf("with %d bytes: %d %%, want %d", step.live, set, step.want)
		}
	}
}
