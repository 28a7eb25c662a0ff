package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/loop"
)

// startOnLoops runs a server whose fast engine has so many loops.
func startOnLoops(t *testing.T, loops int, o setup) *running {
	t.Helper()
	group, err := loop.NewGroup(loops, false)
	if errors.Is(err, loop.ErrUnsupported) {
		t.Skip("loops need epoll, which Linux has")
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { group.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() }) // behind the server's end
	edit := o.edit
	o.edit = func(o *Options) {
		o.Engine, o.Loops = Fast, group
		if edit != nil {
			edit(o)
		}
	}
	return start(t, o)
}

// A split is a way of sending something in parts.
type split struct {
	name  string
	parts []string
}

// splits are text byte by byte, and in two parts that are cut here and there.
func splits(text string, step int) []split {
	all := []split{{"byte by byte", strings.Split(text, "")}}
	for i := 1; i < len(text); i += step {
		all = append(all, split{fmt.Sprintf("cut after %d bytes", i), []string{text[:i], text[i:]}})
	}
	return all
}

// sendParts sends parts, the first and the last of them as reads of their own.
func (c *rawConn) sendParts(parts []string) {
	c.tb.Helper()
	for i, p := range parts {
		if c.send(p); i == 0 {
			time.Sleep(2 * time.Millisecond) // or what follows would be read with it
		}
	}
}

func TestOnLoopsRequestsOverHTTP1MayComeInAnyParts(t *testing.T) {
	const hits = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /style.css HTTP/1.1\r\nHost: localhost\r\nX-Field: a value\r\n\r\nGET /style.css HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
	const last = "GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for scheme, o := range map[string]setup{"plain": {}, "TLS": {secure: true}} {
		r := startOnLoops(t, 2, o)
		dial := r.dial
		if o.secure {
			dial = func() *rawConn { return r.dialTLS("localhost") }
		}
		for name, text := range map[string]string{
			"what stands ready":                  hits + last,
			"what the plain engine goes on with": hits + "GET /style.css HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\n\r\n" + hits + last,
		} {
			t.Run(scheme+", "+name, func(t *testing.T) {
				ask := func(parts []string) string {
					conn := dial()
					defer conn.Close()
					conn.tb = t
					conn.sendParts(parts)
					answers, err := io.ReadAll(conn.in)
					if err != nil {
						t.Errorf("read: %v", err)
					}
					return undated(string(answers))
				}
				want := ask([]string{text})
				if n := strings.Count(want, "HTTP/1.1 "); n != strings.Count(text, "HTTP/1.1\r\n") {
					t.Fatalf("%d answers: %.2000q", n, want)
				}
				for _, s := range splits(text, 7) {
					if got := ask(s.parts); got != want {
						t.Errorf("%s: %s", s.name, clip([]byte(want), []byte(got)))
					}
				}
			})
		}
	}
}

// undated is out without its Date fields.
func undated(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Date: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// h2Text is what a client sends that asks for paths, and has windows for all of
// them.
func h2Text(paths ...string) string {
	var out, block bytes.Buffer
	framer, encoder := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
	out.WriteString(http2.ClientPreface)
	// Writing to a buffer cannot fail.
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = framer.WriteWindowUpdate(0, 1<<30)
	for i, path := range paths {
		block.Reset()
		for pair := range slices.Chunk(h2Get("localhost", path), 2) {
			_ = encoder.WriteField(hpack.HeaderField{Name: pair[0], Value: pair[1]})
		}
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	}
	return out.String()
}

// h2Answers reads n answers: their status, and how large they are.
func (c *rawConn) h2Answers(n int) map[uint32]string {
	c.tb.Helper()
	framer := http2.NewFramer(io.Discard, c.in)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	status, size := make(map[uint32]string), make(map[uint32]int)
	answers := make(map[uint32]string)
	for len(answers) < n {
		frame, err := framer.ReadFrame()
		if err != nil {
			c.tb.Errorf("after %v: %v", answers, err)
			return answers
		}
		id, ended := frame.Header().StreamID, false
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			status[id], ended = f.PseudoValue("status"), f.StreamEnded()
		case *http2.DataFrame:
			size[id] += len(f.Data())
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			answers[id] = f.ErrCode.String()
		}
		if ended {
			answers[id] = fmt.Sprintf("%s with %d bytes", status[id], size[id])
		}
	}
	return answers
}

