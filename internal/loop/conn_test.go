//go:build linux

package loop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"
)

// newGroup runs loops for the time of the test.
func newGroup(t testing.TB, n int) *Group {
	t.Helper()
	g, err := NewGroup(n, n == 2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return g
}

// pair returns the two ends of a TCP connection, the first of them ours.
func pair(t testing.TB, g *Group) (*Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := g.Take(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), c.Close() })
	return c, client.(*net.TCPConn)
}

func TestAConnIsANetConn(t *testing.T) {
	g := newGroup(t, 2)
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		c, client := pair(t, g)
		other, err := g.Take(client)
		if err != nil {
			return nil, nil, nil, err
		}
		return c, other, func() { _, _ = c.Close(), other.Close() }, nil
	})
}

// echo answers what comes, by turns of the loop, and tells when it has ended.
type echo struct {
	c     *Conn
	calls atomic.Int32
	ended chan error
	again func() // turn
	buf   [1 << 10]byte
}

func newEcho(c *Conn) *echo {
	e := &echo{c: c, ended: make(chan error, 1)}
	e.again = e.turn
	c.Begin(e.again)
	return e
}

func (e *echo) turn() {
	e.calls.Add(1)
	for {
		n, err := e.c.Read(e.buf[:])
		if errors.Is(err, ErrAgain) {
			e.c.Await(e.again)
			return
		}
		if err == nil {
			_, err = e.c.Write(e.buf[:n])
		}
		if err != nil {
			_ = e.c.Close()
			e.ended <- err
			return
		}
	}
}

