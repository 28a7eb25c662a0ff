package h1

import (
	"bytes"
	"cmp"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// loopRead is what a connection that waits may take in without borrowing a
	// buffer; most heads are smaller.
	loopRead = 1 << 10
	// loopWrite is how much is gathered before it is written, and the largest
	// body that is copied next to its head rather than written from where it is.
	loopWrite = 64 << 10
	// loopSlack is room for a head beside a full body.
	loopSlack = 4 << 10
)

// A Hit is an answer to GET or HEAD that stands ready.
type Hit struct {
	// Head is sent piece by piece: the status line, then field lines, each with
	// CRLF, without Date, Connection, and the empty line.
	Head [5][]byte
	// Body is what follows; HEAD answers have none.
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
	// Stopping is set when the server drains: answers then say "Connection: close",
	// and no further request is waited for. Whoever sets it must afterwards make
	// reads of the connection end, by a read deadline that has passed. nil never
	// stops.
	Stopping *atomic.Bool
	// OnPanic is told of a panic in Hit and of the bytes that led to it. The
	// connection is closed.
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
func Loop(nc net.Conn, o LoopOptions) (rest *Conn) {
	o.Options = o.Options.withDefaults()
	l := &loop{nc: nc, o: &o}
	l.buf = l.small[:]
	defer func() {
		if v := recover(); v != nil {
			if o.OnPanic == nil {
				panic(v)
			}
			o.OnPanic(v, bytes.Clone(l.buf[:l.have]))
			_ = nc.Close()
			rest = nil
		}
	}()
	return l.run()
}

// A loop is the state of one connection.
type loop struct {
	nc    net.Conn
	o     *LoopOptions
	small [loopRead]byte
	buf   []byte // small, or borrowed
	have  int

	head  Head
	hit   Hit
	out   *loopBuffer // borrowed while there is something to write
	last  bool        // the connection ends after what is in out
	begun time.Time   // when the first byte of an unfinished head came
	read  time.Time   // the deadline that is set
	wrote time.Time   // the same for writing
}

type loopBuffer struct{ b []byte }

var loopBuffers = sync.Pool{New: func() any { return &loopBuffer{make([]byte, 0, loopWrite+loopSlack)} }}

func (l *loop) run() *Conn {
	for {
		handOver := l.answer()
		if err := l.flush(); err != nil || l.last {
			l.end()
			return nil
		}
		if handOver {
			return l.handOver(l.o.Head)
		}
		switch err := l.fill(); {
		case err == nil:
		case isTimeout(err) && l.have > 0:
			return l.handOver(time.Nanosecond) // it is refused as too slow
		default:
			l.end()
			return nil
		}
	}
}

// end closes the connection, letting the last answer arrive.
func (l *loop) end() {
	l.giveBack()
	if half, ok := l.nc.(interface{ CloseWrite() error }); ok && l.last && half.CloseWrite() == nil {
		_ = l.nc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, l.nc, lingerBytes)
	}
	_ = l.nc.Close()
}

func (l *loop) giveBack() {
	if len(l.buf) != loopRead {
		giveMemory(l.buf)
	}
	l.buf = nil
}

// handOver puts the connection behind a guard that has the bytes not yet used.
func (l *loop) handOver(headTime time.Duration) *Conn {
	_ = l.nc.SetReadDeadline(time.Time{}) // an error comes again
	_ = l.nc.SetWriteDeadline(time.Time{})
	o := l.o.Options
	o.Head = headTime
	c := Guard(l.nc, o)
	c.held.stash(l.buf[:l.have])
	c.vetHeld()
	l.giveBack()
	return c
}

// answer gathers the answers to the requests that are in the buffer. It reports
// whether it met something that is not for it.
func (l *loop) answer() (handOver bool) {
	used, now := 0, time.Now()
	for used < l.have && !l.last {
		n, refusal := ScanHead(l.buf[used:l.have], l.o.Limits, &l.head)
		if refusal.Refused() {
			handOver = true
			break
		}
		if n == 0 {
			break
		}
		if !l.simple() {
			handOver = true
			break
		}
		l.hit = Hit{}
		if !l.o.Hit(&l.head, l.buf[used:used+n], &l.hit) {
			handOver = true
			break
		}
		used += n
		l.last = l.head.Close || l.stopping()
		if err := l.gather(now); err != nil {
			l.last = true // nobody takes answers any more
		}
		l.head = Head{}
	}
	if used > 0 {
		l.have = copy(l.buf, l.buf[used:l.have])
		l.begun = time.Time{}
		l.shrink()
	}
	if handOver {
		l.head = Head{}
	}
	return handOver
}

