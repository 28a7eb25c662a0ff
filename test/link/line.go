package link

import (
	"math/rand/v2"
	"time"
)

// A fate is what becomes of a packet.
type fate int

const (
	arrives fate = iota
	lost         // on the way
	full         // the queue was, when it came
	late         // arrives, on a detour
)

// String names the fate.
func (f fate) String() string { return [...]string{"arrives", "lost", "full", "late"}[f] }

// A line decides what becomes of packets in one direction. It has no clock: it
// is told when each comes, in order.
type line struct {
	Options

	dice *rand.Rand
	free time.Time // when the last packet that was let in has been sent
}

// newLine returns a line. Those of the two directions have streams of their own.
func newLine(o Options, stream uint64) *line {
	return &line{Options: o, dice: rand.New(rand.NewPCG(o.Seed, stream))}
}

// send says what becomes of a packet that comes now, and when it arrives.
//
// A packet that is lost has taken its time on the line, as one does that a radio
// garbles; one that finds the queue full has not.
func (l *line) send(now time.Time, size int) (fate, time.Time) {
	begin := now
	if l.Rate > 0 {
		if l.free.After(now) {
			begin = l.free
		}
		if l.took(size)+begin.Sub(now) > l.took(l.Queue) {
			return full, time.Time{}
		}
		l.free = begin.Add(l.took(size))
		begin = l.free
	}
	if l.dice.Float64() < l.Loss {
		return lost, time.Time{}
	}
	// Without a detour nothing is drawn, so that a seed loses the same packets as ever.
	if l.Reorder > 0 && l.dice.Float64() < l.Reorder {
		return late, begin.Add(l.Delay + l.Detour)
	}
	return arrives, begin.Add(l.Delay)
}

// took is the time that so many bytes take at the line's rate.
func (l *line) took(bytes int) time.Duration {
	return time.Duration(float64(bytes) * 8 / float64(l.Rate) * float64(time.Second))
}
