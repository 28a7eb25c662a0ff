package fetch

import (
	"context"
	"net"
	"runtime"
	"sync"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// plainFetcher has a goroutine for each exchange.
type plainFetcher struct {
	reactor *loop.Reactor
	secure  secure
	stop    context.CancelFunc
	running sync.WaitGroup
}

// NewPlain returns the engine that has a goroutine for each exchange, over package
// net.
func NewPlain(r *loop.Reactor, c Config) Fetcher {
	f := &plainFetcher{reactor: r}
	f.secure, f.stop = newSecure(c)
	return f
}

func newSecure(c Config) (secure, context.CancelFunc) {
	ctx, stop := context.WithCancel(context.Background())
	slots := c.HandshakesAtOnce
	if slots == 0 {
		slots = 256 * runtime.GOMAXPROCS(0)
	}
	return secure{agent: c.UserAgent, roots: c.Roots, slots: make(chan struct{}, slots), closing: ctx}, stop
}

// Fetch starts a goroutine.
func (f *plainFetcher) Fetch(x *Exchange) {
	f.running.Go(func() {
		defer func() {
			x.settle(recover())
			if f.secure.closing.Err() == nil {
				f.reactor.Post(func() { x.Done(x) })
			}
		}()
		f.run(x)
	})
}

func (f *plainFetcher) run(x *Exchange) {
	x.ContentLength = -1
	began := time.Now()
	d := net.Dialer{Timeout: x.Connect, KeepAlive: -1}
	if x.Total > 0 && (d.Timeout == 0 || x.Total < d.Timeout) {
		d.Timeout = x.Total
	}
	conn, err := d.DialContext(f.secure.closing, "tcp", x.Addr.String())
	if err != nil {
		x.Verdict, x.Err, x.TotalTook = connectVerdict(err), brief(err), time.Since(began)
		if x.Verdict == verdict.TCPTimeout {
			x.Err = verdict.TCPTimeout.Text()
		}
		return
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // no TIME_WAIT is left
	x.ConnectTook = time.Since(began)
	if x.Secure {
		f.secure.run(conn, x, began)
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is to be saved
	stop := context.AfterFunc(f.secure.closing, func() { _ = conn.Close() })
	defer stop()
	talk(conn, x, f.secure.agent, began)
}

// Close ends what is under way.
func (f *plainFetcher) Close() {
	f.stop()
	f.running.Wait()
}
