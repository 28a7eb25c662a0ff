package edge

import (
	"net"
	"sync"
	"time"
)

const (
	// mostIdle is how many goroutines of a crew wait for work.
	mostIdle = 64
	// idleFor is how long they do.
	idleFor = time.Second
)

// A crew are goroutines that work on new connections and are kept for the next
// ones: a TLS handshake makes a stack grow, and growing it anew for each is a
// twentieth of the whole.
type crew struct {
	work func(net.Conn)
	jobs chan net.Conn // unbuffered: only who waits takes one
	all  sync.WaitGroup
	done chan struct{}

	mu   sync.Mutex // guards idle
	idle int
}

func newCrew(work func(net.Conn)) *crew {
	return &crew{work: work, jobs: make(chan net.Conn), done: make(chan struct{})}
}

// give has a connection worked on, at once.
func (c *crew) give(conn net.Conn) {
	select {
	case c.jobs <- conn:
	default:
		c.all.Go(func() { c.serve(conn) })
	}
}

// dismiss waits until all work is done. Nothing may be given any more.
func (c *crew) dismiss() {
	close(c.done)
	c.all.Wait()
}

func (c *crew) serve(conn net.Conn) {
	var timer *time.Timer
	for {
		c.work(conn)
		if !c.rest() {
			return
		}
		if timer == nil {
			timer = time.NewTimer(idleFor)
			defer timer.Stop()
		} else {
			timer.Reset(idleFor)
		}
		select {
		case conn = <-c.jobs:
			c.rested()
		case <-timer.C:
			c.rested()
			return
		case <-c.done:
			return
		}
	}
}

// rest counts one who waits, if there are not enough of them.
func (c *crew) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle >= mostIdle {
		return false
	}
	c.idle++
	return true
}

func (c *crew) rested() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle--
}
