package loop

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// ErrAgain is what Read returns in a function that a loop called when nothing has
// come. It is a net.Error, and temporary: crypto/tls goes on after it.
var ErrAgain error = again{}

type again struct{}

func (again) Error() string   { return "nothing has come yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// ErrUnsupported says that there are no loops on this system.
var ErrUnsupported = errors.New("loops need epoll, which Linux has")

// A Waiter is a connection of a loop.
type Waiter interface {
	// Begin has f called by the loop soon, when others have had their turns. From
	// then on reading does not wait: see ErrAgain.
	Begin(f func())
	// Await has f called by the loop, once, when there is something to read, or the
	// read deadline has passed, or the connection was closed. It is for whoever got
	// ErrAgain. A function that the loop calls does nothing after it.
	Await(f func())
	// Leave is called before waiting for something else than the connection, or a
	// long time of work. If the loop has called the caller, it goes on without it.
	Leave()
	// Tries reports whether reading does not wait behind Begin. Where it does, f has
	// a goroutine of its own.
	Tries() bool
	// Pace gives every write that must wait for the peer as long as grace, and a
	// second for every rate bytes that the peer has taken since, and free more. It
	// reports whether it can; a write deadline counts beside it.
	Pace(grace time.Duration, rate, free int64) bool
	// Now is the time, as exactly as whoever looks at deadlines needs it: in a call of
	// the loop it is when that has last looked at the clock.
	Now() time.Time
	// Block is Leave, and from then on reading waits, until Begin.
	Block()
}

// WaiterOf returns the Waiter that conn is or rests upon, or nil. Connections
// around others tell by a method of their own.
func WaiterOf(conn net.Conn) Waiter {
	switch c := conn.(type) {
	case Waiter:
		return c
	case interface{ Waiter() Waiter }:
		return c.Waiter()
	}
	return nil
}

// A Group is some loops that share the connections among them.
type Group struct {
	loops []*Loop
	next  atomic.Uint32
}

// NewGroup returns n loops. They are idle until [Group.Run]. dedicated says that
// the process has n processors (GOMAXPROCS) more than it would have without them.
func NewGroup(n int, dedicated bool) (*Group, error) {
	g := new(Group)
	for range n {
		l, err := newLoop(dedicated)
		if err != nil {
			g.close()
			return nil, err
		}
		g.loops = append(g.loops, l)
	}
	return g, nil
}

func (g *Group) close() {
	for _, l := range g.loops {
		l.close()
	}
}

// Len is the number of loops.
func (g *Group) Len() int { return len(g.loops) }

// Run runs the loops until ctx ends. Connections must have been closed by then:
// nobody calls their functions any more, and whoever waits on one waits for ever.
func (g *Group) Run(ctx context.Context) {
	for _, l := range g.loops {
		l.start()
	}
	<-ctx.Done()
	g.close()
}

// Stir tells loops with processors of their own that the process has work which
// they do not see: as long as they hear of it they keep them. The runtime has fewer
// idle processors then, for which it would wake threads again and again.
func (g *Group) Stir() {
	for _, l := range g.loops {
		l.stir()
	}
}

// Take makes a connection of package net one of a loop. It fails, and leaves
// conn as it was, for other kinds of connections, and when the process has no
// descriptors left. conn may have been read and written, but nobody may be
// doing so.
func (g *Group) Take(conn net.Conn) (*Conn, error) {
	return g.loops[g.next.Add(1)%uint32(len(g.loops))].take(conn)
}