func exchange(t testing.TB, client net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(client, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

func ends(t testing.TB, e *echo, want error) {
	t.Helper()
	select {
	case err := <-e.ended:
		if !errors.Is(err, want) {
			t.Errorf("it ended with %v, want %v", err, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it did not end")
	}
}

func TestTheLoopCallsWhenThereIsSomethingToRead(t *testing.T) {
	c, client := pair(t, newGroup(t, 1))
	e := newEcho(c)
	for range 100 {
		exchange(t, client, "something")
	}
	if n := e.calls.Load(); n > 110 { // once for each, and for what lay there
		t.Errorf("%d calls for 100 messages", n)
	}
	_ = client.Close()
	ends(t, e, io.EOF)
}

func TestWhatIsReadTogetherWithTheEndIsFollowedByIt(t *testing.T) {
	g := newGroup(t, 1)
	for range 200 {
		c, client := pair(t, g)
		e := newEcho(c)
		if _, err := io.WriteString(client, "last words"); err != nil {
			t.Fatal(err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); err != nil || string(got) != "last words" {
			t.Fatalf("got %q, %v", got, err)
		}
		ends(t, e, io.EOF)
	}
}

func TestADeadlineCallsToo(t *testing.T) {
	c, client := pair(t, newGroup(t, 1))
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	e := newEcho(c)
	exchange(t, client, "before")
	ends(t, e, os.ErrDeadlineExceeded)
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("after %v", took)
	}
}

func TestADeadlineThatIsMovedCountsFromThenOn(t *testing.T) {
	c, client := pair(t, newGroup(t, 1))
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	e := newEcho(c)
	time.Sleep(50 * time.Millisecond)
	exchange(t, client, "still there")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // while the loop waits
	ends(t, e, os.ErrDeadlineExceeded)
}

func TestADeadlineInThePastCallsAtOnce(t *testing.T) {
	c, _ := pair(t, newGroup(t, 1))
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	e := newEcho(c)
	for e.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	ends(t, e, os.ErrDeadlineExceeded)
}

func TestCloseCallsToo(t *testing.T) {
	c, _ := pair(t, newGroup(t, 1))
	e := newEcho(c)
	_ = c.Close()
	ends(t, e, net.ErrClosed)
}

// Whoever moves a deadline that has passed and tries again must come to an end.
func TestAfterCloseNoDeadlineCounts(t *testing.T) {
	c, _ := pair(t, newGroup(t, 1))
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
	var b [1]byte
	if _, err := c.Read(b[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading: %v", err)
	}
	if _, err := c.Write(b[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing: %v", err)
	}
}

func TestAWriteThatWaitsKeepsNobodyElseWaiting(t *testing.T) {
	g := newGroup(t, 1)
	slow, reader := pair(t, g)
	large := bytes.Repeat([]byte("x"), 32<<20)
	sent := make(chan error, 1)
	slow.Begin(func() {
		_, err := slow.Write(large)
		if err == nil {
			err = slow.WriteBuffers([]byte("head"), large[:1<<20])
		}
		_ = slow.Close()
		sent <- err
	})
	quick, client := pair(t, g)
	newEcho(quick)
	for range 10 {
		exchange(t, client, "hello")
	}
	select {
	case err := <-sent:
		t.Fatalf("32 MiB went into the air: %v", err)
	default:
	}
	got, err := io.ReadAll(reader)
	if want := len(large) + 4 + 1<<20; err != nil || len(got) != want || string(got[len(large):][:4]) != "head" {
		t.Errorf("%d bytes and %v, want %d", len(got), err, want)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	exchange(t, client, "still there")
}

func TestAWriteThatWaitsHasADeadline(t *testing.T) {
	c, _ := pair(t, newGroup(t, 1))
	_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	failed := make(chan error, 1)
	c.Begin(func() {
		_, err := c.Write(make([]byte, 64<<20))
		failed <- err
	})
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestAPeerMustKeepThePace(t *testing.T) {
	g := newGroup(t, 1)
	for name, c := range map[string]struct {
		pace  pace
		reads bool
		want  error
	}{
		"one who does not read":      {pace{20 * time.Millisecond, 1 << 40, 0}, false, os.ErrDeadlineExceeded},
		"one who reads, if slowly":   {pace{time.Millisecond, 1 << 20, 32 << 20}, true, nil},
		"one who is given some time": {pace{time.Hour, 1 << 40, 0}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			conn, peer := pair(t, g)
			if !conn.Pace(c.pace.grace, c.pace.rate, c.pace.free) {
				t.Fatal("it keeps no pace")
			}
			sent := make(chan error, 1)
			conn.Begin(func() {
				_, err := conn.Write(make([]byte, 16<<20))
				sent <- err
				_ = conn.Close()
			})
			if c.reads {
				time.Sleep(10 * time.Millisecond)
				if n, err := io.Copy(io.Discard, peer); n != 16<<20 {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
			if err := <-sent; !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestWhoLeavesMayWait(t *testing.T) {
	g := newGroup(t, 1)
	waiting, asked := pair(t, g)
	enough := make(chan struct{})
	read := make(chan string, 1)
	waiting.Begin(func() {
		waiting.Leave()
		waiting.Leave() // once is enough
		<-enough
		waiting.Block()
		var b [16]byte
		n, _ := waiting.Read(b[:]) // and it waits again, too
		read <- string(b[:n])
	})
	quick, client := pair(t, g)
	newEcho(quick)
	exchange(t, client, "hello")
	close(enough)
	if _, err := io.WriteString(asked, "later"); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "later" {
		t.Errorf("read %q", got)
	}
	exchange(t, client, "and after that")
}

// A read ends in front of an urgent byte, however much there is behind it.
func TestUrgentDataHidesNothing(t *testing.T) {
	g := newGroup(t, 1)
	c, client := pair(t, g)
	e := newEcho(c)
	exchange(t, client, "hello")
	busy, _ := pair(t, g)
	all := make(chan struct{})
	busy.Begin(func() { <-all }) // so that everything is there when it is read
	raw, err := client.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if err := unix.Send(int(fd), []byte("ab!"), unix.MSG_OOB); err != nil { // the last byte is urgent
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "cd"); err != nil {
		t.Fatal(err)
	}
	close(all)
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, 4)
	if n, err := io.ReadFull(client, got); err != nil || string(got) != "abcd" {
		t.Errorf("got %q, %v", got[:n], err)
	}
	_ = client.Close()
	ends(t, e, io.EOF)
}

func TestADeadlineMayBeFarAway(t *testing.T) {
	g := newGroup(t, 1)
	for _, left := range []time.Duration{24 * time.Hour, 30 * 24 * time.Hour, 50 * 24 * time.Hour, 1<<63 - 1} {
		c, client := pair(t, g)
		_ = c.SetDeadline(time.Now().Add(left))
		newEcho(c)
		exchange(t, client, "hello")
		for c.timer.at.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		if patience := c.loop.patience(); patience <= 0 || int(int32(patience)) != patience {
			t.Errorf("with %v left it waits for %d ms", left, patience)
		}
		_ = c.Close()
	}
}

// While somebody's write waits, the loop must not read: a lock of crypto/tls that
// the writer holds would keep the reader, and with it everybody.
func TestNothingIsReadByTheLoopWhileAWriteWaits(t *testing.T) {
	g := newGroup(t, 1)
	c, peer := pair(t, g)
	var held sync.Mutex
	var turn func()
	entered := make(chan struct{}, 16)
	turn = func() {
		entered <- struct{}{}
		var b [16]byte
		held.Lock() // as crypto/tls does
		_, err := c.Read(b[:])
		held.Unlock()
		if errors.Is(err, ErrAgain) {
			c.Await(turn)
		}
	}
	c.Begin(turn)
	<-entered
	for !c.armed.Load() { // or else the writer could be first
		time.Sleep(time.Millisecond)
	}
	go func() {
		held.Lock()
		defer held.Unlock()
		_, _ = c.Write(make([]byte, 64<<20))
	}()
	for !c.out.waiting.Load() {
		time.Sleep(time.Millisecond)
	}
	if _, err := io.WriteString(peer, "a message that wants an answer"); err != nil {
		t.Fatal(err)
	}
	<-entered
	quick, client := pair(t, g)
	newEcho(quick)
	exchange(t, client, "hello")
	_ = c.Close()
}

func TestOneThatAlwaysHasSomethingToReadLetsOthersHaveTheirTurns(t *testing.T) {
	g := newGroup(t, 1)
	greedy, flood := pair(t, g)
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	flooding.Go(func() {
		chunk := make([]byte, 64<<10)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := flood.Write(chunk); err != nil {
					return
				}
			}
		}
	})
	var turn func()
	turn = func() {
		var b [512]byte
		for {
			if _, err := greedy.Read(b[:]); errors.Is(err, ErrAgain) {
				greedy.Await(turn)
				return
			} else if err != nil {
				return
			}
		}
	}
	greedy.Begin(turn)
	quick, client := pair(t, g)
	newEcho(quick)
	for range 20 {
		exchange(t, client, "hello")
	}
	close(stop)
	_ = flood.Close()
	flooding.Wait()
}

func TestManyComeAndGo(t *testing.T) {
	g := newGroup(t, 2)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 50 {
				c, client := pair(t, g)
				e := newEcho(c)
				exchange(t, client, "a")
				exchange(t, client, "b")
				_ = client.Close()
				ends(t, e, io.EOF)
			}
		})
	}
	clients.Wait()
	for _, l := range g.loops {
		l.mu.Lock()
		for fd, c := range l.conns {
			if c != nil {
				t.Errorf("the descriptor %d is still watched", fd)
			}
		}
		if n := len(l.timers.heap); n > 0 {
			t.Errorf("%d timers are left", n)
		}
		l.mu.Unlock()
	}
}

func TestOnlyTCPIsTaken(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := newGroup(t, 1).Take(a); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func TestATurnAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c, client := pair(t, newGroup(t, 1))
	newEcho(c)
	var b [16]byte
	if n := testing.AllocsPerRun(200, func() {
		_, _ = client.Write(b[:])
		_, _ = io.ReadFull(client, b[:])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
