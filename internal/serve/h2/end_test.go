package h2

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

func TestShutdownLetsStreamsFinish(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		c.post(1, "/read")
		c.get(3, "/hit/100000")
		c.saw("HEADERS 3 200", "DATA 3 16384", "DATA 3 16384", "DATA 3 16384", "DATA 3 16383")
		var result error
		go func() { result = c.server.Shutdown(c.t.Context()) }()
		c.saw("GOAWAY 2147483647 NO_ERROR")
		c.open(0, 1000)
		c.get(5, "/hit/5") // it was on its way
		c.saw("HEADERS 5 200", "DATA 5 5 end")
		time.Sleep(time.Second)
		c.saw("GOAWAY 5 NO_ERROR")
		c.post(7, "/read") // it does not count any more, nor what belongs to it
		c.data(7, false, letters(100))
		c.headers(7, true, c.fields("x-trailer", "1"))
		c.open(7, 10)
		c.must(c.framer.WriteRSTStream(7, http2.ErrCodeCancel))
		c.saw()
		c.data(1, true, letters(5))
		c.saw("HEADERS 1 200", "DATA 1 5 end")
		c.open(0, 100000)
		c.open(3, 100000)
		c.saw("DATA 3 16384", "DATA 3 16384", "DATA 3 1697 end", "EOF")
		if result != nil || c.server.Connections() != 0 {
			t.Errorf("Shutdown returned %v, %d connections are open", result, c.server.Connections())
		}
	})
}

func TestShutdownOfAnIdleConnectionEndsIt(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		go func() { _ = c.server.Shutdown(c.t.Context()) }()
		time.Sleep(2 * time.Second)
		c.saw("GOAWAY 2147483647 NO_ERROR", "GOAWAY 0 NO_ERROR", "EOF")
	})
}

func TestShutdownCutsOffWhatDoesNotEndInTime(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		c.get(1, "/wait")
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		defer cancel()
		if err := c.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v", err)
		}
		c.saw("GOAWAY 2147483647 NO_ERROR", "GOAWAY 1 NO_ERROR", "EOF")
	})
}

func TestAConnectionThatComesDuringShutdownIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(talkOptions())
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		here, there := net.Pipe()
		go s.ServeConn(t.Context(), there)
		if n, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read %d bytes, %v", n, err)
		}
	})
}

// A wait is a client that keeps the server waiting.
type wait struct {
	name  string
	send  func(c *client)
	until time.Duration // at most
	want  []string
}

func TestClientsThatAreTooSlowAreEnded(t *testing.T) {
	for _, test := range []wait{
		{"nothing at all", func(*client) {}, time.Minute, []string{"GOAWAY 0 NO_ERROR", "EOF"}},
		{"nothing after a request", func(c *client) { c.get(1, "/hit/0"); c.took() }, time.Minute, []string{"GOAWAY 1 NO_ERROR", "EOF"}},
		{"part of a frame", func(c *client) { c.write([]byte{0}) }, defaultHead, []string{"GOAWAY 0 ENHANCE_YOUR_CALM", "EOF"}},
		{"part of a payload", func(c *client) { c.write([]byte{0, 0, 8, 6, 0, 0, 0, 0, 0, 1}) }, defaultHead, []string{"GOAWAY 0 ENHANCE_YOUR_CALM", "EOF"}},
		{"a header block without an end", func(c *client) { c.write([]byte{0, 0, 0, 1, 0, 0, 0, 0, 1}) }, defaultHead, []string{"GOAWAY 0 ENHANCE_YOUR_CALM", "EOF"}},
		{"a header block that drips", func(c *client) {
			c.write([]byte{0, 0, 0, 1, 0, 0, 0, 0, 1})
			for range 4 {
				time.Sleep(defaultHead / 4)
				c.write([]byte{0, 0, 0, 9, 0, 0, 0, 0, 1})
			}
		}, time.Second, []string{"GOAWAY 0 ENHANCE_YOUR_CALM", "EOF"}},
		{"a window that is never opened, for a hit", func(c *client) {
			c.initialWindow(0)
			c.get(1, "/hit/100")
			c.saw("HEADERS 1 200")
		}, 16 * time.Second, []string{"RST_STREAM 1 CANCEL"}},
		{"a window that is never opened, for a handler", func(c *client) {
			c.initialWindow(0)
			c.get(1, "/fields/")
			c.saw("HEADERS 1 200 end")
			c.post(3, "/read")
			c.data(3, true, letters(5))
			c.saw("HEADERS 3 200")
		}, 16 * time.Second, []string{"RST_STREAM 3 CANCEL"}},
		{"a body that does not come", func(c *client) { c.post(1, "/slow") }, 16 * time.Second, []string{"HEADERS 1 408", "DATA 1 11 end", "RST_STREAM 1 NO_ERROR"}},
		{"a body later than the handler's deadline", func(c *client) { c.post(1, "/deadline") }, 2 * time.Second, []string{"HEADERS 1 408", "DATA 1 11 end", "RST_STREAM 1 NO_ERROR"}},
		{"a reader later than the handler's deadline", func(c *client) {
			c.initialWindow(0)
			c.get(1, "/deadline")
			c.saw("HEADERS 1 200")
		}, 2 * time.Second, []string{"RST_STREAM 1 CANCEL"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, slowOptions(), func(c *client) {
				test.send(c)
				time.Sleep(test.until)
				c.saw(test.want...)
			})
		})
	}
}

