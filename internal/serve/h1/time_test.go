package h1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener yields the ends of pipes.
type pipeListener struct {
	ends   chan net.Conn // unbuffered: dialling waits for Accept
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ends:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(t *testing.T) *client {
	t.Helper()
	near, far := net.Pipe()
	l.ends <- far
	c := newClient(t, near)
	if err := near.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// inBubble runs f with a client of an edge, where time is made of patience, once with each engine.
func inBubble(t *testing.T, o Options, handler http.HandlerFunc, f func(t *testing.T, e *edge, c *client)) {
	t.Helper()
	onBoth(t, func(t *testing.T, on engine) {
		synctest.Test(t, func(t *testing.T) {
			l := newPipeListener()
			e := &edge{engine: on}
			var h http.Handler
			if handler != nil {
				h = handler
			}
			e.start(t, l, o, h)
			c := l.dial(t)
			defer c.close()
			f(t, e, c)
		})
	})
}

// drip sends s byte by byte.
func (c *client) drip(s string, every time.Duration) {
	c.wg.Go(func() {
		for _, b := range []byte(s) {
			if _, err := c.c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(every)
		}
	})
}

// took checks how long something took, to the lingering.
func took(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since); got < want || got > want+lingerTime {
		t.Errorf("it took %v, want %v", got, want)
	}
}

func wantReason(t *testing.T, e *edge, want Reason) {
	t.Helper()
	if _, refused := e.sawSoFar(); reasonOf(refused) != want {
		t.Errorf("refused %v, want %v", refused, want)
	}
}

func TestAnIdleConnectionIsClosedInSilence(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		start := time.Now()
		c.wantEOF()
		took(t, start, time.Minute)
		wantReason(t, e, ReasonNone)
	})
}

func TestAConnectionThatServedIsClosedWhenIdle(t *testing.T) {
	inBubble(t, Options{Idle: 7 * time.Second}, nil, func(t *testing.T, e *edge, c *client) {
		for range 3 {
			time.Sleep(6 * time.Second)
			c.send(good)
			c.answer()
		}
		start := time.Now()
		c.wantEOF()
		took(t, start, 7*time.Second)
		wantReason(t, e, ReasonNone)
	})
}

func TestASlowHeadIsAnswered408(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		time.Sleep(50 * time.Second) // waiting for the first byte is another matter
		start := time.Now()
		c.drip(good, time.Second)
		if status, _ := c.answer(); status != http.StatusRequestTimeout {
			t.Errorf("status %d, want 408", status)
		}
		took(t, start, 5*time.Second)
		c.wantEOF()
		wantReason(t, e, ReasonSlowHead)
	})
}

func TestASlowHeadBehindARunningHandlerIsAnsweredInItsTurn(t *testing.T) {
	handler := &edge{}
	inBubble(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if _, refused := FromContext(r.Context()).Refused(r); !refused {
			time.Sleep(time.Minute)
		}
		handler.ServeHTTP(w, r)
	}, func(t *testing.T, e *edge, c *client) {
		start := time.Now()
		c.send(good + good[:7])
		for _, want := range []int{200, 408} {
			if status, _ := c.answer(); status != want {
				t.Errorf("status %d, want %d", status, want)
			}
		}
		took(t, start, time.Minute)
		c.wantEOF()
		wantReason(t, e, ReasonSlowHead)
	})
}

func TestALongHandlerIsNoIdleConnection(t *testing.T) {
	inBubble(t, Options{}, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }, func(t *testing.T, _ *edge, c *client) {
		for range 2 {
			c.send(good)
			if status, _ := c.answer(); status != 200 {
				t.Errorf("status %d", status)
			}
		}
	})
}

func TestASlowBodyEndsTheConnection(t *testing.T) {
	for name, in := range map[string]string{
		"with a length": post + "Content-Length: 1000\r\n\r\n",
		"in chunks":     chunked + "3e8\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
				start := time.Now()
				c.send(in)
				c.wg.Wait()
				c.drip(strings.Repeat("x", 1000), time.Second)
				if status, _ := c.answer(); status != http.StatusRequestTimeout {
					t.Errorf("status %d, want 408", status)
				}
				took(t, start, 10*time.Second)
				c.wantEOF()
				wantReason(t, e, ReasonSlowBody)
			})
		})
	}
}

func TestABodyAtItsRatePasses(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		start := time.Now()
		c.send(post + "Content-Length: 100000\r\n\r\n")
		c.wg.Wait()
		c.wg.Go(func() {
			for range 100 {
				time.Sleep(time.Second)
				if _, err := io.WriteString(c.c, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		})
		if status, body := c.answer(); status != 200 || len(body) != 100000 {
			t.Errorf("status %d, %d bytes", status, len(body))
		}
		took(t, start, 100*time.Second)
		wantReason(t, e, ReasonNone)
	})
}

