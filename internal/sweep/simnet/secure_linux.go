package simnet

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// secure are the web servers that speak TLS: a goroutine a listener and a
// connection.
type secure struct {
	s         *Server
	listeners []net.Listener
	config    *tls.Config
	slots     chan struct{} // one for each connection that may be open
}

func newSecure(s *Server) *secure {
	t := &secure{s: s, slots: make(chan struct{}, mostConns)}
	t.config = &tls.Config{
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // nobody comes back
		// Without ML-KEM, which costs both sides more than all the rest of a handshake.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := hello.ServerName
			if name == "" || !validSNI([]byte(name)) {
				return s.authority.certificate(WrongName, "")
			}
			f, err := s.world.Fate(name)
			if err != nil {
				return nil, err
			}
			return s.authority.certificate(f.TLS, name)
		},
	}
	return t
}

// take has a listening socket served, and owns it.
func (t *secure) take(fd int) error {
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close() // what FileListener returns has a copy
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("listen for TLS: %w", err)
	}
	t.listeners = append(t.listeners, listener)
	return nil
}

func (t *secure) start() {
	for _, listener := range t.listeners {
		t.s.work.Go(func() { t.accept(listener) })
	}
}

// each does something to all listening sockets.
func (t *secure) each(do func(int) error) {
	for _, listener := range t.listeners {
		onDescriptor(listener, do)
	}
}

func (t *secure) close() {
	for _, listener := range t.listeners {
		listener.Close()
	}
}

func (t *secure) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // out of descriptors, for a moment
			continue
		}
		t.s.counters.connections.Add(1)
		line := t.s.conns.add(conn)
		select {
		case t.slots <- struct{}{}:
		case <-t.s.stop:
			line.Close()
			return
		}
		t.s.work.Go(func() {
			defer func() { line.Close(); <-t.slots }()
			t.serve(line)
		})
	}
}

// serve goes through one connection.
func (t *secure) serve(conn *lineConn) {
	_ = conn.SetDeadline(time.Now().Add(patience)) // only a closed connection has none
	hello, err := readHello(conn)
	if err != nil {
		return
	}
	name, ok := serverName(hello)
	if !ok {
		return
	}
	h := WrongName // without a name
	if name != "" {
		f, err := t.s.world.Fate(name)
		if err != nil {
			return
		}
		h = f.TLS
		if h == FlakyTLS {
			if h = Good; t.s.flakes.failsNow(hashOf([]byte(name), flakyTLS)) {
				h = CloseEarly
			}
		}
	}
	if t.refuse(conn, h) {
		return
	}
	client := tls.Server(&readAgain{lineConn: conn, first: hello}, t.config)
	if err := client.Handshake(); err != nil { //nolint:noctx // the deadline is the connection's
		return
	}
	t.s.counters.handshakes.Add(1)
	t.answer(client, conn)
}

