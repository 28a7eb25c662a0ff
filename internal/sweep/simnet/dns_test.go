package simnet

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// ask asks a resolver without a network.
func ask(t *testing.T, r *resolver, m *dns.Msg, tcp bool) *dns.Msg {
	t.Helper()
	query, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	a := r.answer(query, tcp)
	if a.packet == nil {
		return nil
	}
	answer := new(dns.Msg)
	if err := answer.Unpack(a.packet); err != nil {
		t.Fatalf("%s: %v", m.Question[0].Name, err)
	}
	return answer
}

func newResolver(w *World) *resolver { return &resolver{world: w, failsNow: new(flakes).failsNow} }

// TestEveryAnswerOfTheResolverIsWellFormed reads them with another's library.
func TestEveryAnswerOfTheResolverIsWellFormed(t *testing.T) {
	for _, profile := range []Profile{TonyWang2024, Quick, Hostile} {
		w := NewWorld(3, profile)
		r := newResolver(w)
		for i := range 5000 {
			name := w.Name(i)
			for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeHTTPS} {
				m := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
				if i%2 == 0 {
					m.SetEdns0(1232, i%4 == 0)
				}
				if w.fate([]byte(name)).Lookup.Kind == BrokenRecord {
					continue
				}
				answer := ask(t, r, m, false)
				if answer == nil {
					continue // silent
				}
				if !answer.Response || !answer.RecursionAvailable || answer.Id != m.Id || answer.Question[0] != m.Question[0] {
					t.Fatalf("%s: %v is no answer to %v", name, answer, m)
				}
				if opt := answer.IsEdns0(); (opt != nil) != (i%2 == 0) && !answer.Truncated {
					t.Fatalf("%s: EDNS is %v", name, opt)
				} else if opt != nil && opt.Do() != (i%4 == 0) {
					t.Fatalf("%s: DO is %v", name, opt.Do())
				}
				negative := answer.Rcode == dns.RcodeNameError || answer.Rcode == dns.RcodeSuccess && !answer.Truncated &&
					!slices.ContainsFunc(answer.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == kind || rr.Header().Rrtype == dns.TypeCNAME })
				if soa := len(answer.Ns) == 1 && answer.Ns[0].Header().Rrtype == dns.TypeSOA; negative && !soa {
					t.Fatalf("%s: a negative answer without SOA: %v", name, answer)
				}
			}
		}
	}
}

func TestTheCaseOfAQuestionComesBack(t *testing.T) {
	s := begin(t, NewWorld(1, Quick), Config{})
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network}
		m := new(dns.Msg).SetQuestion("wWw.CoNtRoL01.tEsT.", dns.TypeA)
		answer, _, err := client.Exchange(m, s.DNS().String())
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Question[0].Name; got != "wWw.CoNtRoL01.tEsT." {
			t.Errorf("over %s the question came back as %s", network, got)
		}
		if len(answer.Answer) != 1 || answer.Answer[0].(*dns.A).A.String() != "127.30.0.1" {
			t.Errorf("over %s the answer is %v", network, answer.Answer)
		}
	}
}

func TestAChainOfAliasesLeadsToTheAddress(t *testing.T) {
	w := NewWorld(5, Hostile)
	r := newResolver(w)
	seen := map[int]bool{}
	for i := range 30_000 {
		name := w.Name(i)
		f := w.fate([]byte(name))
		if f.Kind != "aliases" {
			continue
		}
		answer := ask(t, r, new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), false)
		at := dns.Fqdn(name)
		for _, rr := range answer.Answer[:len(answer.Answer)-1] {
			if rr.Header().Name != at {
				t.Fatalf("%s: %v does not follow from %s", name, rr, at)
			}
			at = rr.(*dns.CNAME).Target
		}
		last := answer.Answer[len(answer.Answer)-1].(*dns.A)
		if last.Hdr.Name != at || last.A.String() != f.Lookup.Addresses()[0].String() {
			t.Fatalf("%s: the chain ends with %v", name, last)
		}
		seen[len(answer.Answer)-1] = true
	}
	for n := 1; n <= 8; n++ {
		if !seen[n] {
			t.Errorf("there is no chain of %d aliases", n)
		}
	}
}

