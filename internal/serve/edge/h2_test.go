package edge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2Conn is an HTTP/2 connection whose every frame a test decides.
type h2Conn struct {
	*http2.Framer
	conn     net.Conn
	tb       testing.TB
	next     uint32
	settings map[http2.SettingID]uint32 // of the server
}

// dialH2 opens a connection with these settings and waits for the server's.
func (r *running) dialH2(serverName string, settings ...http2.Setting) *h2Conn {
	r.tb.Helper()
	raw := r.dialTLS(serverName, "h2").send(http2.ClientPreface)
	c := &h2Conn{Framer: http2.NewFramer(raw, raw), conn: raw, tb: r.tb, next: 1, settings: make(map[http2.SettingID]uint32)}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.must(c.WriteSettings(settings...))
	for len(c.settings) == 0 {
		frame := c.read()
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			c.must(s.ForeachSetting(func(s http2.Setting) error { c.settings[s.ID] = s.Val; return nil }))
		}
	}
	c.must(c.WriteSettingsAck())
	return c
}

func (c *h2Conn) must(err error) {
	c.tb.Helper()
	if err != nil {
		c.tb.Fatal(err)
	}
}

func (c *h2Conn) read() http2.Frame {
	c.tb.Helper()
	frame, err := c.ReadFrame()
	if err != nil {
		c.tb.Fatalf("read frame: %v", err)
	}
	return frame
}

// open sends the head of a request and returns its stream.
func (c *h2Conn) open(end bool, fields ...string) uint32 {
	c.tb.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i+1 < len(fields); i += 2 {
		c.must(encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	stream := c.next
	c.next += 2
	const most = 16 << 10
	head := block.Next(most)
	c.must(c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head, EndStream: end, EndHeaders: block.Len() == 0}))
	for block.Len() > 0 {
		part := block.Next(most)
		c.must(c.WriteContinuation(stream, block.Len() == 0, part))
	}
	return stream
}

func h2Get(host, path string, more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "https", ":authority", host, ":path", path}, more...)
}