func (l *loop) stopping() bool { return l.o.Stopping != nil && l.o.Stopping.Load() }

// simple reports whether the head that was scanned is one that loops answer.
func (l *loop) simple() bool {
	h := &l.head
	return (h.Kind == MethodGet || h.Kind == MethodHead) && h.Minor == 1 && h.Form == FormOrigin && h.Framing == FramingNone && !h.Continue && !h.Upgrade
}

// gather appends an answer to what is to be written, or writes a large body from
// where it lies.
func (l *loop) gather(now time.Time) error {
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
	if len(out)+len(body) <= loopWrite {
		l.out.b = append(out, body...)
		return nil
	}
	l.out.b = out
	return l.write(body)
}

// flush writes what has been gathered.
func (l *loop) flush() error {
	if l.out == nil {
		return nil
	}
	return l.write(nil)
}

// write writes what has been gathered, and body behind it.
func (l *loop) write(body []byte) error {
	defer func() {
		l.out.b = l.out.b[:0]
		loopBuffers.Put(l.out)
		l.out = nil
	}()
	if err := l.setWriteDeadline(len(l.out.b) + len(body)); err != nil {
		return err
	}
	if len(body) == 0 {
		_, err := l.nc.Write(l.out.b)
		return err
	}
	if w, ok := l.nc.(BuffersWriter); ok {
		return w.WriteBuffers(l.out.b, body)
	}
	buffers := net.Buffers{l.out.b, body}
	_, err := buffers.WriteTo(l.nc)
	return err
}

// setWriteDeadline allows for a reader as slow as Rate. A deadline that leaves
// half of the time that is due is good enough: setting one is dear.
func (l *loop) setWriteDeadline(n int) error {
	if l.o.Grace < 0 {
		return nil
	}
	now := time.Now()
	allowed := l.o.Grace + atRate(int64(n), l.o.Rate)
	if left := l.wrote.Sub(now); left > allowed/2 && left < 2*allowed {
		return nil
	}
	l.wrote = now.Add(allowed)
	return l.nc.SetWriteDeadline(l.wrote)
}

// fill reads once, behind the bytes of a head that is not whole.
func (l *loop) fill() error {
	if l.have == len(l.buf) {
		l.grow()
	}
	if err := l.setReadDeadline(time.Now()); err != nil {
		return err
	}
	if l.stopping() {
		return io.EOF
	}
	n, err := l.nc.Read(l.buf[l.have:])
	l.have += n
	if n > 0 {
		return nil
	}
	return cmp.Or(err, io.ErrNoProgress)
}

// setReadDeadline is for the rest of a head, or for the next one to begin.
func (l *loop) setReadDeadline(now time.Time) error {
	if l.have > 0 {
		if l.begun.IsZero() {
			l.begun = now
			l.read = after(now, l.o.Head, 0)
			return l.nc.SetReadDeadline(l.read)
		}
		return nil
	}
	if l.o.Idle < 0 {
		return nil
	}
	if left := l.read.Sub(now); left > l.o.Idle || left < l.o.Idle*3/4 {
		l.read = now.Add(l.o.Idle)
		return l.nc.SetReadDeadline(l.read)
	}
	return nil
}

// grow borrows a larger buffer; ScanHead has refused heads before they fill the
// largest.
func (l *loop) grow() {
	mem := takeMemory(max(smallBuffer, 2*len(l.buf)))
	copy(mem, l.buf[:l.have])
	if len(l.buf) != loopRead {
		giveMemory(l.buf)
	}
	l.buf = mem
}

// shrink gives a borrowed buffer back when the own one is enough.
func (l *loop) shrink() {
	if len(l.buf) == loopRead || l.have > loopRead/2 {
		return
	}
	copy(l.small[:], l.buf[:l.have])
	giveMemory(l.buf)
	l.buf = l.small[:]
}

// A dateLine is the Date field of answers, made anew every second.
type dateLine struct{ current atomic.Pointer[datedLine] }

type datedLine struct {
	second int64
	line   []byte
}

// clock is shared by all loops: it is a cache of the time.
var clock dateLine

func (d *dateLine) line(now time.Time) []byte {
	second := now.Unix()
	if l := d.current.Load(); l != nil && l.second == second {
		return l.line
	}
	l := &datedLine{second: second, line: []byte("Date: " + now.UTC().Format(http.TimeFormat) + "\r\n")}
	d.current.Store(l)
	return l.line
}
