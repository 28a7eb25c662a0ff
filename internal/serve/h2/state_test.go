package h2

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// talkOptions is a server with hits, and with handlers that answer when they
// have read the body ("/read"), without reading ("/ignore"), or when their
// context ends ("/wait").
func talkOptions() Options {
	return Options{
		Hit: hits(letters(1 << 20)),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/read":
				body, err := io.ReadAll(r.Body)
				if err == nil {
					_, _ = w.Write(body)
				}
			case "/wait":
				<-r.Context().Done()
			case "/flush":
				w.(http.Flusher).Flush()
				_, _ = io.Copy(w, r.Body)
			case "/expect":
				w.WriteHeader(http.StatusAccepted)
				_ = http.NewResponseController(w).Flush()
				_, _ = io.Copy(w, r.Body)
			case "/leak":
				go func() { <-r.Context().Done(); writes(100000)(w, r) }()
			case "/fields":
				w.Header().Set("X-Same", "the same every time")
			}
		}),
	}
}

func TestFramesAreAnsweredInEveryStateOfAStream(t *testing.T) {
	request := func(c *client) []byte { return c.encode("GET", "/hit/5") }
	raw := func(c *client, kind http2.FrameType, flags http2.Flags, id uint32, payload string) {
		c.must(c.framer.WriteRawFrame(kind, flags, id, []byte(payload)))
	}
	for _, test := range []struct {
		name string
		send func(c *client)
		want []string
	}{
		{"a hit with a body", func(c *client) { c.get(1, "/hit/5") }, []string{"HEADERS 1 200", "DATA 1 5 end"}},
		{"a hit without a body", func(c *client) { c.get(1, "/hit/0") }, []string{"HEADERS 1 200 end"}},
		{"two hits", func(c *client) { c.get(1, "/hit/5"); c.get(3, "/hit/6") }, []string{"HEADERS 1 200", "DATA 1 5 end", "HEADERS 3 200", "DATA 3 6 end"}},
		{"a handler", func(c *client) { c.get(1, "/read") }, []string{"HEADERS 1 200 end"}},
		{
			"a handler with a body",
			func(c *client) { c.post(1, "/read"); c.data(1, false, letters(3)); c.data(1, true, letters(4)) },
			[]string{"HEADERS 1 200", "DATA 1 7 end"},
		},
		{
			"a body whose end comes alone",
			func(c *client) { c.post(1, "/read"); c.data(1, false, letters(3)); c.data(1, true, nil) },
			[]string{"HEADERS 1 200", "DATA 1 3 end"},
		},
		{
			"padding is no body",
			func(c *client) {
				c.post(1, "/read")
				c.must(c.framer.WriteDataPadded(1, true, letters(3), make([]byte, 200)))
			},
			[]string{"HEADERS 1 200", "DATA 1 3 end"},
		},
		{
			"an answer before the end of the request",
			func(c *client) { c.post(1, "/ignore") },
			[]string{"HEADERS 1 200 end", "RST_STREAM 1 NO_ERROR"},
		},
		{
			"what was on its way to a stream that was reset here",
			func(c *client) {
				c.post(1, "/ignore")
				c.took()
				c.data(1, false, letters(16000))
				c.headers(1, true, c.fields("x-trailer", "1"))
				c.must(c.framer.WriteRSTStream(1, http2.ErrCodeCancel))
				c.get(3, "/hit/5")
			},
			[]string{"HEADERS 3 200", "DATA 3 5 end"},
		},
		{
			"more than can have been on its way",
			func(c *client) {
				c.post(1, "/ignore")
				c.took()
				for range 6 {
					c.data(1, false, letters(16000))
				}
			},
			[]string{"WINDOW_UPDATE 48000", "WINDOW_UPDATE 48000", "RST_STREAM 1 STREAM_CLOSED"},
		},
		{"100 is sent for a body that is expected", func(c *client) { c.post(1, "/read", "expect", "100-continue") }, []string{"HEADERS 1 100"}},
		{
			"100 is not sent after the status",
			func(c *client) { c.post(1, "/expect", "expect", "100-continue"); c.data(1, true, letters(2)) },
			[]string{"HEADERS 1 202", "DATA 1 2 end"},
		},
		{
			"a handler that writes when it has returned",
			func(c *client) { c.get(1, "/leak") },
			[]string{"HEADERS 1 200 end"},
		},
		{"CONNECT", func(c *client) { c.headers(1, true, c.fields(":method", "CONNECT", ":authority", "a.example:1")) }, []string{"HEADERS 1 501 end"}},
		{"a path with a blank is no hit", func(c *client) { c.get(1, "/hit/5 6") }, []string{"HEADERS 1 200 end"}},
		{"a path with a fragment is no hit", func(c *client) { c.get(1, "/hit/5#6") }, []string{"HEADERS 1 200 end"}},
		{"a path with a bad escape", func(c *client) { c.get(1, "/hit/%zz") }, []string{"HEADERS 1 400 end"}},
		{"user information", func(c *client) {
			c.headers(1, true, c.fields(":method", "GET", ":scheme", "https", ":path", "/hit/5", ":authority", "me@a.example"))
		}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{"OPTIONS of everything", func(c *client) {
			c.headers(1, true, c.fields(":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "a.example"))
		}, []string{"HEADERS 1 200 end"}},

		{"DATA on an idle stream", func(c *client) { c.data(1, false, nil) }, []string{"GOAWAY 0 PROTOCOL_ERROR", "EOF"}},
		{"RST_STREAM on an idle stream", func(c *client) { c.must(c.framer.WriteRSTStream(1, http2.ErrCodeCancel)) }, []string{"GOAWAY 0 PROTOCOL_ERROR", "EOF"}},
		{"WINDOW_UPDATE on an idle stream", func(c *client) { c.open(1, 1000) }, []string{"GOAWAY 0 PROTOCOL_ERROR", "EOF"}},
		{"PRIORITY on an idle stream", func(c *client) { c.must(c.framer.WritePriority(1, http2.PriorityParam{})); c.get(1, "/hit/0") }, []string{"HEADERS 1 200 end"}},
		{"a stream that depends on itself", func(c *client) {
			c.must(c.framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: request(c), EndStream: true, EndHeaders: true,
				Priority: http2.PriorityParam{StreamDep: 1},
			}))
		}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{"a stream of the server's", func(c *client) { c.get(2, "/") }, []string{"GOAWAY 0 PROTOCOL_ERROR", "EOF"}},
		{"a stream that was left out", func(c *client) { c.get(3, "/hit/0"); c.took(); c.get(1, "/") }, []string{"GOAWAY 3 STREAM_CLOSED", "EOF"}},
		{"DATA after the end", func(c *client) { c.get(1, "/wait"); c.data(1, true, nil) }, []string{"RST_STREAM 1 STREAM_CLOSED"}},
		{"DATA after RST_STREAM", func(c *client) {
			c.post(1, "/wait")
			c.must(c.framer.WriteRSTStream(1, http2.ErrCodeCancel))
			c.data(1, true, nil)
		}, []string{"RST_STREAM 1 STREAM_CLOSED"}},
		{"HEADERS after the end", func(c *client) { c.get(1, "/wait"); c.get(1, "/") }, []string{"RST_STREAM 1 STREAM_CLOSED"}},
		{"trailers that do not end", func(c *client) { c.post(1, "/wait"); c.headers(1, false, c.fields("x-y", "z")) }, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{"trailers with a field of framing", func(c *client) { c.post(1, "/wait"); c.headers(1, true, c.fields("content-length", "0")) }, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{"trailers that are too large", func(c *client) { c.post(1, "/wait"); c.headers(1, true, c.fields("x-y", strings.Repeat("z", 40000))) }, nil},
		{"a body longer than its length", func(c *client) { c.post(1, "/wait", "content-length", "3"); c.data(1, false, letters(4)) }, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{"a body shorter than its length", func(c *client) { c.post(1, "/wait", "content-length", "3"); c.data(1, true, letters(2)) }, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{"more DATA than the window", func(c *client) {
			c.post(1, "/wait")
			for range 4 {
				c.data(1, false, letters(16384))
			}
		}, []string{"GOAWAY 1 FLOW_CONTROL_ERROR", "EOF"}},

		{"a frame that is too large", func(c *client) { c.write([]byte{0, 0x40, 1, 0, 0, 0, 0, 0, 1}) }, []string{"GOAWAY 0 FRAME_SIZE_ERROR", "EOF"}},
		{"a frame of an unknown kind", func(c *client) { raw(c, 0x77, 0xff, 9, "abc"); c.get(1, "/hit/0") }, []string{"HEADERS 1 200 end"}},
		{"PUSH_PROMISE", func(c *client) { raw(c, http2.FramePushPromise, 0, 1, "abcd") }, []string{"GOAWAY 0 PROTOCOL_ERROR", "EOF"}},
		{"CONTINUATION of nothing", func(c *client) { raw(c, http2.FrameContinuation, 4, 1, "") }, []string{"GOAWAY 0 PROTOCOL_ERROR", "EOF"}},
		{"a header block that is interrupted", func(c *client) {
			raw(c, http2.FrameHeaders, 1, 1, "\x82")
			c.must(c.framer.WritePing(false, [8]byte{}))
		}, []string{"GOAWAY 0 PROTOCOL_ERROR", "EOF"}},
		{"a header block in many pieces", func(c *client) {
			block := request(c)
			raw(c, http2.FrameHeaders, 1, 1, "")
			for i := range block {
				raw(c, http2.FrameContinuation, 0, 1, string(block[i:i+1]))
			}
			raw(c, http2.FrameContinuation, 4, 1, "")
		}, []string{"HEADERS 1 200", "DATA 1 5 end"}},
		{"an index that HPACK does not have", func(c *client) { c.headers(1, true, []byte{0xff, 0x7f}) }, []string{"GOAWAY 0 COMPRESSION_ERROR", "EOF"}},
		{"PING", func(c *client) { c.must(c.framer.WritePing(false, [8]byte{1})) }, []string{"PING ACK"}},
		{"SETTINGS", func(c *client) { c.must(c.framer.WriteSettings(http2.Setting{ID: 0xf00d, Val: 1})) }, []string{"SETTINGS ACK"}},
		{"GOAWAY without streams", func(c *client) { c.must(c.framer.WriteGoAway(0, http2.ErrCodeNo, nil)) }, []string{"GOAWAY 0 NO_ERROR", "EOF"}},
		{
			"GOAWAY with a stream, and one more", func(c *client) {
				c.post(1, "/read")
				c.must(c.framer.WriteGoAway(0, http2.ErrCodeNo, nil))
				c.get(3, "/hit/5")
				c.data(1, true, letters(2))
			},
			[]string{"HEADERS 3 200", "DATA 3 5 end", "HEADERS 1 200", "DATA 1 2 end", "GOAWAY 3 NO_ERROR", "EOF"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, talkOptions(), func(c *client) {
				test.send(c)
				if test.want != nil {
					c.saw(test.want...)
				}
			})
		})
	}
}

func TestNothingComesBeforeTheFirstSettings(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(c *client)
	}{
		{"a request", func(c *client) { c.write([]byte(preface)); c.get(1, "/") }},
		{"PING", func(c *client) { c.write([]byte(preface)); c.must(c.framer.WritePing(false, [8]byte{})) }},
		{"HTTP/1.1", func(c *client) { c.write([]byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")) }},
		{"a preface that ends otherwise", func(c *client) { c.write([]byte(preface[:20] + "XY\r\n")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubbleRaw(t, talkOptions(), func(c *client) {
				test.send(c)
				c.saw("SETTINGS", "GOAWAY 0 PROTOCOL_ERROR", "EOF")
			})
		})
	}
}

func TestARequestIsWhatNetHTTPWouldMakeOfIt(t *testing.T) {
	var got http.Request
	o := Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = *r })}
	inBubble(t, o, func(c *client) {
		c.headers(1, false, c.fields(":method", "OPTIONS", ":scheme", "https", ":path", "*", "host", "b.example", "cookie", "a=1", "cookie", "b=2",
			"trailer", "X-Sum, Content-Length", "expect", "100-Continue", "content-length", "5"))
		c.took()
	})
	if got.Host != "b.example" || got.URL.Path != "*" || got.RequestURI != "*" || got.ContentLength != 5 || len(got.Trailer) != 1 {
		t.Errorf("got %+v", got)
	}
	if len(got.Header) != 2 || got.Header.Get("Cookie") != "a=1; b=2" || got.Header.Get("Content-Length") != "5" {
		t.Errorf("got the fields %v", got.Header)
	}
	if context.Cause(got.Context()) == nil {
		t.Error("the context outlives the request")
	}
}

func TestAnOversizedHeaderListIsAnswered431AndTheConnectionGoesOn(t *testing.T) {
	for _, test := range []struct {
		name  string
		pairs []string
	}{
		{"one field", []string{"x-large", strings.Repeat("a", 40000)}},
		{"one name", []string{strings.Repeat("a", 40000), "1"}},
		{"many small fields", strings.Split(strings.Repeat("a,b,", 200), ",")[:400]},
		{"many large fields", strings.Split(strings.Repeat("a,"+strings.Repeat("b", 4000)+",", 20), ",")[:40]},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, talkOptions(), func(c *client) {
				for id := uint32(1); id < 6; id += 2 { // that HPACK's state stays right shows in the second
					c.sendBlock(id, true, c.encode("GET", "/hit/5", test.pairs...))
					c.saw("HEADERS " + string('0'+rune(id)) + " 431 end")
				}
				c.get(7, "/hit/5")
				c.saw("HEADERS 7 200", "DATA 7 5 end")
			})
		})
	}
}

func TestAPanicOfHitEndsTheConnectionAlone(t *testing.T) {
	var failure any
	var input []byte
	inBubble(t, Options{
		Hit:     func(*ConnInfo, *Request, *Hit) bool { panic("oh") },
		OnCrash: func(f any, in []byte) { failure, input = f, in },
	}, func(c *client) {
		c.get(1, "/")
		c.saw("GOAWAY 1 INTERNAL_ERROR", "EOF")
	})
	if failure != "oh" || len(input) < frameHeader || input[3] != byte(frameHeaders) {
		t.Errorf("OnCrash was told %v, %q", failure, input)
	}
}

func TestAPanicOfAHandlerEndsItsStreamAlone(t *testing.T) {
	var failure any
	inBubble(t, Options{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				panic(r.URL.Path)
			}
		}),
		OnPanic: func(f any) { failure = f },
	}, func(c *client) {
		c.get(1, "/oh")
		c.saw("RST_STREAM 1 INTERNAL_ERROR")
		c.get(3, "/")
		c.saw("HEADERS 3 200 end")
	})
	if failure != "/oh" {
		t.Errorf("OnPanic was told %v", failure)
	}
}

