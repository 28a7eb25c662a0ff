package h1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/loop"
)

const (
	// loopRead is the buffer of a connection that waits for a request; most heads
	// are smaller.
	loopRead = tinyBuffer
	// loopWrite is how much is gathered before it is written, and the largest
	// body that is copied next to its head rather than written from where it is.
	loopWrite = 64 << 10
	// turnBytes is how much of large bodies one connection sends before the others of
	// its loop have their turns.
	turnBytes = 4 * writePiece
	// loopSlack is room for a head beside a full body.
	loopSlack = 4 << 10
)

// A Hit is an answer to GET or HEAD that stands ready.
type Hit struct {
	// Head is sent piece by piece: the status line, then field lines, each with
	// CRLF, without Date, Connection, and the empty line.
	Head [5][]byte
	// Body is what follows; nothing of it is sent to HEAD.
	Body []byte
	// Keep is kept reachable until Body has been sent.
	Keep any
}

// LoopOptions say how a [Loop] serves. The guard's options hold for it as well.
type LoopOptions struct {
	Options
	// Hit returns whether a request has an answer that stands ready, and fills it
	// in. head describes raw, which is valid until Hit returns: a well-formed GET
	// or HEAD over HTTP/1.1 without a body.
	Hit func(head *Head, raw []byte, h *Hit) bool
	// Answered is told of hits before they are written: how many, and how long
	// finding them took, all together. It must be quick; nil is not told.
	Answered func(hits int, took time.Duration)
	// Stopping is set when the server drains: the last answer to what has been read
	// then says "Connection: close", and only the rest of a head that has begun is
	// waited for. Whoever sets it must afterwards make a read of the connection end,
	// by a read deadline that has passed, unless Loop has returned. nil never stops.
	Stopping *atomic.Bool
	// Rest is how long a connection waits for a request until it rests; 0: it never
	// does. One whose Read does not wait (loop.ErrAgain) rests at once. Then Loop
	// gives back all buffers that hold nothing, calls OnRest, and returns nil. When
	// the connection has something to read, or its read deadline has passed, resume
	// must be called, once, in place of Loop. The deadline is set. With more, resume
	// must be called in any case, when other connections have had their turns.
	Rest   time.Duration
	OnRest func(resume func() *Conn, more bool)
	// OnPanic is told of a panic, in Hit or elsewhere, and of the bytes that led to
	// it, before the stack is unwound. The connection is closed. nil lets panics
	// pass.
	OnPanic func(value any, input []byte)
}

// A BuffersWriter writes several buffers at once, as one record or one system
// call where it can. TLS connections may implement it.
type BuffersWriter interface {
	WriteBuffers(buffers ...[]byte) error
}

// Loop answers the requests of a connection whose answers stand ready, in the
// order in which they came, and all that have arrived in one write. It understands
// exactly one thing: a well-formed GET or HEAD over HTTP/1.1 without a body. At
// anything else, well-formed or not, it stops and returns the connection behind a
// guard, with the bytes that it has not used: the engine behind answers and
// refuses. It returns nil when the connection has ended.
func Loop(nc net.Conn, o LoopOptions) *Conn {
	o.Options = o.Options.withDefaults()
	l := &serving{nc: nc, o: &o, waiter: loop.WaiterOf(nc)}
	l.resume, l.turns = l.serve, l.waiter != nil && l.waiter.Tries()
	return l.serve()
}

// serve is Loop, from the beginning or from where it rested.
func (l *serving) serve() *Conn {
	var rest *Conn
	if l.contain(func() { rest = l.run() }) {
		return rest
	}
	// What was answered before the panic is sent.
	if !l.contain(func() { l.flush(); l.last = true; l.end() }) {
		_ = l.nc.Close()
	}
	return nil
}

