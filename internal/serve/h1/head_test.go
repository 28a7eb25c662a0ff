package h1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seen is what a head says, as text.
type seen struct {
	N                             int
	Method, Target, Version, Host string
	Kind                          Method
	Form                          Form
	Minor                         uint8
	Fields                        []string
	Framing                       Framing
	Length                        int64
	Close, Continue, Upgrade      bool
}

// see scans b in one go.
func see(t testing.TB, b []byte) seen {
	t.Helper()
	var h Head
	n, refusal := ScanHead(b, Limits{}, &h)
	if refusal.Refused() || n == 0 {
		t.Fatalf("ScanHead(%q) = %d, %v", b, n, refusal)
	}
	return h.see(b, n)
}

func (h *Head) see(b []byte, n int) seen {
	s := seen{
		N: n, Method: string(h.Method.Of(b)), Target: string(h.Target.Of(b)), Version: string(h.Version.Of(b)),
		Host: string(h.Host.Of(b)), Kind: h.Kind, Form: h.Form, Minor: h.Minor, Framing: h.Framing, Length: h.Length,
		Close: h.Close, Continue: h.Continue, Upgrade: h.Upgrade,
	}
	for name, value := range h.Each(b) {
		s.Fields = append(s.Fields, fmt.Sprintf("%s=%s", name, value))
	}
	return s
}

