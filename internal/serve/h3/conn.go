package h3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// A transport is a QUIC connection, as far as it is needed here.
type transport interface {
	acceptStream() (bidi, error)
	acceptUni() (receiver, error)
	openUni() (io.Writer, error)
	close(code ErrCode, why string)
	handshake() <-chan struct{} // is closed when the handshake is complete
	context() context.Context   // ends with the connection
	addresses() (remote, local net.Addr)
	tls() *tls.ConnectionState
}

// A receiver is a stream that is read.
type receiver interface {
	io.Reader
	SetReadDeadline(t time.Time) error // never fails
	CancelRead(code quic.StreamErrorCode)
	ReleaseStreamCredit()
}

// A bidi is a stream of a request.
type bidi interface {
	receiver
	io.WriteCloser
	TryWriteAll(p []byte) error
	SetWriteDeadline(t time.Time) error // never fails
	SetPriority(urgency int8, incremental bool)
	CancelWrite(code quic.StreamErrorCode)
	StreamID() quic.StreamID
	Context() context.Context // ends when nothing can be written any more
}

// A quicConn is quic-go's.
type quicConn struct{ conn *quic.Conn }

func (q quicConn) acceptStream() (bidi, error) { return q.conn.AcceptStream(context.Background()) }
func (q quicConn) acceptUni() (receiver, error) {
	return q.conn.AcceptUniStream(context.Background())
}
func (q quicConn) openUni() (io.Writer, error) { return q.conn.OpenUniStream() }
func (q quicConn) handshake() <-chan struct{}  { return q.conn.HandshakeComplete() }
func (q quicConn) context() context.Context    { return q.conn.Context() }
func (q quicConn) close(code ErrCode, why string) {
	_ = q.conn.CloseWithError(quic.ApplicationErrorCode(code), why) // it has no error to tell
}

func (q quicConn) addresses() (remote, local net.Addr) {
	return q.conn.RemoteAddr(), q.conn.LocalAddr()
}

func (q quicConn) tls() *tls.ConnectionState {
	state := q.conn.ConnectionState().TLS
	return &state
}

// A conn is one connection.
type conn struct {
	server *Server
	quic   transport
	info   ConnInfo
	remote string                      // RemoteAddr, as requests have it
	tls    func() *tls.ConnectionState // of the complete handshake, the same for all requests
	work   sync.WaitGroup              // goroutines of the connection
	sent   atomic.Int64                // bytes of answers that took their time

	hitting sync.Mutex // guards hit, and is held while Options.Hit runs
	hit     Hit

	mu        sync.Mutex // guards the fields below
	control   io.Writer  // our control stream; nil until SETTINGS have been written to it
	seen      [streamDecoder + 1]bool
	budget    budget
	abused    bool
	opened    quic.StreamID              // the stream behind the highest that was taken
	live      map[quic.StreamID]*stream  // that have a goroutine
	announced map[quic.StreamID]priority // of the last request that was taken, and of those to come
	streams   int                        // that have not ended, or whose handlers have not
	busy      int                        // of them, requests that are being answered by goroutines
	since     time.Time                  // when a request last was
	idle      *time.Timer
	overdue   bool // idle has fired while the connection was busy
	leaving   bool // GOAWAY has been sent, or will be with SETTINGS
	settled   bool // close has been arranged for, because leaving is done
	closed    bool
}

func newConn(ctx context.Context, s *Server, qc transport) *conn {
	now := time.Now()
	c := &conn{server: s, quic: qc, budget: budget{since: now}, since: now}
	c.tls = sync.OnceValue(qc.tls)
	c.info.RemoteAddr, c.info.LocalAddr = qc.addresses()
	c.remote = c.info.RemoteAddr.String()
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.info.LocalAddr)
	if ctx.Value(http.ServerContextKey) == nil { // without it, ReverseProxy does not break off what its upstream breaks off
		ctx = context.WithValue(ctx, http.ServerContextKey, &s.standIn)
	}
	c.info.Context = ctx
	return c
}

// serve runs the connection until it ends.
func (c *conn) serve() {
	c.mu.Lock()
	c.idle = time.AfterFunc(c.server.options.Idle, c.checkIdle)
	c.mu.Unlock()
	if err := c.begin(); err != nil {
		c.fail(err)
	}
	c.work.Go(c.acceptUni)
	c.acceptRequests()
	c.mu.Lock()
	c.closed = true
	c.idle.Stop()
	c.mu.Unlock()
	c.work.Wait()
}

