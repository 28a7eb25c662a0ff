package simnet

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"pennyfarthing/internal/verdict"
)

// limit bounds every wait for what must come.
const limit = 20 * time.Second

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes to this: %s", what)
		}
	}
}

// begin runs a world on any ports until the test ends.
func begin(t *testing.T, w *World, c Config) *Server {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the simulated internet runs on Linux alone")
	}
	if !c.DNS.IsValid() {
		c.DNS = netip.MustParseAddrPort("127.0.0.1:0")
	}
	s, err := Start(w, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// An observer asks a server as a sweep would, one try at a time.
type observer struct {
	s     *Server
	roots *x509.CertPool
	fate  *Fate // decides on nothing but patience
	asked bool  // the resolver was
}

// patienceFor is how long is waited for what comes by its fate, and for what does not.
// Only silence may be cut short: a machine that is busy answers late.
func patienceFor(silent bool) time.Duration {
	if silent {
		return 300 * time.Millisecond
	}
	return 3 * limit
}

// lookup asks the resolver, once for each address family.
func (o *observer) lookup(host string) ([]netip.Addr, verdict.Code) {
	var addrs []netip.Addr
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		o.asked = false
		answer, code := o.query(host, kind)
		if code != verdict.None {
			return nil, code
		}
		for _, rr := range answer.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				a, _ := netip.AddrFromSlice(rr.A.To4())
				addrs = append(addrs, a)
			case *dns.AAAA:
				a, _ := netip.AddrFromSlice(rr.AAAA)
				addrs = append(addrs, a)
			case *dns.CNAME:
				if len(answer.Answer) > 2 && rr.Target == answer.Answer[1].Header().Name && answer.Answer[len(answer.Answer)-1] == dns.RR(rr) {
					return nil, verdict.DNSLoop
				}
			}
		}
	}
	if len(addrs) == 0 {
		return nil, verdict.DNSNoData
	}
	return addrs, verdict.None
}

// query asks until there is an answer, at most twice.
func (o *observer) query(host string, kind uint16) (*dns.Msg, verdict.Code) {
	code := verdict.None
	for range 2 {
		var answer *dns.Msg
		if answer, code = o.queryOnce(host, kind, "udp"); code == verdict.None {
			return answer, code
		}
	}
	return nil, code
}

func (o *observer) queryOnce(host string, kind uint16, network string) (*dns.Msg, verdict.Code) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(host), kind)
	q.SetEdns0(1232, false)
	conn, err := net.Dial(network, o.s.DNS().String())
	if err != nil {
		return nil, verdict.SelfOther
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	_ = conn.SetDeadline(time.Now().Add(patienceFor(o.fate.Lookup.Kind == Silent || o.fate.Lookup.Quirk == SilentFirst && !o.asked)))
	o.asked = true
	if err := c.WriteMsg(q); err != nil {
		return nil, verdict.SelfOther
	}
	for {
		packet, err := c.ReadMsgHeader(nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, verdict.DNSTimeout
		}
		if err != nil || len(packet) < 12 || packet[0] != byte(q.Id>>8) || packet[1] != byte(q.Id) {
			continue // not ours
		}
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			return nil, verdict.DNSMalformed
		}
		if len(m.Question) != 1 || m.Question[0].Name != q.Question[0].Name {
			continue
		}
		if m.Truncated {
			return o.queryOnce(host, kind, "tcp")
		}
		switch m.Rcode {
		case dns.RcodeSuccess:
			return m, verdict.None
		case dns.RcodeNameError:
			return nil, verdict.DNSNXDomain
		case dns.RcodeRefused:
			return nil, verdict.DNSLame
		case dns.RcodeServerFailure:
			for _, option := range m.IsEdns0().Option {
				if ede, ok := option.(*dns.EDNS0_EDE); ok && (ede.InfoCode == 22 || ede.InfoCode == 23) {
					return nil, verdict.DNSLame
				}
			}
			return nil, verdict.DNSServFail
		}
		return nil, verdict.DNSMalformed
	}
}

