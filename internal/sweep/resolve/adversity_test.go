package resolve

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"pennyfarthing/internal/verdict"
)

// world answers by a name's first part: whoever is asked says the same.
func world(q *query) []reply {
	switch strings.TrimRight(strings.SplitN(q.name, ".", 2)[0], "0123456789") {
	case "gone":
		return one(q.says(dns.RcodeNameError))
	case "fails":
		return one(q.says(dns.RcodeServerFailure))
	case "lame":
		return one(q.says(dns.RcodeRefused))
	case "silent":
		return nil
	case "empty":
		return one(q.says(0))
	}
	return q.ok()
}

// population is n names of world, about as in the wild, and what is true of them.
func population(n int) (list []*Question, truth []verdict.Code) {
	random := rand.New(rand.NewPCG(7, 7))
	for i := range n {
		kind, code := "here", verdict.OK
		switch r := random.Float64(); {
		case r < 0.12:
			kind, code = "gone", verdict.DNSNXDomain
		case r < 0.15:
			kind, code = "fails", verdict.DNSServFail
		case r < 0.17:
			kind, code = "lame", verdict.DNSLame
		case r < 0.19:
			kind, code = "silent", verdict.DNSTimeout
		case r < 0.20:
			kind, code = "empty", verdict.DNSNoData
		}
		list = append(list, &Question{Name: fmt.Sprintf("%s%d.example", kind, i)})
		truth = append(truth, code)
	}
	return list, truth
}

// wrong counts what is not true, and what was given up.
func wrong(t *testing.T, list []*Question, truth []verdict.Code) (wrong, own int) {
	t.Helper()
	for i, q := range list {
		switch {
		case q.Own:
			own++
		case q.Verdict != truth[i]:
			if wrong++; wrong < 10 {
				t.Logf("%s: got %v (%v), want %v", q.Name, q.Verdict, failures(q), truth[i])
			}
		}
	}
	return wrong, own
}

// lossy loses a share of packets, both ways.
func lossy(share float64, answer func(q *query) []reply) func(q *query) []reply {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(3, 3))
	lost := func() bool {
		mu.Lock()
		defer mu.Unlock()
		there, back := random.Float64(), random.Float64()
		return there < share || back < share
	}
	return func(q *query) []reply {
		if !q.tcp && lost() {
			return nil
		}
		return answer(q)
	}
}

func TestWithAFifthOfThePacketsLostEachWayAlmostNothingIsWrong(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		t.Parallel()
		for _, servers := range []int{1, 2} {
			t.Run(fmt.Sprint(servers, " resolvers"), func(t *testing.T) {
				t.Parallel()
				var stubs []*stub
				for range servers {
					stubs = append(stubs, newStub(t, lossy(0.2, world)))
				}
				r := newRig(t, Config{Fast: fast}, stubs...)
				list, truth := population(1500)
				r.ask(list...)
				wrong, own := wrong(t, list, truth)
				// It is one in some ten thousand: those at the beginning, before it is known
				// how much is lost.
				if wrong > len(list)/500 || own > 0 {
					t.Errorf("%d of %d are wrong, %d were given up: %+v", wrong, len(list), own, r.stats())
				}
				t.Logf("%d of %d are wrong: %+v", wrong, len(list), r.stats())
			})
		}
	})
}

// throttled answers so many questions a second, and does otherwise with the rest.
func throttled(rate int, answer, otherwise func(q *query) []reply) func(q *query) []reply {
	var mu sync.Mutex
	tokens, last := float64(rate)/10, time.Now()
	return func(q *query) []reply {
		mu.Lock()
		now := time.Now()
		tokens = min(float64(rate)/10, tokens+now.Sub(last).Seconds()*float64(rate))
		last = now
		may := tokens >= 1
		if may {
			tokens--
		}
		mu.Unlock()
		if may {
			return answer(q)
		}
		return otherwise(q)
	}
}

func TestAThrottlingResolverIsAskedLessAndNothingIsWrong(t *testing.T) {
	for name, otherwise := range map[string]func(q *query) []reply{
		"by silence":  func(*query) []reply { return nil },
		"by REFUSED":  func(q *query) []reply { return one(q.says(dns.RcodeRefused)) },
		"by SERVFAIL": func(q *query) []reply { return one(q.says(dns.RcodeServerFailure)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachEngine(t, func(t *testing.T, fast bool) {
				t.Parallel()
				s := newStub(t, throttled(500, world, otherwise))
				r := newRig(t, Config{Fast: fast}, s)
				r.name("known.example")
				list, truth := population(1500)
				r.ask(list...)
				wrong, own := wrong(t, list, truth)
				st := r.stats()
				if wrong > 0 {
					t.Errorf("%d of %d are wrong, %d were given up: %+v", wrong, len(list), own, st)
				}
				if st.Servers[0].Rate == 0 {
					t.Error("the rate was not lowered")
				}
				t.Logf("own %d, %+v", own, st)
			})
		})
	}
}