func TestASmallerHeaderTableIsConfirmedByTheNextBlock(t *testing.T) {
	for _, test := range []struct {
		name, path string
		size, then uint32
		want       []byte // the updates
	}{
		{"a hit, and no table", "/hit/0", 0, 0, []byte{0x20}},
		{"a hit, and a small table", "/hit/0", 100, 100, []byte{0x3f, 100 - 31}},
		{"a hit, and a small table for a moment", "/hit/0", 100, 4096, []byte{0x20, 0x3f, 0xe1, 0x1f}},
		{"a handler, and no table", "/fields", 0, 0, []byte{0x20}},
		{"a handler, and a small table", "/fields", 100, 100, []byte{0x3f, 100 - 31}},
		{"a handler, and a small table for a moment", "/fields", 100, 4096, []byte{0x20, 0x3f, 0xe1, 0x1f}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, talkOptions(), func(c *client) {
				c.get(1, "/fields")
				c.took()
				c.framer.ReadMetaHeaders.SetMaxDynamicTableSize(test.size)
				var first []byte
				c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: test.size}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: test.then}))
				c.saw("SETTINGS ACK")
				c.tap = func(f []byte) {
					if first == nil {
						first = f
					}
				}
				for id := uint32(3); id < 9; id += 2 {
					c.get(id, test.path)
					c.took()
				}
				if !bytes.HasPrefix(first, test.want) {
					t.Errorf("the next block begins with %x, want %x", first, test.want)
				}
			})
		})
	}
}

func TestStreamsBeyondTheLimitAreRefused(t *testing.T) {
	o := talkOptions()
	o.Streams = 2
	inBubble(t, o, func(c *client) {
		for id := uint32(1); id < 8; id += 2 {
			c.get(id, "/wait")
		}
		c.saw("RST_STREAM 5 REFUSED_STREAM", "RST_STREAM 7 REFUSED_STREAM")
		c.must(c.framer.WriteRSTStream(1, http2.ErrCodeCancel))
		c.get(9, "/hit/5")
		c.saw("HEADERS 9 200", "DATA 9 5 end")
	})
}

func TestHandlersThatDoNotNoticeTheirResetAreBounded(t *testing.T) {
	var release chan struct{} // of the bubble
	running := 0
	o := Options{Streams: 4, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { running++; <-release })}
	inBubble(t, o, func(c *client) {
		release, running = make(chan struct{}), 0
		defer close(release)
		for id := uint32(1); id < 40; id += 2 {
			c.get(id, "/")
			c.must(c.framer.WriteRSTStream(id, http2.ErrCodeCancel))
			c.took()
		}
		if running != 8 {
			t.Errorf("%d handlers run", running)
		}
	})
}