// try connects to an address and asks once for a URL.
func (o *observer) try(u *url.URL, ip netip.Addr) outcome {
	httpPort, httpsPort := o.s.Ports()
	port := httpPort
	if u.Scheme == "https" {
		port = httpsPort
	}
	scheme := map[string]Scheme{"http": HTTP, "https": HTTPS}[u.Scheme]
	reach := Serves
	if ip.Is4() {
		reach = address(ip.As4()).reach(scheme)
	}
	dialer := net.Dialer{Timeout: patienceFor(reach == Blackholes)}
	conn, err := dialer.Dial("tcp", netip.AddrPortFrom(ip, port).String())
	if err != nil {
		return outcome{code: dialCode(err)}
	}
	defer conn.Close()
	manner := o.fate.Front[scheme].Manner
	_ = conn.SetDeadline(time.Now().Add(patienceFor(reach == Hangs || scheme == HTTPS && o.fate.TLS == Mute)))
	certificate := verdict.None
	if u.Scheme == "https" {
		client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: u.Hostname()})
		if err := client.Handshake(); err != nil {
			return outcome{code: handshakeCode(err)}
		}
		certificate = o.judge(client.ConnectionState(), u.Hostname())
		conn = client
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", u.RequestURI(), u.Host); err != nil {
		return outcome{code: verdict.HTTPReset}
	}
	if manner == Hang || manner == SlowHead {
		_ = conn.SetDeadline(time.Now().Add(patienceFor(true)))
	}
	if manner == SlowBody { // whose head comes at once, and is busy machines' too
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	}
	out := readAnswer(conn)
	if out.answered && certificate != verdict.None {
		out.code = certificate
	}
	return out
}

func dialCode(err error) verdict.Code {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict.TCPRefused
	case errors.Is(err, syscall.ENETUNREACH):
		return verdict.TCPUnreachable
	case errors.Is(err, syscall.ECONNRESET):
		return verdict.TCPReset
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return verdict.TCPTimeout
	}
	return verdict.SelfOther
}

func handshakeCode(err error) verdict.Code {
	text := err.Error()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return verdict.TLSTimeout
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return verdict.TLSClosed
	case strings.Contains(text, "protocol version"), strings.Contains(text, "handshake failure"):
		return verdict.TLSVersion
	case strings.Contains(text, "remote error"):
		return verdict.TLSAlert
	}
	return verdict.TLSMalformed
}

// judge verifies a chain.
func (o *observer) judge(state tls.ConnectionState, host string) verdict.Code {
	options := x509.VerifyOptions{Roots: o.roots, Intermediates: x509.NewCertPool(), DNSName: host}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := state.PeerCertificates[0]
	if time.Now().After(leaf.NotAfter) {
		return verdict.TLSExpired
	}
	if leaf.VerifyHostname(host) != nil {
		return verdict.TLSName
	}
	if _, err := leaf.Verify(options); err != nil {
		return verdict.TLSUntrusted
	}
	return verdict.None
}

// readAnswer reads a head, strictly, and a sample of the body.
func readAnswer(conn net.Conn) (out outcome) {
	limited := &io.LimitedReader{R: conn, N: 100 << 10}
	r := bufio.NewReader(limited)
	for {
		lines, err := readHead(r)
		if err != nil {
			return outcome{code: headCode(err, limited.N <= 0, len(lines) > 0)}
		}
		status, ok := checkHead(lines)
		if !ok {
			return outcome{code: verdict.HTTPMalformed}
		}
		if status/100 == 1 {
			continue
		}
		out = outcome{answered: true, status: status, code: statusCode(status)}
		head := strings.Join(lines, "\r\n") + "\r\n\r\n"
		answer, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(head), r)), nil)
		if err != nil {
			return outcome{code: verdict.HTTPMalformed}
		}
		defer answer.Body.Close()
		out.location = answer.Header.Get("Location")
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 32<<10))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			out.code = verdict.HTTPSlow
		case err != nil:
			out.code = verdict.HTTPTruncated
		}
		return out
	}
}

func readHead(r *bufio.Reader) (lines []string, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if line != "" {
				lines = append(lines, line)
			}
			return lines, err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(lines) == 0 && !strings.HasPrefix(line, "HTTP/1.") {
			return []string{line}, errNotHTTP
		}
		if line == "" {
			return lines, nil
		}
		lines = append(lines, line)
	}
}

var errNotHTTP = errors.New("not HTTP")

