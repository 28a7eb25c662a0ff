//go:build linux

package loop

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// A restless echo leaves its loop now and then, and is called by deadlines that
// others set at any moment.
type restless struct {
	c     *Conn
	again func() // turn
	buf   [700]byte
	ended chan struct{}
}

func (e *restless) turn() {
	for {
		if rand.IntN(20) == 0 {
			e.c.Leave()
		}
		n, err := e.c.Read(e.buf[:])
		if n > 0 {
			_, err = e.c.Write(e.buf[:n])
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrAgain):
			e.c.Await(e.again)
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = e.c.SetReadDeadline(time.Now().Add(time.Duration(1+rand.IntN(30)) * time.Millisecond))
		default:
			_ = e.c.Close()
			close(e.ended)
			return
		}
	}
}

// sendRestlessly writes data in pieces, and sets deadlines of the other end.
func sendRestlessly(client net.Conn, c *Conn, data []byte) {
	for n := 0; len(data) > 0; data = data[n:] {
		n = min(len(data), 1+rand.IntN(5000))
		if rand.IntN(3) == 0 {
			_ = c.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(4)-1) * time.Millisecond))
		}
		if _, err := client.Write(data[:n]); err != nil {
			return
		}
	}
}

func TestNothingIsLostWhateverHappens(t *testing.T) {
	g := newGroup(t, 2)
	random := rand.NewChaCha8([32]byte{})
	data := make([]byte, 1<<20)
	_, _ = random.Read(data) // never fails
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for range 4 {
				c, client := pair(t, g)
				e := &restless{c: c, ended: make(chan struct{})}
				e.again = e.turn
				c.Begin(e.again)
				_ = client.SetReadDeadline(time.Now().Add(time.Minute))
				for range 10 {
					sent := data[:1+rand.IntN(3000)]
					if rand.IntN(20) == 0 {
						sent = data
					}
					go sendRestlessly(client, c, sent) // until the last byte was read here, or the connection has ended
					got := make([]byte, len(sent))
					if n, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, sent) {
						t.Errorf("%d of %d bytes came back, %v", n, len(sent), err)
						return
					}
				}
				switch rand.IntN(3) {
				case 0:
					_ = client.Close()
				case 1:
					_ = client.SetLinger(0) // a reset
					_ = client.Close()
				default:
					_ = c.Close()
				}
				<-e.ended
			}
		})
	}
	clients.Wait()
}
