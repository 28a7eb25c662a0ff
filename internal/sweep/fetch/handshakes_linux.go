package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/loop"
)

// handshakes computes handshakes in some goroutines, each until it has to wait for
// its peer. So it is never more than a few that compete with the reactor for the
// processors, however many wait; and the ones that have begun go first, because their
// peers are waiting.
//
// What waits is a coroutine, for crypto/tls cannot be left and entered again before
// the handshake is over. Behind it, it can (see loop.ErrAgain), and the reactor reads.
type handshakes struct {
	f       *fastFetcher
	running sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	ready    sync.Cond
	begun    queue
	fresh    queue
	finished []*conn // computed, for the reactor
	posted   bool    // the reactor will look at them
	closed   bool
	idle     []*routine
	all      map[*routine]struct{}

	taken []*conn // of the reactor
}

// A queue is first in, first out.
type queue struct {
	conns []*conn
	first int
}

func (q *queue) push(c *conn) { q.conns = append(q.conns, c) }

func (q *queue) pop() *conn {
	if q.first == len(q.conns) {
		return nil
	}
	c := q.conns[q.first]
	q.conns[q.first] = nil
	if q.first++; q.first == len(q.conns) {
		q.conns, q.first = q.conns[:0], 0
	} else if q.first >= 1024 && q.first*2 >= len(q.conns) {
		n := copy(q.conns, q.conns[q.first:])
		clear(q.conns[n:])
		q.conns, q.first = q.conns[:n], 0
	}
	return c
}

// maxIdle is how many coroutines are kept for later: their stacks have grown.
const maxIdle = 512

func newHandshakes(f *fastFetcher, workers int) *handshakes {
	h := &handshakes{f: f, all: map[*routine]struct{}{}}
	h.ready.L = &h.mu
	for range workers {
		h.running.Go(h.work)
	}
	return h
}

// add has a handshake begun or gone on with, when it is its turn.
func (h *handshakes) add(c *conn) {
	c.client.queued = time.Now()
	h.mu.Lock()
	if c.client.routine == nil {
		h.fresh.push(c)
	} else {
		h.begun.push(c)
	}
	h.mu.Unlock()
	h.ready.Signal()
}

// work computes handshakes, until close.
func (h *handshakes) work() {
	stage := make([]byte, 32<<10)
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		c := h.begun.pop()
		if c == nil {
			c = h.fresh.pop()
		}
		switch {
		case h.closed:
			return
		case c == nil:
			h.ready.Wait()
			continue
		}
		if c.client.routine == nil {
			c.client.routine = h.routine()
			c.client.routine.client = c.client
		}
		h.mu.Unlock()
		over := c.client.advance(stage)
		h.mu.Lock()
		if over {
			h.giveBack(c.client)
		}
		h.finished = append(h.finished, c)
		if !h.posted {
			h.posted = true
			h.f.reactor.Post(h.take)
		}
	}
}

// take tells the conns that are computed, in the reactor.
func (h *handshakes) take() {
	h.mu.Lock()
	h.taken, h.finished = h.finished, h.taken[:0]
	h.posted = false
	h.mu.Unlock()
	for i, c := range h.taken {
		h.taken[i] = nil
		c.computed()
	}
}

// routine is an idle coroutine, or a new one.
func (h *handshakes) routine() *routine {
	if n := len(h.idle); n > 0 {
		r := h.idle[n-1]
		h.idle = h.idle[:n-1]
		return r
	}
	r := newRoutine(&h.f.judge, h.f.agent)
	h.all[r] = struct{}{}
	return r
}

// giveBack takes the coroutine of a handshake that is over.
func (h *handshakes) giveBack(k *client) {
	r := k.routine
	k.routine, r.client = nil, nil
	if len(h.idle) < maxIdle {
		h.idle = append(h.idle, r)
		return
	}
	delete(h.all, r)
	r.stop()
}

// leave gives up a handshake that waits for its peer.
func (h *handshakes) leave(k *client) {
	if k.routine == nil {
		return
	}
	k.abandoned = true
	k.routine.next() // to its end
	h.mu.Lock()
	defer h.mu.Unlock()
	h.giveBack(k)
}

// close ends the goroutines and coroutines. The reactor has ended.
func (h *handshakes) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.ready.Broadcast()
	h.running.Wait()
	for r := range h.all {
		r.stop()
	}
}

// A routine is a coroutine that makes handshakes, one after the other.
type routine struct {
	client *client
	yield  func(struct{}) bool
	next   func() (struct{}, bool)
	stop   func()
	ended  bool // its handshake is over
}

