package edge

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"pennyfarthing/internal/serve/h3"
)

// A deaf socket hears nothing of what the other side says.
type deaf struct{ net.PacketConn }

func (d deaf) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if _, _, err := d.PacketConn.ReadFrom(p); err != nil {
			return 0, nil, err
		}
	}
}

// A watched socket counts the Retry packets that come.
type watched struct {
	net.PacketConn
	retries atomic.Int64
}

func (w *watched) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := w.PacketConn.ReadFrom(p)
	if n > 0 && p[0]&0xf0 == 0xf0 { // a long header of type 3 (RFC 9000 §17.2.5)
		w.retries.Add(1)
	}
	return n, from, err
}

func listenUDP(t *testing.T) net.PacketConn {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

// retries connects to the server and returns how often it had to prove its address.
func (r *running) retries(t *testing.T) int64 {
	t.Helper()
	server, err := net.ResolveUDPAddr("udp", r.secure)
	if err != nil {
		t.Fatal(err)
	}
	watched := &watched{PacketConn: listenUDP(t)}
	transport := &quic.Transport{Conn: watched}
	defer transport.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := transport.Dial(ctx, server, clientTLS("localhost", h3.NextProto), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
	return watched.retries.Load()
}

// TestQUICClientsProveTheirAddressesUnderLoad begins many handshakes of which the
// client never hears again, as if they came from somebody else's address.
func TestQUICClientsProveTheirAddressesUnderLoad(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.Handshake = 8 * time.Second }})
	if n := r.retries(t); n != 0 {
		t.Errorf("without load there are %d Retry packets", n)
	}
	server, err := net.ResolveUDPAddr("udp", r.secure)
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: deaf{listenUDP(t)}}
	defer transport.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var dialing sync.WaitGroup
	for range mostHandshakes {
		dialing.Go(func() {
			if _, err := transport.Dial(ctx, server, clientTLS("localhost", h3.NextProto), nil); err == nil {
				t.Error("a client that hears nothing is connected")
			}
		})
	}
	eventually(t, "all handshakes are in flight", func() bool { return r.server.handshakes.inFlight.Load() >= mostHandshakes })
	if r.retries(t) == 0 { // there is one for each packet that a ClientHello takes
		t.Error("under load there is no Retry packet")
	}
	if n := r.server.handshakes.inFlight.Load(); n > mostHandshakes+1 {
		t.Errorf("%d handshakes are in flight", n)
	}
	cancel()
	dialing.Wait()
	eventually(t, "no handshake is in flight", func() bool { return r.server.handshakes.inFlight.Load() == 0 })
	if n := r.retries(t); n != 0 {
		t.Errorf("after the load there are %d Retry packets", n)
	}
}