func TestOnLoopsRequestsOverHTTP2MayComeInAnyParts(t *testing.T) {
	r := startOnLoops(t, 2, setup{secure: true})
	paths := []string{"/", "/style.css", "/none", "/", "/style.css?x"}
	text := h2Text(paths...)
	ask := func(parts []string) string {
		conn := r.dialTLS("localhost", "h2")
		defer conn.Close()
		conn.sendParts(parts)
		return fmt.Sprint(conn.h2Answers(len(paths)))
	}
	want := ask([]string{text})
	for _, s := range splits(text, 3) {
		if got := ask(s.parts); got != want {
			t.Errorf("%s: got %s, want %s", s.name, got, want)
		}
	}
}

// largeHits is how often a file that is as large as any in memory makes what no
// buffer of a system holds.
const largeHits = slowSize >> 20

// largeSite is slowSite with such a file.
func largeSite(t *testing.T, o setup) setup {
	t.Helper()
	o = slowSite(t, o)
	edit := o.edit
	o.edit = func(options *Options) {
		edit(options)
		dir := t.TempDir()
		for name, size := range map[string]int{"index.html": 10, "large.jpg": 1 << 20, "big.bin": slowSize} {
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		options.Table = AnyHost(siteOf(t, "large", dir).Live)
	}
	return o
}

// All are on one loop.
func TestOnALoopWhoDoesNotReadKeepsNobodyWaiting(t *testing.T) {
	long := func(o *Options) { o.Limits.Drain, o.Limits.Grace = time.Hour, time.Hour }
	many := strings.Repeat("GET /large.jpg HTTP/1.1\r\nHost: h\r\n\r\n", largeHits)
	const one = "GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n"
	readHTTP1 := func(n int) func(c *rawConn) (size int) {
		return func(c *rawConn) (size int) {
			for range n {
				size += len(c.receive("GET").text)
			}
			return size
		}
	}
	readHTTP2 := func(n int) func(c *rawConn) int {
		return func(c *rawConn) (size int) {
			for _, answer := range c.h2Answers(n) {
				var status, bytes int
				if _, err := fmt.Sscanf(answer, "%d with %d bytes", &status, &bytes); err != nil || status != http.StatusOK {
					c.tb.Errorf("an answer was %q", answer)
				}
				size += bytes
			}
			return size
		}
	}
	type slow struct {
		name, text string
		protocol   string // "": without TLS
		read       func(c *rawConn) int
	}
	for _, secure := range []bool{false, true} {
		kinds := []slow{{"a file, plain", one, "", readHTTP1(1)}, {"hits, plain", many, "", readHTTP1(largeHits)}}
		if secure {
			kinds = []slow{
				{"a file over TLS", one, "http/1.1", readHTTP1(1)},
				{"hits over TLS", many, "http/1.1", readHTTP1(largeHits)},
				{"a file over HTTP/2", h2Text("/big.bin"), "h2", readHTTP2(1)},
				{"hits over HTTP/2", h2Text(slices.Repeat([]string{"/large.jpg"}, largeHits)...), "h2", readHTTP2(largeHits)},
			}
		}
		r := startOnLoops(t, 1, largeSite(t, setup{plain: !secure, secure: secure, edit: long}))
		dial := func(protocol string) *rawConn {
			if secure {
				return r.dialTLS("localhost", protocol)
			}
			return r.dial()
		}
		var conns []*rawConn
		for _, kind := range kinds {
			conn := dial(kind.protocol).send(kind.text)
			if _, err := conn.in.Peek(1); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		}
		var others sync.WaitGroup
		for i := range 50 {
			others.Go(func() {
				if protocol := kinds[i%len(kinds)].protocol; protocol == "h2" {
					dial("h2").send(h2Text("/", "/")).h2Answers(2)
				} else {
					conn := dial(protocol)
					for range 2 {
						if got := conn.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").receive("GET"); got.StatusCode != http.StatusOK {
							t.Errorf("status %d", got.StatusCode)
						}
					}
				}
			})
		}
		others.Wait()
		for i, kind := range kinds {
			conns[i].tb = t
			if got := kind.read(conns[i]); got != slowSize {
				t.Errorf("%s: %d bytes came, want %d", kind.name, got, slowSize)
			}
		}
	}
}

