package loop

import "sync/atomic"

// timers are connections in the order of the times at which they must be looked
// at, as a heap. A connection that is looked at too early is put back: its
// deadline moves with every request, and moving it here each time would be dear.
type timers struct{ heap []*Conn }

// A timer is a connection's place among the timers.
type timer struct {
	at    atomic.Int64 // 0: it is not among them
	index int
}

// next is the first time, or 0.
func (t *timers) next() int64 {
	if len(t.heap) == 0 {
		return 0
	}
	return t.heap[0].timer.at.Load()
}

// expired takes out one whose time has come, or returns nil.
func (t *timers) expired(now int64) *Conn {
	if len(t.heap) == 0 || t.next() > now {
		return nil
	}
	c := t.heap[0]
	t.drop(c)
	return c
}

// set puts a connection in, or moves it.
func (t *timers) set(c *Conn, at int64) {
	if c.timer.at.Load() == 0 {
		c.timer.index = len(t.heap)
		t.heap = append(t.heap, c)
	}
	c.timer.at.Store(at)
	t.down(t.up(c.timer.index))
}

// drop takes a connection out, if it is in.
func (t *timers) drop(c *Conn) {
	if c.timer.at.Load() == 0 {
		return
	}
	c.timer.at.Store(0)
	i, last := c.timer.index, len(t.heap)-1
	t.swap(i, last)
	t.heap[last] = nil
	t.heap = t.heap[:last]
	if i < last {
		t.down(t.up(i))
	}
}

func (t *timers) less(i, j int) bool { return t.heap[i].timer.at.Load() < t.heap[j].timer.at.Load() }

func (t *timers) swap(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.heap[i].timer.index, t.heap[j].timer.index = i, j
}

// up moves one towards the front, and returns where it is then.
func (t *timers) up(i int) int {
	for i > 0 && t.less(i, (i-1)/2) {
		t.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

// down moves one towards the end.
func (t *timers) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(t.heap); child++ {
			if t.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		t.swap(i, least)
		i = least
	}
}
