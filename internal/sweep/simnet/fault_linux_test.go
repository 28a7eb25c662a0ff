package simnet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// soon is how long is waited for what must not come.
const soon = 200 * time.Millisecond

// controlAt is a control's address with a port.
func controlAt(port uint16) string { return "127.30.0.1:" + strconv.Itoa(int(port)) }

// resolves asks for a control's address.
func resolves(t *testing.T, s *Server, wait time.Duration) bool {
	t.Helper()
	conn, err := net.Dial("udp", s.DNS().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(new(dns.Msg).SetQuestion("control01.test.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(wait))
	_, err = c.ReadMsg()
	return err == nil
}

func TestALineThatIsCutIsSilentUntilItIsMended(t *testing.T) {
	s := begin(t, NewWorld(1, Quick), Config{})
	httpPort, httpsPort := s.Ports()
	open := map[string]net.Conn{} // made before
	for _, port := range []uint16{httpPort, httpsPort} {
		conn, err := net.Dial("tcp", controlAt(port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open[fmt.Sprint(port)] = conn
	}
	eventually(t, "the connection for TLS is accepted", func() bool { return s.Stats().Connections > 0 })

	s.Cut(true)
	s.Cut(true) // it is cut already
	if resolves(t, s, soon) {
		t.Error("the resolver answers over a line that is cut")
	}
	for _, port := range []uint16{httpPort, httpsPort} {
		if conn, err := net.DialTimeout("tcp", controlAt(port), soon); err == nil {
			conn.Close()
			t.Errorf("port %d accepts over a line that is cut", port)
		}
	}
	for port, conn := range open {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: control01.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(soon))
		if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("over a line that is cut a connection to %s reads %d bytes, %v", port, n, err)
		}
	}

	s.Cut(false)
	eventually(t, "the resolver answers again", func() bool { return resolves(t, s, limit) })
	for _, port := range []uint16{httpPort, httpsPort} {
		conn, err := net.DialTimeout("tcp", controlAt(port), limit)
		if err != nil {
			t.Errorf("port %d of a line that is mended: %v", port, err)
			continue
		}
		conn.Close()
	}
	_ = open[fmt.Sprint(httpPort)].SetReadDeadline(time.Now().Add(limit))
	answer, err := http.ReadResponse(bufio.NewReader(open[fmt.Sprint(httpPort)]), nil)
	if err != nil {
		t.Fatalf("what was asked while the line was cut is not answered: %v", err)
	}
	answer.Body.Close()
}

func TestAThrottledResolverDropsTheRest(t *testing.T) {
	s := begin(t, NewWorld(1, Quick), Config{})
	s.ThrottleDNS(1)
	conn, err := net.Dial("udp", s.DNS().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	const queries = 200
	for range queries {
		if err := c.WriteMsg(new(dns.Msg).SetQuestion("control01.test.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all queries are read", func() bool { return s.Stats().DNS >= queries })
	if lost := s.Stats().Lost; lost < queries/2 || lost == queries {
		t.Errorf("%d of %d queries were dropped, want nearly all", lost, queries)
	}
	s.ThrottleDNS(0)
	if !resolves(t, s, limit) {
		t.Error("the resolver does not answer without a limit")
	}
}

func TestFaultsAreSwitchedOverHTTP(t *testing.T) {
	s := begin(t, NewWorld(1, Quick), Config{})
	admin := httptest.NewServer(s.Admin())
	defer admin.Close()
	for _, c := range []struct {
		method, path, text string
		want               int
	}{
		{"PUT", "/cut", "maybe", 400},
		{"PUT", "/throttle", "-1", 400},
		{"PUT", "/throttle", "many", 400},
		{"GET", "/cut", "", 405},
		{"PUT", "/nothing", "", 404},
		{"PUT", "/throttle", "100000\n", 204},
		{"PUT", "/throttle", "0", 204},
		{"PUT", "/cut", "on", 204},
		{"GET", "/stats", "", 200},
	} {
		if got := put(t, admin.URL, c.method, c.path, c.text); got != c.want {
			t.Errorf("%s %s %q is answered by %d, want %d", c.method, c.path, c.text, got, c.want)
		}
	}
	if resolves(t, s, soon) {
		t.Error("the line is not cut")
	}
	put(t, admin.URL, "PUT", "/cut", "off")
	eventually(t, "the resolver answers again", func() bool { return resolves(t, s, limit) })
}

func put(t *testing.T, url, method, path, text string) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true // it may have closed a connection that was idle
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// TestThoseWhoHangCostNoDescriptors connects to hosts that never answer.
func TestThoseWhoHangCostNoDescriptors(t *testing.T) {
	s := begin(t, NewWorld(1, Hostile), Config{})
	port, _ := s.Ports()
	before := descriptors(t)
	const conns = 300
	for i := range conns {
		at := netip.AddrPortFrom(netip.AddrFrom4(addressOf(hung, i%others)), port)
		conn, err := net.DialTimeout("tcp", at.String(), limit)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x.com\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got := descriptors(t) - before; got > conns+50 { // ours; some more may be of the runtime
		t.Errorf("%d connections that hang take %d descriptors", conns, got)
	}
	for _, h := range s.hangers { // as if each second had passed, and sixteen of them
		for second := range hangSeconds + 1 {
			h.end(&s.counters, second%hangSeconds)
		}
	}
	if got := s.Stats().Connections; got != conns {
		t.Errorf("%d of %d connections ended after sixteen seconds", got, conns)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestClosingLeavesNothingOpen(t *testing.T) {
	_, _ = net.LookupHost("localhost") // what the runtime opens once
	before := descriptors(t)
	w := NewWorld(1, Hostile)
	s, err := Start(w, Config{DNS: netip.MustParseAddrPort("127.0.0.1:0"), Latency: 60})
	if err != nil {
		t.Fatal(err)
	}
	httpPort, httpsPort := s.Ports()
	for _, port := range []uint16{httpPort, httpsPort, s.DNS().Port()} { // open when it is closed, and one that is answered much later
		host := "127.30.0.1"
		if port == s.DNS().Port() {
			host = "127.0.0.1"
		}
		conn, err := net.Dial("tcp", host+":"+strconv.Itoa(int(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: control01.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	s.Cut(true)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	s.Cut(true) // of no use, and of no harm
	if after := descriptors(t); after > before+2 {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func TestTwoWorldsCanRunBesideEachOther(t *testing.T) {
	a := begin(t, NewWorld(1, Quick), Config{})
	b := begin(t, NewWorld(2, Hostile), Config{})
	for _, s := range []*Server{a, b} {
		if !resolves(t, s, limit) {
			t.Error("one of two does not answer")
		}
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	s := begin(t, NewWorld(1, Quick), Config{})
	httpPort, httpsPort := s.Ports()
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{DNS: netip.MustParseAddrPort("192.0.2.1:53")}, "the resolver's address 192.0.2.1:53 is not of the loopback"},
		{Config{DNS: loopback, HTTP: 81, HTTPS: 81}, "port 81 cannot be that of HTTP and of HTTPS"},
		{Config{DNS: loopback, Latency: -1, Loss: 2}, "a latency of -1 times the real one is not between 0 and 60\na loss of 2 is not a share below 1"},
		{Config{DNS: loopback, HTTP: httpPort}, "bind TCP 127.10.0.1:" + strconv.Itoa(int(httpPort)) + ": address already in use"},
		{Config{DNS: loopback, HTTPS: httpsPort}, "bind TCP 127.10.0.1:" + strconv.Itoa(int(httpsPort)) + ": address already in use"},
		{Config{DNS: s.DNS()}, "bind UDP " + s.DNS().String() + ": address already in use"},
	} {
		_, err := Start(NewWorld(1, Quick), c.config)
		if want := "start the simulated internet: " + c.want; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLatencyComesBeforeAnAnswer(t *testing.T) {
	s := begin(t, NewWorld(1, TonyWang2024), Config{Latency: 2})
	began := time.Now()
	if !resolves(t, s, limit) {
		t.Fatal("no answer")
	}
	if took := time.Since(began); took < 59*time.Millisecond { // twice the mean, which a control has
		t.Errorf("the resolver answers after %v, and should wait for 60 ms", took)
	}
	port, _ := s.Ports()
	began = time.Now()
	conn, err := net.Dial("tcp", controlAt(port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: control01.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 298*time.Millisecond {
		t.Errorf("a site answers after %v, and should wait for 300 ms", took)
	}
}
