package fetch

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
	"pennyfarthing/internal/verdict/fault"
)

// plainFetcher has a goroutine for each exchange.
type plainFetcher struct {
	reactor     *loop.Reactor
	agent       string
	judge       judge
	slots       chan struct{} // of handshakes that are computed
	descriptors int64
	open        atomic.Int64
	closing     context.Context
	stop        context.CancelFunc
	running     sync.WaitGroup
}

// NewPlain returns the engine that has a goroutine for each exchange, over package
// net.
func NewPlain(r *loop.Reactor, c Config) Fetcher {
	f := &plainFetcher{
		reactor: r, agent: c.UserAgent, judge: judge{roots: c.Roots}, slots: make(chan struct{}, c.handshakesAtOnce()), descriptors: int64(c.Descriptors),
	}
	f.closing, f.stop = context.WithCancel(context.Background())
	return f
}

// Fetch starts a goroutine.
func (f *plainFetcher) Fetch(x *Exchange) {
	f.running.Go(func() {
		defer func() {
			x.settle(recover())
			if f.closing.Err() == nil {
				f.reactor.Post(func() { x.Done(x) })
			}
		}()
		f.run(x)
	})
}

func (f *plainFetcher) run(x *Exchange) {
	x.ContentLength = -1
	c := &plainConn{x: x, began: time.Now()}
	defer func() { x.TotalTook = time.Since(c.began) }()
	if open := f.open.Add(1); f.descriptors > 0 && open > f.descriptors {
		f.open.Add(-1)
		x.Verdict, x.Err = verdict.SelfDescriptors, overBudget(int(f.descriptors))
		return
	}
	defer f.open.Add(-1)
	d := net.Dialer{KeepAlive: -1}
	if at := c.until(x.Connect); !at.IsZero() {
		d.Deadline = at
	}
	conn, err := d.DialContext(f.closing, "tcp", x.Addr.String())
	if err != nil {
		x.Verdict, x.Err = fault.Connect(err), fault.Brief(err)
		if x.Verdict == verdict.TCPTimeout {
			x.Err = verdict.TCPTimeout.Text()
		}
		return
	}
	c.Conn = conn
	defer c.Close()
	_ = conn.(*net.TCPConn).SetLinger(0) // no TIME_WAIT is left
	defer context.AfterFunc(f.closing, func() { _ = conn.Close() })()
	x.ConnectTook = time.Since(c.began)
	if !x.Secure {
		c.talk(conn, f.agent)
		return
	}
	client := tls.Client(c, clientConfig(serverName(x.Host)))
	c.slots = f.slots
	if err := c.handshake(client); err != nil {
		x.Verdict, x.Err = handshakeVerdict(err), fault.Brief(err)
		return
	}
	state := client.ConnectionState()
	x.certified(&state, &f.judge)
	c.talk(client, f.agent)
}

func overBudget(n int) string { return fmt.Sprintf("all %d descriptors are in use", n) }

// A plainConn is the connection of an exchange. While it has slots, reading gives one
// back and takes one again: so a slot is held only for computing.
type plainConn struct {
	net.Conn
	x     *Exchange
	began time.Time
	slots chan struct{}
	limit time.Time // of the phase under way
}

// until is when a phase that begins now has to end, or zero.
func (c *plainConn) until(limit time.Duration) time.Time {
	var t time.Time
	if limit > 0 {
		t = time.Now().Add(limit)
	}
	if end := c.began.Add(c.x.Total); c.x.Total > 0 && (t.IsZero() || end.Before(t)) {
		t = end
	}
	return t
}

// deadline gives a phase its time.
func (c *plainConn) deadline(limit time.Duration) {
	c.limit = c.until(limit)
	_ = c.SetDeadline(c.limit) // an error comes again
}

// handshake makes a handshake, with a slot while it computes.
func (c *plainConn) handshake(client *tls.Conn) error {
	c.takeSlot()
	started := time.Now()
	waited := c.began
	c.deadline(c.x.Handshake)
	err := client.HandshakeContext(context.Background()) // closing closes the connection
	<-c.slots
	c.slots = nil
	if err == nil {
		c.x.TLSTook = max(1, time.Since(started)-c.began.Sub(waited))
	}
	return err
}

// takeSlot waits for a slot. It is not the peer's fault: so everything is as if it had
// begun later.
func (c *plainConn) takeSlot() {
	before := time.Now()
	c.slots <- struct{}{}
	waited := time.Since(before)
	c.began = c.began.Add(waited)
	if !c.limit.IsZero() {
		c.limit = c.limit.Add(waited)
		_ = c.SetDeadline(c.limit) // an error comes again
	}
}

// Read reads, without a slot.
func (c *plainConn) Read(p []byte) (int, error) {
	if c.slots == nil {
		return c.Conn.Read(p)
	}
	<-c.slots
	defer c.takeSlot()
	return c.Conn.Read(p)
}

// talk sends the request and reads the answer.
func (c *plainConn) talk(conn net.Conn, agent string) {
	x := c.x
	buf := make([]byte, 8<<10)
	sent := time.Now()
	c.deadline(x.FirstByte)
	var a answer
	a.begin(x, nil)
	n, err := conn.Write(x.request(buf[:0], agent))
	x.BytesOut += int64(n)
	for err == nil {
		n, err = conn.Read(buf)
		if n == 0 {
			continue
		}
		if x.FirstByteTook == 0 {
			x.FirstByteTook = max(1, time.Since(sent))
		}
		had := x.Status
		if a.add(buf[:n], func(b []byte) string { return string(b) }) {
			return
		}
		if had == 0 && x.Status != 0 { // the body has as long again
			c.deadline(x.FirstByte)
		}
	}
	a.end(err)
}

// Close ends what is under way.
func (f *plainFetcher) Close() {
	f.stop()
	f.running.Wait()
}