// status reads on to the head of a stream's answer, or what comes instead.
func (c *h2Conn) status(stream uint32) string {
	c.tb.Helper()
	for {
		switch frame := c.read().(type) {
		case *http2.MetaHeadersFrame:
			if frame.StreamID == stream {
				return frame.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == stream {
				return frame.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return "GOAWAY " + frame.ErrCode.String()
		}
	}
}

func TestWhatHTTP2MayNotSay(t *testing.T) {
	r := start(t, setup{fleet: true, secure: true})
	long := strings.Repeat("x", 16<<10)
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"a request":                                {h2Get(hostA, "/"), "200"},
		"the scheme http is no way around":         {[]string{":method", "GET", ":scheme", "http", ":authority", hostB, ":path", "/"}, "421"},
		"the scheme http is that of a proxy":       {[]string{":method", "GET", ":scheme", "http", ":authority", hostA, ":path", "/"}, "200"},
		":authority is the host":                   {h2Get(hostB, "/"), "421"},
		"Host stands in for :authority":            {[]string{":method", "GET", ":scheme", "https", ":path", "/", "host", hostA}, "200"},
		"no host at all":                           {[]string{":method", "GET", ":scheme", "https", ":path", "/"}, "400"},
		"Host may repeat :authority":               {h2Get(hostA, "/", "host", hostA), "200"},
		"Host may not be another":                  {h2Get(hostA, "/", "host", hostB), "400"},
		"two Hosts":                                {h2Get(hostA, "/", "host", hostA, "host", hostA), "400"},
		"user information":                         {h2Get("a.example@"+hostB, "/"), "PROTOCOL_ERROR"},
		"a path in :authority":                     {h2Get(hostA+"/x", "/"), "400"},
		"an absolute :path":                        {h2Get(hostA, "https://b.example/"), "400"},
		"a :path without a slash":                  {h2Get(hostA, "x"), "PROTOCOL_ERROR"},
		"* for GET":                                {h2Get(hostA, "*"), "400"},
		"* for OPTIONS":                            {[]string{":method", "OPTIONS", ":scheme", "https", ":authority", hostA, ":path", "*"}, "204"},
		"CONNECT":                                  {[]string{":method", "CONNECT", ":authority", hostA + ":443"}, "405"},
		"a target over the limit of request lines": {h2Get(hostA, "/"+long), "414"},
		"a head over the limit":                    {h2Get(hostA, "/", slices.Repeat([]string{"x-field", strings.Repeat("x", 1000)}, 34)...), "431"},
		"a head far over the limit":                {h2Get(hostA, "/", "x-a", long, "x-b", long, "x-c", long), "431"},
		"as many fields as are allowed":            {h2Get(hostA, "/", fieldsOf(128)...), "200"},
		"one field too many":                       {h2Get(hostA, "/", fieldsOf(129)...), "431"},
		"a blank in the target":                    {h2Get(hostA, "/a b"), "400"},
		"a byte over 0x7f in the target":           {h2Get(hostA, "/\u00e4"), "400"},
		"a fragment in the target":                 {h2Get(hostA, "/#x"), "400"},
		"a method that is no token":                {[]string{":method", "G T", ":scheme", "https", ":authority", hostA, ":path", "/"}, "400"},
		"Host in other letters than :authority":    {h2Get(hostA, "/", "host", strings.ToUpper(hostA)), "200"},
		"Host without a value":                     {h2Get(hostA, "/", "host", ""), "400"},
		"a scheme that is not served":              {[]string{":method", "GET", ":scheme", "gopher", ":authority", hostA, ":path", "/"}, "PROTOCOL_ERROR"},
		"TE without a value":                       {h2Get(hostA, "/", "te", ""), "200"},
		"TRACE":                                    {[]string{":method", "TRACE", ":scheme", "https", ":authority", hostA, ":path", "/"}, "405"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.dialH2(hostA)
			conn.tb = t
			want := c.want
			if stricter, ok := fastRefusals[name]; ok && engineUnderTest == Fast {
				want = stricter
			}
			if got := conn.status(conn.open(true, c.fields...)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// fastRefusals are the requests that the fast engine refuses in another way: what
// is malformed is an error of the stream (RFC 9113 §8.1.1).
var fastRefusals = map[string]string{
	"Host may not be another":   "PROTOCOL_ERROR",
	"two Hosts":                 "PROTOCOL_ERROR",
	"a path in :authority":      "PROTOCOL_ERROR",
	"an absolute :path":         "PROTOCOL_ERROR",
	"* for GET":                 "PROTOCOL_ERROR",
	"a method that is no token": "PROTOCOL_ERROR",
	"Host without a value":      "PROTOCOL_ERROR",
	"CONNECT":                   "501",
}

// net/http changes its encoder's table beside whoever encodes, and the process ends
// with that: there must be nothing in it. A decoder that keeps nothing can read what
// refers to nothing.
func TestThePlainEngineEncodesWithoutATable(t *testing.T) {
	r := start(t, setup{fleet: true, secure: true, edit: func(o *Options) { o.Engine = Plain }})
	conn := r.dialH2(hostA)
	conn.ReadMetaHeaders = hpack.NewDecoder(1, nil)
	for range 3 {
		if got := conn.status(conn.open(true, h2Get(hostA, "/style.css")...)); got != "200" {
			t.Errorf("got %s, want 200", got)
		}
	}
}

// fieldsOf returns n fields for a raw request.
func fieldsOf(n int) (fields []string) {
	for range n {
		fields = append(fields, "x-field", "1")
	}
	return fields
}

func TestAnHTTP2BodyIsFoundOutWhereTheHeadDoesNotTell(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.HeaderTimeout = 100 * time.Millisecond }})
	for name, c := range map[string]struct {
		then func(c *h2Conn, stream uint32) error
		want string
	}{
		"an empty DATA is no body": {func(c *h2Conn, stream uint32) error { return c.WriteData(stream, true, nil) }, "200"},
		"a byte is one":            {func(c *h2Conn, stream uint32) error { return c.WriteData(stream, true, []byte("x")) }, "413"},
		"nothing is too late":      {func(*h2Conn, uint32) error { return nil }, "408"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.dialH2("localhost")
			conn.tb = t
			stream := conn.open(false, h2Get("localhost", "/")...)
			conn.must(c.then(conn, stream))
			if got := conn.status(stream); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// A client that opens no window keeps nothing but a stream, and that not for long.
func TestAnHTTP2ClientThatOpensNoWindowIsCutOff(t *testing.T) {
	r := start(t, setup{fleet: true, secure: true, edit: func(o *Options) { o.Limits.Grace, o.Limits.MinRate = 100*time.Millisecond, 1<<30 }})
	for name, path := range map[string][]string{
		"a file": h2Get(hostA, "/style.css"), "an error of ours": h2Get("c.example", "/"), "an error of the site's": h2Get(hostA, "/none"),
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.dialH2(hostA, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			conn.tb = t
			stream := conn.open(true, path...)
			conn.status(stream) // heads have no window
			if got := conn.status(stream); got != http2.ErrCodeInternal.String() && got != http2.ErrCodeCancel.String() {
				t.Errorf("got %s, want the stream to be reset", got)
			}
			conn.must(conn.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 16}))
			if got := conn.status(conn.open(true, h2Get(hostA, "/")...)); got != "200" {
				t.Errorf("the next request on the connection: %s, want 200", got)
			}
		})
	}
	eventually(t, "no request is in flight", func() bool { return r.server.inFlight[overHTTP2].Load() == 0 })
}

func TestTheLimitOfStreamsIsAnnounced(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.StreamsPerConnection = 5 }})
	conn := r.dialH2("localhost")
	got := conn.settings[http2.SettingMaxConcurrentStreams]
	if diff := cmp.Diff(uint32(5), got); diff != "" {
		t.Errorf("SETTINGS_MAX_CONCURRENT_STREAMS (-want +got):\n%s", diff)
	}
}

