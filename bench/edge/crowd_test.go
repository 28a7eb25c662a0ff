//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestTheCrowdTakesAnswersInAnyPieces(t *testing.T) {
	page := &preparedRequest{crowdRequest: crowdRequest{Path: "/", Status: 200, Body: 10}}
	old := &preparedRequest{crowdRequest: crowdRequest{Path: "/", Status: 304}}
	empty := &preparedRequest{crowdRequest: crowdRequest{Path: "/", Status: 200}}
	const head = "HTTP/1.1 200 OK\r\nX: y\r\n"
	tests := []struct {
		name, text string
		request    *preparedRequest
		err        string
	}{
		{"by length", head + "content-LENGTH: 10\r\n\r\n0123456789", page, ""},
		{"in chunks", head + "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", page, ""},
		{"in several chunks", head + "Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n", page, ""},
		{"nothing", head + "Content-Length: 0\r\n\r\n", empty, ""},
		{"not modified, with a length of what is not sent", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", old, ""},
		{"another status", "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n0123456789", page, "status 404"},
		{"another length", head + "Content-Length: 11\r\n\r\n01234567890", page, "Content-Length 11"},
		{"another length in chunks", head + "Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n0\r\n\r\n", page, "1 bytes in chunks"},
		{"no length", head + "\r\n0123456789", page, "Content-Length -1"},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", page, "status line"},
		{"more than was asked for", head + "Content-Length: 10\r\n\r\n0123456789x", page, "not asked for"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for size := 1; size <= len(test.text); size++ {
				done, err := feedInPieces(&talkH1{}, test.request, test.text, size)
				if test.err == "" && (err != nil || len(done) != 1 || done[0].request != test.request) {
					t.Fatalf("pieces of %d: %v, %v", size, done, err)
				}
				if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Fatalf("pieces of %d: %v, want %q", size, err, test.err)
				}
			}
		})
	}
}

func feedInPieces(talk dialogue, r *preparedRequest, text string, size int) (done []answer, err error) {
	if _, err := talk.ask(nil, r, time.Now()); err != nil {
		return nil, err
	}
	for b := []byte(text); len(b) > 0; {
		n := min(size, len(b))
		if done, _, err = talk.feed(b[:n], done, nil); err != nil {
			return done, err
		}
		b = b[n:]
	}
	return done, nil
}

func TestTheCrowdTakesFramesInAnyPieces(t *testing.T) {
	page := &preparedRequest{crowdRequest: crowdRequest{Path: "/", Status: 200, Body: 10}}
	old := &preparedRequest{crowdRequest: crowdRequest{Path: "/", Status: 304}}
	frames := func(write func(f *http2.Framer)) string {
		var b bytes.Buffer
		write(http2.NewFramer(&b, nil))
		return b.String()
	}
	headers := func(f *http2.Framer, end bool, block ...byte) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: end})
	}
	tests := []struct {
		name, text string
		request    *preparedRequest
		err        string
	}{
		{"settings, ping and a page", frames(func(f *http2.Framer) {
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
			_ = f.WritePing(false, [8]byte{})
			headers(f, false, 0x20, 0x88)
			_ = f.WriteData(1, false, []byte("0123"))
			_ = f.WriteData(1, false, nil)
			_ = f.WriteData(1, true, []byte("456789"))
		}), page, ""},
		{"an empty DATA ends it", frames(func(f *http2.Framer) {
			headers(f, false, 0x88)
			_ = f.WriteData(1, false, []byte("0123456789"))
			_ = f.WriteData(1, true, nil)
		}), page, ""},
		{"not modified", frames(func(f *http2.Framer) { headers(f, true, 0x3f, 0xe1, 0x1f, 0x8b) }), old, ""},
		{"another status", frames(func(f *http2.Framer) { headers(f, true, 0x8d) }), page, "neither 200 nor 304"},
		{"not modified unasked", frames(func(f *http2.Framer) { headers(f, true, 0x8b) }), page, "status 304"},
		{"a short body", frames(func(f *http2.Framer) {
			headers(f, false, 0x88)
			_ = f.WriteData(1, true, []byte("0123"))
		}), page, "4 bytes, not 10"},
		{"data before a head", frames(func(f *http2.Framer) { _ = f.WriteData(1, true, []byte("0123")) }), page, "waits for none"},
		{"another stream", frames(func(f *http2.Framer) { _ = f.WriteData(3, true, []byte("0123")) }), page, "waits for none"},
		{"reset", frames(func(f *http2.Framer) { _ = f.WriteRSTStream(1, http2.ErrCodeInternal) }), page, "reset"},
		{"goodbye", frames(func(f *http2.Framer) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil) }), page, "GOAWAY"},
		{"a frame that is too long", "\x01\x00\x00\x00\x00\x00\x00\x00\x01", page, "65536 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for size := 1; size <= len(test.text); size++ {
				talk, _ := newTalkH2("localhost")
				done, err := feedInPieces(talk, test.request, test.text, size)
				if test.err == "" && (err != nil || len(done) != 1 || done[0].request != test.request) {
					t.Fatalf("pieces of %d: %v, %v", size, done, err)
				}
				if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Fatalf("pieces of %d: %v, want %q", size, err, test.err)
				}
			}
		})
	}
}

