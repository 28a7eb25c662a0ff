package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

func (s *Server) h3Engine() *http3.Server {
	return &http3.Server{
		Handler: s, MaxHeaderBytes: s.limits.HeaderBytes, IdleTimeout: s.limits.IdleTimeout,
		Logger: slog.New(slog.DiscardHandler), // it tells of every client that goes away
	}
}

func (s *Server) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           s.limits.Handshake / 2, // it allows twice this for the whole
		MaxIdleTimeout:                 s.limits.IdleTimeout,
		MaxIncomingStreams:             int64(s.limits.StreamsPerConnection),
		MaxIncomingUniStreams:          8,        // control, two of QPACK, and some to ignore
		InitialStreamReceiveWindow:     64 << 10, // requests are heads
		MaxStreamReceiveWindow:         256 << 10,
		InitialConnectionReceiveWindow: 256 << 10,
		MaxConnectionReceiveWindow:     1 << 20,
	}
}

// serveQUIC serves HTTP/3 on one socket until its listener ends.
func (s *Server) serveQUIC(ctx context.Context, pc net.PacketConn) error {
	transport := &quic.Transport{Conn: pc}
	ln, err := transport.ListenEarly(http3.ConfigureTLSConfig(tlsConfig(s.certificates.Load)), s.quicConfig())
	if err != nil {
		return fmt.Errorf("serve HTTP/3 on %s: %w", pc.LocalAddr(), err)
	}
	err = s.h3.ServeListener(countedListener{ln, s})
	if !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serve HTTP/3 on %s: %w", pc.LocalAddr(), err), transport.Close())
	}
	<-ctx.Done()
	return transport.Close()
}

// finishH3 sends GOAWAY, waits, and closes what is left.
func (s *Server) finishH3(ctx context.Context) {
	if err := s.h3.Shutdown(ctx); err != nil {
		_ = s.h3.Close()
	}
}

// A countedListener applies the limit of connections to QUIC.
type countedListener struct {
	*quic.EarlyListener
	server *Server
}

// excessiveLoad is H3_EXCESSIVE_LOAD (RFC 9114 §8.1).
const excessiveLoad quic.ApplicationErrorCode = 0x107

// Accept returns the next connection that may stay.
func (l countedListener) Accept(ctx context.Context) (*quic.Conn, error) {
	for {
		conn, err := l.EarlyListener.Accept(ctx)
		if err != nil {
			return nil, err
		}
		peer := addrOf(conn.RemoteAddr())
		if l.server.clients.enter(peer) {
			context.AfterFunc(conn.Context(), func() { l.server.clients.leave(peer) })
			return conn, nil
		}
		l.server.meters.refused("connections per client")
		_ = conn.CloseWithError(excessiveLoad, "too many connections")
	}
}

var _ http3.QUICListener = countedListener{}
