package edge

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/h3"
	"pennyfarthing/internal/serve/qpack"
)

// A gate is a client's socket that can be deaf, and that can keep back what would
// complete the handshake. What comes before that it records.
type gate struct {
	net.PacketConn
	heard    chan struct{} // closed when the client may hear
	hear     func()
	shut     atomic.Bool
	sent     atomic.Int64 // bytes
	received atomic.Int64

	mu    sync.Mutex // guards first
	first [][]byte   // datagrams of Initial and 0-RTT packets
}

func newGate(t *testing.T) *gate {
	g := &gate{PacketConn: listenUDP(t), heard: make(chan struct{})}
	g.hear = sync.OnceFunc(func() { close(g.heard) })
	t.Cleanup(g.hear)
	g.shut.Store(true)
	return g
}

func (g *gate) ReadFrom(p []byte) (int, net.Addr, error) {
	<-g.heard
	n, from, err := g.PacketConn.ReadFrom(p)
	g.received.Add(int64(n))
	return n, from, err
}

func (g *gate) WriteTo(p []byte, to net.Addr) (int, error) {
	if completes(p) {
		if g.shut.Load() {
			return len(p), nil
		}
	} else {
		g.mu.Lock()
		g.first = append(g.first, append([]byte(nil), p...))
		g.mu.Unlock()
	}
	g.sent.Add(int64(len(p)))
	return g.PacketConn.WriteTo(p, to)
}

// completes reports whether a datagram has packets other than Initial and 0-RTT (RFC
// 9000 §17.2).
func completes(p []byte) bool {
	for len(p) > 0 && p[0] != 0 {
		if p[0]&0x80 == 0 || p[0]&0x30 > 0x10 {
			return true
		}
		at := 5
		at += 1 + int(p[at])
		at += 1 + int(p[at])
		if p[0]&0x30 == 0 {
			token, n, _ := quicvarint.Parse(p[at:])
			at += n + int(token)
		}
		length, n, _ := quicvarint.Parse(p[at:])
		p = p[at+n+int(length):]
	}
	return false
}

// A ticket is a cache of sessions that keeps the first for ever, for whoever asks.
type ticket struct {
	mu    sync.Mutex // guards state
	state *tls.ClientSessionState
	got   chan struct{}
}

func (c *ticket) Get(string) (*tls.ClientSessionState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.state != nil
}

func (c *ticket) Put(_ string, state *tls.ClientSessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == nil && state != nil {
		c.state = state
		close(c.got)
	}
}

// An earlyEdge is a server that gives out tickets.
type earlyEdge struct {
	*running
	t    *testing.T
	addr net.Addr
}

func startEarly(t *testing.T, o setup) *earlyEdge {
	t.Helper()
	edit := o.edit
	o.secure = true
	o.edit = func(o *Options) {
		o.Engine = Fast
		if edit != nil {
			edit(o)
		}
	}
	e := &earlyEdge{running: start(t, o), t: t}
	addr, err := net.ResolveUDPAddr("udp", e.secure)
	if err != nil {
		t.Fatal(err)
	}
	e.addr = addr
	return e
}

// dial connects, as early as the ticket allows.
func (e *earlyEdge) dial(pc net.PacketConn, serverName string, cache *ticket) *quic.Conn {
	e.t.Helper()
	config := clientTLS(serverName, h3.NextProto)
	config.ClientSessionCache = cache
	transport := &quic.Transport{Conn: pc}
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	conn, err := transport.DialEarly(ctx, e.addr, config, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
		if g, ok := pc.(*gate); ok {
			g.hear()
		}
		_ = transport.Close()
	})
	return conn
}

// ticket makes a handshake with a server name and returns what it brought.
func (e *earlyEdge) ticket(serverName string) *ticket {
	e.t.Helper()
	cache := &ticket{got: make(chan struct{})}
	conn := e.dial(listenUDP(e.t), serverName, cache)
	select {
	case <-cache.got:
	case <-time.After(patience):
		e.t.Fatal("there is no ticket")
	}
	_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
	eventually(e.t, "the connection has ended", func() bool { return e.server.h3.Connections() == 0 })
	return cache
}

// early connects with a ticket, and stays deaf.
func (e *earlyEdge) early(serverName string, cache *ticket) (*gate, *quic.Conn) {
	e.t.Helper()
	g := newGate(e.t)
	return g, e.dial(g, serverName, cache)
}

// ask sends a request and returns its stream.
func (e *earlyEdge) ask(conn *quic.Conn, method, host, path string) *quic.Stream {
	e.t.Helper()
	s, err := conn.OpenStream()
	if err != nil {
		e.t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(patience))
	section := qpack.AppendPrefix(nil)
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", host}, {":path", path}} {
		section = qpack.AppendField(section, f[0], f[1])
	}
	if _, err := s.Write(append([]byte{1, byte(len(section))}, section...)); err != nil {
		e.t.Fatal(err)
	}
	_ = s.Close()
	return s
}

// outcome reads an answer to its end and returns its status, or what went wrong.
func (e *earlyEdge) outcome(s *quic.Stream) string {
	e.t.Helper()
	wire, err := io.ReadAll(s)
	if err != nil {
		return err.Error()
	}
	length, n, err := quicvarint.Parse(wire[1:])
	if err != nil {
		e.t.Fatal(err)
	}
	var status string
	if err := new(qpack.Decoder).Decode(wire[1+n:][:length], func(f hpack.HeaderField) bool {
		status = f.Value
		return false
	}); err != nil {
		e.t.Fatal(err)
	}
	return status
}

// answered is how many requests have been answered, or are about to be.
func (e *earlyEdge) answered() (requests int) {
	e.t.Helper()
	for line := range strings.Lines(exposition(e.t, e.metrics)) {
		if i := strings.LastIndexByte(line, ' '); strings.HasPrefix(line, "penny_requests_total{") {
			n, err := strconv.Atoi(strings.TrimSpace(line[i:]))
			if err != nil {
				e.t.Fatal(err)
			}
			requests += n
		}
	}
	return requests
}

// complete lets a handshake go on to its end.
func (e *earlyEdge) complete(g *gate, conn *quic.Conn) quic.ConnectionState {
	e.t.Helper()
	g.shut.Store(false)
	g.hear()
	select {
	case <-conn.HandshakeComplete():
	case <-time.After(patience):
		e.t.Fatal("the handshake is not complete")
	}
	return conn.ConnectionState()
}