func headCode(err error, full, said bool) verdict.Code {
	switch {
	case full:
		return verdict.HTTPTooLarge
	case errors.Is(err, errNotHTTP):
		return verdict.HTTPMalformed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return verdict.HTTPTimeout
	case errors.Is(err, syscall.ECONNRESET):
		return verdict.HTTPReset
	case said:
		return verdict.HTTPMalformed
	}
	return verdict.HTTPClosed
}

func checkHead(lines []string) (status int, ok bool) {
	_, rest, _ := strings.Cut(lines[0], " ")
	code, _, found := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !found || err != nil || len(code) != 3 {
		return 0, false
	}
	for _, line := range lines[1:] {
		if !strings.Contains(line, ":") || strings.ContainsRune(line, 0) {
			return 0, false
		}
	}
	return status, true
}

// expected is what a try of a host comes to, by the fate's word alone.
func expected(a *asker, u *url.URL) outcome {
	o, _ := a.round(u)
	return o
}

// observed is what the same comes to over the network.
func (o *observer) observed(u *url.URL) outcome {
	addrs, code := o.lookup(u.Hostname())
	if code != verdict.None {
		return outcome{code: code}
	}
	first := outcome{code: verdict.SkipPrivate}
	tried := 0
	for _, ip := range addrs {
		if !mayAsk(ip) {
			continue
		}
		out := o.try(u, ip)
		if tried == 0 {
			first = out
		}
		tried++
		if out.answered || out.code.Class() != verdict.TCP {
			return map[bool]outcome{true: out, false: first}[out.answered]
		}
	}
	return first
}

// TestWhatIsServedIsWhatTheFateSays asks many names of every profile, by both
// schemes, with clients that know nothing of the simulation.
func TestWhatIsServedIsWhatTheFateSays(t *testing.T) {
	for _, c := range []struct {
		profile Profile
		names   int
	}{{Quick, 600}, {TonyWang2024, 600}, {Hostile, 1500}} {
		t.Run(c.profile.String(), func(t *testing.T) {
			w := NewWorld(7, c.profile)
			s := begin(t, w, Config{})
			kinds := map[string]int{}
			var mu sync.Mutex
			var group sync.WaitGroup
			slots := make(chan struct{}, 200)
			for i := range c.names {
				slots <- struct{}{}
				group.Go(func() {
					defer func() { <-slots }()
					name := w.Name(i)
					if i%3 == 2 {
						name = "www." + name
					}
					fate, err := w.Fate(name)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					kinds[fate.Kind]++
					mu.Unlock()
					o := &observer{s: s, roots: s.Roots(), fate: &fate}
					a := &asker{world: w, flaked: map[string]bool{}}
					for _, scheme := range []string{"http", "https"} {
						u := &url.URL{Scheme: scheme, Host: name, Path: "/"}
						want, got := expected(a, u), o.observed(u)
						if or := Or(Policy{}, u.String(), want.code); or != verdict.None && got.code == or {
							got.code = want.code
						}
						if want != got {
							t.Errorf("%s (%s): got %v %d %q, want %v %d %q", u, fate.Kind, got.code, got.status, got.location, want.code, want.status, want.location)
						}
					}
				})
			}
			group.Wait()
			if c.profile == Hostile {
				for _, k := range hostileKinds {
					if kinds[k.name] == 0 {
						t.Errorf("no name of the kind %q was asked", k.name)
					}
				}
			}
			t.Logf("%+v", s.Stats())
		})
	}
}

// Whoever connects to one of these is reset, and need not have said anything.
func TestWhoIsResetAtOnceNeedNotSpeak(t *testing.T) {
	s := begin(t, NewWorld(1, Hostile), Config{})
	httpPort, httpsPort := s.Ports()
	for i := range others {
		for _, port := range []uint16{httpPort, httpsPort} {
			at := netip.AddrPortFrom(netip.AddrFrom4(addressOf(resets, i)), port).String()
			conn, err := net.DialTimeout("tcp", at, limit)
			if err == nil {
				_ = conn.SetDeadline(time.Now().Add(limit))
				_, err = conn.Read(make([]byte, 1))
				conn.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v, want a reset", at, err)
			}
		}
	}
}