func TestLameNamesSayWhy(t *testing.T) {
	w := NewWorld(5, Hostile)
	r := newResolver(w)
	for kind, want := range map[string]uint16{"lame, no reachable authority": 22, "lame, network error": 23, "resolver fails, bogus": 6} {
		m := new(dns.Msg).SetQuestion(ofKind(t, w, kind)+".", dns.TypeA)
		m.SetEdns0(1232, false)
		answer := ask(t, r, m, false)
		options := answer.IsEdns0().Option
		if answer.Rcode != dns.RcodeServerFailure || len(options) != 1 || options[0].(*dns.EDNS0_EDE).InfoCode != want {
			t.Errorf("a name that is %q is answered by %v", kind, answer)
		}
	}
}

func TestWhatComesBeforeAnAnswerIsNoAnswer(t *testing.T) {
	w := NewWorld(5, Hostile)
	r := newResolver(w)
	for _, kind := range []string{"wrong id first", "wrong question first", "junk first"} {
		m := new(dns.Msg).SetQuestion(ofKind(t, w, kind)+".", dns.TypeA)
		query, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		a := r.answer(query, false)
		forged := new(dns.Msg)
		if err := forged.Unpack(a.before); err == nil && forged.Response && forged.Id == m.Id && len(forged.Question) == 1 && forged.Question[0] == m.Question[0] {
			t.Errorf("%s: %v is an answer", kind, forged)
		}
		if over := r.answer(query, true); over.before != nil {
			t.Errorf("%s: over TCP too, where nobody can forge", kind)
		}
	}
}

func TestTheLongestNameHasAnAnswer(t *testing.T) {
	name := strings.Repeat(strings.Repeat("a", 62)+".", 4)[:251] + "a."
	answer := ask(t, newResolver(NewWorld(1, TonyWang2024)), new(dns.Msg).SetQuestion(name, dns.TypeA), false)
	if answer == nil || answer.Question[0].Name != name {
		t.Errorf("the answer is %v", answer)
	}
}

func TestLossesAreCountedAndGoBothWays(t *testing.T) {
	s := begin(t, NewWorld(1, Quick), Config{Loss: 0.5})
	conn, err := net.Dial("udp", s.DNS().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := &dns.Conn{Conn: conn}
	const queries = 400
	for range queries {
		if err := client.WriteMsg(new(dns.Msg).SetQuestion("control01.test.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all queries are read", func() bool { return s.Stats().DNS == queries })
	if lost := s.Stats().Lost; lost < queries*65/100 || lost > queries*85/100 {
		t.Errorf("%d of %d exchanges were lost, want about three of four: half of the queries, and of the answers", lost, queries)
	}
}

func FuzzDNSAnswer(f *testing.F) {
	for _, name := range []string{"example.com.", ".", "www.control01.test.", "a.b.c.d.e.f."} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		query, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(query)
		m.SetEdns0(4096, true)
		if query, err = m.Pack(); err != nil {
			f.Fatal(err)
		}
		f.Add(query)
	}
	f.Add([]byte{})
	w := NewWorld(1, Hostile)
	f.Fuzz(func(t *testing.T, query []byte) {
		if len(query) > maxQuery {
			return // longer than what is read
		}
		r := newResolver(w)
		a := r.answer(slices.Clone(query), false)
		if a.packet == nil {
			return
		}
		if len(a.packet) > maxDNSAnswer {
			t.Fatalf("an answer of %d bytes", len(a.packet))
		}
		if w.fate(r.query.name).Lookup.Kind == BrokenRecord {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(a.packet); err != nil {
			t.Fatalf("%x: %v", a.packet, err)
		}
		if string(a.packet[:2]) != string(query[:2]) || !m.Response {
			t.Fatalf("%v is no answer", m)
		}
	})
}