func newRoutine(j *judge, agent string) *routine {
	r := new(routine)
	r.next, r.stop = iter.Pull(func(yield func(struct{}) bool) {
		r.yield = yield
		for {
			r.client.handshake(j, agent)
			r.ended = true
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return r
}

// A client is the TLS of a conn: what crypto/tls reads from and writes to, as a
// net.Conn. One goroutine has it at a time, as the conn's state says.
type client struct {
	tls       *tls.Conn
	x         *Exchange
	fd        int
	routine   *routine // until the handshake is over
	stage     []byte   // the buffer of who has it
	in        []byte   // read, and not yet taken
	out       []byte   // to be sent
	drained   bool     // nothing more is there before another event
	ended     bool     // the peer may have ended its side: reading goes on until it says so
	abandoned bool
	err       error
	began     int64         // the handshake, without what it has waited for its turn
	queued    time.Time     // when it began to wait for its turn
	waited    time.Duration // for its turn, since the reactor has looked
	queuedFor time.Duration // for its turn, all in all
}

func newClient(c *conn, now int64) *client {
	k := &client{x: c.x, fd: c.fd, began: now, drained: true}
	k.tls = tls.Client(k, clientConfig(serverName(c.x.Host)))
	return k
}

// wake is for an event.
func (k *client) wake(events uint32) {
	if events&inEvents != 0 {
		k.drained = false
	}
	k.ended = k.ended || events&endEvents != 0
}

// advance computes the handshake until it waits, or is over.
func (k *client) advance(stage []byte) (over bool) {
	began := time.Now()
	waited := began.Sub(k.queued)
	k.waited += waited
	k.queuedFor += waited
	k.stage = stage
	r := k.routine
	r.ended = false
	r.next()
	k.stage = nil
	if len(k.in) > 0 { // it lies in the stage, which is for the next
		k.in = append([]byte(nil), k.in...)
	}
	return r.ended
}

// handshake makes the handshake and sends the request behind it.
func (k *client) handshake(j *judge, agent string) {
	defer func() {
		if p := recover(); p != nil {
			k.err = fmt.Errorf("%w: %.100v", errPanic, p)
		}
	}()
	began, before := time.Now(), k.queuedFor
	if k.err = k.tls.Handshake(); k.err != nil { //nolint:noctx // the reactor ends it
		return
	}
	state := k.tls.ConnectionState()
	k.x.certified(&state, j)
	k.x.TLSTook = max(1, time.Since(began)-(k.queuedFor-before))
	n, err := k.tls.Write(k.x.request(make([]byte, 0, 512), agent))
	k.x.BytesOut += int64(n)
	if err == nil {
		err = k.flush()
	}
	if !errors.Is(err, loop.ErrAgain) { // the reactor sends the rest
		k.err = err
	}
}

// flush sends what is to be sent, or returns loop.ErrAgain.
func (k *client) flush() error {
	for len(k.out) > 0 {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(k.fd), uintptr(unsafe.Pointer(unsafe.SliceData(k.out))), uintptr(len(k.out)), unix.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			k.out = k.out[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			return loop.ErrAgain
		default:
			return e
		}
	}
	k.out = nil
	return nil
}

// pause waits for an event, in the coroutine.
func (k *client) pause() error {
	if k.abandoned || !k.routine.yield(struct{}{}) || k.abandoned {
		return net.ErrClosed
	}
	return nil
}

// Read reads what is there. In a handshake it waits.
func (k *client) Read(p []byte) (int, error) {
	for {
		if len(k.in) > 0 {
			n := copy(p, k.in)
			k.in = k.in[n:]
			return n, nil
		}
		err := k.flush()
		if err == nil && !k.drained {
			var n int
			n, err = recv(k.fd, k.stage)
			k.in = k.stage[:n]
			k.drained = err != nil || n < len(k.stage) && !k.ended
			if n > 0 {
				continue
			}
		} else if err == nil {
			err = loop.ErrAgain
		}
		if !errors.Is(err, loop.ErrAgain) || k.routine == nil {
			return 0, err
		}
		if err := k.pause(); err != nil {
			return 0, err
		}
	}
}

// Write keeps what is to be sent, until reading finds nothing: so the end of the
// handshake and the request go together.
func (k *client) Write(p []byte) (int, error) {
	k.out = append(k.out, p...)
	return len(p), nil
}

// Close, the addresses and the deadlines of a net.Conn are not for this one: its conn
// closes it, and has its time.
func (k *client) Close() error                     { return nil }
func (k *client) LocalAddr() net.Addr              { return nil }
func (k *client) RemoteAddr() net.Addr             { return nil }
func (k *client) SetDeadline(time.Time) error      { return nil }
func (k *client) SetReadDeadline(time.Time) error  { return nil }
func (k *client) SetWriteDeadline(time.Time) error { return nil }