func TestTheHeadBlockSaysWhatHTTP1Says(t *testing.T) {
	long := strings.Repeat("/a~", 100)
	talk, _ := newTalkH2("localhost:1")
	decoder := hpack.NewDecoder(4096, nil)
	for range 2 { // the second time by the dynamic table
		r := prepareRequest(crowdOrder{Address: "localhost:1"}, crowdRequest{
			Path: long, Fields: [][2]string{{"Accept-Encoding", "gzip, deflate, br"}, {"If-None-Match", `"x-br"`}},
		})
		out, err := talk.ask(nil, &r, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoder.DecodeFull(out[frameHead:])
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, f := range got {
			text.WriteString(f.Name + "=" + f.Value + " ")
		}
		if want := ":method=GET :scheme=https :authority=localhost:1 :path=" + long + ` accept-encoding=gzip, deflate, br if-none-match="x-br" `; text.String() != want {
			t.Errorf("got %s, want %s", text.String(), want)
		}
	}
}

// crowdServer answers /N with N bytes, with gzip or 304 when asked for.
func crowdServer(t *testing.T, served *atomic.Int64) (*httptest.Server, string) {
	t.Helper()
	cert, err := makeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert.certFile, cert.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		switch {
		case err != nil:
			http.Error(w, "no number", http.StatusNotFound)
		case r.Header.Get("If-None-Match") == `"e"`:
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("Content-Length", strconv.Itoa(n))
			_, _ = io.WriteString(w, strings.Repeat("x", n))
		}
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.EnableHTTP2 = true
	return srv, cert.certFile
}

func TestTheCrowdHoldsAndLoads(t *testing.T) {
	requests := []crowdRequest{
		{Path: "/1000", Status: 200, Body: 1000},
		{Path: "/300000", Status: 200, Body: 300000, Class: 1},
	}
	mixture := []crowdRequest{
		{Path: "/1000", Status: 200, Body: 1000, Fields: [][2]string{{"Accept-Encoding", "gzip"}}},
		{Path: "/1000", Status: 304, Fields: [][2]string{{"If-None-Match", `"e"`}}},
	}
	tests := []struct {
		name  string
		order crowdOrder
	}{
		{"plain", crowdOrder{Connections: 20, Streams: 1, Requests: requests, Own: true, Limit: 50 * time.Millisecond}},
		{"over TLS", crowdOrder{TLS: true, Connections: 20, Streams: 1, Requests: requests, Own: true, Limit: 50 * time.Millisecond}},
		{"HTTP/2", crowdOrder{TLS: true, H2: true, Connections: 20, Streams: 1, Requests: requests, Own: true, Limit: 50 * time.Millisecond}},
		{"a mixture over HTTP/2", crowdOrder{TLS: true, H2: true, Connections: 4, Streams: 5, Requests: mixture, Limit: 50 * time.Millisecond}},
		{"idle", crowdOrder{TLS: true, Connections: 300, Streams: 1, Requests: requests[:1], Own: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var served atomic.Int64
			srv, ca := crowdServer(t, &served)
			if test.order.TLS {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			test.order.Address, test.order.CA = srv.Listener.Addr().String(), ca
			lines, err := runCrowdChild(t, test.order, crowdGo)
			if err != nil {
				t.Fatal(err)
			}
			var report crowdReport
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil {
				t.Fatal(err)
			}
			if test.order.Limit == 0 {
				if served.Load() != 600 {
					t.Errorf("%d answers, want one on each connection before the hold and one after it", served.Load())
				}
				return
			}
			checkCrowdReport(t, test.order, report, served.Load())
		})
	}
}

func checkCrowdReport(t *testing.T, order crowdOrder, report crowdReport, served int64) {
	t.Helper()
	var done int64
	for _, class := range report.Classes {
		sum := 0
		for _, n := range class.ByConnection {
			sum += n
		}
		if class.P50 > class.P99 || class.P99 > class.Max || class.Done > 0 && class.Max == 0 { // none on a machine that is slow
			t.Errorf("%+v", class)
		}
		if order.Own && (int64(sum) != class.Done || len(class.ByConnection) != order.Connections/2) {
			t.Errorf("%d connections with %d answers, want %d with %d", len(class.ByConnection), sum, order.Connections/2, class.Done)
		}
		done += class.Done
	}
	if rest := served - done; rest < 0 || report.Elapsed <= 0 {
		t.Errorf("%d answers of %d are counted, in %s", done, served, report.Elapsed)
	}
}

func runCrowdChild(t *testing.T, order crowdOrder, word string) ([]string, error) {
	t.Helper()
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = crowdChild(t.Context(), name, strings.NewReader(word+"\n"), &out)
	return strings.Split(strings.TrimSpace(out.String()), "\n"), err
}

func TestTheCrowdEndsAtTheFirstWrongAnswer(t *testing.T) {
	var served atomic.Int64
	srv, ca := crowdServer(t, &served)
	srv.StartTLS()
	defer srv.Close()
	for _, h2 := range []bool{false, true} {
		order := crowdOrder{Address: srv.Listener.Addr().String(), CA: ca, TLS: true, H2: h2, Connections: 3, Streams: 1}
		for _, r := range []crowdRequest{{Path: "/1000", Status: 200, Body: 999}, {Path: "/1000", Status: 304}, {Path: "/x", Status: 200}} {
			order.Requests = []crowdRequest{r}
			if lines, err := runCrowdChild(t, order, crowdGo); err == nil {
				t.Errorf("h2=%v: %+v passes: %q", h2, r, lines)
			}
		}
		order.Requests = []crowdRequest{{Path: "/1000", Status: 200, Body: 1000}}
		if lines, err := runCrowdChild(t, order, "stop"); err == nil || lines[0] != crowdReady {
			t.Errorf("h2=%v: another word passes: %q, %v", h2, lines, err)
		}
	}
	if err := allowFiles(1 << 40); err == nil {
		t.Error("more connections than files may be open")
	}
}

func TestASocketThatIsFullIsWaitedFor(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(pair[1]) }()
	conn := &crowdConn{fd: pair[0]}
	defer conn.close()
	sent := bytes.Repeat([]byte("0123456789"), 100_000) // more than a socket takes
	conn.out = append(conn.out, sent...)
	waits, err := conn.flush()
	if err != nil || !waits {
		t.Fatalf("%v, %v", waits, err)
	}
	var got []byte
	for len(got) < len(sent) {
		part := make([]byte, 64<<10)
		n, err := syscall.Read(pair[1], part)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		got = append(got, part[:n]...)
		if waits, err = conn.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if waits || !bytes.Equal(got, sent) {
		t.Error("other bytes came, or some are left")
	}
}

func TestJain(t *testing.T) {
	for want, counts := range map[float64][]int{0: nil, 1: {7, 7, 7}, 0.25: {0, 9, 0, 0}, 0.9: {1, 2}} {
		if got := jain(counts); got != want {
			t.Errorf("%v: %v, want %v", counts, got, want)
		}
	}
}

func TestASampleOfAReport(t *testing.T) {
	report := crowdReport{Elapsed: 2 * time.Second, CPU: time.Second, Classes: []crowdClass{
		{Done: 900, P50: 2 * time.Millisecond, P99: 3 * time.Millisecond, Max: 4 * time.Millisecond, ByConnection: []int{200, 300, 400}},
		{Done: 100, P99: 9 * time.Millisecond, ByConnection: []int{100}},
	}}
	got, err := crowdSample(report, 500*time.Millisecond, 2*time.Second, memory{})
	if err != nil {
		t.Fatal(err)
	}
	small := got.Classes[0]
	if got.Requests != 1000 || got.CPUMicros != 500 || got.Rate != 500 || got.P99Millis != 3 || got.LoadBusy != 0.5 || got.ServerBusy != 0.25 ||
		small.Least != 200 || small.Middle != 300 || small.Most != 400 || got.Classes[1].What != "1 MiB" {
		t.Errorf("%+v", got)
	}
	if _, err := crowdSample(crowdReport{Elapsed: time.Second, Classes: make([]crowdClass, 1)}, 0, time.Second, memory{}); err == nil {
		t.Error("a report without an answer passes")
	}
}

func TestTheMixtureFollowsFromTheSeed(t *testing.T) {
	requests := mixture(make([]string, 20000), 1)
	again := mixture(make([]string, 20000), 1)
	counts := map[string]int{}
	for i, r := range requests {
		if r != again[i] {
			t.Fatal("two mixtures of one seed differ")
		}
		counts[r.accept]++
		if r.conditional {
			counts["304"]++
		}
	}
	wanted := map[string]int{"304": mixConditional}
	for _, c := range mixCodings {
		wanted[c.accept] = c.share
	}
	for what, share := range wanted {
		if got := float64(counts[what]) / 200; got < float64(share)-2 || got > float64(share)+2 {
			t.Errorf("%q: %.1f %%, want about %d", what, got, share)
		}
	}
}

func TestAServersMixture(t *testing.T) {
	body := bytes.Repeat([]byte("page "), 100)
	vary := "Accept-Encoding"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/page" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Vary", vary)
		w.Header().Set("ETag", `"plain"`)
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("ETag", `"gzip"`)
			w.Header().Set("Content-Encoding", "gzip")
			zip := gzip.NewWriter(w)
			_, _ = zip.Write(body)
			_ = zip.Close()
			return
		}
		_, _ = w.Write(body)
	}))
	defer srv.Close()
	port, err := strconv.Atoi(srv.URL[strings.LastIndexByte(srv.URL, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	s := &server{place: place{mode: plain, port: port, cert: &certificate{}}, clean: true}
	st := &site{assets: map[string]asset{"/page.html": assetOf(body)}}
	requests := []mixed{{path: "/page.html"}, {"/page.html", "gzip", true}, {"/page.html", "gzip", false}}
	known, err := variants(t.Context(), s, st, requests)
	if err != nil {
		t.Fatal(err)
	}
	got := mixRequests(s, requests, known)
	if got[0].Path != "/page" || got[0].Body != 500 || got[0].Status != 200 || len(got[0].Fields) != 0 {
		t.Errorf("bare: %+v", got[0])
	}
	if want := fmt.Sprint([][2]string{{"Accept-Encoding", "gzip"}, {"If-None-Match", `"gzip"`}}); fmt.Sprint(got[1].Fields) != want || got[1].Status != 304 {
		t.Errorf("conditional: %+v, want %s", got[1], want)
	}
	if got[2].Body == 0 || got[2].Body >= 500 {
		t.Errorf("coded: %+v", got[2])
	}
	if text := mixFigures(requests, known); !strings.Contains(text, "0 % br, 33 % gzip, 33 % bare, 33 % 304") {
		t.Error(text)
	}
	vary = "*"
	if _, err := variants(t.Context(), s, st, requests); err == nil {
		t.Error("a coded body without Vary passes")
	}
	st.assets["/page.html"] = assetOf(body[1:])
	if _, err := variants(t.Context(), s, st, requests[:1]); err == nil {
		t.Error("another body passes")
	}
}
