package h1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stopAt is a Hit that stops the server at a target, and answers with the pages.
func stopAt(target string, stopping *atomic.Bool, e *edge) func(*Head, []byte, *Hit) bool {
	return func(head *Head, raw []byte, h *Hit) bool {
		if string(head.Target.Of(raw)) == target {
			stopping.Store(true)
		}
		return e.hit(head, raw, h)
	}
}

func TestWhenTheServerStopsWhatWasReadIsAnswered(t *testing.T) {
	tests := []struct {
		name  string
		in    string
		first int    // bytes of the first read; 0: all
		want  string // as if these had been asked for
		rest  string // handed over
	}{
		{"one request", get("/page"), 0, get("/page", "Connection: close"), ""},
		{"two that were read", get("/page") + good, 0, get("/page") + get("/good", "Connection: close"), ""},
		{"large ones that were read", get("/page") + get("/huge") + get("/large"), 0, get("/page") + get("/huge") + get("/large", "Connection: close"), ""},
		{"one that was not read", get("/page") + good, len(get("/page")), get("/page", "Connection: close"), ""},
		{"one that was read in part", get("/page") + good, len(get("/page")) + 9, get("/page") + get("/good", "Connection: close"), ""},
		{"one that is not for the loop", get("/page") + get("/other"), 0, get("/page"), get("/other")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{script: script{data: []byte(tt.in)}}
			if tt.first > 0 {
				w.sizes = []byte{byte(tt.first - 1)}
			}
			var stopping atomic.Bool
			rest := Loop(w, LoopOptions{Hit: stopAt("/page", &stopping, &edge{}), Stopping: &stopping})
			if got := undated(w.out.String()); got != answerTo(tt.want) {
				t.Errorf("answered %.500q", got)
			}
			if w.closed != (tt.rest == "") || w.closed != (rest == nil) {
				t.Fatalf("closed: %v; handed over: %v", w.closed, rest != nil)
			}
			if rest == nil {
				return
			}
			if got, err := io.ReadAll(rest); err != nil || string(got) != tt.rest {
				t.Errorf("handed over %q, %v; want %q", got, err, tt.rest)
			}
		})
	}
}

// piped runs f with a loop on one end of a pipe, in a bubble. The loop's result goes to over.
func piped(t *testing.T, o LoopOptions, f func(t *testing.T, near, far net.Conn, over <-chan *Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		over := make(chan *Conn, 1) // the loop does not wait for f
		go func() { over <- Loop(far, o) }()
		synctest.Wait()
		f(t, near, far, over)
	})
}

