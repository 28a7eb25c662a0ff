package resolve

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// A stub is a resolver that does as a test says, over UDP and TCP.
type stub struct {
	addr   netip.AddrPort
	answer func(q *query) []reply

	mu    sync.Mutex // guards the fields below
	asked map[string]int
	all   int
	ports map[uint16]int
	ids   map[uint16]int
}

// A query is what the stub was asked. Its name is in lower case.
type query struct {
	*dns.Msg
	name string
	kind uint16
	n    int // the how manieth time, from 1
	tcp  bool
}

// A reply is a packet, sent after a while; from elsewhere if it says so.
type reply struct {
	wire      []byte
	after     time.Duration
	elsewhere bool
}

func newStub(t testing.TB, answer func(q *query) []reply) *stub {
	t.Helper()
	var l net.Listener
	var u *net.UDPConn
	for range 20 { // the same port for both
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if u, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.Addr().(*net.TCPAddr).AddrPort())); err == nil {
			break
		}
		l.Close()
	}
	if u == nil {
		t.Fatal("no port is free for both UDP and TCP")
	}
	_ = u.SetReadBuffer(4 << 20)
	s := &stub{addr: u.LocalAddr().(*net.UDPAddr).AddrPort(), answer: answer, asked: map[string]int{}, ports: map[uint16]int{}, ids: map[uint16]int{}}
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(t, u, &wg) })
	wg.Go(func() { s.serveTCP(l, &wg) })
	t.Cleanup(func() {
		u.Close()
		l.Close()
		wg.Wait()
	})
	return s
}

func (s *stub) read(wire []byte, tcp bool, from netip.AddrPort) *query {
	m := new(dns.Msg)
	if m.Unpack(wire) != nil || len(m.Question) != 1 {
		return nil
	}
	q := &query{Msg: m, name: strings.ToLower(strings.TrimSuffix(m.Question[0].Name, ".")), kind: m.Question[0].Qtype, tcp: tcp}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := q.name + "/" + dns.TypeToString[q.kind]
	s.asked[key]++
	s.all++
	s.ports[from.Port()]++
	s.ids[m.Id]++
	q.n = s.asked[key]
	return q
}

func (s *stub) serveUDP(t testing.TB, u *net.UDPConn, wg *sync.WaitGroup) {
	other, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Error(err)
		return
	}
	defer other.Close()
	var b [2048]byte
	for {
		n, from, err := u.ReadFromUDPAddrPort(b[:])
		if err != nil {
			return
		}
		q := s.read(b[:n], false, from)
		if q == nil {
			t.Errorf("a query that is none: %x", b[:n])
			continue
		}
		for _, r := range s.answer(q) {
			conn := u
			if r.elsewhere {
				conn = other
			}
			if r.after == 0 {
				_, _ = conn.WriteToUDPAddrPort(r.wire, from)
				continue
			}
			wg.Add(1)
			time.AfterFunc(r.after, func() {
				defer wg.Done()
				_, _ = conn.WriteToUDPAddrPort(r.wire, from)
			})
		}
	}
}

func (s *stub) serveTCP(l net.Listener, wg *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			wire := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, wire); err != nil {
				return
			}
			q := s.read(wire, true, netip.AddrPort{})
			if q == nil {
				return
			}
			for _, r := range s.answer(q) {
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r.wire))), r.wire...))
			}
		})
	}
}

func (s *stub) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key == "" {
		return s.all
	}
	return s.asked[key]
}

// says builds an answer: a code, and records in the form of zone files, in which @ is
// the question's name.
func (q *query) says(rcode int, records ...string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q.Msg)
	m.Rcode, m.RecursionAvailable = rcode, true
	for _, text := range records {
		rr, err := dns.NewRR(strings.ReplaceAll(text, "@", q.Question[0].Name))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.Compress = true
	return m
}

func pack(m *dns.Msg) []byte {
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return wire
}

func one(m *dns.Msg) []reply { return []reply{{wire: pack(m)}} }

// ok answers A with 192.0.2.1, and everything else with no data.
func (q *query) ok() []reply {
	if q.kind == dns.TypeA {
		return one(q.says(dns.RcodeSuccess, "@ 300 IN A 192.0.2.1"))
	}
	return one(q.says(dns.RcodeSuccess))
}

// engines are both of them, where there are two.
func engines() map[string]bool {
	if fastSupported {
		return map[string]bool{"plain": false, "fast": true}
	}
	return map[string]bool{"plain": false}
}

// onEachEngine runs a test with both.
func onEachEngine(t *testing.T, test func(t *testing.T, fast bool)) {
	for name, fast := range engines() {
		t.Run(name, func(t *testing.T) { test(t, fast) })
	}
}

// A rig is a resolver whose reactor runs.
type rig struct {
	t testing.TB
	r *loop.Reactor
	x *Resolver
}

// quick are timeouts that a test can wait for.
var quick = Timeouts{First: 100 * time.Millisecond, Max: 400 * time.Millisecond} //nolint:gochecknoglobals // a constant

func newRig(t testing.TB, c Config, servers ...*stub) *rig {
	t.Helper()
	for _, s := range servers {
		c.Servers = append(c.Servers, Server{Addr: s.addr})
	}
	if c.Timeouts == (Timeouts{}) {
		c.Timeouts = quick
	}
	if c.Pause == 0 {
		c.Pause = 50 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r, err := loop.NewReactor()
	if err != nil {
		t.Fatal(err)
	}
	x, err := New(r, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		x.Close()
	})
	return &rig{t, r, x}
}

// ask asks all of some questions at once and waits for their answers.
func (r *rig) ask(questions ...*Question) {
	r.t.Helper()
	var wg sync.WaitGroup
	wg.Add(len(questions))
	r.r.Post(func() {
		for _, q := range questions {
			returned := false
			q.Done = func(*Question) {
				if !returned {
					r.t.Errorf("%s: Done was called before Resolve had returned", q.Name)
				}
				wg.Done()
			}
			r.x.Resolve(q)
			returned = true
		}
	})
	wg.Wait()
}

// name asks for one name.
func (r *rig) name(name string) *Question {
	q := &Question{Name: name}
	r.ask(q)
	return q
}

// stats are the resolver's.
func (r *rig) stats() (st Stats) {
	done := make(chan struct{})
	r.r.Post(func() {
		st = r.x.Stats()
		close(done)
	})
	<-done
	return st
}

// failures are the verdicts of what did not help.
func failures(q *Question) (list []verdict.Code) {
	for _, f := range q.Failures {
		list = append(list, f.Verdict)
	}
	return list
}

// closedPort is a port that nobody listens on.
func closedPort(t testing.TB) netip.AddrPort {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	return u.LocalAddr().(*net.UDPAddr).AddrPort()
}
