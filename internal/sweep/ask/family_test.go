package ask

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/sweep/fetch"
	"pennyfarthing/internal/sweep/health"
	"pennyfarthing/internal/sweep/resolve"
	"pennyfarthing/internal/sweep/target"
	"pennyfarthing/internal/verdict"
)

// A world is a resolver and hosts for one task. It belongs to the reactor.
type world struct {
	reactor *loop.Reactor
	v4, v6  []netip.Addr
	hosts   map[netip.Addr]verdict.Code // what connecting comes to; OK where there is none
	asked   []string                    // in order: A, AAAA, and addresses
	limits  []time.Duration             // to connect, of each address
}

func (w *world) Resolve(q *resolve.Question) {
	addrs := w.v4
	if q.V6 || len(addrs) == 0 { // as the resolver does: AAAA where A says no data
		addrs = w.v6
		w.asked = append(w.asked, "AAAA")
	} else {
		w.asked = append(w.asked, "A")
	}
	q.Verdict, q.Addrs = verdict.OK, addrs
	if len(addrs) == 0 {
		q.Verdict, q.Failures = verdict.DNSNoData, []resolve.Failure{{Verdict: verdict.DNSNoData}}
	}
	w.reactor.Post(func() { q.Done(q) })
}

func (w *world) Fetch(x *fetch.Exchange) {
	addr := x.Addr.Addr()
	w.asked, w.limits = append(w.asked, addr.String()), append(w.limits, x.Connect)
	x.Verdict = verdict.OK
	if code, ok := w.hosts[addr]; ok {
		x.Verdict = code
	}
	if x.Verdict == verdict.OK {
		x.Status = 200
	}
	w.reactor.Post(func() { x.Done(x) })
}

// One family is asked after the other, and each address has the whole time to connect:
// what an address before it has used up is not taken from it.
func TestTheOtherFamilyIsAskedWhenTheFirstCannotBeReached(t *testing.T) {
	a, b := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	c, d := netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("::1")
	for _, test := range []struct {
		about  string
		v4, v6 []netip.Addr
		hosts  map[netip.Addr]verdict.Code
		noIPv6 bool
		asked  []string
		want   string
		family int32 // of the last try
	}{
		{"what answers is asked once, and no more of the DNS", []netip.Addr{a, b}, []netip.Addr{d}, nil, false, []string{"A", "127.0.0.1"}, "ok", 4},
		{"one that does not accept", []netip.Addr{a}, []netip.Addr{d}, map[netip.Addr]verdict.Code{a: verdict.TCPTimeout}, false, []string{"A", "127.0.0.1", "AAAA", "::1"}, "ok", 6},
		{"one that refuses", []netip.Addr{a}, []netip.Addr{d}, map[netip.Addr]verdict.Code{a: verdict.TCPRefused}, false, []string{"A", "127.0.0.1", "AAAA", "::1"}, "ok", 6},
		{
			"at most two before it",
			[]netip.Addr{a, b, c},
			[]netip.Addr{d},
			map[netip.Addr]verdict.Code{a: verdict.TCPTimeout, b: verdict.TCPRefused},
			false,
			[]string{"A", "127.0.0.1", "127.0.0.2", "AAAA", "::1"},
			"ok", 6,
		},
		{"who is connected and silent has been reached", []netip.Addr{a}, []netip.Addr{d}, map[netip.Addr]verdict.Code{a: verdict.HTTPTimeout}, false, []string{"A", "127.0.0.1"}, "http.timeout", 4},
		{"there is no other", []netip.Addr{a}, nil, map[netip.Addr]verdict.Code{a: verdict.TCPTimeout}, false, []string{"A", "127.0.0.1", "AAAA"}, "tcp.timeout", 4},
		{"neither can be reached", []netip.Addr{a}, []netip.Addr{d}, map[netip.Addr]verdict.Code{a: verdict.TCPTimeout, d: verdict.TCPRefused}, false, []string{"A", "127.0.0.1", "AAAA", "::1"}, "tcp.timeout", 6},
		{"no route for the other", []netip.Addr{a}, []netip.Addr{d}, map[netip.Addr]verdict.Code{a: verdict.TCPTimeout}, true, []string{"A", "127.0.0.1"}, "tcp.timeout", 4},
		{"the other alone", nil, []netip.Addr{d}, nil, false, []string{"AAAA", "::1"}, "ok", 6},
	} {
		t.Run(test.about, func(t *testing.T) {
			t.Parallel()
			reactor, err := loop.NewReactor()
			if err != nil {
				t.Fatal(err)
			}
			w := &world{reactor: reactor, v4: test.v4, v6: test.v6, hosts: test.hosts}
			const patience = 7 * time.Second
			asker := New(Config{
				Reactor: reactor, Resolver: w, Fetcher: w, Health: new(health.Monitor),
				Policy: Policy{HTTPS: Never, Method: "GET", OnlyLoopback: true, NoIPv6: test.noIPv6, Timeouts: Timeouts{Connect: patience, Total: patience}},
			})
			ctx, finish := context.WithCancel(t.Context())
			defer finish()
			task := asker.Task()
			if task.Target, err = target.Parse("example.com"); err != nil {
				t.Fatal(err)
			}
			task.Text, task.Done = "example.com", func(*Task) { finish() }
			reactor.Post(func() { asker.Ask(task) })
			if err := reactor.Run(ctx); err != nil {
				t.Fatal(err)
			}
			row := task.Row
			if !slices.Equal(w.asked, test.asked) || row.Verdict != test.want || row.Tries[len(row.Tries)-1].Family != test.family {
				t.Errorf("asked %q, and came to %s: %+v; want %q and %s", w.asked, row.Verdict, row.Tries, test.asked, test.want)
			}
			for i, limit := range w.limits {
				if limit != patience {
					t.Errorf("address %d had %v to connect, want %v", i+1, limit, patience)
				}
			}
		})
	}
}
