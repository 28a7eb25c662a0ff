//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A network is all proxies of one side: whatever goes to the destinations goes through one of them, is counted, and meets
// the weather.
type network struct {
	line  *line
	count [2]atomic.Int64 // bytes of payload, by direction
	busy  sync.WaitGroup  // connections and listeners
	stop  context.CancelFunc
	ctx   context.Context //nolint:containedctx // it is the network's life
	open  atomic.Int64    // connections
	close []io.Closer
	asked atomic.Int64 // bytes of visitors in both directions, among those counted
}

func newNetwork(ctx context.Context, w weather) *network {
	n := &network{line: &line{weather: w}}
	n.ctx, n.stop = context.WithCancel(ctx)
	return n
}

// bytes is what was counted until now.
func (n *network) bytes() traffic {
	return traffic{Up: n.count[upward].Load(), Down: n.count[downward].Load(), Visitors: n.asked.Load()}
}

// A traffic is bytes of payload.
type traffic struct {
	Up       int64 `json:"up"`
	Down     int64 `json:"down"`
	Visitors int64 `json:"visitors"` // of both, those to and from a POP's edge
}

func (t traffic) since(before traffic) traffic {
	return traffic{t.Up - before.Up, t.Down - before.Down, t.Visitors - before.Visitors}
}

func (t traffic) total() int64 { return t.Up + t.Down }

// quiet waits until no connection is open, so that all bytes are counted. QUIC's connections have no end that could be
// seen; what they send is counted as it passes.
func (n *network) quiet(patience time.Duration) bool {
	for end := time.Now().Add(patience); n.open.Load() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (n *network) shut() {
	n.stop()
	for _, c := range n.close {
		c.Close()
	}
	n.busy.Wait()
}

// add counts bytes, those of visitors apart too.
func (n *network) add(d direction, bytes int, visitors bool) {
	n.count[d].Add(int64(bytes))
	if visitors {
		n.asked.Add(int64(bytes))
	}
}

// tcp listens on loopback for connections to an address.
func (n *network) tcp(to string, visitors bool) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(n.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.serve(l, to, visitors)
	return l.Addr().String(), nil
}

// edge listens for TCP and UDP on one port.
func (n *network) edge(to string) (string, error) {
	const tries = 20
	var errs []error
	for range tries {
		var config net.ListenConfig
		l, err := config.Listen(n.ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		udp, err := config.ListenPacket(n.ctx, "udp", l.Addr().String())
		if err != nil { // somebody has the port of that number
			errs = append(errs, err, l.Close())
			continue
		}
		n.serve(l, to, true)
		return l.Addr().String(), n.datagrams(udp, to)
	}
	return "", errors.Join(errs...)
}

func (n *network) serve(l net.Listener, to string, visitors bool) {
	n.close = append(n.close, l)
	n.busy.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			n.open.Add(1)
			n.busy.Go(func() {
				defer n.open.Add(-1)
				n.connect(client.(*net.TCPConn), to, visitors, time.Now())
			})
		}
	})
}

// connect carries one connection. The kernel has accepted it at once; the time that its handshake would have taken is
// added here: the server hears of it after one and a half ways there and back, and the client's first bytes leave after one.
func (n *network) connect(client *net.TCPConn, to string, visitors bool, at time.Time) {
	defer client.Close()
	if !n.wait(at.Add(3 * n.line.delay)) {
		return
	}
	conn, err := new(net.Dialer).DialContext(n.ctx, "tcp", to)
	if err != nil {
		return // the client sees it closed
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	stop := context.AfterFunc(n.ctx, func() { client.Close(); server.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { n.carry(upward, server, client, visitors, at.Add(2*n.line.delay)) })
	both.Go(func() { n.carry(downward, client, server, visitors, at) })
	both.Wait()
}

// wait waits until a time, and reports whether the network is still there.
func (n *network) wait(until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// carry carries one direction of a connection until its end, and passes that on.
func (n *network) carry(d direction, to, from *net.TCPConn, visitors bool, notBefore time.Time) {
	defer func() { _ = to.CloseWrite() }() // the other side may be gone
	if n.line.plain() {
		_, _ = io.Copy(&counting{to, n, d, visitors}, onlyReader{from}) // an end is an end
		return
	}
	n.delayed(d, to, from, visitors, notBefore)
}

// counting counts what is written.
type counting struct {
	io.Writer
	network  *network
	d        direction
	visitors bool
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.network.add(c.d, n, c.visitors)
	return n, err
}

// onlyReader hides that a connection could write itself elsewhere, uncounted.
type onlyReader struct{ io.Reader }

// A chunk is bytes on their way.
type chunk struct {
	data []byte
	due  time.Time
}

// pieces is how many bytes are carried at a time: 20 Mbit/s take 6 ms for them.
const pieces = 16 << 10

// delayed carries bytes that take time. Not more than a window of them is on the way, as TCP has it.
func (n *network) delayed(d direction, to, from *net.TCPConn, visitors bool, notBefore time.Time) {
	chunks := make(chan chunk, max(n.line.window()/pieces, 1)) // full, it stops the reader; short pieces count as whole ones
	var writer sync.WaitGroup
	writer.Go(func() {
		for c := range chunks {
			if !n.wait(c.due) {
				continue // to the end, so that the reader ends
			}
			if _, err := to.Write(c.data); err != nil {
				from.Close() // nobody takes it any more
			}
		}
	})
	defer writer.Wait()
	defer close(chunks)
	for {
		data := make([]byte, pieces)
		size, err := from.Read(data)
		if size > 0 {
			n.add(d, size, visitors)
			now := time.Now()
			if now.Before(notBefore) {
				now = notBefore
			}
			chunks <- chunk{data[:size], n.line.due(d, now, size)}
		}
		if err != nil {
			return
		}
	}
}
