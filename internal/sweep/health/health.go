// Package health tells a sweep's own illness from its targets': a line that is cut,
// resolvers that throttle us, a processor that was taken away.
//
// Nothing that a single target does says whose fault it is. A [Monitor] looks at
// everything that happened in the same second: when far fewer targets answer than
// did before, or known-good controls do not, that second is ill, and failures that
// overlap it are not to be believed.
//
// It belongs to one goroutine. Times are nanoseconds of a monotonic clock.
package health

import "time"

const (
	second = int64(time.Second)
	// kept is how many seconds are remembered: longer than any try takes.
	kept = 128
	// enough events make a second worth judging.
	enough = 20
	// share of the usual share of successes that is healthy.
	share = 0.5
	// slow is how quickly what is usual follows.
	slow = 0.05
)

// A Monitor remembers the last two minutes.
type Monitor struct {
	seconds [kept]bucket
	first   int64   // the second of the first event, or 0
	usual   float64 // share of successes in healthy seconds
	judged  int64   // the last second that was judged
	healthy int     // seconds that made usual
	ill     int64   // how many seconds were ill, in all
}

type bucket struct {
	second              int64
	began               int // targets
	good, bad           int // ended
	controls, controlsX int // good and failed
	slow, hurt, short   bool
	ill                 bool
}

func (m *Monitor) at(now int64) *bucket {
	s := now / second
	b := &m.seconds[s%kept]
	if b.second != s {
		if b.second < s {
			*b = bucket{second: s}
		}
		if m.first == 0 {
			m.first = max(s, 1)
			m.judged = s - 1
		}
	}
	return b
}

// Began notes that a target was begun. Where few are, as at the end of a list, those
// that are left are slow ones, and their failures say nothing about us.
func (m *Monitor) Began(now int64) { m.at(now).began++ }

// Ended notes that a request has ended: answered, or with a failure that may be
// ours. Plain words of others (no such name, refused) count as answered: they came
// over our line.
func (m *Monitor) Ended(now int64, answered bool) {
	b := m.at(now)
	if answered {
		b.good++
	} else {
		b.bad++
	}
}

// Control notes what a known-good target said.
func (m *Monitor) Control(now int64, answered bool) {
	b := m.at(now)
	if answered {
		b.controls++
	} else {
		b.controlsX++
	}
}

// Hurt notes what is certainly our line's illness, such as resolvers that are all ill.
func (m *Monitor) Hurt(now int64) { m.at(now).hurt = true }

// Short notes that we were short of something: descriptors, ports, memory. What failed
// for it says so itself, so nothing else is in doubt; the second counts as ill, and
// asking goes on.
func (m *Monitor) Short(now int64) { m.at(now).short = true }

// Slow notes that we were late, because the processor was taken from us: whoever did
// not answer in time may have.
func (m *Monitor) Slow(now int64) { m.at(now).slow = true }

// Judge looks at the seconds that are over, and reports whether in the last of them
// the line was ill. It costs nothing within a second.
func (m *Monitor) Judge(now int64) bool {
	s := now / second
	if m.first == 0 {
		return false
	}
	if s-m.judged > kept {
		m.judged = s - kept
	}
	for m.judged < s-1 {
		m.judged++
		m.judge(&m.seconds[m.judged%kept])
	}
	last := &m.seconds[(s-1+kept)%kept]
	return last.second == s-1 && last.ill
}

func (m *Monitor) judge(b *bucket) {
	if b.second != m.judged {
		return // nothing happened in it
	}
	n := b.good + b.bad
	got := float64(b.good) / float64(max(1, n))
	telling := n >= enough && m.telling(b)
	switch {
	case b.hurt, b.controlsX > b.controls:
		b.ill = true
	case telling && m.healthy > 0 && got < share*m.usual:
		b.ill = true
	case telling && m.healthy == 0 && got < 0.05:
		b.ill = true // nothing has ever come
	}
	if b.ill || b.short {
		m.ill++
		return
	}
	if telling {
		if m.healthy == 0 {
			m.usual = got
		}
		m.usual += slow * (got - m.usual)
		m.healthy++
	}
}

// telling reports whether so many were begun lately that some should have been
// answered in a second. While we are ill nobody is begun; that goes on until somebody
// is answered.
func (m *Monitor) telling(b *bucket) bool {
	before := &m.seconds[(b.second-1+kept)%kept]
	if before.second != b.second-1 {
		return b.began >= enough
	}
	return b.began+before.began >= enough || before.ill
}

// Doubtful reports whether a failure of something that took from since to now may
// be our own: a second that overlaps it, or is next to one that does, was ill. The
// second that is not over yet counts as it is so far. Where time is what it failed
// for, those seconds count too in which we were late.
func (m *Monitor) Doubtful(since, now int64, timeout bool) bool {
	m.Judge(now)
	for s := max(since/second-1, now/second-kept+1); s <= now/second; s++ {
		b := &m.seconds[(s+kept)%kept]
		if b.second == s && (b.ill || b.hurt || timeout && b.slow || b.controlsX > b.controls) {
			return true
		}
	}
	b := m.at(now)
	return b.bad >= enough && m.telling(b) && m.healthy > 0 && float64(b.good) < share*m.usual*float64(b.good+b.bad)
}

// Ill is how many seconds were ill.
func (m *Monitor) Ill() int64 { return m.ill }
