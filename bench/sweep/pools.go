package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// A pool asks a list of names with as many goroutines as are to be under way, and
// writes a line for each: the name and the status, 0 where there was no answer. It
// does what a plain program would: one request a target, nothing followed, the
// certificate not verified.
type pool struct {
	resolver    *muxResolver
	port        int
	secure      bool
	concurrency int
}

const (
	connectTimeout = 5 * time.Second
	totalTimeout   = 10 * time.Second
	sampleBytes    = 16 << 10
)

func (p *pool) dial(ctx context.Context, host string) (net.Conn, error) {
	addr, err := p.resolver.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: connectTimeout}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(p.port)))
}

// tlsConfig has the cheapest handshake that crypto/tls offers a client of this kind.
func tlsConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}} //nolint:gosec // a survey records, and does not trust
}

func (p *pool) url(name string) string {
	if p.secure {
		return "https://" + name + "/"
	}
	return "http://" + name + "/"
}

// netHTTP asks with net/http, by one transport for all.
func (p *pool) netHTTP(ctx context.Context) func(name string) int {
	client := &http.Client{
		Timeout:       totalTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: tlsConfig(), MaxResponseHeaderBytes: 32 << 10,
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				host, _, _ := strings.Cut(addr, ":")
				return p.dial(ctx, host)
			},
		},
	}
	return func(name string) int {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url(name), nil)
		if err != nil {
			return 0
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, sampleBytes)) // the head is what counts
		return resp.StatusCode
	}
}

// fastHTTP asks with fasthttp, by one client for all.
func (p *pool) fastHTTP(ctx context.Context) func(name string) int {
	client := &fasthttp.Client{
		ReadTimeout: totalTimeout, WriteTimeout: totalTimeout, MaxConnsPerHost: 1 << 20, TLSConfig: tlsConfig(),
		NoDefaultUserAgentHeader: true, MaxResponseBodySize: 1 << 20, MaxIdemponentCallAttempts: 1, ReadBufferSize: 8 << 10,
		Dial: func(addr string) (net.Conn, error) {
			host, _, _ := strings.Cut(addr, ":")
			ctx, cancel := context.WithTimeout(ctx, totalTimeout)
			defer cancel()
			return p.dial(ctx, host)
		},
	}
	return func(name string) int {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		req.SetRequestURI(p.url(name))
		req.SetConnectionClose()
		if err := client.DoTimeout(req, resp, totalTimeout); err != nil {
			return 0
		}
		return resp.StatusCode()
	}
}

// run asks all names of a file.
func (p *pool) run(list, out string, ask func(string) int) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	names := strings.Fields(string(text))
	status := make([]int, len(names))
	next := make(chan int, 1024)
	var wg sync.WaitGroup
	for range p.concurrency {
		wg.Go(func() {
			for i := range next {
				status[i] = ask(names[i])
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	wg.Wait()
	f, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("write what came: %w", err)
	}
	w := bufio.NewWriter(f)
	for i, name := range names {
		_, _ = fmt.Fprintf(w, "%s %d\n", name, status[i]) // Flush tells
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write what came: %w", err)
	}
	return f.Close()
}
