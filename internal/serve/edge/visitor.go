package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h2"
)

// A visitor is who is at the other end of a connection, found out once for all its
// requests, and by the connection alone: what a request claims as its scheme does
// not make it secure or plain.
type visitor struct {
	guard      *h1.Conn // of HTTP/1.1, else nil
	secure     bool     // the connection is encrypted
	serverName string   // of its TLS handshake
	peer       netip.Addr
	idle       *idleTimer // of HTTP/3, else nil
}

type visitorKey struct{}

// plainContext puts the visitor of a TCP connection into its requests' context.
func (s *Server) plainContext(ctx context.Context, conn net.Conn) context.Context {
	if watched, ok := conn.(*h2.WatchedConn); ok {
		conn = watched.NetConn()
	}
	v := &visitor{guard: h1.FromContext(h1.ConnContext(ctx, conn)), peer: addrOf(conn.RemoteAddr())}
	if t, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		v.secure, v.serverName = true, t.ConnectionState().ServerName
	}
	return context.WithValue(ctx, visitorKey{}, v)
}

// quicContext puts the visitor of a QUIC connection into its requests' context.
func (s *Server) quicContext(ctx context.Context, conn *quic.Conn) context.Context {
	return context.WithValue(ctx, visitorKey{}, &visitor{
		secure: true, serverName: conn.ConnectionState().TLS.ServerName, peer: addrOf(conn.RemoteAddr()),
		idle: newIdleTimer(s.limits.IdleTimeout, conn),
	})
}

// visitorOf returns the visitor that a request is from; one that came through no
// listener of ours is told by its own fields.
func visitorOf(r *http.Request) *visitor {
	if v, ok := r.Context().Value(visitorKey{}).(*visitor); ok {
		return v
	}
	v := &visitor{secure: r.TLS != nil}
	if r.TLS != nil {
		v.serverName = r.TLS.ServerName
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		v.peer = peer.Addr().Unmap()
	}
	return v
}

// An idleTimer closes a QUIC connection on which no request is being answered for
// too long. The engine's own timer stops as soon as a stream is open, and QUIC's
// at every PING: a client that never ends a head would stay for ever.
type idleTimer struct {
	after time.Duration
	timer *time.Timer

	mu     sync.Mutex // guards active
	active int
}

func newIdleTimer(after time.Duration, conn *quic.Conn) *idleTimer {
	t := &idleTimer{after: after, timer: time.AfterFunc(after, func() { _ = conn.CloseWithError(noError, "idle") })}
	context.AfterFunc(conn.Context(), func() { t.timer.Stop() })
	return t
}

// begin is called when a request begins to be answered, end when it has been. A
// nil timer does nothing.
func (t *idleTimer) begin() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active++
	t.timer.Stop()
}

func (t *idleTimer) end() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active--; t.active == 0 {
		t.timer.Reset(t.after)
	}
}
