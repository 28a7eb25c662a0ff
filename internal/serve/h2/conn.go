package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/serve/hpack"
)

const (
	// smallRead is the buffer of a connection that waits. Most batches of
	// requests fit; for others a large one is borrowed.
	smallRead = 1 << 10
	largeRead = maxFrame + frameHeader
)

// ConnInfo is what there is to know of a connection.
type ConnInfo struct {
	Context    context.Context //nolint:containedctx // of the connection, for requests
	RemoteAddr net.Addr
	LocalAddr  net.Addr
	TLS        *tls.ConnectionState // nil without TLS
	Data       any                  // whatever Options.Hit wants to keep
}

// A conn is one connection.
type conn struct {
	server *Server
	nc     net.Conn
	info   ConnInfo
	remote string // RemoteAddr, as requests have it
	cancel context.CancelFunc
	waiter loop.Waiter // nil if nothing but a goroutine can wait for nc
	again  func()      // goOn
	paced  bool        // the waiter sees to it that the peer takes what is written
	reader reader
	work   sync.WaitGroup // goroutines of the connection itself, see help

	// Only who reads touches these.
	greeted  bool
	prefaced bool // the preface has come
	rests    bool // it may rest
	rested   bool // it has rested since something came
	overdue  bool // a read has failed for its deadline since the loop has looked at its clock
	silent   bool // the last read found nothing: no layer below holds anything back
	turns    bool // a loop serves this and other connections by turns
	turn     int  // bytes that were sent in this turn
	more     bool // the turn was over before everything was done

	mu         sync.Mutex   // guards the fields below
	room       sync.Cond    // out was written, or never will be
	out        []byte       // frames to be written
	atOnce     int          // how many bytes are gathered before they are written
	buffer     *writeBuffer // that out lies in
	writing    bool         // somebody is the writer
	wroteUntil time.Time    // the write deadline that is set
	readUntil  time.Time    // the read deadline that is set
	soonest    time.Time    // of the deadlines that handlers have set, the next
	checked    time.Time    // when streams were last looked over
	active     time.Time    // when a stream last began or ended
	streams    map[uint32]*stream
	queue      []*stream // streams with a body to send, in the order in which they will; see schedule.go
	schedule   *schedule // nil without any priority
	starved    bool      // streams of queue are stuck because there was no sendWindow
	handlers   int       // that run, also those whose stream was reset
	sendWindow int64
	peerWindow int64 // SETTINGS_INITIAL_WINDOW_SIZE of the peer
	table      *hpack.Table
	encoded    []byte   // a header block that is being made
	opened     uint32   // highest stream of the peer
	last       uint32   // highest stream that is answered, as GOAWAY said
	broken     []broken // streams that were reset here a moment ago
	budget     budget
	now        time.Time // when the current batch began, or was last settled
	hits       int       // of the batch, not yet settled
	settled    time.Time // when, as long as it is nearly now
	sent       int64     // DATA, in all
	got        int64     // DATA, in all
	received   int64     // DATA since the last update of the connection's window
	consumed   int64     // of it, what has been used up
	helped     bool      // there were goroutines in work
	draining   bool      // the first GOAWAY has been sent
	leaving    bool      // the connection ends when its streams have
	lastWords  bool      // the write deadline is set for good
	ending     bool      // nothing but what is in out is sent any more
	closed     bool      // nothing at all is sent any more
}

// A reader is what only the reading goroutine touches.
type reader struct {
	buf      []byte    // borrowed; nil while the connection rests
	have     int       // bytes in buf that are not yet handled
	began    time.Time // when what is incomplete began
	decoder  *hpack.Decoder
	block    headerBlock
	section  section
	addField func(*hpack.Field) bool // section.add
	hit      Hit
	settings bool // the first SETTINGS have come

	announced           bool  // some of them that were no acknowledgement
	acknowledged        bool  // ours have been
	noRFC7540Priorities uint8 // the client's setting
}

// The pools are caches and hold no state.
var (
	smallBuffers = sync.Pool{New: func() any { return new([smallRead]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeRead]byte) }}
)

