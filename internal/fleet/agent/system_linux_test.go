package agent

import "testing"

func TestWhatTheKernelTellsIsRead(t *testing.T) {
	if got := parseStatm("12345 678 90 1 0 2 0\n"); got != 678 {
		t.Errorf("statm: %d", got)
	}
	for _, text := range []string{"", "1", "1 x", "1 -5"} {
		if got := parseStatm(text); got != 0 {
			t.Errorf("statm %q: %d", text, got)
		}
	}
	if got := parseLoad("0.52 1.25 3.00 2/345 6789\n"); got != [3]float64{0.52, 1.25, 3} {
		t.Errorf("loadavg: %v", got)
	}
	for _, text := range []string{"", "1 2", "1 2 x", "1 NaN 2", "-1 0 0", "1e99 0 0"} {
		if got := parseLoad(text); got != [3]float64{} {
			t.Errorf("loadavg %q: %v", text, got)
		}
	}
	if residentMemory() <= 0 {
		t.Error("this process has no memory")
	}
}