func TestScanHeadTellsWhatAHeadSays(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want seen
	}{
		{"a plain GET", wrkHead, seen{
			N: 40, Method: "GET", Kind: MethodGet, Target: "/", Version: "HTTP/1.1", Minor: 1, Host: "127.0.0.1:8080",
			Fields: []string{"Host=127.0.0.1:8080"},
		}},
		{"an upload that waits for 100", "PUT /x HTTP/1.1\r\nHost: [::1]:80\r\nEXPECT: 100-Continue\r\ncontent-length:  7\t\r\n\r\nabc", seen{
			N: 78, Method: "PUT", Kind: MethodPut, Target: "/x", Version: "HTTP/1.1", Minor: 1, Host: "[::1]:80",
			Fields:  []string{"Host=[::1]:80", "EXPECT=100-Continue", "content-length=7"},
			Framing: FramingLength, Length: 7, Continue: true,
		}},
		{"HTTP/1.0 cannot wait for 100", "POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", seen{
			N: 41, Method: "POST", Kind: MethodPost, Target: "/", Version: "HTTP/1.0", Close: true,
			Fields: []string{"Expect=100-continue"},
		}},
		{"an absolute target after an empty line", "\r\nget HTTPS://b.test:1?q HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\n", seen{
			N: 91, Method: "get", Target: "HTTPS://b.test:1?q", Form: FormAbsolute, Version: "HTTP/1.1", Minor: 1, Host: "b.test:1",
			Fields: []string{"Host=a.test", "Connection=upgrade, close", "Upgrade=x"}, Close: true, Upgrade: true,
		}},
		{"OPTIONS for the server, chunked", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", seen{
			N: 64, Method: "OPTIONS", Kind: MethodOptions, Target: "*", Form: FormAsterisk, Version: "HTTP/1.1", Minor: 1, Host: "a.test",
			Fields: []string{"Host=a.test", "Transfer-Encoding=chunked"}, Framing: FramingChunked,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, see(t, []byte(tt.in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestScanHeadLimits(t *testing.T) {
	fields := func(n int) string { return head + strings.Repeat("X: y\r\n", n-1) + "\r\n" }
	sized := func(n int) string { return head + "X: " + strings.Repeat("a", n-len(head)-7) + "\r\n\r\n" }
	long := func(n int) string { return "GET /" + strings.Repeat("a", n-14) + " HTTP/1.1\r\n" + host + "\r\n" }
	tests := []struct {
		name string
		in   string
		lim  Limits
		want Reason
	}{
		{"as many fields as allowed", fields(5), Limits{Fields: 5}, ReasonNone},
		{"one field too many", fields(6), Limits{Fields: 5}, ReasonFieldCount},
		{"a head as large as allowed", sized(200), Limits{HeadBytes: 200}, ReasonNone},
		{"a head one byte too large", sized(201), Limits{HeadBytes: 200}, ReasonHeadSize},
		{"a request line as long as allowed", long(100), Limits{RequestLine: 100}, ReasonNone},
		{"a request line one byte too long", long(101), Limits{RequestLine: 100}, ReasonRequestLineSize},
		{"a request line longer than a head", long(300), Limits{HeadBytes: 200, RequestLine: 1000}, ReasonRequestLineSize},
		{"a method as long as allowed", strings.Repeat("A", maxMethod) + head[3:] + "\r\n", Limits{}, ReasonNone},
		{"a method one byte too long", strings.Repeat("A", maxMethod+1) + head[3:] + "\r\n", Limits{}, ReasonMethodSize},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, refusal := ScanHead([]byte(tt.in), tt.lim, new(Head))
			if refusal.Reason != tt.want || (n == len(tt.in)) != (tt.want == ReasonNone) {
				t.Errorf("n = %d of %d, refusal %v; want %v", n, len(tt.in), refusal, tt.want)
			}
			checkByteByByte(t, []byte(tt.in), tt.lim)
		})
	}
}

func TestEveryReasonHasATextOfItsOwn(t *testing.T) {
	texts := map[string]Reason{}
	for r := ReasonNone; r <= ReasonSlowReader; r++ {
		if other, taken := texts[r.String()]; taken || r.String() == "" {
			t.Errorf("reason %d says %q, as does %d", r, r, other)
		}
		texts[r.String()] = r
	}
	if got, want := Reason(250).String(), "Reason(250)"; got != want {
		t.Errorf("an unknown reason says %q, want %q", got, want)
	}
}

func TestScanHeadAllocatesNothing(t *testing.T) {
	for _, in := range realHeads {
		if strings.Contains(in, "[::1]") {
			continue // an IPv6 literal costs a string
		}
		b := []byte(in)
		allocs := testing.AllocsPerRun(100, func() {
			var h Head
			if n, _ := ScanHead(b, Limits{}, &h); n != len(b) {
				t.Fatalf("n = %d of %d", n, len(b))
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations for %q", allocs, in)
		}
	}
}

// checkByteByByte checks that a scan which gets one byte more each time, every time elsewhere in memory, ends as the scan of the whole does.
func checkByteByByte(t *testing.T, b []byte, lim Limits) {
	t.Helper()
	var whole, slow Head
	wantN, want := ScanHead(b, lim, &whole)
	for i := range len(b) + 1 {
		n, got := ScanHead(bytes.Clone(b[:i]), lim, &slow)
		if n == 0 && !got.Refused() && i < len(b) {
			continue
		}
		if n != wantN || got != want {
			t.Fatalf("%q: whole: %d, %v; after %d bytes: %d, %v", b, wantN, want, i, n, got)
		}
		if n > 0 && slow != whole {
			t.Fatalf("%q:\nwhole:        %+v\nbyte by byte: %+v", b, whole, slow)
		}
		return
	}
}

// checkAgainstNetHTTP checks that net/http takes the head and understands it as we do.
func checkAgainstNetHTTP(t *testing.T, b []byte, h *Head, n int) {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(b[h.Start:n]), 64<<10))
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", b[h.Start:n], err)
	}
	wantLength := h.Length
	if h.Framing == FramingChunked {
		wantLength = -1
	}
	want := fmt.Sprint(req.Method, req.RequestURI, req.Host, req.Proto, req.ContentLength, len(req.TransferEncoding) == 1, req.Close || wantsClose(req))
	got := fmt.Sprintf("%s%s%s%s", h.Method.Of(b), h.Target.Of(b), h.Host.Of(b), h.Version.Of(b)) +
		fmt.Sprint(wantLength, h.Framing == FramingChunked, h.Close)
	if strings.ReplaceAll(want, " ", "") != strings.ReplaceAll(got, " ", "") {
		t.Errorf("%q:\nnet/http: %s\nscanner:  %s", b, want, got)
	}
	checkFields(t, b, h, req)
}

// wantsClose is what net/http's server looks at beside Request.Close.
func wantsClose(req *http.Request) bool {
	words := strings.FieldsFunc(req.Header.Get("Connection"), func(r rune) bool { return strings.ContainsRune(" \t,", r) })
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, "close") })
}