// A serving is the state of one connection.
type serving struct {
	nc     net.Conn
	o      *LoopOptions
	waiter loop.Waiter  // nil if nothing but a goroutine can wait for nc
	resume func() *Conn // serve
	turns  bool         // a loop serves this and other connections by turns
	turn   int          // bytes that were sent in this turn

	buf  []byte // borrowed; nil while the connection rests
	used int    // answered until here; more than 0 only within answer
	have int    // filled until here
	full bool   // the last read had no room for more

	head Head // of the request at used
	hit  Hit

	out     *loopBuffer // borrowed while there is something to write
	rest    []byte      // of a body, for the next turn
	kept    any         // what it lies in
	vector  [2][]byte   // what buffers is made of, each time
	buffers net.Buffers

	served bool  // a request was answered here
	last   bool  // the connection ends after what is in out
	err    error // of writing: nobody takes answers any more

	begun   time.Time // when the first byte of an unfinished head came
	resting bool      // since idle was known to last
	since   time.Time // when the connection became idle; reading may begin anew meanwhile
	armed   time.Time // the read deadline that is set, which may be too early
	writeBy time.Time // the write deadline that is set, which may be too late
	settled time.Time // when the hits at hand were found, as long as it is nearly now
}

// contain runs f and reports whether it came to its end without a panic.
func (l *serving) contain(f func()) (fine bool) {
	defer func() {
		if fine || l.o.OnPanic == nil {
			return
		}
		if v := recover(); v != nil { // else it is runtime.Goexit
			l.o.OnPanic(v, bytes.Clone(l.buf[l.used:l.have]))
		}
	}()
	f()
	return true
}

func (l *serving) run() *Conn {
	l.turn = 0
	l.writeOn(l.rest)
	for {
		handOver := l.have > 0 && l.answer()
		l.flush()
		switch {
		case l.err != nil || l.last && len(l.rest) == 0:
			l.end()
			return nil
		case handOver: // the head has been read, and is not to be read again
			return l.handOver()
		case l.over() && (l.have > 0 || len(l.rest) > 0):
			l.o.OnRest(l.resume, true)
			return nil
		}
		switch err := l.fill(); {
		case err == nil:
		case errors.Is(err, errResting):
			if l.have == 0 {
				l.giveBack()
			}
			l.o.OnRest(l.resume, false)
			return nil
		case errors.Is(err, errSlowHead):
			c := l.handOver()
			c.refuse(ReasonSlowHead)
			return c
		default:
			l.end()
			return nil
		}
	}
}

// over reports whether others are to have their turns.
func (l *serving) over() bool { return l.turns && l.turn >= turnBytes }

// end closes the connection, letting the last answer arrive.
func (l *serving) end() {
	l.giveBack()
	if l.last && l.err == nil {
		l.block()
		linger(l.nc)
	}
	_ = l.nc.Close()
}

func (l *serving) giveBack() {
	giveMemory(l.buf)
	l.buf, l.used, l.have = nil, 0, 0
}

// block has reading wait from here on.
func (l *serving) block() {
	if l.waiter != nil {
		l.waiter.Block()
	}
}

// handOver puts the connection behind a guard that has the bytes not yet used.
func (l *serving) handOver() *Conn {
	l.block()
	_ = l.nc.SetReadDeadline(time.Time{}) // an error comes again
	_ = l.nc.SetWriteDeadline(time.Time{})
	c := Guard(l.nc, l.o.Options)
	c.in.forget() // who stops the server may set one until Loop returns
	if l.served {
		c.track.protocol = ProtocolHTTP1 // the preface of HTTP/2 stands at the beginning or nowhere
	}
	if !l.begun.IsZero() { // the rest of the head has what is left of its time
		c.waited = l.clock().Sub(l.begun)
	}
	c.held.stash(l.buf[:l.have])
	c.vetHeld()
	l.giveBack()
	return c
}

// answer gathers the answers to the requests that are in the buffer. It reports
// whether it met something that is not for it.
func (l *serving) answer() (handOver bool) {
	now, hits := time.Now(), 0
	for l.used < l.have && !l.last && l.err == nil && !l.over() {
		rest := l.buf[l.used:l.have]
		n, refusal := ScanHead(rest, l.o.Limits, &l.head)
		if n == 0 {
			handOver = refusal.Refused()
			break
		}
		if !l.simple() || !l.o.Hit(&l.head, rest[:n:n], &l.hit) {
			handOver = true
			break
		}
		l.used += n
		// What was read is answered before the connection ends.
		l.last = l.head.Close || l.used == l.have && l.stopping()
		hits++
		l.gather(now)
		l.head, l.hit = Head{}, Hit{}
	}
	if hits > 0 {
		l.settled = time.Now()
		if l.o.Answered != nil {
			l.o.Answered(hits, l.settled.Sub(now))
		}
	}
	l.compact()
	return handOver
}

