package edge_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
)

// A switchboard passes the datagrams of one client on to a server, and can be told to pass
// them to another.
type switchboard struct {
	front, back net.PacketConn
	server      atomic.Pointer[net.UDPAddr]
	client      atomic.Pointer[net.Addr]
}

func newSwitchboard(t *testing.T, server string) *switchboard {
	t.Helper()
	s := &switchboard{front: loopbackUDP(t), back: loopbackUDP(t)}
	s.turn(t, server)
	var passing sync.WaitGroup
	passing.Go(func() {
		pass(s.front, func(from net.Addr) (net.PacketConn, net.Addr) {
			s.client.Store(&from)
			return s.back, s.server.Load()
		})
	})
	passing.Go(func() {
		pass(s.back, func(net.Addr) (net.PacketConn, net.Addr) { return s.front, *s.client.Load() })
	})
	t.Cleanup(func() {
		_ = s.front.Close() // which ends both
		_ = s.back.Close()
		passing.Wait()
	})
	return s
}

// loopbackUDP binds a free port until the test ends.
func loopbackUDP(t *testing.T) net.PacketConn {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc
}

// turn passes what comes from now on to another server.
func (s *switchboard) turn(t *testing.T, server string) {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	s.server.Store(addr)
}

// pass writes every datagram where to says, until the socket is closed.
func pass(in net.PacketConn, to func(from net.Addr) (net.PacketConn, net.Addr)) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := in.ReadFrom(buf)
		if err != nil {
			return
		}
		out, addr := to(from)
		_, _ = out.WriteTo(buf[:n], addr) // datagrams may be lost
	}
}

// A server that was killed and started again knows nothing of its connections. With the
// same key it can say so.
func TestAServerStartedAgainEndsItsConnections(t *testing.T) {
	key := [32]byte{1, 2, 3}
	first, second := h3ServeReset(t, key), h3ServeReset(t, key)
	board := newSwitchboard(t, first.addr)
	client := &quic.Transport{Conn: loopbackUDP(t), ConnectionIDLength: 4}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), h3Patience)
	defer cancel()
	conn, err := client.Dial(ctx, board.front.LocalAddr(), first.tls(), &quic.Config{MaxIdleTimeout: 3 * h3Patience})
	if err != nil {
		t.Fatal(err)
	}
	c := &h3Client{t: t, conn: conn}
	if a, err := c.get("/"); err != nil || a.status != 200 { // so the handshake is over at both ends
		t.Fatalf("answer %d, error %v", a.status, err)
	}
	board.turn(t, second.addr)
	_ = c.request(h3Headers(h3Get("/app.css")...), make([]byte, 100))
	select {
	case <-conn.Context().Done():
	case <-ctx.Done():
		t.Fatal("nobody says that the connection is gone")
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](context.Cause(conn.Context())); !ok {
		t.Errorf("the connection ended with %v, want a stateless reset", context.Cause(conn.Context()))
	}
}