// checkFields compares all fields, but for those that net/http takes out or puts in.
func checkFields(t *testing.T, b []byte, h *Head, req *http.Request) {
	t.Helper()
	fields, count := http.Header{}, 0
	for name, value := range h.Each(b) {
		fields.Add(string(name), string(value))
		count++
	}
	if count != h.Count {
		t.Errorf("%q: Count %d, Each yields %d", b, h.Count, count)
	}
	taken := []string{"Host", "Transfer-Encoding"}
	if h.Framing == FramingChunked {
		taken = append(taken, "Trailer")
	}
	if _, ok := fields["Cache-Control"]; !ok {
		taken = append(taken, "Cache-Control") // made from Pragma
	}
	for _, name := range taken {
		fields.Del(name)
		req.Header.Del(name)
	}
	if diff := cmp.Diff(req.Header, fields); diff != "" {
		t.Errorf("%q: fields (-net/http +scanner):\n%s", b, diff)
	}
}

func FuzzScanHead(f *testing.F) {
	for _, in := range realHeads {
		f.Add([]byte(in))
	}
	for _, a := range attacks {
		f.Add([]byte(a.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lim := Limits{HeadBytes: 2 << 10, RequestLine: 256, Fields: 20}
		var h Head
		n, refusal := ScanHead(b, lim, &h)
		if refusal.Refused() && (n != 0 || refusal.Status < 400) {
			t.Fatalf("n = %d, %v", n, refusal)
		}
		if n > 0 {
			checkAgainstNetHTTP(t, b, &h, n)
		}
		checkByteByByte(t, b, lim)
	})
}

func FuzzCheckValue(f *testing.F) {
	for _, in := range []string{"", "abc", "a\tbcdefgh", "1234567\x7f", "\x00", "12345678\r", "\xff\xfe\x80\x1f12345678"} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		if got, want := checkValue(v), checkValueSlowly(v); got != want {
			t.Errorf("checkValue(%q) = %v, want %v", v, got, want)
		}
	})
}

func BenchmarkScanHead(b *testing.B) {
	for name, in := range map[string]string{"chrome": chromeHead, "curl": curlHead, "wrk": wrkHead} {
		b.Run(name, func(b *testing.B) {
			data := []byte(in)
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var h Head
				if n, _ := ScanHead(data, Limits{}, &h); n == 0 {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkReadRequest is what net/http needs for the same.
func BenchmarkReadRequest(b *testing.B) {
	src := strings.NewReader(chromeHead)
	br := bufio.NewReader(src)
	b.ReportAllocs()
	b.SetBytes(int64(len(chromeHead)))
	for b.Loop() {
		src.Reset(chromeHead)
		br.Reset(src)
		if _, err := http.ReadRequest(br); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGuard reads requests through a Conn, as net/http's buffer does.
func BenchmarkGuard(b *testing.B) {
	c := Guard(&endless{data: []byte(chromeHead)}, Options{})
	p := make([]byte, 4<<10)
	b.ReportAllocs()
	b.SetBytes(int64(len(chromeHead)))
	for b.Loop() {
		if n, err := c.Read(p); n != len(chromeHead) {
			b.Fatal(n, err)
		}
	}
}

// endless is a peer that sends the same for ever.
type endless struct {
	script
	data []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.data) > len(p) {
		return 0, io.ErrShortBuffer
	}
	return copy(p, e.data), nil
}
