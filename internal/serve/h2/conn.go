package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	// headTime is how long a frame, or a header block of several, may take from
	// its first byte to its last.
	headTime = 5 * time.Second
	// checkEvery is how often streams are looked over for readers that are too slow.
	checkEvery = time.Second
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
}

// A conn is one connection.
type conn struct {
	server *Server
	nc     net.Conn
	info   ConnInfo
	cancel context.CancelFunc
	reader reader

	mu         sync.Mutex   // guards the fields below
	changed    sync.Cond    // windows grew, out was written, streams ended
	out        []byte       // frames to be written
	buffer     *writeBuffer // that out lies in
	writing    bool
	pumping    bool      // a goroutine of its own sends bodies
	wroteUntil time.Time // the write deadline that is set
	streams    map[uint32]*stream
	queue      []*stream // streams with a body that is ready, in the order of their turns
	sendWindow int64
	peerWindow int64 // SETTINGS_INITIAL_WINDOW_SIZE of the peer
	encoder    *hpack.Encoder
	encoded    bytes.Buffer
	opened     uint32 // highest stream of the peer
	budget     budget
	now        time.Time // when the current batch began
	leaving    bool      // the last GOAWAY has been sent: no new streams
	closed     bool      // nothing is sent any more
	received   int64     // DATA since the last update of the connection's window
	consumed   int64     // of it, what has been used up
}

// A reader is what only the reading goroutine touches.
type reader struct {
	small    [smallRead]byte
	buf      []byte // small or borrowed
	have     int    // bytes in buf that are not yet handled
	began    time.Time
	until    time.Time // the read deadline that is set
	checked  time.Time
	decoder  *hpack.Decoder
	block    headerBlock
	section  section
	hit      Hit
	settings bool // the first SETTINGS have come
}

var largeBuffers = sync.Pool{New: func() any { return new([largeRead]byte) }}

func newConn(ctx context.Context, s *Server, nc net.Conn) *conn {
	c := &conn{
		server: s, nc: nc, streams: make(map[uint32]*stream), sendWindow: initialWindow, peerWindow: initialWindow,
		budget: budget{since: time.Now()},
	}
	c.info = ConnInfo{RemoteAddr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr()}
	if secure, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secure.ConnectionState()
		c.info.TLS = &state
	}
	c.info.Context, c.cancel = context.WithCancel(ctx)
	c.changed.L = &c.mu
	c.encoder = hpack.NewEncoder(&c.encoded)
	c.reader.buf = c.reader.small[:]
	c.reader.section.conn = c
	c.reader.decoder = hpack.NewDecoder(4096, c.reader.section.add)
	c.reader.decoder.SetMaxStringLength(s.options.HeaderBytes)
	return c
}

