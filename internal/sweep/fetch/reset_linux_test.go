package fetch

import (
	"context"
	"net"
	"testing"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// A reset that comes before the reactor looks is one of the connection, and of no
// request: nobody has heard one.
func TestAResetBeforeAWordIsTheConnections(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	wasReset := make(chan error)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			err = c.(*net.TCPConn).SetLinger(0)
			c.Close()
			wasReset <- err
		}
	}()
	r, err := loop.NewReactor()
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFast(r, Config{UserAgent: agent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := pump(ctx, r)
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		f.Close()
	}()
	for _, secure := range []bool{false, true} {
		done := make(chan *Exchange, 1)
		x := exchange(listener.Addr().(*net.TCPAddr).AddrPort())
		x.Secure, x.Done = secure, func(x *Exchange) { done <- x }
		r.Post(func() {
			f.Fetch(x)
			if err := <-wasReset; err != nil { // the reactor looks afterwards
				t.Error(err)
			}
		})
		<-done
		if x.Verdict != verdict.TCPReset || x.BytesOut != 0 || x.ConnectTook != 0 || x.Err == "" {
			t.Errorf("secure %v: %v (%s), %d bytes were sent", secure, x.Verdict, x.Err, x.BytesOut)
		}
	}
}
