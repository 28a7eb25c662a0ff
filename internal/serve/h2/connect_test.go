package h2

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// tunnelOptions is a server whose handler gives back what it reads, piece by piece,
// and says in seen how reading ended.
func tunnelOptions(seen *[]string) Options {
	say := func(format string, args ...any) { *seen = append(*seen, fmt.Sprintf(format, args...)) }
	return Options{ExtendedConnect: true, Hit: hits(letters(100)), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		say("%s %s %s %s %d", r.Method, r.Header[":protocol"], r.Host, r.URL.Path, r.ContentLength)
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			say("full duplex: %v", err)
		}
		read := giveBack
		switch r.URL.Path {
		case "/refuse":
			http.Error(w, "no", http.StatusForbidden)
			return
		case "/length":
			w.Header().Set("Content-Length", "3")
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-Sum", "1")
		case "/deadline":
			_ = control.SetReadDeadline(time.Now().Add(time.Second))
		case "/patient":
			_ = control.SetReadDeadline(time.Time{})
		case "/push":
			read = push
		}
		_ = control.Flush()
		err := read(w, r.Body)
		say("%v, %v", err, context.Cause(r.Context()))
	})}
}

// giveBack writes what it reads.
func giveBack(w http.ResponseWriter, body io.Reader) error {
	for p := make([]byte, 100); ; {
		n, err := body.Read(p)
		if err != nil {
			return err
		}
		_, _ = w.Write(p[:n])
		w.(http.Flusher).Flush()
	}
}

// push writes something every now and then, while somebody else reads.
func push(w http.ResponseWriter, body io.Reader) error {
	end := make(chan error)
	go func() { _, err := io.Copy(io.Discard, body); end <- err }()
	for {
		select {
		case err := <-end:
			return err
		case <-time.After(time.Minute - 10*time.Second):
			_, _ = w.Write([]byte("tick"))
			w.(http.Flusher).Flush()
		}
	}
}

