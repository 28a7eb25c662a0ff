package fetch

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// serverVariable has TestServerProcess serve.
const serverVariable = "PENNY_FETCH_SERVER"

// TestServerProcess is the peer of benchmarks, in a process of its own: what it costs
// is not ours. It does nothing unless they start it.
func TestServerProcess(t *testing.T) {
	kind := os.Getenv(serverVariable)
	if kind == "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	s := &http.Server{
		ReadHeaderTimeout: time.Minute, ErrorLog: discard(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/silent" {
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>hello</title>")
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{a.leaf(t, "example.org", -time.Hour, time.Hour)}}, //nolint:gosec // Go's defaults
	}
	fmt.Printf("listens on %s\n", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends
		os.Exit(0)                           //nolint:revive // it is a server
	}()
	switch kind {
	case "tls":
		err = s.ServeTLS(l, "", "")
	case "http":
		err = s.Serve(l)
	default: // nothing is ever said
		for err == nil {
			var c net.Conn
			if c, err = l.Accept(); err == nil {
				go func() { _, _ = io.Copy(io.Discard, c) }()
			}
		}
	}
	t.Fatal(err)
}

func startServer(b *testing.B, kind string) netip.AddrPort {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestServerProcess$")
	cmd.Env = append(os.Environ(), serverVariable+"="+kind)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "listens on "); ok {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return netip.MustParseAddrPort(at)
		}
	}
	b.Fatal("the server does not listen")
	return netip.AddrPort{}
}

func cpu() (user, system time.Duration) {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}

func reportCPU(b *testing.B, user, system time.Duration) {
	b.Helper()
	u, s := cpu()
	b.ReportMetric(float64((u-user).Nanoseconds())/1000/float64(b.N), "user-µs/op")
	b.ReportMetric(float64((s-system).Nanoseconds())/1000/float64(b.N), "sys-µs/op")
	b.ReportMetric(float64((u-user+s-system).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}

const benchInFlight = 200

// BenchmarkExchange asks a server of net/http in another process. Say
// -benchtime 50000x.
func BenchmarkExchange(b *testing.B) {
	for _, kind := range []string{"http", "tls"} {
		addr := startServer(b, kind)
		b.Run(kind+"/fast", func(b *testing.B) {
			benchFetcher(b, addr, kind == "tls", func(r *loop.Reactor, c Config) (Fetcher, error) { return NewFast(r, c) })
		})
		b.Run(kind+"/plain", func(b *testing.B) {
			benchFetcher(b, addr, kind == "tls", func(r *loop.Reactor, c Config) (Fetcher, error) { return NewPlain(r, c), nil })
		})
		b.Run(kind+"/nethttp", func(b *testing.B) { benchNetHTTP(b, addr, kind == "tls") })
	}
}

func benchFetcher(b *testing.B, addr netip.AddrPort, secure bool, newFetcher func(*loop.Reactor, Config) (Fetcher, error)) {
	b.Helper()
	r, err := loop.NewReactor()
	if err != nil {
		b.Fatal(err)
	}
	f, err := newFetcher(r, Config{UserAgent: agent})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := pump(ctx, r)
	defer func() {
		cancel()
		<-ended
		f.Close()
	}()
	want := verdict.OK
	if secure {
		want = verdict.TLSUntrusted
	}
	b.ReportAllocs()
	user, system := cpu()
	b.ResetTimer()
	done := make(chan struct{})
	begun, over := 0, 0
	var again func(x *Exchange)
	again = func(x *Exchange) {
		if x.Verdict != verdict.None {
			over++
			if x.Verdict != want || x.Status != 200 {
				b.Errorf("%v (%s), status %d", x.Verdict, x.Err, x.Status)
			}
		}
		if over == b.N {
			close(done)
		}
		if begun < b.N {
			begun++
			*x = Exchange{Secure: secure, Host: "example.org", Addr: addr, Method: "GET", Path: "/", Body: 4096, Title: true, Connect: 10 * time.Second, Handshake: 10 * time.Second, FirstByte: 10 * time.Second, Total: 30 * time.Second, Done: again}
			f.Fetch(x)
		}
	}
	r.Post(func() {
		for range min(b.N, benchInFlight) {
			again(new(Exchange))
		}
	})
	<-done
	b.StopTimer()
	reportCPU(b, user, system)
}

func benchNetHTTP(b *testing.B, addr netip.AddrPort, secure bool) {
	b.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it is compared
	url := "http://" + addr.String() + "/"
	if secure {
		url = "https://" + addr.String() + "/"
	}
	b.ReportAllocs()
	user, system := cpu()
	b.ResetTimer()
	turns := make(chan struct{}, b.N)
	for range b.N {
		turns <- struct{}{}
	}
	close(turns)
	var all sync.WaitGroup
	for range benchInFlight {
		all.Go(func() {
			for range turns {
				r, err := c.Get(url)
				if err != nil {
					b.Error(err)
					continue
				}
				_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 4096))
				_ = r.Body.Close()
			}
		})
	}
	all.Wait()
	b.StopTimer()
	reportCPU(b, user, system)
}

// BenchmarkWaiting measures the memory of exchanges that wait for their peers: of N
// that are under way at once. Say -benchtime 15000x, with as many descriptors.
func BenchmarkWaiting(b *testing.B) {
	for _, c := range []struct {
		name, kind, path string
		secure           bool
		until            state
	}{
		{"answer", "http", "/silent", false, receiving},
		{"handshake", "silent", "/", true, shaking},
		{"answer over TLS", "tls", "/silent", true, receiving},
	} {
		b.Run(c.name, func(b *testing.B) {
			addr := startServer(b, c.kind)
			r, err := loop.NewReactor()
			if err != nil {
				b.Fatal(err)
			}
			fetcher, err := NewFast(r, Config{UserAgent: agent})
			if err != nil {
				b.Fatal(err)
			}
			f := fetcher.(*fastFetcher)
			ctx, cancel := context.WithCancel(context.Background())
			ended := pump(ctx, r)
			defer func() {
				cancel()
				<-ended
				f.Close()
			}()
			before := resident(b)
			r.Post(func() {
				for range b.N {
					f.Fetch(&Exchange{Secure: c.secure, Host: "example.org", Addr: addr, Method: "GET", Path: c.path, Total: 10 * time.Minute, Done: func(x *Exchange) {
						b.Errorf("%v (%s)", x.Verdict, x.Err)
					}})
				}
			})
			for reached := 0; reached < b.N && !b.Failed(); time.Sleep(100 * time.Millisecond) {
				counted := make(chan int)
				r.Post(func() {
					n := 0
					for c0 := f.active.next; c0 != &f.active; c0 = c0.next {
						if c0.state == c.until {
							n++
						}
					}
					counted <- n
				})
				reached = <-counted
			}
			b.ReportMetric(float64(resident(b)-before)/1024, "MB")
			b.ReportMetric(float64(resident(b)-before)*1024/float64(b.N), "resident-B/op")
		})
	}
}

// resident is the process's memory in KiB.
func resident(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
