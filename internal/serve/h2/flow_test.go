package h2

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"golang.org/x/net/http2"
)

// windowed is talkOptions with the hit "/hit/N" also as a handler, "/write/N".
func windowed() Options {
	o := talkOptions()
	talk, content := o.Handler, letters(500_000)
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		if _, err := fmt.Sscanf(r.URL.Path, "/write/%d", &n); err != nil {
			talk.ServeHTTP(w, r)
			return
		}
		_, _ = w.Write(content[:n])
	})
	return o
}

func (c *client) initialWindow(n uint32) {
	c.t.Helper()
	c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: n}))
	c.saw("SETTINGS ACK")
}

func TestNoMoreIsSentThanTheWindowsAllow(t *testing.T) {
	for _, path := range []string{"/hit/10", "/write/10"} {
		t.Run(path, func(t *testing.T) {
			inBubble(t, windowed(), func(c *client) {
				c.initialWindow(0)
				c.get(1, path)
				c.saw("HEADERS 1 200")
				c.open(1, 1)
				c.saw("DATA 1 1")
				c.setWindow(3)
				c.saw("SETTINGS ACK", "DATA 1 3")
				c.initialWindow(1) // two below zero
				c.open(1, 2)
				c.saw()
				c.open(1, 1)
				c.saw("DATA 1 1")
				c.setWindow(1<<31 - 1)
				c.saw("SETTINGS ACK", "DATA 1 5 end")
				if got := c.body(1); !bytes.Equal(got, letters(10)) {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

func TestStreamsTakeTurnsWhenTheConnectionsWindowIsShort(t *testing.T) {
	for _, paths := range [][2]string{{"/hit/500000", "/hit/500000"}, {"/hit/500000", "/write/500000"}, {"/write/500000", "/write/500000"}} {
		t.Run(paths[0]+" and "+paths[1], func(t *testing.T) {
			inBubble(t, windowed(), func(c *client) {
				c.initialWindow(1 << 20)
				for i := range uint32(6) {
					c.get(2*i+1, paths[i%2])
				}
				c.took()
				had := make([]int, 6)
				for i := range had {
					had[i] = len(c.body(uint32(2*i + 1)))
				}
				for range 20 {
					c.open(0, 60000)
					c.took()
				}
				got := make([]int, 6)
				for i := range got {
					got[i] = len(c.body(uint32(2*i+1))) - had[i]
				}
				if sum := 20 * 60000; slices.Max(got)-slices.Min(got) > 4*maxFrame || slices.Max(got) < sum/6 {
					t.Errorf("of %d bytes, the streams got %d", sum, got)
				}
			})
		})
	}
}

func TestBodiesArriveWholeUnderRandomWindows(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			sizes := make([]int, 6)
			for i := range sizes {
				sizes[i] = 1 + random.IntN(200000)
			}
			inBubble(t, windowed(), func(c *client) {
				c.initialWindow(uint32(random.IntN(40000)))
				for i, n := range sizes {
					c.get(uint32(2*i+1), fmt.Sprintf("/%s/%d", [2]string{"hit", "write"}[random.IntN(2)], n))
				}
				for range 3000 {
					switch id := uint32(2*random.IntN(len(sizes)) + 1); random.IntN(20) {
					case 0:
						c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(random.IntN(60000))}))
						c.took() // not too many before they are counted
					case 1, 2, 3, 4, 5, 6, 7:
						c.open(0, uint32(1000+random.IntN(20000)))
					default:
						c.open(id, uint32(500+random.IntN(9000)))
					}
					if c.ended(len(sizes)) {
						break
					}
				}
				c.setWindow(1 << 30)
				c.open(0, 1<<29)
				for i, n := range sizes {
					if got := c.body(uint32(2*i + 1)); !bytes.Equal(got, letters(n)) {
						t.Errorf("stream %d: got %d bytes of %d, or others", 2*i+1, len(got), n)
					}
				}
			})
		})
	}
}

// setWindow is initialWindow, whatever else comes.
func (c *client) setWindow(n uint32) {
	c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: n}))
}

// ended reports whether n streams have.
func (c *client) ended(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if len(f) > 4 && f[len(f)-4:] == " end" {
			n--
		}
	}
	return n <= 0
}

func TestWindowsThatOverflowAreErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(c *client)
		want []string
	}{
		{"the connection's", func(c *client) { c.open(0, 1<<31-1) }, []string{"GOAWAY 1 FLOW_CONTROL_ERROR", "EOF"}},
		{"a stream's", func(c *client) { c.open(1, 1<<31-1) }, []string{"RST_STREAM 1 FLOW_CONTROL_ERROR"}},
		{"a stream's, by SETTINGS", func(c *client) {
			c.open(1, 1<<31-2-initialWindow)
			c.setWindow(initialWindow + 100)
		}, []string{"SETTINGS ACK", "GOAWAY 1 FLOW_CONTROL_ERROR", "EOF"}},
		{"SETTINGS alone", func(c *client) { c.setWindow(1 << 31) }, []string{"GOAWAY 1 FLOW_CONTROL_ERROR", "EOF"}},
		{"nothing for the connection", func(c *client) { c.open(0, 0) }, []string{"GOAWAY 1 PROTOCOL_ERROR", "EOF"}},
		{"nothing for a stream", func(c *client) { c.open(1, 0) }, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{"something for a stream that has ended", func(c *client) { c.get(3, "/hit/0"); c.open(3, 1<<31-1) }, []string{"HEADERS 3 200 end"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, talkOptions(), func(c *client) {
				c.get(1, "/wait")
				test.send(c)
				c.saw(test.want...)
			})
		})
	}
}

func TestAResetInTheMiddleOfAnAnswerEndsIt(t *testing.T) {
	for _, path := range []string{"/hit/500000", "/write/500000"} {
		t.Run(path, func(t *testing.T) {
			inBubble(t, windowed(), func(c *client) {
				c.initialWindow(100)
				c.get(1, path)
				c.saw("HEADERS 1 200", "DATA 1 100")
				c.must(c.framer.WriteRSTStream(1, http2.ErrCodeCancel))
				c.open(1, 1000)
				c.get(3, "/hit/5")
				c.saw("HEADERS 3 200", "DATA 3 5 end")
			})
		})
	}
}

func TestWindowOfARequestGrowsAsItsBodyIsRead(t *testing.T) {
	var take chan int
	o := Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for n := range take {
			_, _ = io.CopyN(io.Discard, r.Body, int64(n))
		}
	})}
	inBubble(t, o, func(c *client) {
		take = make(chan int)
		c.post(1, "/")
		for range 4 {
			c.data(1, false, letters(16000))
		}
		take <- 32000
		c.saw()
		take <- 1000
		c.saw("WINDOW_UPDATE 33000", "WINDOW_UPDATE 1 33000")
		c.must(c.framer.WriteRSTStream(1, http2.ErrCodeCancel))
		c.data(3, false, nil) // idle: ends the connection
		close(take)
		c.saw("GOAWAY 1 PROTOCOL_ERROR", "EOF")
	})
}

func TestWhatAResetStreamHadNotReadIsGivenBackToTheConnection(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		for id := uint32(1); id < 20; id += 2 {
			c.post(id, "/wait")
			for range 4 {
				c.data(id, false, letters(16000))
			}
			c.must(c.framer.WriteRSTStream(id, http2.ErrCodeCancel))
			c.saw("WINDOW_UPDATE 64000")
		}
	})
}
