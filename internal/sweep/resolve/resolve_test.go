package resolve

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"pennyfarthing/internal/verdict"
)

func withEDE(m *dns.Msg, code uint16) *dns.Msg {
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: code})
	return m
}

// TestWhatAResolverSaysIsToldTruly has two resolvers that say the same about names.
func TestWhatAResolverSaysIsToldTruly(t *testing.T) {
	nodata := func(q *query) []reply { return one(q.says(dns.RcodeSuccess)) }
	junk := func(n int) []byte {
		b := make([]byte, n)
		random := rand.New(rand.NewPCG(1, uint64(n)))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	wire := func(q *query) []byte { return q.ok()[0].wire }
	changed := func(q *query, f func(b []byte)) reply {
		b := wire(q)
		f(b)
		return reply{wire: b}
	}
	for _, test := range []struct {
		name   string
		answer func(q *query) []reply
		want   verdict.Code
		addrs  string
		tries  int // failures that are told
		rcode  string
	}{
		{"an address", (*query).ok, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"several addresses", func(q *query) []reply {
			return one(q.says(0, "@ 60 IN A 192.0.2.1", "@ 60 IN A 192.0.2.2", "@ 60 IN A 192.0.2.3", "@ 60 IN A 192.0.2.4", "@ 60 IN A 192.0.2.5"))
		}, verdict.OK, "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5", 0, "NOERROR"},
		{"IPv6 only", func(q *query) []reply {
			if q.kind == dns.TypeAAAA {
				return one(q.says(0, "@ 60 IN AAAA 2001:db8::1"))
			}
			return nodata(q)
		}, verdict.OK, "2001:db8::1", 0, "NOERROR"},
		{"no such name", func(q *query) []reply { return one(q.says(dns.RcodeNameError)) }, verdict.DNSNXDomain, "", 2, "NXDOMAIN"},
		{"no data", nodata, verdict.DNSNoData, "", 2, "NOERROR"},
		{"SERVFAIL", func(q *query) []reply { return one(q.says(dns.RcodeServerFailure)) }, verdict.DNSServFail, "", 2, "SERVFAIL"},
		{"SERVFAIL with EDE 22", func(q *query) []reply { return one(withEDE(q.says(dns.RcodeServerFailure), 22)) }, verdict.DNSLame, "", 2, "SERVFAIL"},
		{"SERVFAIL with EDE 23", func(q *query) []reply { return one(withEDE(q.says(dns.RcodeServerFailure), 23)) }, verdict.DNSLame, "", 2, "SERVFAIL"},
		{"SERVFAIL with EDE 6", func(q *query) []reply { return one(withEDE(q.says(dns.RcodeServerFailure), 6)) }, verdict.DNSServFail, "", 2, "SERVFAIL"},
		{"REFUSED", func(q *query) []reply { return one(q.says(dns.RcodeRefused)) }, verdict.DNSLame, "", 2, "REFUSED"},
		{"another code", func(q *query) []reply { return one(q.says(dns.RcodeNotAuth)) }, verdict.DNSMalformed, "", 2, "NOTAUTH"},
		{"a referral", func(q *query) []reply {
			m := q.says(0)
			rr, _ := dns.NewRR("example. 60 IN NS ns.example.")
			m.Ns = append(m.Ns, rr)
			return one(m)
		}, verdict.DNSLame, "", 2, "NOERROR"},
		{"silence", func(*query) []reply { return nil }, verdict.DNSTimeout, "", 2, ""},
		{"a chain", func(q *query) []reply {
			return one(q.says(0, "@ 60 IN CNAME a.example.", "a.example. 60 IN CNAME b.example.", "b.example. 60 IN A 192.0.2.9"))
		}, verdict.OK, "192.0.2.9", 0, "NOERROR"},
		{"a chain out of order", func(q *query) []reply {
			return one(q.says(0, "b.example. 60 IN A 192.0.2.9", "a.example. 60 IN CNAME b.example.", "@ 60 IN CNAME A.Example."))
		}, verdict.OK, "192.0.2.9", 0, "NOERROR"},
		{"a part of a chain", func(q *query) []reply {
			if q.name == "end.example" {
				return one(q.says(0, "@ 60 IN A 192.0.2.8"))
			}
			return one(q.says(0, "@ 60 IN CNAME a.example.", "a.example. 60 IN CNAME end.example."))
		}, verdict.OK, "192.0.2.8", 0, "NOERROR"},
		{"a chain to IPv6 only", func(q *query) []reply {
			if q.kind == dns.TypeA && q.name == "end.example" {
				return nodata(q)
			}
			if q.kind == dns.TypeA {
				return one(q.says(0, "@ 60 IN CNAME end.example."))
			}
			return one(q.says(0, "@ 60 IN CNAME end.example.", "end.example. 60 IN AAAA 2001:db8::2"))
		}, verdict.OK, "2001:db8::2", 0, "NOERROR"},
		{"a chain to no such name", func(q *query) []reply {
			return one(q.says(dns.RcodeNameError, "@ 60 IN CNAME gone.example."))
		}, verdict.DNSNXDomain, "", 2, "NXDOMAIN"},
		{"a loop in one answer", func(q *query) []reply {
			return one(q.says(0, "@ 60 IN CNAME a.example.", "a.example. 60 IN CNAME @"))
		}, verdict.DNSLoop, "", 2, "NOERROR"},
		{"a loop of a name with itself", func(q *query) []reply { return one(q.says(0, "@ 60 IN CNAME @")) }, verdict.DNSLoop, "", 2, "NOERROR"},
		{"a loop over many answers", func(q *query) []reply {
			return one(q.says(0, "@ 60 IN CNAME "+map[bool]string{true: "b", false: "a"}[q.name == "a.example"]+".example."))
		}, verdict.DNSLoop, "", 2, "NOERROR"},
		{"truncated, and whole over TCP", func(q *query) []reply {
			m := q.says(0, "@ 60 IN A 192.0.2.7")
			if m.Truncated = !q.tcp; m.Truncated {
				m.Answer = nil
			}
			return one(m)
		}, verdict.OK, "192.0.2.7", 0, "NOERROR"},
		{"truncated, and garbage over TCP", func(q *query) []reply {
			if q.tcp {
				return []reply{{wire: junk(40)}}
			}
			m := q.says(0)
			m.Truncated = true
			return one(m)
		}, verdict.DNSMalformed, "", 2, ""},
		{"truncated, and again over TCP", func(q *query) []reply {
			m := q.says(0)
			m.Truncated = true
			return one(m)
		}, verdict.DNSMalformed, "", 2, "NOERROR"},
		{"the first packet is lost", func(q *query) []reply {
			if q.n == 1 {
				return nil
			}
			return q.ok()
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"an answer after the question was sent again", func(q *query) []reply {
			if q.n > 1 {
				return nil
			}
			r := q.ok()
			r[0].after = 350 * time.Millisecond
			return r
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"answers that come twice", func(q *query) []reply { return append(q.ok(), q.ok()...) }, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"a wrong id before the right one", func(q *query) []reply {
			return append([]reply{changed(q, func(b []byte) { b[0] ^= 0x40; copy(b[len(b)-4:], "evil") })}, q.ok()...)
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"a wrong question before the right one", func(q *query) []reply {
			return append([]reply{changed(q, func(b []byte) { b[13] = '-'; copy(b[len(b)-4:], "evil") })}, q.ok()...)
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"from elsewhere before the right one", func(q *query) []reply {
			r := changed(q, func(b []byte) { copy(b[len(b)-4:], "evil") })
			r.elsewhere = true
			return append([]reply{r}, q.ok()...)
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"a query before the right one", func(q *query) []reply {
			return append([]reply{changed(q, func(b []byte) { b[2] &^= 0x80 })}, q.ok()...)
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"junk before the right one", func(q *query) []reply {
			return append([]reply{{wire: nil}, {wire: junk(1)}, {wire: junk(11)}, {wire: junk(12)}, {wire: junk(600)}, {wire: junk(9000)}}, q.ok()...)
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"letters in lower case", func(q *query) []reply {
			m := q.says(0, "@ 60 IN A 192.0.2.1")
			m.Question[0].Name = q.name + "."
			return one(m)
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"a name that is cut", func(q *query) []reply {
			b := wire(q)
			return []reply{{wire: b[:len(b)-3]}}
		}, verdict.DNSMalformed, "", 2, "NOERROR"},
		{"pointers in a circle", func(q *query) []reply {
			return []reply{changed(q, func(b []byte) {
				if q.kind == dns.TypeA {
					at := len(b) - 16 // the owner of the only record
					binary.BigEndian.PutUint16(b[at:], 0xc000|uint16(at))
				}
			})}
		}, verdict.DNSMalformed, "", 2, "NOERROR"},
		{"an address of three bytes", func(q *query) []reply {
			return []reply{changed(q, func(b []byte) { b[len(b)-5] = 3 })} // one byte is left over
		}, verdict.DNSMalformed, "", 2, "NOERROR"},
		{"more records than there are", func(q *query) []reply {
			return []reply{changed(q, func(b []byte) { b[7] = 2 })}
		}, verdict.DNSMalformed, "", 2, "NOERROR"},
		{"very many records", func(q *query) []reply {
			return []reply{changed(q, func(b []byte) { b[6] = 0xff })}
		}, verdict.DNSMalformed, "", 2, "NOERROR"},
		{"a server without EDNS", func(q *query) []reply {
			if q.IsEdns0() != nil {
				return one(q.says(dns.RcodeFormatError))
			}
			return q.ok()
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"a server of another EDNS", func(q *query) []reply {
			if q.IsEdns0() != nil {
				m := q.says(dns.RcodeBadVers)
				m.SetEdns0(1232, false)
				return one(m)
			}
			return q.ok()
		}, verdict.OK, "192.0.2.1", 0, "NOERROR"},
		{"FORMERR for everything", func(q *query) []reply { return one(q.says(dns.RcodeFormatError)) }, verdict.DNSMalformed, "", 2, "FORMERR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			onEachEngine(t, func(t *testing.T, fast bool) {
				t.Parallel()
				var a, b *stub
				answer := func(q *query) []reply {
					if strings.HasPrefix(q.name, "known") || q.name == "" {
						return q.ok()
					}
					return test.answer(q)
				}
				a, b = newStub(t, answer), newStub(t, answer)
				r := newRig(t, Config{Fast: fast}, a, b)
				q := r.name("name.example")
				var addrs []string
				for _, addr := range q.Addrs {
					addrs = append(addrs, addr.String())
				}
				if q.Verdict != test.want || strings.Join(addrs, " ") != test.addrs || q.Rcode != test.rcode || q.Own {
					t.Errorf("got %v %v %q own=%v, want %v %v %q", q.Verdict, addrs, q.Rcode, q.Own, test.want, test.addrs, test.rcode)
				}
				if len(q.Failures) != test.tries {
					t.Errorf("failures %v, want %d", failures(q), test.tries)
				}
				if test.tries == 2 && q.Failures[0].Resolver == q.Failures[1].Resolver {
					t.Errorf("%v was asked twice, and %v and %v are there", q.Failures[0].Resolver, a.addr, b.addr)
				}
				for _, f := range q.Failures {
					if f.Verdict != test.want || f.At.IsZero() || f.Took < 0 {
						t.Errorf("failure %+v", f)
					}
				}
			})
		})
	}
}

func TestOneResolverIsAskedAgainLater(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		s := newStub(t, func(q *query) []reply {
			if q.name == "flaps.example" && q.kind == dns.TypeA && q.n > 1 {
				return q.ok()
			}
			return one(q.says(dns.RcodeNameError))
		})
		r := newRig(t, Config{Fast: fast}, s)
		if q := r.name("gone.example"); q.Verdict != verdict.DNSNXDomain || len(q.Failures) != 2 || q.Failures[1].At.Sub(q.Failures[0].At) < 50*time.Millisecond {
			t.Errorf("got %v, failures %+v", q.Verdict, q.Failures)
		}
		if q := r.name("flaps.example"); q.Verdict != verdict.OK || len(q.Failures) != 1 {
			t.Errorf("got %v, failures %v", q.Verdict, failures(q))
		}
	})
}

func TestThePlainestWordWins(t *testing.T) {
	words := map[string]func(q *query) []reply{
		"ok":       (*query).ok,
		"nxdomain": func(q *query) []reply { return one(q.says(dns.RcodeNameError)) },
		"nodata":   func(q *query) []reply { return one(q.says(0)) },
		"loop":     func(q *query) []reply { return one(q.says(0, "@ 60 IN CNAME @")) },
		"lame":     func(q *query) []reply { return one(q.says(dns.RcodeRefused)) },
		"servfail": func(q *query) []reply { return one(q.says(dns.RcodeServerFailure)) },
		"garbage":  func(q *query) []reply { return one(q.says(dns.RcodeNotAuth)) },
		"silence":  func(*query) []reply { return nil },
	}
	order := []string{"ok", "nxdomain", "nodata", "loop", "lame", "servfail", "garbage", "silence"}
	codes := []verdict.Code{
		verdict.OK, verdict.DNSNXDomain, verdict.DNSNoData, verdict.DNSLoop, verdict.DNSLame, verdict.DNSServFail, verdict.DNSMalformed, verdict.DNSTimeout,
	}
	side := func(i int) func(q *query) []reply {
		return func(q *query) []reply {
			says := strings.Split(strings.TrimSuffix(q.name, ".example"), "-")
			if len(says) != 2 {
				return q.ok()
			}
			return words[says[i]](q)
		}
	}
	onEachEngine(t, func(t *testing.T, fast bool) {
		r := newRig(t, Config{Fast: fast}, newStub(t, side(0)), newStub(t, side(1)))
		var list []*Question
		var want []verdict.Code
		for i := range order {
			for j := range order {
				for range 6 { // else the servers themselves would be in doubt
					list = append(list, &Question{Name: fmt.Sprintf("known%d.example", len(list))})
					want = append(want, verdict.OK)
				}
				list = append(list, &Question{Name: order[i] + "-" + order[j] + ".example"})
				want = append(want, codes[min(i, j)])
			}
		}
		r.ask(list...)
		for i, q := range list {
			if q.Verdict != want[i] {
				t.Errorf("%s: got %v (%v), want %v", q.Name, q.Verdict, failures(q), want[i])
			}
		}
	})
}

func TestTheCacheAnswers(t *testing.T) {
	s := newStub(t, func(q *query) []reply {
		if q.name == "gone.example" {
			return one(q.says(dns.RcodeNameError))
		}
		return q.ok()
	})
	r := newRig(t, Config{}, s)
	r.name("gone.example")
	r.name("here.example")
	before := s.count("")
	gone, here, upper := r.name("gone.example"), r.name("here.example"), r.name("HERE.example")
	if s.count("") != before {
		t.Error("what was known has been asked for")
	}
	if !gone.Cached || gone.Verdict != verdict.DNSNXDomain || len(gone.Failures) != 2 || gone.Rcode != "NXDOMAIN" || gone.Took != 0 {
		t.Errorf("got %+v", gone)
	}
	for _, q := range []*Question{here, upper} {
		if want := []netip.Addr{netip.MustParseAddr("192.0.2.1")}; !q.Cached || q.Verdict != verdict.OK || !cmp.Equal(q.Addrs, want, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
			t.Errorf("got %+v", q)
		}
	}
	fresh := &Question{Name: "here.example", Fresh: true}
	r.ask(fresh)
	if fresh.Cached || s.count("here.example/A") != 2 {
		t.Error("a retry was answered from the cache")
	}
	six := &Question{Name: "here.example", V6: true}
	r.ask(six)
	if six.Verdict != verdict.DNSNoData || len(six.Failures) != 1 || s.count("here.example/AAAA") != 1 {
		t.Errorf("got %v, failures %v, asked %d times", six.Verdict, failures(six), s.count("here.example/AAAA"))
	}
}

func TestTheSameQuestionsAreJoined(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		s := newStub(t, func(q *query) []reply {
			r := q.ok()
			r[0].after = 20 * time.Millisecond
			return r
		})
		r := newRig(t, Config{Fast: fast}, s)
		var list []*Question
		for range 50 {
			list = append(list, &Question{Name: "same.example"})
		}
		r.ask(list...)
		for _, q := range list {
			if q.Verdict != verdict.OK || len(q.Addrs) != 1 {
				t.Fatalf("got %v %v", q.Verdict, q.Addrs)
			}
		}
		if n := s.count("same.example/A"); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

func TestWhatIsNoNameIsNotAsked(t *testing.T) {
	s := newStub(t, (*query).ok)
	r := newRig(t, Config{}, s)
	for _, name := range []string{
		"", ".", "a.", ".a", "a..b", strings.Repeat("a", 64) + ".example", strings.Repeat("abcdefg.", 32) + "example", "a b.example", "ä.example", "a\x00.example",
	} {
		if q := r.name(name); q.Verdict != verdict.SkipInvalid {
			t.Errorf("%q: got %v", name, q.Verdict)
		}
	}
	longest := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61)
	if q := r.name(longest); q.Verdict != verdict.OK {
		t.Errorf("a name of %d bytes: got %v", len(longest), q.Verdict)
	}
	if q := r.name("_dmarc.a-b.xn--4ca.example"); q.Verdict != verdict.OK {
		t.Errorf("got %v", q.Verdict)
	}
	if s.count("") != 2 {
		t.Errorf("%d packets were sent", s.count(""))
	}
}

func TestNamesCaseIDsAndPortsAreRandom(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		var upper, letters atomic.Int64
		s := newStub(t, func(q *query) []reply {
			for _, c := range q.Question[0].Name {
				switch {
				case 'A' <= c && c <= 'Z':
					upper.Add(1)
					letters.Add(1)
				case 'a' <= c && c <= 'z':
					letters.Add(1)
				}
			}
			return q.ok()
		})
		r := newRig(t, Config{Fast: fast}, s)
		for i := range 20 {
			var list []*Question
			for j := range 50 {
				list = append(list, &Question{Name: fmt.Sprintf("name-%d-%d.example", i, j)})
			}
			r.ask(list...)
		}
		if share := float64(upper.Load()) / float64(letters.Load()); share < 0.45 || share > 0.55 {
			t.Errorf("%.2f of the letters are in upper case", share)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.ports) < 8 {
			t.Errorf("%d ports were used", len(s.ports))
		}
		if len(s.ids) < 900 {
			t.Errorf("%d ids were used for 1,000 questions", len(s.ids))
		}
		if s.all > 1100 && !t.Failed() {
			t.Errorf("%d questions were sent for 1,000 names", s.all)
		}
	})
}

func TestAServerThatNeverKeepsTheCaseIsBelievedAfterAWhile(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		s := newStub(t, func(q *query) []reply {
			m := q.says(0, "@ 60 IN A 192.0.2.1")
			m.Question[0].Name = q.name + "."
			return one(m)
		})
		r := newRig(t, Config{Fast: fast}, s)
		for i := range 20 {
			if q := r.name(fmt.Sprintf("many-letters-are-in-this-name-%d.example", i)); q.Verdict != verdict.OK {
				t.Fatalf("got %v", q.Verdict)
			}
		}
		if st := r.stats(); st.TCP != alwaysFolds {
			t.Errorf("%d questions went over TCP, want %d", st.TCP, alwaysFolds)
		}
	})
}

func TestMistakesInAConfigurationAreAllTold(t *testing.T) {
	_, err := New(nil, Config{Servers: []Server{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}, {Rate: -1}}, InFlight: -1, Sends: 9, Pause: -1, Hold: -1, Cache: 1 << 30})
	for _, want := range []string{"127.0.0.1:0 is no", "rate below 0", "-1 questions in flight", "9 sends", "pause", "held", "cache"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := New(nil, Config{}); err == nil || !strings.Contains(err.Error(), "no resolver is given") {
		t.Errorf("without servers: %v", err)
	}
}
