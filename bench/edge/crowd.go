//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The crowd is the load of many connections: those that are held open and idle, those of which each always waits for one
// answer, and those that ask in a mixture. wrk cannot count by connection nor vary what it asks over TLS as we want it, and
// h2load asks always with the same fields. It is a process of its own: one thread and one epoll, because a goroutine a
// connection would add an unfairness of its own to what is measured.

const (
	crowdFlag    = "internal-crowd-load"
	crowdBatch   = 320              // connections that are set up before they ask: servers wait only so long for a request
	crowdDialers = 32               // connections that are set up at a time
	crowdPerHost = 250              // connections from one address: servers limit them, and ports are few
	crowdStuck   = 20 * time.Second // nothing at all happens for so long: the server is stuck
)

// crowdOrder is what the child is to do. It comes in a file, as it may hold thousands of requests.
type crowdOrder struct {
	Address, CA string
	TLS, H2     bool
	Connections int
	Streams     int            // requests in flight on each connection
	Requests    []crowdRequest // asked in this order, round and round
	Own         bool           // the i-th connection asks always for the i-th request, modulo their number
	Warm, Limit time.Duration  // after the hold; Limit 0 = one more request on each connection, and no other
}

// crowdRequest is a request, and what the answer must be.
type crowdRequest struct {
	Path   string
	Fields [][2]string // names and values
	Status int
	Body   int64
	Class  int // whose latencies are kept apart
}

// crowdClass is what the answers to one class of requests were like while it counted.
type crowdClass struct {
	Done          int64
	Bytes         int64 // of bodies
	P50, P99, Max time.Duration
	ByConnection  []int // answers, of the connections that asked for this class only
}

// crowdReport is what the child prints in the end. Any error ends it without a report.
type crowdReport struct {
	Elapsed time.Duration
	CPU     time.Duration // of the child while it counted
	Classes []crowdClass
}

// What the child prints, one word a line, before its report; and what it waits for.
const (
	crowdReady = "ready" // all connections are there and have had one answer each
	crowdGo    = "go"    // from the parent, after ready
	crowdBegin = "begin" // it counts from here
	crowdEnd   = "end"   // and until here
)

// crowdChild is the load; the parent pins it.
func crowdChild(ctx context.Context, orderFile string, in io.Reader, out io.Writer) error {
	text, err := os.ReadFile(orderFile)
	if err != nil {
		return err
	}
	var order crowdOrder
	if err := json.Unmarshal(text, &order); err != nil {
		return err
	}
	if err := allowFiles(order.Connections); err != nil {
		return err
	}
	c, err := newCrowd(ctx, order)
	if err != nil {
		return err
	}
	defer c.close()
	fmt.Fprintln(out, crowdReady)
	if line, err := bufio.NewReader(in).ReadString('\n'); err != nil || strings.TrimSpace(line) != crowdGo {
		return fmt.Errorf("the parent said %q: %w", line, err)
	}
	report, err := c.load(ctx, out)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}

