package agent

import (
	"testing"
	"time"
)

func TestCodingsWaitAMomentForWhoeverCalls(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	h := &hush{now: func() time.Time { return now }}
	if h.on() {
		t.Error("they wait before anybody has called")
	}
	rested := 0
	for second := range 60 { // somebody asks every second
		h.heard()
		if on := h.on(); on != (second%20 < 2) {
			t.Errorf("after %d s they wait: %v", second, on)
		} else if on {
			rested++
		}
		now = now.Add(time.Second)
	}
	if rested != 6 {
		t.Errorf("they waited %d s of 60", rested)
	}
}
