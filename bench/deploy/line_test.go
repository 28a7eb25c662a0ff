//go:build linux

package main

import (
	"testing"
	"time"
)

func TestALineTakesItsTimeForBytesAndForTheWay(t *testing.T) {
	start := time.Unix(1000, 0)
	l := &line{weather: weather{delay: 40 * time.Millisecond, rate: 20e6}}
	tests := []struct {
		name  string
		d     direction
		at    time.Duration
		bytes int
		want  time.Duration
	}{
		{"bytes take their time and then travel", upward, 0, 25_000, 50 * time.Millisecond},
		{"bytes that come meanwhile wait for those before", upward, time.Millisecond, 25_000, 60 * time.Millisecond},
		{"the other direction is free", downward, time.Millisecond, 25_000, 51 * time.Millisecond},
		{"a line that was idle has saved nothing", upward, time.Second, 25_000, 1050 * time.Millisecond},
	}
	for _, tt := range tests {
		if got := l.due(tt.d, start.Add(tt.at), tt.bytes).Sub(start); got != tt.want {
			t.Errorf("%s: due after %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestALineWithoutARateOnlyDelays(t *testing.T) {
	now := time.Unix(1000, 0)
	l := &line{weather: far()}
	if got := l.due(upward, now, 1<<30).Sub(now); got != 125*time.Millisecond {
		t.Errorf("due after %v, want 125ms", got)
	}
	if l.plain() {
		t.Error("a line with a delay takes itself for none")
	}
	if near := (&line{weather: near()}); !near.plain() {
		t.Error("loopback takes itself for a line that delays")
	}
}

func TestAWindowHoldsWhatIsOnTheWayAndAQueue(t *testing.T) {
	l := &line{weather: slow()}
	if got, want := l.window(), 64<<10+200_000; got != want {
		t.Errorf("a window of %d bytes, want %d", got, want)
	}
}
