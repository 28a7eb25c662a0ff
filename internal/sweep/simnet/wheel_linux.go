package simnet

import "golang.org/x/sys/unix"

// A timer is something to be done later: an answer of a connection, or a datagram.
type timer struct {
	fd     int
	serial uint32
	packet []byte
	to     [unix.SizeofSockaddrAny]byte
	toSize uint32
}

// wheelSize is how many milliseconds ahead a wheel reaches: a power of two.
const wheelSize = 1 << 15

// A wheel has a slot for each of the next milliseconds.
type wheel struct {
	slots   [wheelSize][]timer
	at      int64 // what was advanced to
	pending int
}

func (w *wheel) start(now int64) { w.at = now }

func (w *wheel) add(due int64, t timer) {
	due = min(max(due, w.at+1), w.at+wheelSize-1)
	slot := &w.slots[due%wheelSize]
	*slot = append(*slot, t)
	w.pending++
}

// advance does what is due.
func (w *wheel) advance(now int64, fire func(timer)) {
	for w.at < now {
		w.at++
		if w.pending == 0 {
			w.at = now
			return
		}
		slot := &w.slots[w.at%wheelSize]
		due := *slot
		*slot = nil // what fires may add timers, to other slots
		w.pending -= len(due)
		for i := range due {
			fire(due[i])
			due[i] = timer{}
		}
		*slot = append(due[:0], *slot...)
	}
}
