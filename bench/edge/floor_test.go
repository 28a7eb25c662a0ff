//go:build linux

package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// startFloor serves a site of the fixed bodies alone and returns it as the benchmark sees it.
func startFloor(t *testing.T, m mode) (*server, *site) {
	t.Helper()
	dir := t.TempDir()
	cert, err := makeCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	st := &site{bare: dir + "/www", withGzip: dir + "/www-gzip", assets: map[string]asset{}}
	for _, f := range fixedBodies {
		if err := st.add(fixedPath(f.name), []byte(strings.Repeat("b", f.size)), false); err != nil {
			t.Fatal(err)
		}
	}
	st.draw = []string{largePath}
	port, err := freePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{place: place{root: st.bare, mode: m, port: port, cert: cert}, name: theFloor, fixed: true}
	order := floorOrder{Address: netip.MustParseAddrPort(s.listen()), Root: st.bare}
	if m.tls() {
		order.Cert, order.Key = cert.certFile, cert.keyFile
	}
	spec, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1) // the only result
	go func() { ended <- floorChild(ctx, string(spec)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.listen())
		if err == nil {
			_ = conn.Close()
			return s, st
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestTheFloorServesTheFixedBodies(t *testing.T) {
	for _, m := range []mode{plain, overTLS} {
		t.Run(string(m), func(t *testing.T) {
			s, st := startFloor(t, m)
			for range 3 {
				a, err := checkServer(t.Context(), s, st)
				if err != nil || a.paths != len(fixedBodies) {
					t.Fatalf("%d paths, %v", a.paths, err)
				}
			}
			if !m.tls() {
				return
			}
			config, err := clientConfig(s.cert.certFile, "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			order := handshakeOrder{Address: s.listen(), Path: fixedPath("128k"), Workers: 8, Count: 40, Body: 128 << 10}
			if got, err := handshakeLoad(t.Context(), order, config); err != nil || got.Done != order.Count {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestTheFloorTakesRequestsAsTheyCome(t *testing.T) {
	s, _ := startFloor(t, plain)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.listen())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const each = 40 // more than the kernel takes at once
	one := "GET " + fixedPath("128k") + " HTTP/1.1\r\nHost: x\r\n\r\n"
	all := strings.Repeat(one, each) + "GET /nothing HTTP/1.1\r\n\r\n"
	var got strings.Builder
	// exchange sends a part, and reads until the answers end in something.
	exchange := func(part, until string) {
		t.Helper()
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
		for some := make([]byte, 64<<10); !strings.HasSuffix(got.String(), until); {
			n, err := conn.Read(some)
			if err != nil {
				t.Fatalf("after %d bytes: %v", got.Len(), err)
			}
			got.Write(some[:n])
		}
	}
	exchange(all[:len(one)+len(one)/2], strings.Repeat("b", 128<<10))
	exchange(all[len(one)+len(one)/2:], string(notFound))
	if n := strings.Count(got.String(), "HTTP/1.1 200 OK\r\n"); n != each {
		t.Errorf("%d answers, want %d", n, each)
	}
}

func TestTheFloorRunsOnlyWhenItIsNamed(t *testing.T) {
	opts, err := parseOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(opts.servers, theFloor) {
		t.Error("it runs unasked")
	}
	cells := []cell{turns(ours, 10), turns(theFloor, 5), turns("h2o", 20)}
	if got, best, ok := ratio(metrics[0], cells); got != 0.5 || best != "h2o" || !ok {
		t.Errorf("it is a peer: %v of %s, %v", got, best, ok)
	}
	for _, c := range allCases() {
		if got, want := programNamed(theFloor).answers(c), !c.h2 && (isFixed(c.path) && c.load != loadIdle && !c.mixed); got != want {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
		if !programNamed("nginx").answers(c) {
			t.Errorf("%s: nginx has no part", c.name)
		}
	}
	var out strings.Builder
	c := caseReport{Name: "h2-1k-m1", Kind: kindCPU, Cells: []cell{turns(ours, 10), {Server: theFloor, Failed: notServed}}}
	printCase(&out, c)
	pageCases(&out, []caseReport{c})
	if text := out.String(); !strings.Contains(text, "floor: not served\n") || strings.Contains(text, "failed") || strings.Contains(text, "No figure") {
		t.Error(text)
	}
}