// A head is one message, however many frames it takes: dripping does not help.
func TestASlowHeadOverHTTP2EndsTheConnection(t *testing.T) {
	const limit = 200 * time.Millisecond
	secure := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.HeaderTimeout = limit }})
	open := start(t, setup{edit: func(o *Options) { o.Limits.HeaderTimeout = limit }})
	const (
		settings     = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		headers      = "\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82"
		continuation = "\x00\x00\x00\x09\x00\x00\x00\x00\x01"
		large        = "\x00\x10\x00\x01\x05\x00\x00\x00\x01"
	)
	for name, test := range map[string]struct{ first, drip string }{
		"a frame that does not end": {settings + large, ""},
		"bytes that drip":           {settings + large, "x"},
		"frames that drip":          {settings + headers, continuation},
	} {
		for where, r := range map[string]*running{"over TLS": secure, "without TLS": open} {
			t.Run(name+" "+where, func(t *testing.T) {
				before := r.counter(`penny_refusals_total{pop="au",reason="HTTP/2: slow frames"}`)
				conn := r.dialPrior()
				conn.send(http2.ClientPreface + test.first)
				ended := make(chan struct{})
				go func() { defer close(ended); _, _ = io.Copy(io.Discard, conn) }()
				for began := time.Now(); ; {
					select {
					case <-ended:
						eventually(t, "the refusal is counted", func() bool {
							return r.counter(`penny_refusals_total{pop="au",reason="HTTP/2: slow frames"}`) == before+1
						})
						return
					case <-time.After(limit / 4):
						_, _ = conn.Write([]byte(test.drip)) // until it ends
					}
					if time.Since(began) > 10*time.Second {
						t.Fatal("the connection goes on")
					}
				}
			})
		}
	}
	t.Run("no preface", func(t *testing.T) { _, _ = io.Copy(io.Discard, secure.dialTLS("localhost", "h2")) })
	t.Run("HTTP/1.1 where HTTP/2 was agreed upon", func(t *testing.T) {
		conn := secure.dialTLS("localhost", "h2").send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if data, _ := io.ReadAll(conn); bytes.Contains(data, []byte("HTTP/1.1")) {
			t.Errorf("it was answered:\n%s", data)
		}
	})
}

// dialPrior connects with HTTP/2 agreed upon, or known beforehand.
func (r *running) dialPrior() *rawConn {
	if r.secure != "" {
		return r.dialTLS("localhost", "h2")
	}
	return r.dial()
}