// compact moves what is not yet used to the front.
func (l *serving) compact() {
	if l.used == 0 {
		return
	}
	l.have = copy(l.buf, l.buf[l.used:l.have])
	l.used = 0
	l.served = true
	l.begun = time.Time{}
	l.shrink()
}

func (l *serving) stopping() bool { return l.o.Stopping != nil && l.o.Stopping.Load() }

// simple reports whether the head that was scanned is one that loops answer.
func (l *serving) simple() bool {
	h := &l.head
	return (h.Kind == MethodGet || h.Kind == MethodHead) && h.Minor == 1 && h.Form == FormOrigin &&
		h.Framing == FramingNone && !h.Continue && !h.Upgrade
}

// A loopBuffer is where answers are gathered.
type loopBuffer struct{ b []byte }

// loopBuffers is a cache and holds no state.
var loopBuffers = sync.Pool{New: func() any { return &loopBuffer{make([]byte, 0, loopWrite+loopSlack)} }}

// gather appends an answer to what is to be written, or writes a large body from
// where it lies.
func (l *serving) gather(now time.Time) {
	if l.out == nil {
		l.out = loopBuffers.Get().(*loopBuffer)
	}
	out := l.out.b
	for _, piece := range l.hit.Head {
		out = append(out, piece...)
	}
	out = append(out, clock.line(now)...)
	if l.last {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(out, '\r', '\n')
	body := l.hit.Body
	if l.head.Kind == MethodHead {
		body = nil
	}
	if len(out)+len(body) <= loopWrite {
		l.out.b = append(out, body...)
		return
	}
	l.out.b = out
	l.write(body)
}

// flush writes what has been gathered.
func (l *serving) flush() {
	if l.out != nil {
		l.write(nil)
	}
}

// write writes what has been gathered, and body behind it, in pieces as a guard
// does: each has a time limit of its own.
func (l *serving) write(body []byte) {
	out := l.out
	l.out = nil // a panic leaves it to the garbage collector, in whatever state
	n := min(len(body), max(0, writePiece-len(out.b)))
	l.err = l.writePiece(out.b, body[:n])
	if cap(out.b) == loopWrite+loopSlack {
		out.b = out.b[:0]
		loopBuffers.Put(out)
	}
	l.writeOn(body[n:])
}

// writeOn writes the rest of a body, or as much of it as is left of this turn.
func (l *serving) writeOn(body []byte) {
	for len(body) > 0 && l.err == nil {
		if l.over() {
			if l.rest == nil {
				l.kept = l.hit.Keep
			}
			l.rest = body
			return
		}
		n := min(len(body), writePiece)
		l.err = l.writePiece(body[:n], nil)
		body = body[n:]
	}
	l.rest, l.kept = nil, nil
}

// writePiece writes a and b under one deadline.
func (l *serving) writePiece(a, b []byte) error {
	l.turn += len(a) + len(b)
	err := l.setWriteDeadline(len(a) + len(b))
	if err == nil {
		err = l.writeBoth(a, b)
	}
	if err != nil && isTimeout(err) && passed(l.writeBy) {
		if l.o.OnRefusal != nil {
			l.o.OnRefusal(ReasonSlowReader.Refusal())
		}
		return ErrSlowReader
	}
	return err
}

func (l *serving) writeBoth(a, b []byte) error {
	if len(b) == 0 {
		_, err := l.nc.Write(a)
		return err
	}
	l.vector = [2][]byte{a, b}
	defer clear(l.vector[:]) // an idle connection keeps no body alive
	if w, ok := l.nc.(BuffersWriter); ok {
		return w.WriteBuffers(l.vector[:]...)
	}
	l.buffers = l.vector[:]
	_, err := l.buffers.WriteTo(l.nc)
	return err
}

// setWriteDeadline allows for a reader as slow as Rate. Setting a deadline is dear:
// one that is up to twice as late is good enough, one that is too early is not.
func (l *serving) setWriteDeadline(n int) error {
	if l.o.Grace < 0 {
		return nil
	}
	now := l.settled
	if now.IsZero() {
		now = time.Now()
	}
	l.settled = time.Time{}
	allowed := l.o.Grace + atRate(int64(n), l.o.Rate)
	if left := l.writeBy.Sub(now); allowed <= left && left <= 2*allowed {
		return nil
	}
	l.writeBy = now.Add(allowed + allowed/4)
	return l.nc.SetWriteDeadline(l.writeBy)
}

// errResting says that nothing has come for a while.
var errResting error = &timeoutError{"the connection rests"}

// errSlowHead says that a head has begun and is not whole in time.
var errSlowHead error = &timeoutError{"the head comes too slowly"}

// fill reads once, behind the bytes of a head that is not whole.
func (l *serving) fill() error {
	if l.buf == nil {
		l.buf = takeMemory(loopRead)
	}
	// A read that had no room for more was probably not all.
	if l.have == len(l.buf) || l.have > 0 && l.full && len(l.buf) < largeBuffer {
		l.grow()
	}
	now := l.clock()
	due := l.due(now)
	until := due
	if rest := l.since.Add(l.o.Rest); l.o.Rest > 0 && l.have == 0 && !l.resting && (due.IsZero() || rest.Before(due)) {
		until = rest
	}
	for {
		if err := l.arm(until); err != nil {
			return err
		}
		// Behind arm: who stops the server sets a deadline after this, or was seen.
		if l.have == 0 && l.stopping() {
			return io.EOF
		}
		n, err := l.nc.Read(l.buf[l.have:])
		if n > 0 {
			l.have += n
			l.full = l.have == len(l.buf)
			l.resting, l.since = false, time.Time{}
			return nil
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, loop.ErrAgain):
			return errResting
		case !isTimeout(err):
			return err
		case passed(due) && l.have > 0:
			return errSlowHead
		case passed(due):
			return ErrIdle
		case !until.Equal(due) && passed(until):
			l.resting = true
			until = due
			if err := l.arm(due); err != nil {
				return err
			}
			if l.stopping() { // behind arm, as above
				return io.EOF
			}
			return errResting
		}
		l.armed = time.Unix(1, 0) // it was too early, or set by somebody else
	}
}