// refuse does what a handshake that fails does.
func (t *secure) refuse(conn *lineConn, h Handshake) (refused bool) {
	switch h {
	case OldVersion:
		conn.say("\x15\x03\x03\x00\x02\x02\x46") // protocol_version
	case NoCipher:
		conn.say("\x15\x03\x03\x00\x02\x02\x28") // handshake_failure
	case Alert:
		conn.say("\x15\x03\x03\x00\x02\x02\x70") // unrecognized_name
	case OldServer:
		var random [32]byte
		conn.say("\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01" + string(random[:]) + "\x00\x00\x2f\x00")
		conn.linger()
	case PlainHTTP:
		conn.say("HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	case NotTLS:
		conn.say("\x00\x01\x02\x03 neither this nor that, and no record of TLS at all\r\n")
	case CloseEarly:
	case ResetEarly:
		conn.reset()
	case Mute:
		conn.linger()
	case Good, Expired, WrongName, SelfSigned, FlakyTLS:
		return false
	}
	return true
}

// answer answers requests until the connection ends.
func (t *secure) answer(client *tls.Conn, conn *lineConn) {
	var in, scratch []byte
	web := t.s.plain.web
	for {
		request, used, ok := parseRequest(in)
		if !ok {
			return
		}
		if used == 0 {
			in = append(in, make([]byte, 2048)...)
			n, err := client.Read(in[len(in)-2048:])
			if err != nil {
				return
			}
			in = in[:len(in)-2048+n]
			continue
		}
		t.s.counters.requests.Add(1)
		reply := web.reply(scratch[:0], &request, HTTPS)
		in = append(in[:0], in[used:]...)
		if !t.sleep(t.s.wait(httpLatency, reply.delay)) {
			return
		}
		if _, err := client.Write(reply.data); err != nil {
			return
		}
		if scratch = reply.data; reply.then != thenKeep {
			t.finish(client, conn, reply)
			return
		}
		_ = client.SetDeadline(time.Now().Add(patience))
	}
}

// finish does what follows the last answer.
func (t *secure) finish(client *tls.Conn, conn *lineConn, reply reply) {
	switch reply.then {
	case thenKeep:
	case thenClose:
		_ = client.CloseWrite() // close_notify; a client that has gone does not mind
	case thenReset:
		conn.reset()
	case thenHang:
		conn.linger()
	case thenDrip:
		for i := range reply.block {
			if !t.sleep(time.Second) {
				return
			}
			if _, err := client.Write(reply.block[i : i+1]); err != nil {
				return
			}
		}
		conn.linger()
	case thenRepeat:
		for sent := 0; sent < mostRepeat; sent += len(reply.block) {
			if _, err := client.Write(reply.block); err != nil {
				return
			}
		}
	}
}

// sleep waits, unless the server ends.
func (t *secure) sleep(d time.Duration) bool {
	if d < time.Millisecond {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.s.stop:
		return false
	}
}

// serveTCP answers DNS over TCP (RFC 7766).
func (s *Server) serveTCP() {
	slots := make(chan struct{}, 1000)
	for {
		conn, err := s.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		line := s.conns.add(conn)
		select {
		case slots <- struct{}{}:
		case <-s.stop:
			line.Close()
			return
		}
		s.work.Go(func() {
			defer func() { line.Close(); <-slots }()
			s.queries(line)
		})
	}
}

func (s *Server) queries(conn *lineConn) {
	r := resolver{world: s.world, failsNow: s.flakes.failsNow}
	for {
		_ = conn.SetDeadline(time.Now().Add(patience / 2)) // only a closed connection has none
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		s.counters.dns.Add(1)
		a := r.answer(query, true)
		if !s.throttle.allows(time.Now()) {
			s.counters.lost.Add(1)
			a.packet = nil
		}
		if a.packet == nil {
			conn.linger()
			return
		}
		if !s.secure.sleep(s.wait(dnsLatency, a.delay)) {
			return
		}
		message := append(binary.BigEndian.AppendUint16(nil, uint16(len(a.packet))), a.packet...) //nolint:gosec // at most 1232
		if _, err := conn.Write(message); err != nil {
			return
		}
	}
}

// lineConns are the connections that goroutines serve, so that the line can be cut.
type lineConns struct {
	mu     sync.Mutex // guards the fields below
	open   map[*lineConn]struct{}
	mended chan struct{} // closed while the line is whole
	closed bool
}

func newLineConns() *lineConns {
	l := &lineConns{open: map[*lineConn]struct{}{}, mended: make(chan struct{})}
	close(l.mended)
	return l
}

func (l *lineConns) add(conn net.Conn) *lineConn {
	c := &lineConn{Conn: conn, all: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	if l.closed {
		conn.Close()
	}
	return c
}

// cut filters what comes in, and holds back what would go out.
func (l *lineConns) cut(cut bool, do func(int) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cut {
		l.mended = make(chan struct{})
	} else {
		close(l.mended)
	}
	for c := range l.open {
		onDescriptor(c.Conn, do)
	}
}

func (l *lineConns) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.open {
		c.Conn.Close()
	}
}

// A lineConn is a connection over a line that can be cut.
type lineConn struct {
	net.Conn
	all *lineConns
}

// Write waits while the line is cut.
func (c *lineConn) Write(b []byte) (int, error) {
	c.all.mu.Lock()
	mended := c.all.mended
	c.all.mu.Unlock()
	<-mended
	return c.Conn.Write(b)
}

// Close closes the connection.
func (c *lineConn) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// say sends bytes; who has gone does not hear them.
func (c *lineConn) say(text string) { _, _ = io.WriteString(c, text) }

// reset has the connection end with a reset when it is closed.
func (c *lineConn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// linger reads until the client has gone, or for as long as the deadline lets it.
func (c *lineConn) linger() { _, _ = io.Copy(io.Discard, c.Conn) }

// readAgain is a connection whose first bytes were read already.
type readAgain struct {
	*lineConn
	first []byte
}

// Read reads them again.
func (r *readAgain) Read(b []byte) (int, error) {
	if len(r.first) == 0 {
		return r.lineConn.Read(b)
	}
	n := copy(b, r.first)
	r.first = r.first[n:]
	return n, nil
}

// onDescriptor does something to a socket of package net. One that is closed has
// nothing to be done to.
func onDescriptor(socket any, do func(int) error) {
	conn, ok := socket.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = do(int(fd)) }) //nolint:gosec // descriptors are small
	}
}
