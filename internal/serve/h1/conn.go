package h1

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Errors that end a connection. Both are timeouts to those who ask for net.Error.
var (
	// ErrIdle is what Read returns when no request began in time.
	ErrIdle error = &timeoutError{"idle for too long"}
	// ErrSlowReader is what Write returns when the peer takes its answer too slowly.
	ErrSlowReader error = &timeoutError{"the peer reads too slowly"}
)

// timeoutError is an error of a time limit of the guard.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string   { return e.text }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return false }

// Options says what a guarded connection may do. Zero fields mean the defaults; a negative time means no limit.
type Options struct {
	Limits Limits
	// Idle is how long to wait for the first byte of a request. Default 60 s; then Read returns ErrIdle.
	Idle time.Duration
	// Head is how long a head may take from its first byte. Default 5 s; then it is refused with 408. Like Grace, it counts
	// only the time in which somebody waits in Read.
	Head time.Duration
	// Grace is how long a body may keep its reader waiting, besides one second for every Rate bytes. Default 10 s. It
	// is also how long a write may take, besides one second for every Rate bytes of a piece of at most 64 KiB.
	Grace time.Duration
	// Rate is in bytes a second. Default 1 KiB/s.
	Rate int64
	// H2C lets a connection that begins with the HTTP/2 preface through, unseen.
	H2C bool
	// OnRefusal, if set, is called for every rule that is broken, from the goroutine that reads or writes.
	OnRefusal func(Refusal)
}

// withDefaults returns a filled copy.
func (o Options) withDefaults() Options {
	o.Limits = o.Limits.withDefaults()
	o.Idle = cmp.Or(o.Idle, time.Minute)
	o.Head = cmp.Or(o.Head, 5*time.Second)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.Rate = cmp.Or(o.Rate, 1<<10)
	return o
}

// The request that takes the place of one that was refused. No client can send it: ScanHead refuses its method, and
// net/http takes any. ".invalid" can be nobody's name (RFC 2606 §2).
const (
	refusedMethod  = "REFUSED"
	refusedHost    = "refused.invalid"
	refusedRequest = refusedMethod + " / HTTP/1.1\r\nHost: " + refusedHost + "\r\nConnection: close\r\n\r\n"
)

// Lingering: how long and how much is read after the last answer, so that no RST destroys it (RFC 9112 §9.6).
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 64 << 10
)

// writePiece is the most that is written under one deadline.
const writePiece = 64 << 10

// A Conn is a connection whose Read returns only bytes that passed. [Guard] makes one.
type Conn struct {
	inner   net.Conn
	options Options
	in, out deadline

	// Only the reader touches these.
	track    tracker
	held     buffer
	err      error         // what Read returns when nothing is held any more
	waited   time.Duration // in Read, for the current head or body
	received int64         // bytes of the current body

	refusal atomic.Pointer[Refusal] // set when the synthetic request is
	isH2    atomic.Bool
	broken  atomic.Pointer[Refusal] // set when a body broke its framing
	final   atomic.Bool             // Last was called
	over    atomic.Bool             // there will be no further request: linger on Close
	wrote   atomic.Bool
	slow    atomic.Bool // a write timed out: the stream has a hole
	closed  atomic.Bool
}

// Guard puts the guard on c: a plain connection, or one that has finished its TLS handshake. c belongs to the Conn from then on.
func Guard(c net.Conn, o Options) *Conn {
	g := &Conn{inner: c, options: o.withDefaults()}
	g.in.apply, g.out.apply = c.SetReadDeadline, c.SetWriteDeadline
	g.track.limits = g.options.Limits
	if !o.H2C {
		g.track.protocol = ProtocolHTTP1
	}
	return g
}