// clock is the time, as exactly as deadlines need it.
func (l *serving) clock() time.Time {
	if l.waiter != nil {
		return l.waiter.Now()
	}
	return time.Now()
}

// due is until when the peer has time for the rest of a head, or for the next one
// to begin; zero: for ever.
func (l *serving) due(now time.Time) time.Time {
	if l.have == 0 {
		if l.since.IsZero() {
			l.since = now
		}
		return after(l.since, l.o.Idle, 0)
	}
	if l.begun.IsZero() {
		l.begun = now
	}
	return after(l.begun, l.o.Head, 0)
}

// arm sees to it that a read ends when it is due. Setting a deadline is dear, and
// an idle connection that wakes up too early is not: fill arms again.
func (l *serving) arm(due time.Time) error {
	if l.armed.Equal(due) {
		return nil
	}
	patience := l.o.Idle
	if l.o.Rest > 0 && !l.resting {
		patience = min(patience, l.o.Rest)
	}
	if early := due.Sub(l.armed); l.have == 0 && 0 <= early && early <= patience/4 {
		return nil
	}
	l.armed = due
	return l.nc.SetReadDeadline(due)
}

// grow borrows a larger buffer; ScanHead has refused heads before they fill the
// largest.
func (l *serving) grow() {
	mem := takeMemory(max(smallBuffer, 2*len(l.buf)))
	copy(mem, l.buf[:l.have])
	giveMemory(l.buf)
	l.buf = mem
}

// shrink gives a borrowed buffer back when the own one is enough.
func (l *serving) shrink() {
	if len(l.buf) == loopRead || l.have > loopRead/2 || l.have > 0 && l.full {
		return
	}
	mem := takeMemory(loopRead)
	copy(mem, l.buf[:l.have])
	giveMemory(l.buf)
	l.buf = mem
}
