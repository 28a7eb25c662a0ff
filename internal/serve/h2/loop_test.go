package h2

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"pennyfarthing/internal/loop"
)

// A turning connection counts how often its loop is told to wait.
type turning struct {
	*loop.Conn
	turns atomic.Int32
	tardy time.Duration // how long the process stands still before a deadline is set
}

func (c *turning) SetReadDeadline(t time.Time) error {
	time.Sleep(c.tardy)
	return c.Conn.SetReadDeadline(t)
}

func (c *turning) Await(f func()) {
	c.turns.Add(1)
	c.Conn.Await(f)
}

// inLoop serves a connection in a loop, and returns its other end.
func inLoop(t *testing.T, o Options, tardy time.Duration) (*turning, net.Conn) {
	t.Helper()
	loops, err := loop.NewGroup(1, false)
	if errors.Is(err, loop.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { loops.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	here, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	taken, err := loops.Take(there)
	if err != nil {
		t.Fatal(err)
	}
	nc := &turning{Conn: taken, tardy: tardy}
	NewServer(o).ServeConn(ctx, nc)
	return nc, here
}

func TestAnIdleConnectionLeavesItsLoopAlone(t *testing.T) {
	o := talkOptions()
	o.Rest, o.Idle = 10*time.Millisecond, time.Second
	nc, client := inLoop(t, o, 0)
	if _, err := io.WriteString(client, preface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(client, client)
	if err := errors.Join(framer.WriteSettings(), framer.WriteSettingsAck()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, client); err != nil {
		t.Error(err)
	}
	if n := nc.turns.Load(); n > 10 { // three came, it rested, and it ended
		t.Errorf("it had %d turns", n)
	}
}

// TestADeadlineThatHasPassedWhenItIsSetEndsTheRead has the process stand still, as a
// virtual machine does, between the look at the clock and the deadline that follows
// from it.
func TestADeadlineThatHasPassedWhenItIsSetEndsTheRead(t *testing.T) {
	o := talkOptions()
	o.Rest, o.Idle = 5*time.Millisecond, 300*time.Millisecond
	_, client := inLoop(t, o, 20*time.Millisecond)
	if _, err := io.WriteString(client, preface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(client, client)
	if err := errors.Join(framer.WriteSettings(), framer.WriteSettingsAck()); err != nil {
		t.Fatal(err)
	}
	if err := client.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, client); err != nil {
		t.Errorf("the idle connection was not closed: %v", err)
	}
}
