package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Error codes of RFC 9114 §8.1.
const (
	noError       quic.ApplicationErrorCode = 0x100
	excessiveLoad quic.ApplicationErrorCode = 0x107
)

func (s *Server) h3Engine() *http3.Server {
	return &http3.Server{
		Handler: s, MaxHeaderBytes: s.limits.HeaderBytes, IdleTimeout: s.limits.IdleTimeout, ConnContext: s.quicContext,
		Logger: slog.New(slog.DiscardHandler), // it tells of every client that goes away; panics are told by the handler
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

// serveQUIC serves HTTP/3 on one socket. New connections are refused once ctx
// ends; those that there are stay until over does.
func (s *Server) serveQUIC(ctx, over context.Context, pc net.PacketConn) error {
	transport := &quic.Transport{Conn: pc, ConnContext: func(conn context.Context, _ *quic.ClientInfo) (context.Context, error) {
		return conn, ctx.Err() // an error is answered with CONNECTION_REFUSED; a listener that is closed is silent
	}}
	ln, err := transport.ListenEarly(http3.ConfigureTLSConfig(tlsConfig(s.certificates.Load, s.tickets)), s.quicConfig())
	if err != nil {
		return fmt.Errorf("serve HTTP/3 on %s: %w", pc.LocalAddr(), err)
	}
	err = s.h3.ServeListener(countedListener{ln, s})
	if ctx.Err() == nil { // the socket failed
		return errors.Join(fmt.Errorf("serve HTTP/3 on %s: %w", pc.LocalAddr(), err), transport.Close())
	}
	for over.Err() == nil { // closing the transport would cut off the answers in flight
		if late, err := ln.Accept(over); err == nil {
			_ = late.CloseWithError(noError, "the server is going away")
		}
	}
	return transport.Close()
}

// h3Linger is how long clients have, after the last answer, to acknowledge it and
// to close their connections as GOAWAY asks them to. Some never do, and QUIC does
// not tell when an answer has arrived.
const h3Linger = time.Second

// finishH3 sends GOAWAY, waits, and closes what is left.
func (s *Server) finishH3(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		s.awaitQuiet(ctx, h3Linger, overHTTP3)
	})
	if err := s.h3.Shutdown(ctx); err != nil {
		_ = s.h3.Close()
	}
	cancel()
	watching.Wait()
}

// A countedListener applies the limit of connections to QUIC.
type countedListener struct {
	*quic.EarlyListener
	server *Server
}

var _ http3.QUICListener = countedListener{}

// Accept returns the next connection that may stay.
func (l countedListener) Accept(ctx context.Context) (*quic.Conn, error) {
	for {
		conn, err := l.EarlyListener.Accept(ctx)
		if err != nil {
			return nil, err // the listener's own, which http3 looks at
		}
		leave, ok := l.server.enter(addrOf(conn.RemoteAddr()))
		if ok {
			context.AfterFunc(conn.Context(), leave) //nolint:contextcheck // the connection outlives the call
			return conn, nil
		}
		_ = conn.CloseWithError(excessiveLoad, "too many connections")
	}
}
