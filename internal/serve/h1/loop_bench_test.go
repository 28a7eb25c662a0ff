package h1

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// ready is a Hit that only looks at the target's length.
func ready(bodies ...[]byte) func(*Head, []byte, *Hit) bool {
	hits := make([]Hit, len(bodies))
	for i, body := range bodies {
		fillHit(&hits[i], body)
	}
	return func(head *Head, _ []byte, h *Hit) bool {
		*h = hits[head.Target.End-head.Target.Start-1]
		return true
	}
}

func TestAHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	hit := ready(pages["/page"], pages["/brim"], pages["/huge"])
	for _, tt := range []struct{ name, in string }{
		{"a small one", strings.Replace(chromeHead, "/assets/app.4f2a9c.js?v=3", "/", 1)},
		{"HEAD", strings.Replace(get("/"), "GET", "HEAD", 1)},
		{"sixteen at once", strings.Repeat(get("/"), 16)},
		{"one that fills the buffer", get("/x")},
		{"a large one", get("/xx")},
		{"a head that needs a buffer", headOf(3000, "/")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near, far := tcpPair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				Loop(far, LoopOptions{Hit: hit})
			}()
			in, out := []byte(tt.in), make([]byte, 1<<20+len(pages["/huge"]))
			w := &wire{script: script{data: in}}
			Loop(w, LoopOptions{Hit: hit})
			ask := func() {
				if _, err := near.Write(in); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(near, out[:w.out.Len()]); err != nil {
					t.Fatal(err)
				}
			}
			ask()
			if n := testing.AllocsPerRun(200, ask); n > 0 {
				t.Errorf("%v allocations, want none", n)
			}
			_ = near.Close()
			<-done
		})
	}
}

// tcpPair is the two ends of a connection.
func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
}

// treadmill is a peer that asks the same for as long as a benchmark runs.
type treadmill struct {
	script
	b    *testing.B
	in   []byte
	rest []byte // of what was asked last
	out  int    // bytes that came
}

func (m *treadmill) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		if !m.b.Loop() {
			return 0, io.EOF
		}
		m.rest = m.in
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func (m *treadmill) Write(p []byte) (int, error) { m.out += len(p); return len(p), nil }

func BenchmarkLoop(b *testing.B) {
	hit := ready(pages["/page"], pages["/large"])
	chrome := strings.Replace(chromeHead, "/assets/app.4f2a9c.js?v=3", "/", 1)
	for _, bb := range []struct{ name, in string }{
		{"1 KiB, wrk, alone", wrkHead},
		{"1 KiB, wrk, 16 pipelined", strings.Repeat(wrkHead, 16)},
		{"1 KiB, chrome, alone", chrome},
		{"1 KiB, chrome, 16 pipelined", strings.Repeat(chrome, 16)},
		{"300 KB, wrk, alone", get("/x")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			m := &treadmill{b: b, in: []byte(bb.in)}
			b.ReportAllocs()
			Loop(m, LoopOptions{Hit: hit})
			b.ReportMetric(float64(m.out)/float64(b.N), "B-out/op")
		})
	}
}

// BenchmarkOverLoopback is a request and its answer over TCP, with each engine.
func BenchmarkOverLoopback(b *testing.B) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(pages["/page"])))
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(pages["/page"])
	})
	for _, on := range engines {
		b.Run(on.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			e := &edge{engine: on, hits: ready(pages["/page"])}
			e.start(b, l, Options{}, page)
			c, err := net.Dial("tcp", e.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			in, p := []byte(get("/")), make([]byte, 8<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(in); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadAtLeast(c, p, len(pages["/page"])); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