func TestAResolverThatStopsIsNotBelievedAndTheOtherIs(t *testing.T) {
	for name, otherwise := range map[string]func(q *query) []reply{
		"answering":        func(*query) []reply { return nil },
		"serving us":       func(q *query) []reply { return one(q.says(dns.RcodeRefused)) },
		"finding anything": func(q *query) []reply { return one(q.says(dns.RcodeServerFailure)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachEngine(t, func(t *testing.T, fast bool) {
				t.Parallel()
				var stopped atomic.Bool
				a := newStub(t, func(q *query) []reply {
					if stopped.Load() {
						return otherwise(q)
					}
					return world(q)
				})
				r := newRig(t, Config{Fast: fast}, a, newStub(t, world))
				list, truth := population(400)
				r.ask(list...)
				stopped.Store(true)
				more, truths := population(2400)
				more, truths = more[400:], truths[400:]
				for i := 0; i < len(more); i += 500 {
					r.ask(more[i : i+500]...)
				}
				if wrong, own := wrong(t, append(list, more...), append(truth, truths...)); wrong > 0 || own > 0 {
					t.Errorf("%d are wrong, %d were given up: %+v", wrong, own, r.stats())
				}
				for _, s := range r.stats().Servers {
					if s.Addr == a.addr && !s.Ill {
						t.Errorf("it is not ill: %+v", s)
					}
				}
			})
		})
	}
}

func TestNamesAreHeldWhileTheOnlyResolverIsIll(t *testing.T) {
	for name, otherwise := range map[string]func(q *query) []reply{
		"silent":  func(*query) []reply { return nil },
		"refuses": func(q *query) []reply { return one(q.says(dns.RcodeRefused)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachEngine(t, func(t *testing.T, fast bool) {
				t.Parallel()
				var stopped atomic.Bool
				s := newStub(t, func(q *query) []reply {
					if stopped.Load() {
						return otherwise(q)
					}
					return world(q)
				})
				r := newRig(t, Config{Fast: fast}, s)
				r.name("known.example")
				stopped.Store(true)
				time.AfterFunc(4*time.Second, func() { stopped.Store(false) })
				list, truth := population(500)
				r.ask(list...)
				if wrong, own := wrong(t, list, truth); wrong > 0 || own > 0 {
					t.Errorf("%d are wrong, %d were given up: %+v", wrong, own, r.stats())
				}
				if st := r.stats(); st.Servers[0].Illnesses == 0 || st.Ill {
					t.Errorf("it was ill %d times, and is %v", st.Servers[0].Illnesses, st.Ill)
				}
			})
		})
	}
}

func TestNamesAreGivenUpWithoutAWordWhenAllResolversStayIll(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		t.Parallel()
		silent := func(*query) []reply { return nil }
		r := newRig(t, Config{Fast: fast, Hold: time.Second}, newStub(t, silent), newStub(t, silent))
		list, _ := population(300)
		r.ask(list...)
		for _, q := range list {
			if !q.Own || q.Verdict != verdict.SelfResolver {
				t.Fatalf("%s: got %v", q.Name, q.Verdict)
			}
		}
		if st := r.stats(); !st.Ill || st.Own != 300 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestAPortThatIsClosedIsAnIllResolver(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		t.Parallel()
		gone := &stub{addr: closedPort(t)}
		r := newRig(t, Config{Fast: fast, Cache: -1}, gone, newStub(t, world))
		for range 3 {
			list, truth := population(300)
			r.ask(list...)
			if wrong, own := wrong(t, list, truth); wrong > 0 || own > 0 {
				t.Errorf("%d are wrong, %d were given up: %+v", wrong, own, r.stats())
			}
		}
	})
}

// Names that fail come in bursts: those of one zone stand beside each other, and what
// failed is asked again all at once. A resolver that says so is not slowed down for it.
func TestNamesThatFailInBurstsDoNotSlowAResolver(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		t.Parallel()
		r := newRig(t, Config{Fast: fast, Cache: -1}, newStub(t, world))
		r.name("known.example")
		var held int64
		for round := range 5 {
			var list []*Question
			var truth []verdict.Code
			for i := range 400 {
				kind, code := "here", verdict.OK
				if i >= 200 {
					kind, code = "fails", verdict.DNSServFail
				}
				list = append(list, &Question{Name: fmt.Sprintf("%s%d.example", kind, 1000*round+i)})
				truth = append(truth, code)
			}
			r.ask(list...)
			if wrong, own := wrong(t, list, truth); wrong > 0 || own > 0 {
				t.Errorf("round %d: %d of %d are wrong, %d were given up: %+v", round, wrong, len(list), own, r.stats())
			}
			// In the first round it learns that to hold them does not help.
			before := held
			if held = r.stats().Held; round > 0 && held-before > 300 {
				t.Errorf("round %d: %d were held", round, held-before)
			}
		}
		st := r.stats()
		if s := st.Servers[0]; s.Rate > 0 || s.Illnesses > 0 {
			t.Errorf("it is asked less, or was left alone: %+v", st)
		}
		t.Logf("%+v", st)
	})
}

func TestANameThatIsExpectedToFailSaysNothingAboutAResolver(t *testing.T) {
	onEachEngine(t, func(t *testing.T, fast bool) {
		t.Parallel()
		r := newRig(t, Config{Fast: fast, Cache: -1}, newStub(t, world))
		r.name("known.example")
		var list []*Question
		for i := range 400 {
			list = append(list, &Question{Name: fmt.Sprintf("fails%d.example", i), Expected: true})
		}
		r.ask(list...)
		if st := r.stats(); st.Held > 0 || st.Servers[0].Rate > 0 {
			t.Errorf("it was doubted: %+v", st)
		}
	})
}
