package simnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkTarget asks one name after the other for its address and for its front
// page over plain HTTP, and reports what that took the loop, without the client.
func BenchmarkTarget(b *testing.B) {
	w := NewWorld(1, Quick)
	s, err := Start(w, Config{DNS: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	port, _ := s.Ports()
	var next atomic.Int64
	askOnce(&dns.Conn{Conn: dialDNS(b, s)}, w.Name(0), port) // the loop runs now
	before := loopCPU(b)
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		conn := dialDNS(b, s)
		defer conn.Close()
		resolver := &dns.Conn{Conn: conn}
		for pb.Next() {
			askOnce(resolver, w.Name(int(next.Add(1))), port)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((loopCPU(b)-before).Nanoseconds())/1000/float64(b.N), "loop-µs/op")
}

func dialDNS(b *testing.B, s *Server) net.Conn {
	b.Helper()
	conn, err := net.Dial("udp", s.DNS().String())
	if err != nil {
		b.Error(err)
	}
	return conn
}

func askOnce(resolver *dns.Conn, name string, port uint16) {
	_ = resolver.WriteMsg(new(dns.Msg).SetQuestion(name+".", dns.TypeA))
	_ = resolver.SetDeadline(time.Now().Add(time.Second))
	m, err := resolver.ReadMsg()
	if err != nil || len(m.Answer) == 0 {
		return
	}
	a, ok := m.Answer[len(m.Answer)-1].(*dns.A)
	if !ok {
		return
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(a.A.String(), strconv.Itoa(int(port))))
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+name+"\r\nUser-Agent: bench\r\nAccept: */*\r\nConnection: close\r\n\r\n")
	_, _ = io.Copy(io.Discard, conn)
}

// loopCPU is what threads named simnet have used: the loop, and such that the
// runtime has made from it.
func loopCPU(b *testing.B) (used time.Duration) {
	b.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/comm")
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		if name, err := os.ReadFile(task); err != nil || strings.TrimSpace(string(name)) != "simnet" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(task), "schedstat"))
		if err != nil {
			b.Fatal(err)
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		used += time.Duration(ns)
	}
	return used
}

// BenchmarkDNSAnswer is the resolver without the network.
func BenchmarkDNSAnswer(b *testing.B) {
	r := resolver{world: NewWorld(1, TonyWang2024), failsNow: new(flakes).failsNow}
	m := new(dns.Msg).SetQuestion("bebababa.co.uk.", dns.TypeA)
	m.SetEdns0(1232, false)
	query, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.answer(query, false)
	}
}

// BenchmarkHTTPReply is the web server without the network.
func BenchmarkHTTPReply(b *testing.B) {
	s := newWeb(NewWorld(1, TonyWang2024), new(flakes).failsNow)
	text := []byte("GET / HTTP/1.1\r\nHost: bebababa.co.uk\r\nConnection: close\r\n\r\n")
	scratch := make([]byte, 0, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		r, _, _ := parseRequest(text)
		s.reply(scratch, &r, HTTP)
	}
}

// BenchmarkCertificate makes one.
func BenchmarkCertificate(b *testing.B) {
	a, err := newAuthority(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := a.certificate(Good, "www.example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
