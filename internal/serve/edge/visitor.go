package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"

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
	watched    *h2.WatchedConn // of the plain engine over TCP, else nil
}

type visitorKey struct{}

// plainContext puts the visitor of a TCP connection into its requests' context.
func (s *Server) plainContext(ctx context.Context, conn net.Conn) context.Context {
	watched, _ := conn.(*h2.WatchedConn)
	if watched != nil {
		conn = watched.NetConn()
	}
	v := &visitor{watched: watched, guard: h1.FromContext(h1.ConnContext(ctx, conn)), peer: addrOf(conn.RemoteAddr())}
	if t, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		v.secure, v.serverName = true, t.ConnectionState().ServerName
	}
	return context.WithValue(ctx, visitorKey{}, v)
}

// quicContext puts the visitor of a QUIC connection into its requests' context,
// and with the fast engine what finds answers that stand ready.
func (s *Server) quicContext(ctx context.Context, conn *quic.Conn) context.Context {
	v := &visitor{secure: true, serverName: conn.ConnectionState().TLS.ServerName, peer: addrOf(conn.RemoteAddr())}
	if s.Engine() == Fast {
		f := &fastConn{server: s, protocol: overHTTP3, scheme: "https", visitor: *v}
		ctx = context.WithValue(ctx, fastConnKey{}, f)
	}
	return context.WithValue(ctx, visitorKey{}, v)
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