// serve runs the connection until it ends.
func (c *conn) serve() {
	err := c.run()
	c.mu.Lock()
	if protocol, ok := errors.AsType[*connError](err); ok && !c.closed {
		c.sendGoAway(c.opened, protocol.code, protocol.why)
		c.flush()
	}
	c.closed = true
	for _, st := range c.streams {
		st.abort(errConnClosed)
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	c.cancel()
	c.linger(err)
	_ = c.nc.Close() // what could fail has failed
}

// linger lets the peer read GOAWAY before the kernel answers unread bytes with RST.
func (c *conn) linger(err error) {
	if _, ok := errors.AsType[*connError](err); !ok {
		return
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, _ = io.CopyN(io.Discard, c.nc, 256<<10)
	}
}

var errConnClosed = errors.New("HTTP/2 connection closed")

func (c *conn) run() error {
	o := &c.server.options
	c.mu.Lock()
	c.begin(12, frameSettings, 0, 0)
	c.out = appendSetting(c.out, settingMaxConcurrentStreams, uint32(o.Streams))
	c.out = appendSetting(c.out, settingMaxHeaderListSize, uint32(o.HeaderBytes))
	c.flush()
	c.mu.Unlock()
	if err := c.readPreface(); err != nil {
		return err
	}
	for {
		if err := c.batch(); err != nil {
			return err
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
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
	return nil
}

// batch handles the frames that have arrived whole, and writes what came of
// them. Errors of streams end streams; any other ends the connection.
func (c *conn) batch() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = time.Now()
	at := 0
	for {
		f, n, err := parseFrame(c.reader.buf[at:c.reader.have])
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		at += n
		if err := c.handle(&f); err != nil {
			bad, ok := errors.AsType[*streamError](err)
			if !ok {
				return err
			}
			if err := c.resetStream(bad); err != nil {
				return err
			}
		}
	}
	c.reader.drop(at)
	c.send()
	if c.closed {
		return errConnClosed
	}
	if c.leaving && len(c.streams) == 0 {
		c.flush()
		return errConnClosed
	}
	return nil
}

// drop removes n handled bytes from the front of the buffer, and gives a borrowed
// one back as soon as the own one is enough.
func (r *reader) drop(n int) {
	r.have = copy(r.buf, r.buf[n:r.have])
	if n > 0 {
		r.began = time.Time{}
	}
	if len(r.buf) == largeRead && r.have <= smallRead/2 {
		large := (*[largeRead]byte)(r.buf)
		copy(r.small[:], r.buf[:r.have])
		r.buf = r.small[:]
		largeBuffers.Put(large)
	}
}

// fill reads once, whatever there is.
func (c *conn) fill() error {
	r := &c.reader
	if r.have > len(r.buf)-frameHeader && len(r.buf) == smallRead || r.wants() > len(r.buf) {
		large := largeBuffers.Get().(*[largeRead]byte)
		copy(large[:], r.buf[:r.have])
		r.buf = large[:]
	}
	for {
		if err := c.setReadDeadline(); err != nil {
			return err
		}
		n, err := c.nc.Read(r.buf[r.have:])
		r.have += n
		if n > 0 {
			return nil
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			return err
		}
		if err := c.timedOut(); err != nil {
			return err
		}
	}
}

// wants is the size of the frame that the buffer begins with, if it says so.
func (r *reader) wants() int {
	if r.have < 3 {
		return 0
	}
	return frameHeader + int(r.buf[0])<<16 | int(r.buf[1])<<8 | int(r.buf[2])
}

// setReadDeadline sees to it that the next read ends in time: at the end of a
// head's time, when streams must be looked over, or when the connection has been
// idle for too long. A deadline that is still good is left: setting one is dear.
func (c *conn) setReadDeadline() error {
	r, o := &c.reader, &c.server.options
	now := time.Now()
	if r.have > 0 || r.block.open() {
		if r.began.IsZero() {
			r.began = now
		}
		if now.Sub(r.began) > headTime {
			return &connError{EnhanceYourCalm, "a frame took too long"}
		}
	}
	c.mu.Lock()
	busy := len(c.streams) > 0
	c.mu.Unlock()
	if busy && now.Sub(r.checked) > checkEvery {
		r.checked = now
		if err := c.checkStreams(now); err != nil {
			return err
		}
	}
	wait := o.Idle
	if busy {
		wait = min(wait, o.Grace)
	}
	if !r.began.IsZero() {
		wait = min(wait, headTime)
	}
	if left := r.until.Sub(now); left > wait || left < wait*3/4 {
		r.until = now.Add(wait)
		return c.nc.SetReadDeadline(r.until)
	}
	return nil
}

// timedOut decides what a read that ended in time means.
func (c *conn) timedOut() error {
	now := time.Now()
	c.mu.Lock()
	busy := len(c.streams) > 0
	c.mu.Unlock()
	switch {
	case !c.reader.began.IsZero():
		return nil // setReadDeadline judges
	case busy:
		return c.checkStreams(now)
	}
	return &connError{NoError, "idle"}
}

// checkStreams resets streams whose reader is too slow.
func (c *conn) checkStreams(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.streams {
		if !st.deadline.IsZero() && now.After(st.deadline) {
			if err := c.resetStream(&streamError{st.id, Cancel, "reader too slow"}); err != nil {
				return err
			}
		}
	}
	c.flush()
	return nil
}

// goAway begins a graceful end: the peer is told to open no more streams, and
// when it has had a moment to hear of it, which it was that counted.
func (c *conn) goAway() {
	c.mu.Lock()
	c.sendGoAway(maxStreamID, NoError, "")
	c.flush()
	c.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-c.info.Context.Done():
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	c.sendGoAway(c.opened, NoError, "")
	c.flush()
	if len(c.streams) == 0 {
		c.closed = true
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
}

func (c *conn) sendGoAway(last uint32, code ErrCode, why string) {
	c.begin(8+len(why), frameGoAway, 0, 0)
	c.out = appendUint32(appendUint32(c.out, last), uint32(code))
	c.out = append(c.out, why...)
}

// spend counts a frame of a kind against the budget.
func (c *conn) spend(k Kind) error {
	if c.budget.spend(k) {
		return nil
	}
	if c.server.options.OnAbuse != nil {
		c.server.options.OnAbuse(k)
	}
	return &connError{EnhanceYourCalm, "too many " + k.String()}
}