// What stands ready is written by the loop's call. Files from disk are not: see
// TestAReaderThatIsTooSlowIsCutOff.
func TestOnLoopsAReaderOfHitsThatIsTooSlowIsCutOff(t *testing.T) {
	for _, c := range []struct {
		protocol, text string
		secure         bool
	}{
		{"", strings.Repeat("GET /large.jpg HTTP/1.1\r\nHost: h\r\n\r\n", largeHits), false},
		{"http/1.1", strings.Repeat("GET /large.jpg HTTP/1.1\r\nHost: h\r\n\r\n", largeHits), true},
		{"h2", h2Text(slices.Repeat([]string{"/large.jpg"}, largeHits)...), true},
	} {
		t.Run("over "+c.protocol, func(t *testing.T) {
			r := startOnLoops(t, 1, largeSite(t, setup{secure: c.secure, edit: func(o *Options) { o.Limits.Grace, o.Limits.MinRate = brief, 1<<30 }}))
			var conn *rawConn
			if c.secure {
				conn = r.dialTLS("localhost", c.protocol)
			} else {
				conn = r.dial()
			}
			conn.send(c.text)
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // it is counted now
				t.Fatal(err)
			}
			eventually(t, "the connection is ended", func() bool { return r.counter(`penny_connections{pop="au"}`) == 0 })
			if n, _ := io.Copy(io.Discard, conn); n >= slowSize-1 {
				t.Errorf("it got all of %d bytes", n)
			}
		})
	}
}

// openFiles is how many descriptors the process has.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestOnLoopsThousandsComeAndGoAndNothingIsLeft(t *testing.T) {
	r := startOnLoops(t, 2, largeSite(t, setup{edit: func(o *Options) { o.Limits.Grace = time.Hour }}))
	s := startOnLoops(t, 2, largeSite(t, setup{secure: true, edit: func(o *Options) { o.Limits.Grace = time.Hour }}))
	plain := func(text string) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			conn, err := net.Dial("tcp", r.plain)
			if err == nil {
				_, err = io.WriteString(conn, text)
			}
			return conn, err
		}
	}
	secure := func(protocol, text string) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			conn, err := tls.Dial("tcp", s.secure, clientTLS("localhost", protocol))
			if err == nil {
				_, err = io.WriteString(conn, text)
			}
			return conn, err
		}
	}
	const get, many = "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET /large.jpg HTTP/1.1\r\nHost: h\r\n\r\n"
	kinds := []func() (net.Conn, error){
		plain(""), plain(get[:9]), plain(get), plain(get + get[:5]), plain(many + many + many + many), plain("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"),
		plain("GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n"), plain("rubbish\r\n\r\n"),
		func() (net.Conn, error) { return net.Dial("tcp", s.secure) }, // no handshake
		secure("http/1.1", ""), secure("http/1.1", get), secure("http/1.1", many+many+many+many), secure("http/1.1", get[:9]),
		secure("h2", ""), secure("h2", http2.ClientPreface[:9]), secure("h2", h2Text("/", "/none")), secure("h2", h2Text("/big.bin", "/large.jpg", "/large.jpg")),
		secure("h2", h2Text("/")+"\x00\x00\x09\x01"), secure("h2", "GET / HTTP/1.1\r\n\r\n"),
	}
	round := func(n int) {
		var clients sync.WaitGroup
		for c := range 20 {
			clients.Go(func() {
				for i := range n / 20 {
					conn, err := kinds[(i+c)%len(kinds)]()
					if err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
					if i%3 > 0 {
						_ = conn.SetReadDeadline(time.Now().Add(time.Duration(i%3) * time.Millisecond))
						_, _ = io.CopyN(io.Discard, conn, 1<<10) // some of the answer, or nothing
					}
					if raw, ok := conn.(*net.TCPConn); ok && i%2 > 0 {
						_ = raw.SetLinger(0) // the server gets RST
					}
					conn.Close()
				}
			})
		}
		clients.Wait()
		for _, server := range []*running{r, s} {
			eventually(t, "no connection is left", func() bool { return server.counter(`penny_connections{pop="au"}`) == 0 })
		}
	}
	round(400) // what is made once has been made
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	round(4000)
	eventually(t, "no descriptor is left", func() bool { return openFiles(t) <= files })
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := s.server.fast.h2.Connections(); n != 0 {
		t.Errorf("%d connections of HTTP/2 are left", n)
	}
	for _, server := range []*running{r, s} {
		server.server.fast.mu.Lock()
		if n := len(server.server.fast.conns); n != 0 {
			t.Errorf("%d connections of HTTP/1.1 are left", n)
		}
		server.server.fast.mu.Unlock()
	}
}
