//go:build linux

package main

import (
	"sync"
	"time"
)

// A direction is a way that bytes go.
type direction int

const (
	upward   direction = iota // from the machine that deploys
	downward                  // to it
)

// A line is what all connections share: its weather, and until when each direction is taken. It has no clock: it is
// told when bytes come.
type line struct {
	weather

	mu   sync.Mutex // guards free
	free [2]time.Time
}

// due says when bytes arrive that are sent now.
func (l *line) due(d direction, now time.Time, bytes int) time.Time {
	if l.rate == 0 {
		return now.Add(l.delay)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free[d].Before(now) {
		l.free[d] = now
	}
	l.free[d] = l.free[d].Add(time.Duration(float64(bytes) * 8 / float64(l.rate) * float64(time.Second)))
	return l.free[d].Add(l.delay)
}

// plain reports whether the line changes nothing.
func (l *line) plain() bool { return l.delay == 0 && l.rate == 0 }

const (
	// queue is how many bytes of one connection wait for the line, beside those on their way; as test/link has it.
	queue = 64 << 10
	// unlimited is the window where nothing but the distance limits: that of a fast sender.
	unlimited = 8 << 20
)

// window is how many bytes of one connection are taken in at a time.
func (l *line) window() int {
	if l.rate == 0 {
		return unlimited
	}
	return queue + int(float64(l.rate)/8*(2*l.delay).Seconds())
}