func TestAHeadThatIsTooLargeOverHTTP2IsToldOf(t *testing.T) {
	r := start(t, setup{secure: true, log: true})
	conn := r.dialH2("localhost")
	for _, fields := range [][]string{fieldsOf(129), slices.Repeat([]string{"x-field", strings.Repeat("x", 1000)}, 34)} {
		if got := conn.status(conn.open(true, h2Get("localhost", "/", fields...)...)); got != "431" {
			t.Errorf("got %s, want 431", got)
		}
	}
	for _, why := range []string{"head too large", "too many fields"} {
		if got := r.counter(`penny_refusals_total{pop="au",reason="` + why + `"}`); got != 1 {
			t.Errorf("%q was counted %v times, want once", why, got)
		}
	}
	var refused []string
	for _, rec := range r.records() {
		if rec.Status == http.StatusRequestHeaderFieldsTooLarge {
			refused = append(refused, rec.Refused)
		}
	}
	if diff := cmp.Diff([]string{"too many fields", "head too large"}, refused); diff != "" {
		t.Errorf("in the access log (-want +got):\n%s", diff)
	}
}

func TestAnIdleHTTP2ConnectionIsClosed(t *testing.T) {
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Limits.IdleTimeout = 200 * time.Millisecond }})
	conn := r.dialH2("localhost")
	var away bool
	for {
		frame, err := conn.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("the connection ended with %v, want its end", err)
			}
			break
		}
		if _, ok := frame.(*http2.GoAwayFrame); ok {
			away = true
		}
	}
	if !away {
		t.Error("there was no GOAWAY")
	}
}

func TestBodiesAreRefusedOverEveryProtocol(t *testing.T) {
	r := start(t, setup{secure: true})
	r.everyProtocol(t, "localhost", func(t *testing.T, c client) {
		for _, test := range []struct {
			method string
			body   string
			status int
		}{
			{"GET", "content", http.StatusRequestEntityTooLarge},
			{"HEAD", "content", http.StatusRequestEntityTooLarge},
			{"POST", "content", http.StatusMethodNotAllowed},
			{"PUT", "", http.StatusMethodNotAllowed},
		} {
			got, err := c.try(test.method, "", "/", strings.NewReader(test.body))
			if err != nil || got.StatusCode != test.status {
				t.Errorf("%s with a body of %d: %d, %v; want %d", test.method, len(test.body), statusOf(got), err, test.status)
			}
		}
		if got := c.do("GET", "", "/"); got.StatusCode != 200 {
			t.Errorf("afterwards: %d", got.StatusCode)
		}
	})
}

func statusOf(r reply) int {
	if r.Response == nil {
		return 0
	}
	return r.StatusCode
}

// Many answers over a thin line share it: together they take longer than each may
// by itself, and the client is not slow.
func TestManyAnswersOverAThinLineArriveOverHTTP2(t *testing.T) {
	const answers, size, perSecond = 30, 20_000, 200_000
	r := start(t, setup{secure: true, files: map[string]string{"index.html": strings.Repeat("x", size)}, edit: func(o *Options) {
		o.Limits.Grace, o.Limits.MinRate = time.Second, 50_000 // a second for one, and three for all of them
	}})
	conn := r.dialH2("localhost", http2.Setting{ID: http2.SettingInitialWindowSize, Val: size})
	streams := make(map[uint32]int)
	for range answers {
		streams[conn.open(true, h2Get("localhost", "/")...)] = 0
	}
	for left := answers; left > 0; {
		switch f := conn.read().(type) {
		case *http2.DataFrame:
			n := len(f.Data())
			time.Sleep(time.Duration(n) * time.Second / perSecond)
			if streams[f.StreamID] += n; f.StreamEnded() {
				if got := streams[f.StreamID]; got != size {
					t.Errorf("stream %d has %d bytes, want %d", f.StreamID, got, size)
				}
				left--
			}
			if n > 0 {
				conn.must(conn.WriteWindowUpdate(0, uint32(n)))
			}
		case *http2.RSTStreamFrame:
			t.Fatalf("stream %d was reset: %v", f.StreamID, f.ErrCode)
		}
	}
}
