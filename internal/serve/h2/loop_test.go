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
}

func (c *turning) Await(f func()) {
	c.turns.Add(1)
	c.Conn.Await(f)
}

// inLoop serves a connection in a loop, and returns its other end.
func inLoop(t *testing.T, o Options) (*turning, net.Conn) {
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
	nc := &turning{Conn: taken}
	NewServer(o).ServeConn(ctx, nc)
	return nc, here
}

func TestAnIdleConnectionLeavesItsLoopAlone(t *testing.T) {
	o := talkOptions()
	o.Rest, o.Idle = 10*time.Millisecond, time.Second
	nc, client := inLoop(t, o)
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