// begin opens the control stream and sends SETTINGS (RFC 9114 §7.2.4).
func (c *conn) begin() error {
	stream, err := c.quic.openUni()
	if err != nil {
		return &connError{GeneralProtocolError, "no stream for control"} // RFC 9114 §6.2 gives us three
	}
	settings := quicvarint.Append(nil, settingFieldSectionSize)
	settings = quicvarint.Append(settings, uint64(c.server.options.HeaderBytes))
	wire := appendFrame([]byte{streamControl}, frameSettings, uint64(len(settings)))
	wire = append(wire, settings...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.control = stream
	_, _ = stream.Write(wire) // it is short, so that it is taken at once; a connection that is lost ends otherwise
	if c.leaving {
		c.sendGoAway()
	}
	return nil
}

// proven waits until the handshake is complete, and reports whether it is: it may
// fail. Before that the address of the client may be forged, and what it sends may
// have been recorded and sent again (RFC 8470 §3).
func (c *conn) proven() bool {
	select {
	case <-c.quic.handshake():
		return true
	case <-c.quic.context().Done():
		return false
	}
}

// earlyStreams is how many requests of a connection may come in early data. Some of
// them have a goroutine that waits for the handshake; the others wait in QUIC.
const earlyStreams = 16

// acceptRequests takes request streams until the connection ends.
func (c *conn) acceptRequests() {
	for n := 0; ; n++ {
		if n == earlyStreams && !c.proven() {
			return
		}
		s, err := c.quic.acceptStream()
		if err != nil {
			return
		}
		c.take(s)
	}
}

// acceptUni takes unidirectional streams. Nothing that is answered in early data
// needs to know what they say.
func (c *conn) acceptUni() {
	if !c.proven() {
		return
	}
	for {
		s, err := c.quic.acceptUni()
		if err != nil {
			return
		}
		c.work.Go(func() { c.serveUni(s) })
	}
}

// admit counts a request stream and reports whether it is to be answered. The
// priority is what has been said of it before it came.
func (c *conn) admit(id quic.StreamID) (p priority, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving || c.streams >= c.server.options.Streams {
		return p, false
	}
	delete(c.announced, c.opened-4) // the one before
	c.opened = id + 4
	c.streams++
	c.budget.earn(Priorities, 2) // a browser may give each request its priority, and another one later
	return c.announced[id], true
}

// enter and exit are around answering a request in a goroutine of its own.
func (c *conn) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy++
}

func (c *conn) exit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
	if c.busy--; c.busy == 0 && c.overdue && !c.closed {
		c.overdue = false
		c.idle.Reset(c.server.options.Idle)
	}
}

// checkIdle closes a connection on which no request has been answered for too
// long. QUIC's own timer stops at every PING: a client that never ends a head would
// stay for ever.
func (c *conn) checkIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.busy > 0 {
		c.overdue = true
		return
	}
	if left := c.server.options.Idle - time.Since(c.since); left > 0 {
		c.idle.Reset(left)
		return
	}
	c.close(NoError, "idle")
}

// fail ends the connection for an error, if it is one of the connection's.
func (c *conn) fail(err error) {
	if bad, ok := errors.AsType[*connError](err); ok {
		c.close(bad.code, bad.why)
	}
}

func (c *conn) close(code ErrCode, why string) { c.quic.close(code, why) }

// contain ends the connection when a goroutine of it has panicked outside of a
// handler, or lets the panic go on.
func (c *conn) contain(in *input) {
	failure := recover()
	if failure == nil {
		return
	}
	if c.server.options.OnCrash == nil {
		panic(failure)
	}
	c.server.options.OnCrash(failure, bytes.Clone(in.rest()))
	c.close(InternalError, "internal error")
}

// goAway begins a graceful end: requests from the next one on are rejected.
func (c *conn) goAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving {
		return
	}
	c.leaving = true
	if c.control != nil {
		c.sendGoAway()
	}
	c.settle()
}

// sendGoAway sends GOAWAY with the first stream that is not answered (RFC 9114
// §5.2). mu is held.
func (c *conn) sendGoAway() {
	id := uint64(c.opened)
	wire := appendFrame(nil, frameGoAway, uint64(quicvarint.Len(id)))
	_, _ = c.control.Write(quicvarint.Append(wire, id)) // it is short, so that it is taken at once
}

// settle closes a connection that is leaving when it has nothing more to do, and
// its client has had a moment to take in the last answer. mu is held.
func (c *conn) settle() {
	if !c.leaving || c.streams > 0 || c.settled || c.closed {
		return
	}
	c.settled = true
	c.idle.Stop()
	c.idle = time.AfterFunc(c.server.options.Linger, func() { c.close(NoError, goingAway) })
}

// leave is the end of a request stream, and of its handler.
func (c *conn) leave(s bidi) {
	c.mu.Lock()
	delete(c.live, s.StreamID())
	c.streams--
	c.settle()
	c.mu.Unlock()
	s.ReleaseStreamCredit()
}