func newConn(ctx context.Context, s *Server, nc net.Conn) *conn {
	now := time.Now()
	c := &conn{
		server: s, nc: nc, table: hpack.NewTable(), streams: make(map[uint32]*stream), sendWindow: initialWindow, peerWindow: initialWindow,
		last: maxStreamID, budget: budget{since: now}, active: now, atOnce: littleAtOnce, waiter: loop.WaiterOf(nc),
	}
	c.again, c.rests = c.goOn, c.waiter != nil && s.options.Rest > 0
	c.turns = c.waiter != nil && c.waiter.Tries()
	c.paced = c.waiter != nil && c.waiter.Pace(s.options.Grace, s.options.Rate, littleAtOnce)
	c.info = ConnInfo{RemoteAddr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr()}
	c.remote = c.info.RemoteAddr.String()
	if secure, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secure.ConnectionState()
		c.info.TLS = &state
	}
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.info.LocalAddr)
	if ctx.Value(http.ServerContextKey) == nil { // without it, ReverseProxy does not break off what its upstream breaks off
		ctx = context.WithValue(ctx, http.ServerContextKey, &s.standIn)
	}
	c.info.Context, c.cancel = context.WithCancel(ctx)
	c.room.L = &c.mu
	c.reader.section.conn = c
	c.reader.section.reset()
	c.reader.decoder = fieldClasses.NewDecoder()
	c.reader.addField = c.reader.section.add
	return c
}

// serve runs the connection until it ends, or is to be called again.
func (c *conn) serve() (next wanted) {
	err := c.contained()
	switch {
	case errors.Is(err, errResting):
		return wantsMore
	case errors.Is(err, errTurn):
		return wantsTurn
	}
	c.reader.giveBack()
	c.finish(err)
	c.cancel()
	c.linger(err)
	_ = c.nc.Close() // what could fail has failed
	if c.helped {
		c.leave()
		c.work.Wait()
	}
	return wantsNothing
}

// wanted is what a connection that was served waits for.
type wanted uint8

const (
	wantsNothing wanted = iota // it has ended
	wantsMore                  // from its peer
	wantsTurn                  // after the others' turns
)

// errTurn says that others are to have their turns.
var errTurn = errors.New("h2: the connection's turn is over")

// contained runs the connection and turns a panic into an error of the connection.
func (c *conn) contained() (err error) {
	defer func() {
		if failure := recover(); failure != nil {
			c.crashed(failure, c.reader.buf[:c.reader.have])
			err = &connError{InternalError, "internal error"}
		}
	}()
	return c.run()
}

// crashed tells of a panic outside of handlers, or lets it go on.
func (c *conn) crashed(failure any, input []byte) {
	if c.server.options.OnCrash == nil {
		panic(failure)
	}
	c.server.options.OnCrash(failure, bytes.Clone(input))
}