func TestEveryMessageHasItsOwnTime(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		for range 3 {
			c.send(post + "Content-Length: 8\r\n\r\n")
			c.wg.Wait()
			c.drip("8seconds", time.Second)
			if status, _ := c.answer(); status != 200 {
				t.Fatalf("status %d", status)
			}
			c.wg.Wait()
		}
		wantReason(t, e, ReasonNone)
	})
}

func TestASlowHandlerIsNotTheClientsFault(t *testing.T) {
	handler := &edge{}
	inBubble(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Hour)
		handler.ServeHTTP(w, r)
	}, func(t *testing.T, e *edge, c *client) {
		c.send(post + "Content-Length: 8000\r\n\r\n" + strings.Repeat("x", 8000) + good)
		for range 2 {
			if status, _ := c.answer(); status != 200 {
				t.Errorf("status %d", status)
			}
		}
		wantReason(t, e, ReasonNone)
	})
}

// bigAnswer writes a mebibyte and notes how that went and how long it took.
func bigAnswer(e *edge) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		start := time.Now()
		_, err := w.Write(make([]byte, 1<<20))
		e.note("%v after %v", err, time.Since(start).Round(time.Second))
	}
}

func TestASlowReaderIsCutOff(t *testing.T) {
	handler := &edge{}
	inBubble(t, Options{}, bigAnswer(handler), func(t *testing.T, e *edge, c *client) {
		c.send(good)
		time.Sleep(5 * time.Second)
		if _, err := c.br.ReadByte(); err != nil { // takes the 4 KiB that net/http writes first
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		// Then comes a piece of 64 KiB, for which there are ten seconds and sixty-four.
		saw, _ := handler.sawSoFar()
		if want := []string{"the peer reads too slowly after 1m19s"}; !slices.Equal(saw, want) {
			t.Errorf("the handler saw %q, want %q", saw, want)
		}
		wantReason(t, e, ReasonSlowReader)
	})
}

func TestAReaderAtTheRateIsServed(t *testing.T) {
	handler := &edge{}
	inBubble(t, Options{}, bigAnswer(handler), func(t *testing.T, e *edge, c *client) {
		c.send(good)
		p := make([]byte, 1200)
		for left := 1 << 20; left >= len(p); left -= len(p) {
			if _, err := io.ReadFull(c.br, p); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		wantReason(t, e, ReasonNone)
	})
}

func TestTheOwnersDeadlineAppliesWhenItIsEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		c := Guard(far, Options{Head: time.Minute})
		defer c.Close()
		start := time.Now()
		for i, part := range []string{"GE", "T ", good[4:]} {
			if err := c.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(near, part) }()
			p := make([]byte, 100)
			n, err := c.Read(p)
			if i < 2 && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read %d: %q, %v", i, p[:n], err)
			}
			if i == 2 && string(p[:n]) != good {
				t.Errorf("Read %d: %q, %v", i, p[:n], err)
			}
		}
		took(t, start, 6*time.Second)
	})
}

func TestNegativeTimesAreNoLimits(t *testing.T) {
	inBubble(t, Options{Idle: -1, Head: -1, Grace: -1}, nil, func(t *testing.T, e *edge, c *client) {
		time.Sleep(time.Hour)
		c.drip(post+"Content-Length: 2\r\n\r\nhi", time.Hour)
		if status, body := c.answer(); status != 200 || body != "hi" {
			t.Errorf("answer %d %q", status, body)
		}
		wantReason(t, e, ReasonNone)
	})
}

func TestASecondCloseCutsTheLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		c := Guard(far, Options{})
		go func() { _, _ = io.WriteString(near, "\n"); _, _ = near.Read(make([]byte, 10)) }()
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("no")); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		done := make(chan struct{})
		go func() { _ = c.Close(); close(done) }()
		time.Sleep(lingerTime / 2)
		_ = c.Close()
		<-done
		if got := time.Since(start); got != lingerTime/2 {
			t.Errorf("closing took %v", got)
		}
	})
}

func TestShuttingDownDoesNotLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		c := Guard(far, Options{})
		go func() { _, _ = io.WriteString(near, "GET / HTTP/1.0\r\n\r\n"); _, _ = near.Read(make([]byte, 10)) }()
		p := make([]byte, 100)
		if _, err := c.Read(p); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("a part")); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = c.Read(p[:1]) }() // as net/http does while a handler runs
		synctest.Wait()
		start := time.Now()
		_ = c.Close()
		if got := time.Since(start); got != 0 {
			t.Errorf("closing took %v", got)
		}
	})
}

func TestClosingLingersBesideAReadOfTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		c := Guard(far, Options{})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			_, _ = io.WriteString(near, post+"Content-Length: 9\r\n\r\nhi")
			_, _ = io.Copy(io.Discard, near)
		})
		p := make([]byte, 4<<10)
		if _, err := c.Read(p); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("an answer")); err != nil {
			t.Fatal(err)
		}
		c.Last()
		wg.Go(func() { _, _ = c.Read(p[:1]) })
		synctest.Wait()
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if got := time.Since(start); got != lingerTime {
			t.Errorf("Close took %v, want %v", got, lingerTime)
		}
	})
}
