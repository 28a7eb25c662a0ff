package h1

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestAnIdleLoopIsAsPatientAsItSays(t *testing.T) {
	for _, pace := range []time.Duration{0, 1, 7, 14, 15, 16, 44, 45, 46, 59} {
		inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
			for range 6 {
				c.send(good)
				if status, _ := c.answer(); status != 200 {
					t.Fatalf("status %d", status)
				}
				time.Sleep(pace * time.Second)
			}
			start := time.Now().Add(-pace * time.Second)
			c.wantEOF()
			if got := time.Since(start); got != time.Minute {
				t.Errorf("with a request every %v it waited %v", pace*time.Second, got)
			}
			wantReason(t, e, ReasonNone)
		})
	}
}

func TestNoLimitFollowsALimit(t *testing.T) {
	inBubble(t, Options{Idle: -1}, nil, func(t *testing.T, e *edge, c *client) {
		for range 3 {
			c.send(good[:9])
			c.wg.Wait()
			time.Sleep(time.Second)
			c.send(good[9:])
			if status, _ := c.answer(); status != 200 {
				t.Fatalf("status %d", status)
			}
			time.Sleep(time.Hour)
		}
		wantReason(t, e, ReasonNone)
	})
}

func TestEveryHeadHasItsOwnTime(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		for range 5 {
			c.drip(good[:4], time.Second)
			c.wg.Wait()
			c.send(good[4:] + good[:2]) // the next one begins at once
			if status, _ := c.answer(); status != 200 {
				t.Fatalf("status %d", status)
			}
			time.Sleep(4 * time.Second)
			c.send(good[2:])
			if status, _ := c.answer(); status != 200 {
				t.Fatalf("status %d", status)
			}
		}
		wantReason(t, e, ReasonNone)
	})
}

func TestASlowHeadBehindHitsIsAnsweredOnce(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		c.send(good + get("/page"))
		for range 2 {
			c.answer()
		}
		time.Sleep(50 * time.Second)
		start := time.Now()
		c.drip(headOf(300, "/page")+good, 250*time.Millisecond)
		if status, _ := c.answer(); status != http.StatusRequestTimeout {
			t.Errorf("status %d, want 408", status)
		}
		took(t, start, 5*time.Second)
		c.wantEOF()
		wantReason(t, e, ReasonSlowHead)
	})
}

// TestASlowHeadIsRefusedThoughTheRestCame has the rest of a head come in the moment in which it is given up.
func TestASlowHeadIsRefusedThoughTheRestCame(t *testing.T) {
	piped(t, LoopOptions{Hit: (&edge{}).hit}, func(t *testing.T, near, _ net.Conn, over <-chan *Conn) {
		if _, err := io.WriteString(near, good[:9]); err != nil {
			t.Fatal(err)
		}
		rest := <-over
		go func() { _, _ = io.WriteString(near, good[9:]+good[:9]) }()
		if out, err := io.ReadAll(rest); err != nil || string(out) != refusedRequest {
			t.Errorf("the engine gets %q, %v", out, err)
		}
	})
}

func TestDeadlinesThatWereKeptDoNotFireLate(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		for i := range 200 {
			c.send(get([]string{"/good", "/page", "/brim", "/large"}[i%4]))
			if status, _ := c.answer(); status != 200 {
				t.Fatalf("status %d", status)
			}
			time.Sleep(time.Duration(i*i%60) * time.Second)
		}
		wantReason(t, e, ReasonNone)
	})
}

func TestAReaderHasItsTimeForEveryAnswer(t *testing.T) {
	for gap := range 30 {
		inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
			for i := range 6 {
				c.send(get("/page"))
				if i%2 > 0 {
					time.Sleep(10900 * time.Millisecond) // of the ten seconds and one that there are
				}
				if status, _ := c.answer(); status != 200 {
					t.Fatalf("status %d", status)
				}
				time.Sleep(time.Duration(gap) * time.Second)
			}
			wantReason(t, e, ReasonNone)
		})
	}
}