func (c *conn) run() error {
	if !c.greeted {
		c.greeted = true
		c.greet()
	}
	if !c.prefaced {
		if err := c.readPreface(); err != nil {
			return err
		}
	}
	c.overdue = false
	if c.turn = 0; c.more && c.reader.have == 0 { // first of all what has come meanwhile: a window, or a reset
		if err := c.fill(); err != nil && !errors.Is(err, errResting) {
			return err
		}
	}
	for {
		if c.reader.have > 0 || c.more {
			c.more = false
			if err := c.batch(); err != nil {
				return err
			}
		}
		if c.more {
			return errTurn
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// help runs a part of the connection's own work in a goroutine. mu is held.
func (c *conn) help(f func()) {
	c.helped = true
	c.work.Go(f)
}

// greet sends SETTINGS.
func (c *conn) greet() {
	o := &c.server.options
	c.mu.Lock()
	c.begin(0, frameSettings, 0, 0)
	start := len(c.out)
	c.out = appendSetting(c.out, settingMaxConcurrentStreams, uint32(o.Streams))
	c.out = appendSetting(c.out, settingMaxHeaderListSize, uint32(o.HeaderBytes))
	c.out = appendSetting(c.out, settingNoRFC7540Priorities, 1)
	if o.ExtendedConnect {
		c.out = appendSetting(c.out, settingEnableConnectProtocol, 1)
	}
	setLength(c.out[start-frameHeader:], len(c.out)-start)
	c.flush()
	c.mu.Unlock()
}

func (c *conn) readPreface() error {
	for c.reader.have < len(preface) {
		got := c.reader.buf[:c.reader.have]
		if !bytes.HasPrefix([]byte(preface), got) {
			return &connError{ProtocolError, "no connection preface"}
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
	if string(c.reader.buf[:len(preface)]) != preface {
		return &connError{ProtocolError, "no connection preface"}
	}
	c.reader.drop(len(preface))
	c.prefaced = true
	return nil
}

// batch handles the frames that have arrived whole, and writes what came of
// them. Errors of streams end streams; any other ends the connection.
func (c *conn) batch() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = time.Now()
	at := 0
	for !c.closed {
		f, n, err := parseFrame(c.reader.buf[at:c.reader.have])
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		at += n
		err = c.handle(&f)
		if bad, ok := errors.AsType[*streamError](err); ok {
			err = c.resetStream(bad)
		}
		if err != nil {
			return err
		}
		if len(c.out) >= batchAtOnce && c.turns && !c.writing {
			c.settle()
			c.flushTurn()
			if c.turn >= turnBytes {
				c.more = true // the rest of the frames is for the next turn
				break
			}
		}
		c.awaitRoom()
	}
	c.reader.drop(at)
	c.settle()
	c.flushTurn()
	c.settled = time.Time{}
	return nil
}

// settle tells of the hits of the batch. mu is held.
func (c *conn) settle() {
	if c.hits == 0 {
		return
	}
	c.settled = time.Now()
	if tell := c.server.options.Answered; tell != nil {
		tell(&c.info, c.hits, c.settled.Sub(c.now))
	}
	c.hits, c.now = 0, c.settled
}

// drop removes n handled bytes from the front of the buffer, and gives a borrowed
// one back as soon as the own one is enough.
func (r *reader) drop(n int) {
	r.have = copy(r.buf, r.buf[n:r.have])
	if n > 0 && !r.block.open() {
		r.began = time.Time{}
	}
	if len(r.buf) == largeRead && r.have <= smallRead/2 {
		small := smallBuffers.Get().(*[smallRead]byte)
		copy(small[:], r.buf[:r.have])
		r.giveBack()
		r.buf = small[:]
	}
}

// giveBack gives the buffer back.
func (r *reader) giveBack() {
	switch len(r.buf) {
	case smallRead:
		smallBuffers.Put((*[smallRead]byte)(r.buf))
	case largeRead:
		largeBuffers.Put((*[largeRead]byte)(r.buf))
	}
	r.buf = nil
}

// fill reads once, whatever there is.
func (c *conn) fill() error {
	r := &c.reader
	if r.buf == nil {
		r.buf = smallBuffers.Get().(*[smallRead]byte)[:]
	}
	if len(r.buf) == smallRead && (r.have > smallRead-frameHeader || r.wants() > smallRead) {
		large := largeBuffers.Get().(*[largeRead]byte)
		copy(large[:], r.buf[:r.have])
		r.giveBack()
		r.buf = large[:]
	}
	for {
		if err := c.setReadDeadline(); err != nil {
			return err
		}
		n, err := c.nc.Read(r.buf[r.have:])
		r.have += n
		if n > 0 {
			c.rested, c.silent, c.overdue = false, false, false
			return nil
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			return err
		}
		c.silent = true
		if errors.Is(err, loop.ErrAgain) {
			if r.have == 0 {
				r.giveBack()
			}
			return errResting
		}
		c.overdue = true
	}
}

// wants is the size of the frame that the buffer begins with, if it says so.
func (r *reader) wants() int {
	if r.have < 3 {
		return 0
	}
	return frameHeader + int(r.buf[0])<<16 | int(r.buf[1])<<8 | int(r.buf[2])
}
