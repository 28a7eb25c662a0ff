package edge

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"
)

// A discarding is a response that nobody reads.
type discarding struct{ header http.Header }

func (w *discarding) Header() http.Header         { return w.header }
func (w *discarding) WriteHeader(int)             {}
func (w *discarding) Write(p []byte) (int, error) { return len(p), nil }

// pageRequest is what a browser asks for a page with.
func pageRequest() *http.Request {
	return &http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "a.example:8443", RequestURI: "/style.css?v=1",
		URL: &url.URL{Path: "/style.css", RawQuery: "v=1"}, RemoteAddr: "127.0.0.1:50000", Header: http.Header{
			"Accept":            {"text/css,*/*;q=0.1"},
			"Accept-Encoding":   {"gzip, deflate, br, zstd"},
			"Accept-Language":   {"en-US,en;q=0.5"},
			"Referer":           {"https://a.example/"},
			"Sec-Fetch-Dest":    {"style"},
			"User-Agent":        {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
			"If-Modified-Since": {"Mon, 01 Jan 2024 00:00:00 GMT"},
		},
	}
}

func BenchmarkHandler(b *testing.B) {
	for name, c := range map[string]struct{ log, timing bool }{"plain": {}, "with access log": {log: true}, "with Server-Timing": {timing: true}} {
		b.Run(name, func(b *testing.B) {
			r := start(b, setup{log: c.log, edit: func(o *Options) { o.ServerTiming = c.timing }})
			visitor := &visitor{peer: netip.MustParseAddr("127.0.0.1")} // made once for a connection
			req := pageRequest().WithContext(context.WithValue(b.Context(), visitorKey{}, visitor))
			w := &discarding{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				r.server.ServeHTTP(w, req)
			}
		})
	}
}

// A page from memory costs no allocation of ours without a log, and with one only
// those of the goroutine that writes it.
func TestAPageFromMemoryIsAnsweredWithoutAllocating(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := start(t, setup{})
	req := pageRequest().WithContext(context.WithValue(t.Context(), visitorKey{}, &visitor{}))
	w := &discarding{header: make(http.Header)}
	if n := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		r.server.ServeHTTP(w, req)
	}); n > 0 {
		t.Errorf("%v allocations a request, want none", n)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	l, err := OpenAccessLog(AccessLogOptions{File: filepath.Join(b.TempDir(), "access.log")})
	if err != nil {
		b.Fatal(err)
	}
	rec := Record{Host: "a.example", Method: "GET", Path: "/style.css", Status: 200, Bytes: 12345, Protocol: "HTTP/2", Cache: "hit", Agent: string(bytes.Repeat([]byte("x"), 80))}
	b.ReportAllocs()
	for b.Loop() {
		l.write(b.Context(), &rec)
	}
	if err := l.finish(b.Context()); err != nil {
		b.Fatal(err)
	}
}