// refusals are what the guard's options are told.
func refusals(o *LoopOptions) *[]Refusal {
	var got []Refusal
	o.OnRefusal = func(r Refusal) { got = append(got, r) }
	return &got
}

func TestASlowReaderOfAHitIsCutOff(t *testing.T) {
	o := LoopOptions{Hit: (&edge{}).hit}
	refused := refusals(&o)
	for _, tt := range []struct {
		target string
		taken  int // before it reads no more
		least  time.Duration
	}{
		{"/page", 0, 11 * time.Second},
		{"/page", 100, 11 * time.Second},
		{"/huge", 0, 74 * time.Second},
		{"/huge", 200_000, 74 * time.Second},
	} {
		*refused = nil
		piped(t, o, func(t *testing.T, near, _ net.Conn, over <-chan *Conn) {
			if _, err := io.WriteString(near, get(tt.target)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(near, make([]byte, tt.taken)); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if rest := <-over; rest != nil {
				t.Error("handed over")
			}
			if got := time.Since(start); got < tt.least || got > 2*tt.least {
				t.Errorf("%s, %d bytes taken: cut off after %v, want %v or somewhat more", tt.target, tt.taken, got, tt.least)
			}
			if reasonOf(*refused) != ReasonSlowReader {
				t.Errorf("counted %v", *refused)
			}
		})
	}
}

func TestTheTimeForALargeAnswerIsNotForASmallOne(t *testing.T) {
	o := LoopOptions{Hit: (&edge{}).hit}
	piped(t, o, func(t *testing.T, near, _ net.Conn, over <-chan *Conn) {
		c := newClient(t, near)
		if err := near.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		c.send(get("/huge"), get("/page"))
		c.answer()
		start := time.Now()
		<-over
		if got := time.Since(start); got < 11*time.Second || got > 22*time.Second {
			t.Errorf("cut off after %v", got)
		}
	})
}

func TestAReaderOfHitsAtTheRateIsServed(t *testing.T) {
	inBubble(t, Options{}, nil, func(t *testing.T, e *edge, c *client) {
		in := get("/page") + get("/brim") + get("/large") + get("/huge") + get("/page") + get("/brim", "Connection: close")
		c.send(in)
		p := make([]byte, 1<<10)
		var out []byte
		for {
			n, err := io.ReadFull(c.c, p)
			out = append(out, p[:n]...)
			if err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if got := undated(string(out)); got != answerTo(in) {
			t.Errorf("%d bytes, want %d", len(got), len(answerTo(in)))
		}
		wantReason(t, e, ReasonNone)
	})
}

func TestAReaderMayBeSlowWithoutLimits(t *testing.T) {
	inBubble(t, Options{Grace: -1}, nil, func(t *testing.T, e *edge, c *client) {
		c.send(get("/huge"))
		time.Sleep(24 * time.Hour)
		if _, body := c.answer(); body != string(pages["/huge"]) {
			t.Errorf("a body of %d bytes", len(body))
		}
		wantReason(t, e, ReasonNone)
	})
}

// countingWire counts the deadlines that are set.
type countingWire struct {
	wire
	reads, writes int
}

func (w *countingWire) SetReadDeadline(time.Time) error  { w.reads++; return nil }
func (w *countingWire) SetWriteDeadline(time.Time) error { w.writes++; return nil }

func TestABusyConnectionSetsDeadlinesSeldom(t *testing.T) {
	sizes := make([]byte, 1000)
	for i := range sizes {
		sizes[i] = byte(len(good) - 1)
	}
	data := make([]byte, 0, len(good)*len(sizes))
	for range sizes {
		data = append(data, good...)
	}
	w := &countingWire{wire: wire{script: script{data: data, sizes: sizes}}}
	if _, e := listen(w); len(e.saw) != len(sizes) || w.wire.writes != len(sizes) {
		t.Errorf("%d hits in %d writes", len(e.saw), w.wire.writes)
	}
	if w.reads > 10 || w.writes > 10 {
		t.Errorf("deadlines were set %d times for reading and %d times for writing", w.reads, w.writes)
	}
}
