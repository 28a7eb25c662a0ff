package h2

import (
	"slices"
	"time"
)

// Bodies wait in conn.queue, in the order of their ranks: by urgency (RFC 9218
// §10), and within that by tier. Whoever is in front sends its next frame.
//
// As long as a client has given no priority to anything, all bodies take turns:
// the default of RFC 9218, one after the other, is right for clients that know of
// priorities, and lets others wait for whatever they have happened to ask for
// first.
const (
	// tierSmall is for what ends with one frame, in the order in which it came: it
	// keeps nobody waiting for long.
	tierSmall = iota
	// tierTurns is for bodies that take turns, frame by frame: incremental ones, and
	// the first of those that are not. Neither kind starves the other (RFC 9218 §10).
	tierTurns
	// tierLater is for those that are not incremental and come later, in the order
	// of their streams.
	tierLater
	tiers
)

// rankOf is the rank that puts a stream in a tier of its urgency.
func rankOf(st *stream, tier uint8) uint8 { return st.priority.urgency()*tiers + tier }

// enqueue has the body of a stream wait for its turn. mu is held.
func (c *conn) enqueue(st *stream) {
	switch {
	case st.last && len(st.body) <= maxFrame:
		st.rank = rankOf(st, tierSmall)
	case c.schedule == nil || st.priority.incremental():
		st.rank = rankOf(st, tierTurns)
	default:
		st.rank = rankOf(st, c.lineUp(st))
	}
	c.insert(st)
}

// lineUp finds the tier of a stream whose body is to be sent in one go. mu is held.
func (c *conn) lineUp(st *stream) uint8 {
	first := &c.schedule.first[st.priority.urgency()]
	if before := *first; before != nil {
		if before.id < st.id {
			return tierLater
		}
		i := slices.Index(c.queue, before) // it makes way
		c.queue = slices.Delete(c.queue, i, i+1)
		before.rank = rankOf(before, tierLater)
		c.insert(before)
	}
	*first = st
	return tierTurns
}

// insert puts a stream where its rank is. mu is held.
func (c *conn) insert(st *stream) {
	i := len(c.queue)
	for i > 0 && (c.queue[i-1].rank > st.rank || c.queue[i-1].rank == st.rank && st.rank%tiers == tierLater && c.queue[i-1].id > st.id) {
		i--
	}
	c.queue = slices.Insert(c.queue, i, st)
}

// dequeue takes a stream out of the queue, and reports whether it was there. mu is held.
func (c *conn) dequeue(st *stream) bool {
	i := slices.Index(c.queue, st)
	if i >= 0 {
		c.dequeueAt(i)
	}
	return i >= 0
}

// dequeueAt takes a stream out of the queue. If others have waited for it to be
// sent as a whole, the next of them is in front of all of these, and needs but
// another rank. mu is held.
func (c *conn) dequeueAt(i int) {
	st := c.queue[i]
	c.queue = slices.Delete(c.queue, i, i+1)
	if c.schedule == nil || c.schedule.first[st.priority.urgency()] != st {
		return
	}
	var next *stream
	for _, other := range c.queue[i:] {
		if other.rank > st.rank {
			if other.rank == rankOf(st, tierLater) {
				next = other
				next.rank = st.rank
			}
			break
		}
	}
	c.schedule.first[st.priority.urgency()] = next
}

// pump appends DATA frames of the bodies that wait, until enough is gathered.
// Streams that have no window of their own let others go first. mu is held.
func (c *conn) pump() {
	if len(c.queue) == 0 || c.ending {
		return
	}
	if c.starved && c.sendWindow > 0 {
		c.starved = false
		for _, st := range c.queue {
			st.unstick()
		}
	}
	for i := 0; i < len(c.queue) && len(c.out) < c.atOnce && c.sendWindow > 0; {
		st := c.queue[i]
		n := int(min(int64(len(st.body)), maxFrame, c.sendWindow, st.window))
		if n <= 0 {
			st.stick()
			i++
			continue
		}
		st.unstick()
		c.sendData(i, n)
	}
	if c.sendWindow <= 0 { // nobody's turn would come
		c.starved = true
		for _, st := range c.queue {
			st.stick()
		}
	}
}

// queued reports whether a body that waits could be sent. mu is held.
func (c *conn) queued() bool {
	return c.sendWindow > 0 && !c.ending && slices.ContainsFunc(c.queue, func(st *stream) bool { return st.window > 0 })
}

// stick notes that there is no window for a stream's body. mu is held.
func (st *stream) stick() {
	if st.stuck.IsZero() {
		st.stuck = time.Now()
	}
}

// unstick notes that there is window again: from now on the stream waits for
// nothing but its turn. mu is held.
func (st *stream) unstick() {
	if !st.stuck.IsZero() && st.window > 0 && st.conn.sendWindow > 0 {
		st.waited, st.stuck = st.waited+time.Since(st.stuck), time.Time{}
	}
}

// sendData appends n bytes of the body of a stream in the queue as a frame, for
// which there is window. mu is held.
func (c *conn) sendData(i, n int) {
	var flags uint8
	st := c.queue[i]
	done := n == len(st.body)
	if done && st.last {
		flags = flagEndStream
		c.budget.earn(WindowUpdates, 2) // a client may give every frame its update, be it ever so small
	}
	c.sendWindow -= int64(n)
	st.window -= int64(n)
	c.sent += int64(n)
	if st.tunnel && st.in != nil {
		st.in.heard = time.Now()
	}
	c.begin(n, frameData, flags, st.id)
	c.out = append(c.out, st.body[:n]...)
	st.body = st.body[n:]
	if !done {
		c.rotate(i)
		return
	}
	c.dequeueAt(i)
	if st.body = nil; st.handled {
		st.wake.Broadcast()
	} else {
		c.remove(st)
	}
}

// rotate puts a stream behind those that it takes turns with. mu is held.
func (c *conn) rotate(i int) {
	st, last := c.queue[i], len(c.queue)-1
	if st.rank%tiers != tierTurns {
		return
	}
	if c.queue[last].rank != st.rank { // or else they are all alike
		for last = i; c.queue[last+1].rank == st.rank; last++ {
		}
	}
	copy(c.queue[i:last], c.queue[i+1:])
	c.queue[last] = st
}

// unqueue gives up what is left of a stream's body. mu is held.
func (c *conn) unqueue(st *stream) {
	c.dequeue(st)
	st.body, st.keep = nil, nil
}