// Read returns bytes that passed. It may be called with any size: net/http waits with a single byte for the peer to close
// while a handler runs.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.in.wishPassed() {
		return 0, os.ErrDeadlineExceeded
	}
	for {
		if n := c.held.hand(p); n > 0 {
			return n, nil
		}
		if c.err != nil {
			return 0, c.err
		}
		if n, err := c.fill(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// fill reads once from the peer. The bytes land in p, which costs no copy and lets an idle connection do without a buffer; only
// what must wait for more is put aside, and then the next ones go there too.
func (c *Conn) fill(p []byte) (int, error) {
	if c.final.Load() && (c.track.phase == phaseHead || c.track.phase == phaseOver) {
		c.err = io.EOF
		return 0, io.EOF
	}
	// One byte is how net/http watches a peer while a handler runs; that takes as long as the handler.
	watching := len(p) == 1
	if !c.held.empty() {
		return 0, c.fillHeld(watching)
	}
	n, err := c.pull(p, watching)
	if n == 0 {
		return 0, err
	}
	good, size, why := c.vet(p[:n])
	if why != ReasonNone {
		c.refuse(why)
		return good, nil
	}
	c.held.stash(p[good:size])
	return good, nil
}

// fillHeld reads once from the peer, behind the bytes that are held.
func (c *Conn) fillHeld(watching bool) error {
	n, err := c.pull(c.held.room(), watching)
	if n == 0 {
		return err
	}
	c.held.w += n
	c.vetHeld()
	return nil
}

// vetHeld vets what is held.
func (c *Conn) vetHeld() {
	good, size, why := c.vet(c.held.waiting())
	c.held.w = c.held.vetted + size
	c.held.vetted += good
	if why != ReasonNone {
		c.refuse(why)
	}
}

// vet follows the messages in w. The first good bytes passed; size is the length of w without what was thrown away.
func (c *Conn) vet(w []byte) (good, size int, why Reason) {
	size = len(w)
	turns := c.track.turns
	for good < size {
		skip, n, broken := c.track.next(w[good:size])
		if skip > 0 {
			copy(w[good:], w[good+skip:size])
			size -= skip
		}
		if n == 0 {
			why = broken
			break
		}
		good += n
	}
	if c.track.turns != turns {
		c.waited, c.received = 0, 0
	}
	if c.track.phase == phaseOver {
		c.over.Store(true)
	}
	if c.track.protocol == ProtocolHTTP2 {
		c.isH2.Store(true)
	}
	return good, size, why
}

// refuse ends the stream of requests, in the place where the rule was broken: behind what passed and is still to be handed on.
func (c *Conn) refuse(why Reason) {
	refusal := why.Refusal()
	c.over.Store(true)
	if c.track.phase == phaseHead {
		c.refusal.Store(&refusal)
		c.held.replace(refusedRequest)
		c.err = io.EOF
	} else {
		c.held.replace("")
		c.broken.Store(&refusal)
		c.err = &BodyError{refusal}
	}
	c.count(refusal)
}

func (c *Conn) count(r Refusal) {
	if c.options.OnRefusal != nil {
		c.options.OnRefusal(r)
	}
}

// pull reads from the peer, for as long as the peer may take.
func (c *Conn) pull(into []byte, watching bool) (int, error) {
	idle := c.idle()
	start := time.Now()
	if err := c.in.begin(c.limit(start, watching)); err != nil {
		c.in.end()
		return 0, err
	}
	n, err := c.inner.Read(into)
	c.in.end()
	if !idle {
		c.waited += time.Since(start)
		c.received += int64(n)
	}
	if n > 0 {
		return n, nil // an error comes again
	}
	if isTimeout(err) && c.in.limitPassed() {
		return 0, c.lapse(idle)
	}
	if err != nil && !isTimeout(err) {
		c.err = err // who asks again beside Close need not wait for it again
	}
	return 0, err
}

// idle reports whether no byte of the next request has come.
func (c *Conn) idle() bool {
	return c.track.phase == phaseOver || c.track.phase == phaseHead && c.held.empty()
}

// limit returns until when the peer has time for its next byte; zero: for ever.
func (c *Conn) limit(now time.Time, watching bool) time.Time {
	o := &c.options
	switch {
	case c.track.phase == phasePass, c.idle() && watching:
		return time.Time{}
	case c.idle():
		return after(now, o.Idle, 0)
	case c.track.phase == phaseHead:
		return after(now, o.Head, -c.waited)
	}
	return after(now, o.Grace, atRate(c.received, o.Rate)-c.waited)
}

// after returns now plus patience and extra; zero, no limit, for a negative patience.
func after(now time.Time, patience, extra time.Duration) time.Time {
	if patience < 0 {
		return time.Time{}
	}
	return now.Add(patience + extra)
}

// atRate is how long n bytes take.
func atRate(n, rate int64) time.Duration {
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}

// lapse ends a connection whose peer took too long. Only a head that has begun is answered.
func (c *Conn) lapse(idle bool) error {
	switch {
	case idle:
		c.err = ErrIdle
		return c.err
	case c.track.phase == phaseHead:
		c.refuse(ReasonSlowHead)
	default:
		c.refuse(ReasonSlowBody)
	}
	return nil
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// Write writes p in pieces, each with its own time limit, so that a peer who reads slowly is told from a long answer.
func (c *Conn) Write(p []byte) (int, error) {
	if c.slow.Load() {
		return 0, ErrSlowReader
	}
	if !c.wrote.Load() {
		c.wrote.Store(true)
	}
	done := 0
	for done < len(p) {
		n, err := c.writePiece(p[done:min(len(p), done+writePiece)])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// writePiece writes p under one deadline.
func (c *Conn) writePiece(p []byte) (int, error) {
	err := c.out.begin(after(time.Now(), c.options.Grace, atRate(int64(len(p)), c.options.Rate)))
	n := 0
	if err == nil {
		n, err = c.inner.Write(p)
	}
	c.out.end()
	if err != nil && isTimeout(err) && c.out.limitPassed() {
		c.slow.Store(true)
		c.count(ReasonSlowReader.Refusal())
		return n, ErrSlowReader
	}
	return n, err
}

// Close closes the connection. After a refusal that was answered, a request that said close, or Last, it lingers until the peer
// hangs up, for half a second at most: the peer gets the end of the answers, and what it still sends is read and thrown
// away. A second Close cuts that short.
func (c *Conn) Close() error {
	if !c.closed.Swap(true) && c.over.Load() && c.wrote.Load() && (c.final.Load() || c.quiet()) {
		c.in.close() // net/http may look for a next request until now, and would wait for it as long as for any
		linger(c.inner)
	}
	return c.inner.Close()
}

// Last says that the connection ends with the answer at hand, although no request has said so. Nothing behind the current
// message is read any more: net/http would do so until the very moment of Close, which then could not linger. A nil Conn takes
// no notice.
func (c *Conn) Last() {
	if c != nil {
		c.final.Store(true)
		c.over.Store(true)
	}
}

// quiet reports whether nobody reads or writes. Otherwise it is not the engine that has finished: somebody shuts the
// server down, who does not want to wait for one connection after the other.
func (c *Conn) quiet() bool { return !c.in.active() && !c.out.active() }

// linger closes the writing half and drains the other. Below TLS: nobody needs those bytes decrypted.
func linger(raw net.Conn) {
	halfClose(raw)
	if t, ok := raw.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
		halfClose(raw)
	}
	if raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	// However it ends, Close follows.
	_, _ = io.CopyN(io.Discard, raw, lingerBytes)
}

// halfClose ends the writing half where there is such a thing.
func halfClose(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		// When it fails the connection is dead, and Close follows.
		_ = h.CloseWrite()
	}
}

// CloseWrite ends the writing half, if the inner connection has one.
func (c *Conn) CloseWrite() error {
	h, ok := c.inner.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return h.CloseWrite()
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets a deadline beside the guard's own; a Read that is blocked feels it at once. No byte is lost by it.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.in.set(t) }

// SetWriteDeadline sets a deadline beside the guard's own.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.out.set(t) }

// LocalAddr is the inner connection's.
func (c *Conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// RemoteAddr is the inner connection's.
func (c *Conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// NetConn returns the inner connection. Reading from it loses what is held here.
func (c *Conn) NetConn() net.Conn { return c.inner }
