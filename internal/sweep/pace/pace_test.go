package pace

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// A waiter is a request on its way through the lines.
type waiter struct {
	turn   Turn
	at     int64
	addr   netip.Addr
	domain string
}

type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].at < w[j].at }
func (w waiters) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiters) Push(x any)        { *w = append(*w, x.(*waiter)) }
func (w *waiters) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

// begin has all of the waiters begin, and tells when each did. Timers are late by
// up to 10 ms, as those of a reactor are.
func begin(t *testing.T, p *Pacer, all waiters, began func(at int64, w *waiter)) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	heap.Init(&all)
	calls := 0
	for n := len(all); len(all) > 0; {
		w := all[0]
		now := w.at
		if calls++; calls > 20*n {
			t.Fatalf("%d requests asked %d times", n, calls)
		}
		at := p.Next(&w.turn, now, w.addr, w.domain)
		if at <= now {
			heap.Pop(&all)
			began(now, w)
			continue
		}
		w.at = at + random.Int64N(int64(10*time.Millisecond))
		heap.Fix(&all, 0)
	}
}

// most is the greatest number of times within any window.
func most(times []int64, window time.Duration) int {
	n, from := 0, 0
	for i, at := range times {
		for times[from] <= at-int64(window) {
			from++
		}
		n = max(n, i-from+1)
	}
	return n
}

func TestNoLimitIsExceeded(t *testing.T) {
	limits := Limits{All: 400, Address: 2, Network: 20, Domain: 5}
	p := New(limits)
	random := rand.New(rand.NewPCG(1, 2))
	var all waiters
	for i := range 3000 {
		w := &waiter{at: random.Int64N(int64(5 * time.Second)), domain: fmt.Sprintf("d%d.example", random.IntN(900))}
		net := byte(random.IntN(4)) // a hoster: few networks
		if i%2 == 0 {
			net = 10 + byte(random.IntN(200))
		}
		w.addr = netip.AddrFrom4([4]byte{198, 51, net, byte(random.IntN(40))})
		all = append(all, w)
	}
	total := len(all)
	var times []int64
	by := map[any][]int64{}
	begin(t, p, all, func(at int64, w *waiter) {
		times = append(times, at)
		for _, key := range []any{w.addr, NetworkOf(w.addr), w.domain} {
			by[key] = append(by[key], at)
		}
	})
	if len(times) != total {
		t.Fatalf("%d of %d requests began", len(times), total)
	}
	// A window of ten seconds may have one place more at its edge, and a network's
	// places may be used late by those whose address kept them.
	if n := most(times, 10*time.Second); n > 4000+20 {
		t.Errorf("%d requests within ten seconds, with a limit of 400/s", n)
	}
	for key, list := range by {
		limit, slack := 0.0, 1.0
		switch key.(type) {
		case netip.Addr:
			limit = limits.Address
		case netip.Prefix:
			limit, slack = limits.Network, 6
		default:
			limit = limits.Domain
		}
		if n := most(list, 10*time.Second); float64(n) > 10*limit+slack {
			t.Errorf("%v: %d requests within ten seconds, with a limit of %v/s", key, n, limit)
		}
	}
	if _, n := p.Busiest(); n != 0 {
		t.Errorf("%d are waiting still", n)
	}
}

func TestABusyAddressDoesNotHoldUpItsNetwork(t *testing.T) {
	p := New(Limits{Address: 2, Network: 50})
	var all waiters
	for range 100 {
		all = append(all, &waiter{addr: netip.MustParseAddr("198.51.100.1")})
	}
	other := &waiter{at: 1, addr: netip.MustParseAddr("198.51.100.2")}
	all = append(all, other)
	var last int64
	begin(t, p, all, func(at int64, w *waiter) {
		last = at
		if w == other && at > int64(time.Second) {
			t.Errorf("another address of the network began after %v", time.Duration(at))
		}
	})
	if d := time.Duration(last); d < 49*time.Second || d > 52*time.Second {
		t.Errorf("100 requests to one address took %v at 2/s", d)
	}
}

func TestWithoutLimitsNobodyWaits(t *testing.T) {
	p := New(Limits{})
	for range 1000 {
		var turn Turn
		if at := p.Next(&turn, 5, netip.MustParseAddr("198.51.100.1"), "example"); at != 5 {
			t.Fatalf("has to wait until %d", at)
		}
	}
}

func TestTheBusiestNetworkIsKnown(t *testing.T) {
	p := New(Limits{Network: 1})
	turns := make([]Turn, 30)
	for i := range turns {
		net := byte(i % 3 / 2) // two of three in the first
		p.Next(&turns[i], 0, netip.AddrFrom4([4]byte{198, 51, net, 1}), "")
	}
	if prefix, n := p.Busiest(); prefix != netip.MustParsePrefix("198.51.0.0/24") || n != 19 {
		t.Errorf("%d wait for %v, want 19 for 198.51.0.0/24: one has begun", n, prefix)
	}
	for i := range turns {
		p.Abandon(&turns[i])
	}
	if prefix, n := p.Busiest(); n != 0 {
		t.Errorf("%d wait for %v after all have gone", n, prefix)
	}
	if d := p.Floor(90); d != 90*time.Second {
		t.Errorf("90 requests at 1/s take %v", d)
	}
}

func TestLinesThatNobodyIsInAreForgotten(t *testing.T) {
	p := New(Limits{Address: 10})
	for i := range 200_000 {
		var turn Turn
		now := int64(i) * int64(time.Millisecond)
		addr := netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
		if at := p.Next(&turn, now, addr, ""); at != now {
			t.Fatalf("%v has to wait", addr)
		}
	}
	if n := len(p.address.by); n > 10_000 {
		t.Errorf("%d addresses are kept", n)
	}
}