// slowOptions has handlers that answer 408 when a body is late.
func slowOptions() Options {
	o := talkOptions()
	talk := o.Handler
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" && r.URL.Path != "/deadline" {
			talk.ServeHTTP(w, r)
			return
		}
		if r.URL.Path == "/deadline" {
			control := http.NewResponseController(w)
			_, _ = control.SetReadDeadline(time.Now().Add(time.Second)), control.SetWriteDeadline(time.Now().Add(1500*time.Millisecond))
		}
		if _, err := io.ReadAll(r.Body); errors.Is(err, os.ErrDeadlineExceeded) {
			w.WriteHeader(http.StatusRequestTimeout)
		}
		_, _ = io.WriteString(w, "take longer")
	})
	return o
}

func TestSlowClientsThatKeepToTheRateAreNotEnded(t *testing.T) {
	for _, test := range []wait{
		{"PING, and then a request", func(c *client) {
			for range 5 {
				time.Sleep(11 * time.Second)
				c.must(c.framer.WritePing(false, [8]byte{}))
				c.saw("PING ACK")
			}
			c.get(1, "/hit/0")
		}, 50 * time.Second, []string{"HEADERS 1 200 end"}},
		{"a body of 2 KiB a second", func(c *client) {
			c.post(1, "/slow")
			for range 60 {
				c.data(1, false, letters(2048))
				time.Sleep(time.Second)
			}
			c.took()
			c.data(1, true, nil)
		}, 0, []string{"HEADERS 1 200", "DATA 1 11 end"}},
		{"a frame of 2 KiB a second", func(c *client) {
			c.post(1, "/slow")
			c.write([]byte{0, 0x40, 0, 0, 0, 0, 0, 0, 1})
			for range 8 {
				time.Sleep(time.Second)
				c.write(letters(2048))
			}
			c.data(1, true, nil)
		}, 0, []string{"HEADERS 1 200", "DATA 1 11 end"}},
		{"one of two bodies, as long as the other comes", func(c *client) {
			c.post(1, "/slow")
			c.post(3, "/slow")
			for range 60 {
				c.data(3, false, letters(2048))
				time.Sleep(time.Second)
			}
			c.took()
			c.data(1, true, nil)
		}, 0, []string{"HEADERS 1 200", "DATA 1 11 end"}},
		{"a reader who pauses for as long as what it has read allows", func(c *client) {
			c.get(1, "/hit/100000")
			c.took()
			time.Sleep(time.Minute)
			c.open(0, 100000)
			c.open(1, 100000)
		}, 0, []string{"DATA 1 16384", "DATA 1 16384", "DATA 1 1697 end"}},
		{"a handler that takes its time", func(c *client) { c.get(1, "/wait") }, time.Hour, nil},
		{"a body without a deadline", func(c *client) {
			c.post(1, "/patient")
		}, time.Hour, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := slowOptions()
			slow := o.Handler
			o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/patient" {
					_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
					_, _ = io.ReadAll(r.Body)
				}
				slow.ServeHTTP(w, r)
			})
			inBubble(t, o, func(c *client) {
				test.send(c)
				time.Sleep(test.until)
				c.saw(test.want...)
			})
		})
	}
}

// TestPingsKeepNoConnection: whoever asks for nothing has no use for it.
func TestPingsKeepNoConnection(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		for range 9 {
			time.Sleep(6 * time.Second)
			c.must(c.framer.WritePing(false, [8]byte{}))
			c.saw("PING ACK")
		}
		time.Sleep(6 * time.Second)
		c.saw("GOAWAY 0 NO_ERROR", "EOF")
	})
}

func TestAClientThatStopsReadingIsEndedAndBuffersLittle(t *testing.T) {
	for _, test := range []struct {
		paths [2]string
		reads int64
	}{
		{[2]string{"/hit/16000", "/hit/16000"}, 100_000},
		{[2]string{"/hit/1000000", "/hit/0"}, 600_000}, // a goroutine of its own writes by then, and the reader goes on
		{[2]string{"/hit/1000000", "/hit/16000"}, 600_000},
		{[2]string{"/flush", "/flush"}, 1000},
	} {
		t.Run(test.paths[0]+" and then "+test.paths[1], func(t *testing.T) {
			eachWay(t, func(t *testing.T, on way) {
				c := dialPipe(t, talkOptions(), on)
				go func() { _, _ = io.CopyN(io.Discard, c.nc, test.reads) }()
				c.write([]byte(preface))
				c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}))
				c.open(0, 1<<30)
				sent := 0
				go func() { // not more than the server takes
					for id := uint32(1); c.framer.WriteHeaders(http2.HeadersFrameParam{
						StreamID: id, EndStream: true, EndHeaders: true, BlockFragment: c.encode("GET", test.paths[min(id/2, 1)]),
					}) == nil; id += 2 {
						sent++
						if sent > 50_000 {
							break
						}
					}
				}()
				start := time.Now()
				<-c.done
				if took := time.Since(start); took > 5*time.Minute {
					t.Errorf("it took %v", took)
				}
				synctest.Wait()
				if sent > 7000 { // an answer that comes again may take eleven bytes
					t.Errorf("the server took %d requests", sent)
				}
			})
		})
	}
}

func TestGoAwayIsSentEvenWhileABodyIsBeingWritten(t *testing.T) {
	eachWay(t, func(t *testing.T, on way) {
		c := dialPipe(t, talkOptions(), on)
		go func() {
			c.write([]byte(preface))
			c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
			c.open(0, 1<<30)
			c.get(1, "/hit/1000000")
			c.data(3, false, nil) // idle
		}()
		for range 8 { // the server writes while we look away
			f, err := c.framer.ReadFrame()
			c.must(err)
			c.frames = append(c.frames, describe(f))
		}
		synctest.Wait()
		c.read()
		<-c.done
		if last := c.frames[len(c.frames)-1]; last != "GOAWAY 1 PROTOCOL_ERROR" {
			t.Errorf("the last of %d frames is %s", len(c.frames), last)
		}
		_ = c.nc.Close()
	})
}
