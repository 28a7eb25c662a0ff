package looptest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pennyfarthing/internal/loop"
)

// echo answers what comes, whatever the pace, until an error comes that is not
// ErrAgain.
func echo(c *Conn) (ended chan error) {
	ended = make(chan error, 1)
	var turn func()
	turn = func() {
		var p [512]byte
		for {
			n, err := c.Read(p[:])
			if errors.Is(err, loop.ErrAgain) {
				c.Await(turn)
				return
			}
			if err == nil {
				_, err = c.Write(p[:n])
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}
	c.Begin(turn)
	return ended
}

func TestNothingIsLostAtAnyPace(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			ended := echo(Wrap(far, seed))
			text := bytes.Repeat([]byte("what is sent comes back. "), 400)
			go func() { _, _ = near.Write(text) }()
			got := make([]byte, len(text))
			if _, err := io.ReadFull(near, got); err != nil || !bytes.Equal(got, text) {
				t.Errorf("seed %d: got %.40q, %v", seed, got, err)
			}
			_ = near.Close()
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

func TestWhatEndsWaiting(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(c *Conn) error
		want error
	}{
		"a deadline":             {func(c *Conn) error { return c.SetReadDeadline(time.Now().Add(time.Minute)) }, os.ErrDeadlineExceeded},
		"a deadline in the past": {func(c *Conn) error { return c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"closing it":             {func(c *Conn) error { return c.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				c := Wrap(far, 1)
				ended := echo(c)
				synctest.Wait()
				if err := test.do(c); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; !errors.Is(err, test.want) {
					t.Errorf("it ended with %v, want %v", err, test.want)
				}
			})
		})
	}
}

func TestWhoBlocksWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		c := Wrap(far, 1)
		got := make(chan string)
		c.Begin(func() {
			c.Block()
			var p [8]byte
			n, _ := c.Read(p[:])
			got <- string(p[:n])
		})
		time.Sleep(time.Minute)
		if _, err := io.WriteString(near, "late"); err != nil {
			t.Fatal(err)
		}
		if text := <-got; text != "late" {
			t.Errorf("got %q", text)
		}
	})
}
