package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/quic-go/quic-go"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h3"
)

// h3Engine serves HTTP/3, whatever the engine for the other versions is; what
// stands ready it answers by itself if that is the fast one.
func (s *Server) h3Engine() *h3.Server {
	return h3.NewServer(h3.Options{
		Handler: s, Hit: hitHTTP3, Refuse: s.refuseHTTP3,
		HeaderBytes: s.limits.HeaderBytes, HeaderFields: s.limits.HeaderFields, Streams: s.limits.StreamsPerConnection,
		Head: s.limits.HeaderTimeout, Idle: s.limits.IdleTimeout, Grace: s.limits.Grace, Rate: s.limits.MinRate,
		OnAbuse: func(k h3.Kind) { s.meters.refused("HTTP/3: " + k.String()) }, OnCrash: s.crashed,
	})
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
		RequireStreamCreditRelease:     true, // handlers of streams that were reset count
		Allow0RTT:                      true, // see takeQUIC
	}
}

// serveQUIC serves HTTP/3 on one socket. New connections are refused once ctx
// ends; those that there are stay until over does.
func (s *Server) serveQUIC(ctx, over context.Context, pc net.PacketConn) error {
	transport := &quic.Transport{
		Conn: pc, VerifySourceAddress: s.handshakes.suspicious,
		ConnContext: func(conn context.Context, _ *quic.ClientInfo) (context.Context, error) {
			if err := ctx.Err(); err != nil {
				return nil, err // it is answered with CONNECTION_REFUSED; a listener that is closed is silent
			}
			return s.handshakes.begin(conn), nil
		},
	}
	if s.options.ResetKey != [32]byte{} {
		transport.StatelessResetKey = (*quic.StatelessResetKey)(&s.options.ResetKey)
	}
	config := tlsConfig(s.certificates.Load, s.tickets)
	config.NextProtos = []string{h3.NextProto}
	ln, err := transport.ListenEarly(config, s.quicConfig())
	if err != nil {
		return fmt.Errorf("serve HTTP/3 on %s: %w", pc.LocalAddr(), err)
	}
	s.advice(ctx, pc) // quic-go has done for them what it can
	var serving sync.WaitGroup
	err = s.acceptQUIC(ctx, over, ln, &serving)
	if ctx.Err() == nil { // the socket failed
		err = errors.Join(fmt.Errorf("serve HTTP/3 on %s: %w", pc.LocalAddr(), err), transport.Close())
		serving.Wait()
		return err
	}
	_ = s.acceptQUIC(over, over, ln, &serving) // who was late is told when the handshake is complete
	<-over.Done()                              // closing the transport would cut off the answers in flight
	serving.Wait()
	return transport.Close()
}

// acceptQUIC serves connections until ctx ends or the listener fails.
func (s *Server) acceptQUIC(ctx, over context.Context, ln *quic.EarlyListener, serving *sync.WaitGroup) error {
	for {
		conn, err := ln.Accept(ctx)
		if err != nil {
			return err
		}
		serving.Go(func() { s.takeQUIC(over, conn) })
	}
}

// takeQUIC serves a connection from when its handshake is complete. If it has early
// data that may be answered, it is served at once, and counts as its client's
// connection only when the handshake has proven whose it is.
func (s *Server) takeQUIC(over context.Context, conn *quic.Conn) {
	serve := func() { s.h3.ServeConn(s.quicContext(context.WithoutCancel(over), conn), conn) }
	early := s.Engine() == Fast && conn.ConnectionState().Used0RTT // the plain engine has nothing that stands ready
	if !early || !s.handshakes.beginEarly() {
		if leave, ok := s.admitQUIC(over, conn); ok {
			defer leave()
			serve()
		}
		return
	}
	var serving sync.WaitGroup
	serving.Go(serve)
	leave, ok := s.admitQUIC(over, conn)
	s.handshakes.endEarly()
	serving.Wait()
	if ok {
		leave()
	}
}

// admitQUIC waits for the end of a handshake, and reports whether the connection
// may stay; leave must then be called when it ends.
func (s *Server) admitQUIC(over context.Context, conn *quic.Conn) (leave func(), ok bool) {
	select {
	case <-conn.HandshakeComplete():
	case <-conn.Context().Done():
		return nil, false
	case <-over.Done():
		_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "the server is going away")
		return nil, false
	}
	s.handshakes.end(conn.Context()) //nolint:contextcheck // it is the connection's that counts
	if leave, ok = s.enter(addrOf(conn.RemoteAddr())); !ok {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.ExcessiveLoad), "too many connections")
	}
	return leave, ok
}

// finishH3 sends GOAWAY, waits, and closes what is left.
func (s *Server) finishH3(ctx context.Context) {
	if err := s.h3.Shutdown(ctx); err != nil {
		s.options.Log.LogAttrs(ctx, slog.LevelWarn, "requests broken off", slog.String("pop", s.options.Name), slog.Any("err", err))
	}
}

// refuseHTTP3 is for [h3.Options.Refuse].
func (s *Server) refuseHTTP3(w http.ResponseWriter, r *http.Request, why h3.Refusal) {
	x := s.exchange(w, r)
	defer x.end()
	x.method, x.host, x.path, x.query = "", "", "", "" // nothing of it was taken
	reason := h1.ReasonTarget
	switch why {
	case h3.SlowHead:
		reason = h1.ReasonSlowHead
	case h3.HeadTooLarge:
		reason = h1.ReasonHeadSize
	case h3.TooManyFields:
		reason = h1.ReasonFieldCount
	case h3.BadTarget, h3.NotRefused:
	}
	x.refuse(why.Status(), reason.String())
}