// stop stops a loop as whoever stops the server does.
func stop(t *testing.T, stopping *atomic.Bool, far net.Conn) {
	t.Helper()
	stopping.Store(true)
	if err := far.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestAnIdleLoopEndsWhenTheServerStops(t *testing.T) {
	var stopping atomic.Bool
	piped(t, LoopOptions{Hit: (&edge{}).hit, Stopping: &stopping}, func(t *testing.T, near, far net.Conn, over <-chan *Conn) {
		for range 2 {
			if _, err := io.WriteString(near, good); err != nil {
				t.Fatal(err)
			}
			if _, err := near.Read(make([]byte, 4<<10)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		start := time.Now()
		stop(t, &stopping, far)
		if rest := <-over; rest != nil || time.Since(start) > 0 {
			t.Errorf("handed over: %v, after %v", rest != nil, time.Since(start))
		}
		if out, err := io.ReadAll(near); err != nil || len(out) > 0 {
			t.Errorf("the client got %q, %v", out, err)
		}
	})
}

func TestAHeadThatHasBegunIsWaitedForWhenTheServerStops(t *testing.T) {
	for _, patience := range []time.Duration{0, -1} {
		var stopping atomic.Bool
		o := LoopOptions{Options: Options{Head: patience}, Hit: (&edge{}).hit, Stopping: &stopping}
		piped(t, o, func(t *testing.T, near, far net.Conn, over <-chan *Conn) {
			if _, err := io.WriteString(near, good[:9]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			stop(t, &stopping, far)
			time.Sleep(4 * time.Second)
			if _, err := io.WriteString(near, good[9:]); err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(near)
			if got := undated(string(out)); err != nil || got != answerTo(get("/good", "Connection: close")) {
				t.Errorf("the client got %q, %v", got, err)
			}
			if rest := <-over; rest != nil {
				t.Error("handed over")
			}
		})
	}
}

func TestAHeadThatHasBegunIsNotWaitedForForEverWhenTheServerStops(t *testing.T) {
	var stopping atomic.Bool
	piped(t, LoopOptions{Hit: (&edge{}).hit, Stopping: &stopping}, func(t *testing.T, near, far net.Conn, over <-chan *Conn) {
		start := time.Now()
		if _, err := io.WriteString(near, good[:9]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		stop(t, &stopping, far)
		rest := <-over
		took(t, start, 5*time.Second)
		out, err := io.ReadAll(rest)
		if err != nil || string(out) != refusedRequest {
			t.Errorf("the engine gets %q, %v", out, err)
		}
	})
}

func TestALoopThatStartsWhenTheServerStopsReadsNothing(t *testing.T) {
	var stopping atomic.Bool
	stopping.Store(true)
	w := &wire{script: script{data: []byte(good)}}
	if rest := Loop(w, LoopOptions{Hit: (&edge{}).hit, Stopping: &stopping}); rest != nil || !w.closed || len(w.data) != len(good) {
		t.Errorf("handed over: %v; closed: %v; %d bytes left", rest != nil, w.closed, len(w.data))
	}
}

// A meddler is a connection on which somebody else does something in the worst moment.
type meddler struct {
	net.Conn
	beforeRead, afterWrite func() // deadlines are set
}

func (m *meddler) SetReadDeadline(t time.Time) error {
	if m.beforeRead != nil {
		m.beforeRead()
	}
	return m.Conn.SetReadDeadline(t)
}

func (m *meddler) SetWriteDeadline(t time.Time) error {
	err := m.Conn.SetWriteDeadline(t)
	if m.afterWrite != nil {
		m.afterWrite()
	}
	return err
}

func TestStoppingIsSeenThoughTheLoopSetsADeadlineBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		var stopping atomic.Bool
		start := time.Now()
		rest := Loop(&meddler{Conn: far, beforeRead: func() {
			stopping.Store(true)
			_ = far.SetReadDeadline(time.Unix(1, 0))
		}}, LoopOptions{Hit: (&edge{}).hit, Stopping: &stopping})
		if rest != nil || time.Since(start) > 0 {
			t.Errorf("handed over: %v, after %v", rest != nil, time.Since(start))
		}
	})
}

func TestADeadlineThatComesWithTheHandOverIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		go func() {
			_, _ = io.WriteString(near, get("/other"))
			time.Sleep(time.Minute)
			_, _ = io.WriteString(near, good[:1])
		}()
		rest := Loop(&meddler{Conn: far, afterWrite: func() {
			_ = far.SetReadDeadline(time.Unix(1, 0))
		}}, LoopOptions{Hit: (&edge{}).hit, Options: Options{Idle: -1, Head: -1}})
		p := make([]byte, 100)
		if n, err := rest.Read(p); err != nil || string(p[:n]) != get("/other") {
			t.Fatalf("read %q, %v", p[:n], err)
		}
		// As net/http does while a handler runs. The head has only begun when the peer leaves.
		go func() { time.Sleep(time.Hour); _ = near.Close() }()
		if _, err := rest.Read(p[:1]); !errors.Is(err, io.EOF) {
			t.Errorf("the next read: %v", err)
		}
	})
}

// TestStoppingCutsNoAnswer stops a server at any moment of many conversations.
func TestStoppingCutsNoAnswer(t *testing.T) {
	for range 30 {
		e := engines[1].newEdge(t, Options{}, nil)
		var wg sync.WaitGroup
		var asked atomic.Int32
		enough := make(chan struct{})
		for range 8 {
			c := dial(t, e)
			wg.Go(func() {
				defer c.close()
				for c.asksForPage() {
					if asked.Add(1) == 50 {
						close(enough)
					}
				}
			})
		}
		<-enough
		e.stop()
		wg.Wait()
	}
}

// asksForPage asks once, and reports whether the connection was still open.
func (c *client) asksForPage() bool {
	if _, err := io.WriteString(c.c, get("/page")); err != nil {
		return false
	}
	if _, err := c.br.Peek(1); err != nil {
		return false // it was not read
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Errorf("read answer: %v", err)
		return false
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != string(pages["/page"]) {
		c.t.Errorf("an answer of %d bytes, %v", len(b), err)
	}
	return !resp.Close
}
