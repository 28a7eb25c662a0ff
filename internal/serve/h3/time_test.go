package h3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
)

// drip begins to write a byte a second, until nobody takes any more; wait waits for
// that.
func drip(s io.Writer, wire []byte) (wait func()) {
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range wire {
			time.Sleep(time.Second) // of a bubble
			if _, err := s.Write(wire[i : i+1]); err != nil {
				return
			}
		}
	})
	return writing.Wait
}

// dripping is how long a client may take that sends wire byte by byte: what came of
// it, and when.
func dripping(t *testing.T, wire []byte) (words []string, after time.Duration, refused []Refusal) {
	o := talkOptions()
	o.Refuse = func(w http.ResponseWriter, r *http.Request, why Refusal) {
		if r.Method != "" || r.Host != "" || r.RemoteAddr == "" || r.TLS == nil {
			t.Errorf("the request is %+v, want nothing of the client's", r)
		}
		refused = append(refused, why)
		w.WriteHeader(why.Status())
	}
	inBubble(t, o, func(c *client) {
		start := time.Now()
		s := c.open()
		defer drip(s, wire)()
		words, _ = s.answer()
		after = time.Since(start)
		<-s.Context().Done() // the server wants no more, so that drip ends
	})
	return words, after, refused
}

func TestAHeadMustBeWholeInTimeHoweverItComes(t *testing.T) {
	head := headers("GET", "/hit/5", "x-long", strings.Repeat("z", 100))
	for name, wire := range map[string][]byte{
		"a head by the byte":           head,
		"unknown frames by the byte":   append(frame(0x21, letters(3)), append(frame(0x40, letters(2)), head...)...),
		"a long unknown frame":         frame(0x21, letters(1000)),
		"an integer that never ends":   {0xc0, 0, 0, 0, 0, 0, 0, 0},
		"a head of which nothing came": append(make([]byte, 0), 0x80),
	} {
		t.Run(name, func(t *testing.T) {
			words, after, refused := dripping(t, wire)
			if diff := cmp.Diff([]string{"408"}, words); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if after < 5*time.Second || after > 7*time.Second {
				t.Errorf("it came after %v, want 5 s from the stream's first byte", after)
			}
			if diff := cmp.Diff([]Refusal{SlowHead}, refused); diff != "" {
				t.Errorf("refusals (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAHeadThatComesInTimeIsAnswered(t *testing.T) {
	head := headers("GET", "/hit/5")
	inBubble(t, talkOptions(), func(c *client) {
		s := c.open(head[:3])
		time.Sleep(4900 * time.Millisecond)
		_, _ = s.Write(head[3:])
		_ = s.Close()
		if words, body := s.answer(); fmt.Sprint(words) != "[200]" || body != "abcde" {
			t.Errorf("%v %q, want the answer", words, body)
		}
	})
}

// TestSlowStreamsOfOtherKindsAreEnded is about what is not a request.
func TestSlowStreamsOfOtherKindsAreEnded(t *testing.T) {
	config := &quic.Config{MaxIdleTimeout: time.Hour, KeepAlivePeriod: 10 * time.Second}
	abuse := func(o *Options) *[]Kind {
		kinds := new([]Kind)
		o.OnAbuse = func(k Kind) { *kinds = append(*kinds, k) }
		return kinds
	}
	t.Run("a stream that does not tell its type is stopped", func(t *testing.T) {
		inBubble(t, talkOptions(), func(c *client) {
			s, err := c.conn.OpenUniStream()
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			defer drip(s, []byte{0xc0, 0, 0, 0, 0, 0, 0, 0})()
			<-s.Context().Done()
			if after := time.Since(start); after < 5*time.Second || after > 7*time.Second {
				t.Errorf("after %v, want 5 s from its first byte", after)
			}
		})
	})
	for name, wire := range map[string][]byte{"SETTINGS by the byte": frame(frameSettings, make([]byte, 100)), "no SETTINGS": nil} {
		t.Run(name, func(t *testing.T) {
			o := talkOptions()
			kinds := abuse(&o)
			inBubbleWith(t, o, config, func(c *client) {
				start := time.Now()
				defer drip(c.uni(streamControl), wire)()
				if got := c.end(); got != closedWith(MissingSettings) || time.Since(start) > 6*time.Second {
					t.Errorf("%s after %v, want H3_MISSING_SETTINGS after 5 s", got, time.Since(start))
				}
			})
			if diff := cmp.Diff([]Kind{SlowFrames}, *kinds); diff != "" {
				t.Errorf("abuse (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a later frame by the byte", func(t *testing.T) {
		o := talkOptions()
		kinds := abuse(&o)
		inBubbleWith(t, o, config, func(c *client) {
			s := c.uni(streamControl, frame(frameSettings, nil))
			time.Sleep(20 * time.Second) // silence is no fault
			start := time.Now()
			defer drip(s, frame(0x21, letters(60)))()
			if got := c.end(); got != closedWith(ExcessiveLoad) || time.Since(start) > 8*time.Second {
				t.Errorf("%s after %v, want H3_EXCESSIVE_LOAD after 5 s", got, time.Since(start))
			}
		})
		if diff := cmp.Diff([]Kind{SlowFrames}, *kinds); diff != "" {
			t.Errorf("abuse (-want +got):\n%s", diff)
		}
	})
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	for _, test := range []struct {
		name string
		busy func(c *client)
		want time.Duration
	}{
		{"from the beginning", func(*client) {}, time.Minute},
		{"after a hit", func(c *client) {
			time.Sleep(30 * time.Second)
			c.request(headers("GET", "/hit/5")).answer()
		}, 90 * time.Second},
		{"after a handler", func(c *client) {
			time.Sleep(30 * time.Second)
			c.request(headers("GET", "/host")).answer()
		}, 90 * time.Second},
		{"after a long request", func(c *client) {
			s := c.request(headers("GET", "/wait"))
			time.Sleep(10 * time.Minute)
			s.CancelRead(quic.StreamErrorCode(RequestCancelled))
		}, 11 * time.Minute},
		{"with a head that never ends, again and again", func(c *client) {
			for range 10 {
				s := c.open([]byte{frameHeaders, 100})
				time.Sleep(4 * time.Second)
				s.CancelWrite(quic.StreamErrorCode(RequestCancelled))
			}
		}, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, talkOptions(), func(c *client) {
				start := time.Now()
				test.busy(c)
				got := c.end()
				if after := time.Since(start).Round(time.Second); got != closedWith(NoError) || after != test.want {
					t.Errorf("%s after %v, want H3_NO_ERROR after %v", got, after, test.want)
				}
			})
		})
	}
}

// TestSlowReadersAndSendersAreGivenUp: a client that opens no window, or sends no
// body.
func TestSlowReadersAndSendersAreGivenUp(t *testing.T) {
	narrow := &quic.Config{
		MaxIdleTimeout: time.Hour, KeepAlivePeriod: 10 * time.Second,
		InitialStreamReceiveWindow: 8 << 10, MaxStreamReceiveWindow: 8 << 10,
	}
	for path, want := range map[string]time.Duration{ // ten seconds, and one for each KiB of the window
		"/hit/1048576": 18 * time.Second,
		"/big":         18 * time.Second,
		"/hit/10240":   18 * time.Second,
	} {
		t.Run("a reader of "+path, func(t *testing.T) {
			o := talkOptions()
			o.Idle = time.Hour
			inBubbleWith(t, o, narrow, func(c *client) {
				start := time.Now()
				s := c.request(headers("GET", path))
				synctest.Wait()
				time.Sleep(want - time.Second)
				if c.server.Connections() != 1 {
					t.Error("the connection has ended")
				}
				time.Sleep(2 * time.Second)
				words, _ := s.answer()
				if got := words[len(words)-1]; got != resetWith(RequestCancelled) {
					t.Errorf("%v after %v, want a reset", words, time.Since(start))
				}
			})
		})
	}
	t.Run("many answers over a thin line", func(t *testing.T) {
		// Each would have 30 s of its own, and together they take a minute.
		o := talkOptions()
		o.Idle = time.Hour
		thin := &quic.Config{
			MaxIdleTimeout: time.Hour, KeepAlivePeriod: 10 * time.Second,
			InitialConnectionReceiveWindow: 32 << 10, MaxConnectionReceiveWindow: 32 << 10,
		}
		inBubbleWith(t, o, thin, func(c *client) {
			start := time.Now()
			line := make(chan struct{}, 1) // 20 KB a second, in all
			var reading sync.WaitGroup
			for i := range 60 {
				s := c.request(headers("GET", []string{"/hit/20000", "/twenty"}[i%2]))
				reading.Go(func() {
					got := 0
					for buf := make([]byte, 1000); ; {
						n, err := s.Read(buf)
						got += n
						if errors.Is(err, io.EOF) && got >= 20000 {
							return
						}
						if err != nil {
							t.Errorf("answer %d after %d bytes and %v: %v", i, got, time.Since(start), err)
							return
						}
						line <- struct{}{}
						time.Sleep(time.Duration(n) * time.Second / 20000)
						<-line
					}
				})
			}
			reading.Wait()
			if took := time.Since(start); took < 50*time.Second {
				t.Errorf("it took only %v", took)
			}
		})
	})
	t.Run("a sender", func(t *testing.T) {
		inBubble(t, talkOptions(), func(c *client) {
			start := time.Now()
			s := c.open(headers("POST", "/length"), data("123"))
			words, body := s.answer()
			if after := time.Since(start); !strings.HasPrefix(body, "3 of -1, ") || !strings.HasSuffix(body, "timeout") || after < 10*time.Second || after > 11*time.Second {
				t.Errorf("%v %q after %v, want what a body of three bytes gets after 10 s", words, body, after)
			}
		})
	})
	t.Run("a sender, with a deadline of the handler's", func(t *testing.T) {
		inBubble(t, talkOptions(), func(c *client) {
			start := time.Now()
			s := c.open(headers("POST", "/deadlines"), data("123"))
			if words, body := s.answer(); body != "3, true" || time.Since(start).Round(time.Second) != time.Second {
				t.Errorf("%v %q after %v, want a second", words, body, time.Since(start))
			}
		})
	})
	t.Run("a reader, with a deadline of the handler's", func(t *testing.T) {
		o := talkOptions()
		o.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(3 * time.Second))
			_, _ = w.Write(letters(1 << 20))
		})
		inBubbleWith(t, o, narrow, func(c *client) {
			s := c.request(headers("GET", "/"))
			time.Sleep(4 * time.Second)
			words, _ := s.answer()
			if got := words[len(words)-1]; got != resetWith(RequestCancelled) {
				t.Errorf("%v, want a reset", words)
			}
		})
	})
}
