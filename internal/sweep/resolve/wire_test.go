package resolve

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"pennyfarthing/internal/verdict"
)

// zeroes has all letters in upper case.
func zeroes() uint64 { return 0 }

func TestAQueryIsWhatOthersReadInIt(t *testing.T) {
	for _, name := range []string{"", "a", "example.com", "www.xn--4ca.example", "_x.1-2.example", strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61)} {
		for _, edns := range []bool{true, false} {
			var b [packetSize]byte
			size, question := packQuery(&b, name, typeAAAA, edns, zeroes)
			var m dns.Msg
			if err := m.Unpack(b[:size]); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			if len(m.Question) != 1 || m.Question[0].Name != strings.ToUpper(name)+"." || m.Question[0].Qtype != dns.TypeAAAA || m.Question[0].Qclass != dns.ClassINET {
				t.Errorf("%q: got the question %v", name, m.Question)
			}
			if !m.RecursionDesired || m.Response || m.Opcode != dns.OpcodeQuery || m.CheckingDisabled {
				t.Errorf("%q: got the header %+v", name, m.MsgHdr)
			}
			if opt := m.IsEdns0(); edns != (opt != nil) || edns && opt.UDPSize() != 1232 {
				t.Errorf("%q: got EDNS %v", name, opt)
			}
			if end, ok := skipName(b[:size], headerSize); !ok || end+4 != headerSize+question {
				t.Errorf("%q: the question has %d bytes, and its name ends at %d", name, question, end)
			}
		}
	}
}

// chase is what others find in an answer: the addresses at the end of the chain.
func chase(m *dns.Msg) (addrs []netip.Addr, links int) {
	name := m.Question[0].Name
	for {
		next := ""
		for _, rr := range m.Answer {
			if !strings.EqualFold(rr.Header().Name, name) || rr.Header().Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.A:
				if a, ok := netip.AddrFromSlice(rr.A.To4()); ok && m.Question[0].Qtype == dns.TypeA {
					addrs = append(addrs, a)
				}
			case *dns.AAAA:
				if a, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok && m.Question[0].Qtype == dns.TypeAAAA {
					addrs = append(addrs, a)
				}
			case *dns.CNAME:
				next = rr.Target
			}
		}
		if len(addrs) > 0 || next == "" || links > mostLinks {
			return addrs, links
		}
		name = next
		links++
	}
}

// FuzzAnswers compares what we find in a packet with what github.com/miekg/dns does.
func FuzzAnswers(f *testing.F) {
	for _, records := range [][]string{
		nil,
		{"@ 60 IN A 192.0.2.1"},
		{"@ 60 IN CNAME a.example.", "a.example. 5 IN CNAME B.example.", "b.example. 9 IN A 192.0.2.2", "b.example. 9 IN A 192.0.2.3"},
		{"@ 60 IN CNAME a.example.", "a.example. 60 IN CNAME @"},
		{"@ 60 IN TXT \"x\"", "@ 60 CH A 192.0.2.1", "@ 60 IN AAAA 2001:db8::1"},
	} {
		for _, rcode := range []int{0, 2, 3, 5, 9} {
			m := new(dns.Msg)
			m.SetQuestion("name.example.", dns.TypeA)
			q := &query{Msg: m}
			f.Add(pack(withEDE(q.says(rcode, records...), 22)), false)
			m.SetQuestion("name.example.", dns.TypeAAAA)
			f.Add(pack(q.says(rcode, records...)), true)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, v6 bool) {
		qtype := uint16(typeA)
		if v6 {
			qtype = typeAAAA
		}
		if len(p) < headerSize {
			return
		}
		end, ok := skipName(p, headerSize)
		if !ok || end+4 > len(p) || !wholeName(p, headerSize) || !isResponse(p, end+4-headerSize) {
			return
		}
		// What was asked is known to be without pointers, and of the right type.
		p[end], p[end+1], p[end+2], p[end+3] = 0, byte(qtype), 0, classIN
		for off := headerSize; p[off] != 0; off += int(p[off]) + 1 {
			if p[off] > mostLabel {
				return
			}
		}
		var a answer
		a.parse(p, end+4-headerSize, qtype, 0)
		switch {
		case a.n > mostAddresses, a.verdict == verdict.OK && a.n == 0, a.alias != "" && (a.verdict != verdict.None || !validName(a.alias)),
			a.verdict == verdict.None && a.alias == "" && !a.truncated:
			t.Fatalf("got %+v", a)
		}
		var m dns.Msg
		if m.Unpack(p) != nil || a.truncated || a.rcode != 0 || len(m.Answer) != int(p[6])<<8|int(p[7]) {
			return
		}
		want, links := chase(&m)
		want = want[:min(len(want), mostAddresses)]
		got := a.addrs[:a.n]
		switch a.verdict {
		case verdict.OK:
			if !slices.Equal(got, want) {
				t.Fatalf("got %v, others find %v in %v", got, want, &m)
			}
		case verdict.DNSNoData, verdict.None:
			if len(want) > 0 {
				t.Fatalf("got %v, others find %v in %v", a.verdict, want, &m)
			}
		case verdict.DNSLoop:
			if links <= mostLinks {
				t.Fatalf("got a loop, others %d links in %v", links, &m)
			}
		}
	})
}