// allowFiles raises the limit of open files to what the system allows, and says when that is too little.
func allowFiles(connections int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if need := uint64(connections + spareFiles); limit.Max < need {
		return fmt.Errorf("%d connections need %d open files, the limit is %d", connections, need, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", limit.Max, err)
	}
	return nil
}

// spareFiles is what a process has open besides its connections, the cache of open files included.
const spareFiles = 2000

// crowd is the running load. Everything but the dialling happens on one goroutine.
type crowd struct {
	order    crowdOrder
	requests []preparedRequest
	next     int // the next request in order
	conns    []*crowdConn
	poll     int // epoll

	asking   bool // a finished answer is followed by the next request
	counting bool
	waiting  int // answers that are due
	classes  []crowdClass
	latency  [][]int64 // by class, in microseconds
	read     []byte    // what one system call takes, shared by all connections
	plain    []byte    // one decrypted record
}

func newCrowd(ctx context.Context, order crowdOrder) (*crowd, error) {
	c := &crowd{order: order, read: make([]byte, 256<<10), plain: make([]byte, 16<<10), conns: make([]*crowdConn, order.Connections)}
	for _, r := range order.Requests {
		c.requests = append(c.requests, prepareRequest(order, r))
		for len(c.classes) <= r.Class {
			c.classes, c.latency = append(c.classes, crowdClass{}), append(c.latency, nil)
		}
	}
	protocol := "http/1.1"
	if order.H2 {
		protocol = "h2"
	}
	config, err := clientConfig(order.CA, protocol)
	if err != nil {
		return nil, err
	}
	if c.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	for from := 0; from < len(c.conns); from += crowdBatch {
		to := min(from+crowdBatch, len(c.conns))
		err := c.dial(ctx, config, from, to)
		if err == nil {
			err = c.once(ctx, from, to)
		}
		if err != nil {
			c.close()
			return nil, fmt.Errorf("after %d connections: %w", from, err)
		}
	}
	return c, nil
}

// dial makes the connections from and up to to, some at a time, and hands them to epoll.
func (c *crowd) dial(ctx context.Context, config *tls.Config, from, to int) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	failures := make([]error, crowdDialers)
	for d := range crowdDialers {
		wg.Go(func() {
			for failures[d] == nil && ctx.Err() == nil {
				i := from + int(next.Add(1)) - 1
				if i >= to {
					return
				}
				if c.conns[i], failures[d] = dialCrowd(ctx, c.order, config, i); failures[d] != nil {
					failures[d] = fmt.Errorf("connection %d: %w", i, failures[d])
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(failures, ctx.Err())...); err != nil {
		return err
	}
	for i := from; i < to; i++ {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
		if err := syscall.EpollCtl(c.poll, syscall.EPOLL_CTL_ADD, c.conns[i].fd, &event); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	return nil
}

func (c *crowd) close() {
	for _, conn := range c.conns {
		if conn != nil {
			conn.close()
		}
	}
	_ = syscall.Close(c.poll)
}

// once asks for one answer on each of these connections and waits for all. They do not all ask at the same moment: this proves that
// each connection works and is no measurement.
func (c *crowd) once(ctx context.Context, from, to int) error {
	for i := from; i < to; i++ {
		if err := errors.Join(c.ask(i), c.flush(i)); err != nil {
			return err
		}
		for c.waiting >= crowdDialers {
			if err := c.turn(ctx); err != nil {
				return err
			}
		}
	}
	return c.drain(ctx)
}

// drain waits for every answer that is due.
func (c *crowd) drain(ctx context.Context) error {
	for c.waiting > 0 {
		if err := c.turn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// load asks all the time on all connections, warms up, counts, and reports.
func (c *crowd) load(ctx context.Context, out io.Writer) (crowdReport, error) {
	if c.order.Limit == 0 {
		if err := c.once(ctx, 0, len(c.conns)); err != nil {
			return crowdReport{}, fmt.Errorf("after the hold: %w", err)
		}
		return crowdReport{Classes: c.classes}, nil
	}
	c.asking = true
	for i := range c.conns {
		for range c.order.Streams {
			if err := c.ask(i); err != nil {
				return crowdReport{}, err
			}
		}
		if err := c.flush(i); err != nil {
			return crowdReport{}, err
		}
	}
	if err := c.until(ctx, time.Now().Add(c.order.Warm)); err != nil {
		return crowdReport{}, fmt.Errorf("warm-up: %w", err)
	}
	fmt.Fprintln(out, crowdBegin)
	c.counting = true
	began, cpu := time.Now(), ownCPU()
	if err := c.until(ctx, began.Add(c.order.Limit)); err != nil {
		return crowdReport{}, err
	}
	report := crowdReport{Elapsed: time.Since(began), CPU: ownCPU() - cpu}
	fmt.Fprintln(out, crowdEnd)
	c.asking, c.counting = false, false
	if err := c.drain(ctx); err != nil {
		return crowdReport{}, fmt.Errorf("last answers: %w", err)
	}
	report.Classes = c.summary()
	return report, nil
}

func (c *crowd) until(ctx context.Context, end time.Time) error {
	for time.Now().Before(end) {
		if err := c.turn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// turn waits for events and handles them.
func (c *crowd) turn(ctx context.Context) error {
	var events [512]syscall.EpollEvent
	n, err := syscall.EpollWait(c.poll, events[:], int(crowdStuck.Milliseconds()))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, syscall.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("epoll: %w", err)
	case n == 0:
		return fmt.Errorf("no answer within %s, %d are due", crowdStuck, c.waiting)
	}
	for _, event := range events[:n] {
		if err := c.readable(int(event.Fd)); err != nil {
			return fmt.Errorf("connection %d: %w", event.Fd, err)
		}
	}
	return nil
}

// ask makes the next request of the i-th connection ready to be flushed.
func (c *crowd) ask(i int) error {
	at := i % len(c.requests)
	if !c.order.Own {
		at = c.next % len(c.requests)
		c.next++
	}
	c.waiting++
	return c.conns[i].send(&c.requests[at], time.Now())
}

// readable takes what the i-th connection has for us.
func (c *crowd) readable(i int) error {
	conn := c.conns[i]
	answers, err := conn.take(c.read, c.plain)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, a := range answers {
		c.waiting--
		if c.counting {
			class := &c.classes[a.request.Class]
			class.Done++
			class.Bytes += a.request.Body
			c.latency[a.request.Class] = append(c.latency[a.request.Class], now.Sub(a.asked).Microseconds())
			conn.done++
		}
		if c.asking {
			if err := c.ask(i); err != nil {
				return err
			}
		}
	}
	return c.flush(i)
}

// flush writes what the i-th connection has ready. While its socket is full, epoll also tells when it no longer is.
func (c *crowd) flush(i int) error {
	conn := c.conns[i]
	waits, err := conn.flush()
	if err != nil || waits == conn.waits {
		return err
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
	if waits {
		event.Events |= syscall.EPOLLOUT
	}
	conn.waits = waits
	return syscall.EpollCtl(c.poll, syscall.EPOLL_CTL_MOD, conn.fd, &event)
}

// summary is the classes with their percentiles.
func (c *crowd) summary() []crowdClass {
	classes := slices.Clone(c.classes)
	for i := range classes {
		if l := c.latency[i]; len(l) > 0 {
			slices.Sort(l)
			classes[i].P50 = time.Duration(l[len(l)/2]) * time.Microsecond
			classes[i].P99 = time.Duration(percentile99(l)) * time.Microsecond
			classes[i].Max = time.Duration(l[len(l)-1]) * time.Microsecond
		}
	}
	if c.order.Own {
		for i, conn := range c.conns {
			class := c.requests[i%len(c.requests)].Class
			classes[class].ByConnection = append(classes[class].ByConnection, conn.done)
		}
	}
	return classes
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0 // cannot be for this process
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// crowdSource is the address that the i-th connection comes from: few enough share one that no server's limit of
// connections a client is met.
func crowdSource(i int) *net.TCPAddr {
	host := i / crowdPerHost
	return &net.TCPAddr{IP: net.IPv4(127, 2, byte(host>>8), byte(1+host%250))}
}