// tunnel opens one, for WebSocket.
func (c *client) tunnel(id uint32, path string) {
	c.t.Helper()
	c.headers(id, false, c.fields(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", path, ":authority", "a.example"))
}

func TestATunnelGoesBothWays(t *testing.T) {
	var seen []string
	inBubble(t, tunnelOptions(&seen), func(c *client) {
		seen = nil
		c.tunnel(1, "/chat?room=1")
		c.saw("HEADERS 1 200")
		for i := range uint32(3) {
			c.data(1, false, letters(5))
			c.saw("DATA 1 5")
			c.get(2*i+3, "/hit/0") // others go on
			c.took()
		}
		c.data(1, true, letters(7))
		c.saw("DATA 1 7", "DATA 1 0 end")
	})
	if diff := cmp.Diff([]string{"CONNECT [websocket] a.example /chat -1", "EOF, <nil>"}, seen); diff != "" {
		t.Errorf("the handler saw (-want +got):\n%s", diff)
	}
}

func TestWhatATunnelIsNot(t *testing.T) {
	fields := func(id uint32, ends bool, pairs ...string) func(c *client) {
		return func(c *client) { c.headers(id, ends, c.fields(pairs...)) }
	}
	malformed := []string{"RST_STREAM 1 PROTOCOL_ERROR"}
	for _, test := range []struct {
		name string
		off  bool
		send func(c *client)
		want []string
	}{
		{"where there are none", true, func(c *client) { c.tunnel(1, "/") }, malformed},
		{"CONNECT alone where there are none", true, fields(1, false, ":method", "CONNECT", ":authority", "a.example:1"), []string{"HEADERS 1 501 end", "RST_STREAM 1 NO_ERROR"}},
		{"CONNECT alone", false, fields(1, true, ":method", "CONNECT", ":authority", "a.example:1"), []string{"HEADERS 1 501 end"}},
		{"CONNECT with a path", false, fields(1, true, ":method", "CONNECT", ":scheme", "https", ":path", "/", ":authority", "a.example"), malformed},
		{"another method", false, fields(1, true, ":method", "GET", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "a.example"), malformed},
		{"without a scheme", false, fields(1, false, ":method", "CONNECT", ":protocol", "websocket", ":path", "/", ":authority", "a.example"), malformed},
		{"without a path", false, fields(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "a.example"), malformed},
		{"with an empty protocol", false, fields(1, false, ":method", "CONNECT", ":protocol", "", ":scheme", "https", ":path", "/", ":authority", "a.example"), malformed},
		{"with a protocol that is no token", false, fields(1, false, ":method", "CONNECT", ":protocol", "web socket", ":scheme", "https", ":path", "/", ":authority", "a.example"), malformed},
		{"with two protocols", false, fields(1, false, ":method", "CONNECT", ":protocol", "a", ":protocol", "a", ":scheme", "https", ":path", "/", ":authority", "a.example"), malformed},
		{"a protocol behind a field", false, fields(1, false, ":method", "CONNECT", ":scheme", "https", ":path", "/", ":authority", "a.example", "x", "y", ":protocol", "a"), malformed},
		{"trailers", false, func(c *client) { c.tunnel(1, "/"); c.took(); c.headers(1, true, c.fields("x-sum", "1")) }, malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen []string
			o := tunnelOptions(&seen)
			o.ExtendedConnect = !test.off
			inBubble(t, o, func(c *client) {
				test.send(c)
				c.saw(test.want...)
			})
		})
	}
}

func TestOnlyServersWithTunnelsSaySo(t *testing.T) {
	for _, on := range []bool{false, true} {
		s := &script{input: []byte(preface)}
		NewServer(Options{ExtendedConnect: on}).ServeConn(t.Context(), s)
		f, err := http2.NewFramer(nil, &s.out).ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if value, said := f.(*http2.SettingsFrame).Value(settingEnableConnectProtocol); said != on || on && value != 1 {
			t.Errorf("with tunnels %v: said %v, %d", on, said, value)
		}
	}
}

func TestHowTunnelsEnd(t *testing.T) {
	const idle = time.Minute
	sleep := time.Sleep
	for _, test := range []struct {
		name string
		path string
		do   func(c *client)
		want []string // frames
		seen string   // by the handler
	}{
		{"the client resets it", "/", func(c *client) {
			c.must(c.framer.WriteRSTStream(1, http2.ErrCodeCancel))
		}, nil, errReset.Error() + ", " + context.Canceled.Error()},
		{"it is quiet for less than a connection may be idle", "/", func(c *client) {
			for range 3 {
				sleep(idle - time.Second)
				c.data(1, false, letters(1))
			}
			c.took()
			c.data(1, true, nil)
		}, []string{"DATA 1 0 end"}, "EOF, <nil>"},
		{"it is quiet for too long", "/", func(*client) { sleep(idle + 6*time.Second) }, []string{"DATA 1 0 end", "RST_STREAM 1 NO_ERROR"}, os.ErrDeadlineExceeded.Error() + ", <nil>"},
		{"only the client is quiet", "/push", func(c *client) {
			sleep(10 * idle)
			c.took()
			c.data(1, true, nil)
		}, []string{"DATA 1 0 end"}, "<nil>, <nil>"},
		{"the handler's deadline is earlier", "/deadline", func(*client) { sleep(2 * time.Second) }, []string{"DATA 1 0 end", "RST_STREAM 1 NO_ERROR"}, os.ErrDeadlineExceeded.Error() + ", <nil>"},
		{"the handler has all the time", "/patient", func(c *client) { sleep(10 * idle); c.data(1, true, nil) }, []string{"DATA 1 0 end"}, "EOF, <nil>"},
		{"the client opens its window late, but not too late", "/", func(c *client) {
			c.initialWindow(0)
			for range 3 {
				c.data(1, false, letters(9))
				sleep(idle - 6*time.Second)
				c.saw()
				c.open(1, 9)
				c.saw("DATA 1 9")
			}
			c.data(1, true, nil)
		}, []string{"DATA 1 0 end"}, "EOF, <nil>"},
		{"the client never opens its window", "/", func(c *client) {
			c.initialWindow(0)
			c.data(1, false, letters(9))
			sleep(idle + 6*time.Second)
		}, []string{"RST_STREAM 1 CANCEL"}, "HTTP/2 stream 1 error 0x8: reader too slow, " + context.Canceled.Error()},
		{"a length and trailers mean nothing", "/length", func(c *client) { c.data(1, true, letters(9)) }, []string{"DATA 1 9", "DATA 1 0 end"}, "EOF, <nil>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen []string
			inBubble(t, tunnelOptions(&seen), func(c *client) {
				c.tunnel(1, test.path)
				if first := c.took(); len(first) == 0 || first[0] != "HEADERS 1 200" {
					t.Fatalf("it began with %q", first)
				}
				test.do(c)
				c.saw(test.want...)
			})
			if last := seen[len(seen)-1]; last != test.seen {
				t.Errorf("the handler saw %q, want %q", last, test.seen)
			}
		})
	}
}

func TestTheAnswerThatOpensATunnelHasNoLengthAndARefusalHas(t *testing.T) {
	for path, want := range map[string]map[string]bool{
		"/":       {":status": true, "date": true},
		"/length": {":status": true, "date": true, "x-sum": true},
		"/refuse": {":status": true, "date": true, "content-length": true, "content-type": true, "x-content-type-options": true},
	} {
		var seen []string
		inBubble(t, tunnelOptions(&seen), func(c *client) {
			got := map[string]bool{}
			c.tap = func(block []byte) {
				fields, err := hpack.NewDecoder(4096, nil).DecodeFull(block)
				c.must(err)
				for _, f := range fields {
					got[f.Name] = true
				}
			}
			c.tunnel(1, path)
			c.took()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: fields (-want +got):\n%s", path, diff)
			}
		})
	}
}
