package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"pennyfarthing/internal/serve/h1"
	"pennyfarthing/internal/serve/h2"
)

// accept takes connections until ctx ends or ln fails, and gives each to admit
// in a goroutine of a crew. It returns when all of those have.
func (s *Server) accept(ctx context.Context, ln net.Listener, admit func(context.Context, net.Conn) error) error {
	admitCtx, cancel := context.WithCancel(ctx)
	crew := newCrew(func(conn net.Conn) {
		if err := admit(admitCtx, conn); err != nil {
			s.options.Log.LogAttrs(ctx, slog.LevelDebug, "connection ended early", slog.String("pop", s.options.Name), slog.Any("err", err))
			_ = conn.Close()
		}
	})
	defer crew.dismiss()
	defer cancel()
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		case err != nil: // out of descriptors, or a peer that went away
			s.options.Log.LogAttrs(ctx, slog.LevelWarn, "connection not accepted", slog.String("pop", s.options.Name), slog.Any("err", err))
			time.Sleep(acceptPause)
			continue
		}
		if s.loops != nil {
			s.loops.Stir()
		}
		crew.give(conn)
	}
}

// admitPlain hands a connection without TLS to the engine.
func (s *Server) admitPlain(ctx context.Context, accepted net.Conn) error {
	conn, err := s.counted(ctx, accepted)
	if err != nil {
		return err
	}
	if s.Engine() == Fast {
		conn.welcome(s.loops)
		s.fast.serveHTTP1(ctx, conn, nil)
		return nil
	}
	s.handPlain(h1.Guard(conn, s.limits.guard(true, s.meters.refusal)))
	return nil
}

// handPlain hands a guarded connection to the plain engine.
func (s *Server) handPlain(conn *h1.Conn) { s.accepted.hand(s.watched(conn.ServerConn(), false)) }

// watched limits how long a head may take over HTTP/2, where the guard does not
// look and net/http has no limit.
func (s *Server) watched(conn net.Conn, only bool) net.Conn {
	return h2.Watch(conn, h2.WatchOptions{Head: s.limits.HeaderTimeout, Rate: s.limits.MinRate, Only: only, OnAbuse: s.abuse})
}

// abuse counts connections of HTTP/2 that spent a budget.
func (s *Server) abuse(k h2.Kind) { s.meters.refused("HTTP/2: " + k.String()) }

// admitTLS returns an admit that makes the handshake first. HTTP/2 goes to the
// engine as it is, HTTP/1.1 behind the guard.
func (s *Server) admitTLS(config *tls.Config) func(context.Context, net.Conn) error {
	return func(ctx context.Context, accepted net.Conn) error {
		conn, err := s.counted(ctx, accepted)
		if err != nil {
			return err
		}
		secure := newSecureConn(conn, config, s.turns, &s.large)
		err = secure.handshake(ctx, s.limits.Handshake)
		s.meters.handshake(err)
		if err != nil {
			s.helpPlainHTTP(conn, err)
			return errors.Join(fmt.Errorf("TLS handshake with %s: %w", conn.RemoteAddr(), err), conn.Close())
		}
		state := secure.ConnectionState()
		fast := s.Engine() == Fast
		if fast {
			conn.welcome(s.loops)
		}
		switch {
		case state.NegotiatedProtocol == "h2" && fast:
			s.fast.serveHTTP2(ctx, secure, &state)
		case state.NegotiatedProtocol == "h2":
			s.accepted.hand(s.watched(secure.Conn, true))
		case fast:
			s.fast.serveHTTP1(ctx, secure, &state)
		default:
			s.handPlain(h1.Guard(secure, s.limits.guard(false, s.meters.refusal)))
		}
		return nil
	}
}

// helpPlainHTTP tells a client that speaks HTTP to the TLS port.
func (s *Server) helpPlainHTTP(conn net.Conn, err error) {
	const answer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 this port speaks TLS: ask for https://\n"
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || record.Conn == nil {
		return
	}
	switch string(record.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		s.meters.refused("plain HTTP on a TLS port")
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte(answer)) // whoever does not read it is not helped
		linger(conn)
	}
}

// Lingering: what a client has sent by now is read and thrown away, or else the
// connection is reset, and with it the answer is lost.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 64 << 10
)

// linger lets the client read what was written to it; the caller closes.
func linger(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil && conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, conn, lingerBytes) // however it ends, the connection is closed
	}
}

// counted reads the PROXY header where one is due and applies the limit of
// connections. The connection that it returns is no longer counted when closed.
func (s *Server) counted(ctx context.Context, conn net.Conn) (*countedConn, error) {
	peer := addrOf(conn.RemoteAddr())
	if s.options.ProxyProtocol && trusted(s.options.TrustedProxies, peer) {
		client, err := s.proxied(ctx, conn)
		if err != nil {
			s.meters.refused("PROXY header")
			return nil, fmt.Errorf("connection from proxy %s: %w", peer, err)
		}
		if client.IsValid() {
			conn = &proxiedConn{Conn: conn, client: net.TCPAddrFromAddrPort(client)}
			peer = client.Addr()
		}
	}
	leave, ok := s.enter(peer)
	if !ok {
		return nil, fmt.Errorf("%s has %d connections", clientKey(peer), s.limits.ConnectionsPerClient)
	}
	return &countedConn{Conn: conn, leave: leave}, nil
}

// enter counts a connection and reports whether it may stay; leave must then be
// called when it ends. Proxies of ours bring many clients and have no limit.
func (s *Server) enter(peer netip.Addr) (leave func(), ok bool) {
	limited := !trusted(s.options.TrustedProxies, peer)
	if limited && !s.clients.enter(peer) {
		s.meters.refused("connections per client")
		return nil, false
	}
	s.meters.connections.Inc()
	return sync.OnceFunc(func() {
		s.meters.connections.Dec()
		if limited {
			s.clients.leave(peer)
		}
	}), true
}

func (s *Server) proxied(ctx context.Context, conn net.Conn) (netip.AddrPort, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetReadDeadline(time.Now().Add(s.limits.Handshake)); err != nil {
		return netip.AddrPort{}, err
	}
	client, err := readProxyHeader(conn)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return client, conn.SetReadDeadline(time.Time{})
}
