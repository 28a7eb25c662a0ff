package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"pennyfarthing/internal/sweep/pace"
	"pennyfarthing/internal/sweep/result"
)

// pacedInFlight is how many targets a paced run has under way: penny's default.
const pacedInFlight = 8000

// A pacing is the limits of a paced run, and the most that anybody has heard.
type pacing struct {
	Address        int `json:"limit_of_an_address"` // requests a second, as below
	Network        int `json:"limit_of_a_network"`
	OneAddress     int `json:"most_to_an_address"` // in any second
	OneNetwork     int `json:"most_to_a_network"`
	TenOfAnAddress int `json:"most_to_an_address_in_ten_seconds"`
	TenOfANetwork  int `json:"most_to_a_network_in_ten_seconds"`
}

// limitsFor are limits under which so many targets take some twenty seconds, whatever
// their number: the busiest network of simnet's hosters has a ninth of them, and the
// busiest address about a hundredth.
func limitsFor(targets int) pacing {
	return pacing{Address: max(1, targets/2500), Network: max(5, targets/200)}
}

// paced is penny alone, with limits for addresses and networks.
func (n *internet) paced(ctx context.Context, o *options, penny string) (measurement, error) {
	limits := limitsFor(o.targets)
	m, err := n.measured(ctx, o, penny, "penny", "paced", pacedInFlight, func(dir string) error {
		return limits.look(filepath.Join(dir, "run"))
	})
	m.Pacing = &limits
	return m, err
}

// look finds the most that anybody has heard, by the tries of a run's rows.
func (p *pacing) look(run string) error {
	asked := map[netip.Prefix][]time.Time{}
	for row, err := range result.Rows(run) {
		if err != nil {
			return err
		}
		for i := range row.Tries {
			try := &row.Tries[i]
			addr, err := netip.ParseAddr(try.Address)
			if err != nil || try.TotalUS == 0 { // not asked
				continue
			}
			at := try.At.Add(time.Duration(try.DNSUS) * time.Microsecond)
			single := netip.PrefixFrom(addr, addr.BitLen())
			asked[single] = append(asked[single], at)
			asked[pace.NetworkOf(addr)] = append(asked[pace.NetworkOf(addr)], at)
		}
	}
	for prefix, times := range asked {
		slices.SortFunc(times, time.Time.Compare)
		one, ten := busiest(times, time.Second), busiest(times, 10*time.Second)
		if prefix.IsSingleIP() {
			p.OneAddress, p.TenOfAnAddress = max(p.OneAddress, one), max(p.TenOfAnAddress, ten)
		} else {
			p.OneNetwork, p.TenOfANetwork = max(p.OneNetwork, one), max(p.TenOfANetwork, ten)
		}
	}
	return nil
}

// busiest is how many of the times are within a window, at most.
func busiest(times []time.Time, window time.Duration) int {
	most, from := 0, 0
	for to := range times {
		for times[to].Sub(times[from]) >= window {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

// kept reports whether the limits were kept. A try's time is known to some milliseconds,
// and one whose turn came while penny had no processor is late for it: so a second may
// have as many more as come in half of one.
func (p *pacing) kept() bool {
	within := func(most, limit, seconds int) bool { return most <= limit*seconds+limit/2+1 }
	return within(p.OneAddress, p.Address, 1) && within(p.TenOfAnAddress, p.Address, 10) && within(p.OneNetwork, p.Network, 1) && within(p.TenOfANetwork, p.Network, 10)
}

// write says how the limits were kept, and what that cost beside runs without any.
func (m *measurement) writePacing(w io.Writer, all []measurement) {
	p := m.Pacing
	word := "kept"
	if !p.kept() {
		word = "NOT kept"
	}
	_, _ = fmt.Fprintf(w, "\npaced, in %.0f s: the limits were %s\n", m.Seconds, word)
	_, _ = fmt.Fprintf(w, "  one address, at most %d/s: %d in its busiest second, %d in its busiest ten\n", p.Address, p.OneAddress, p.TenOfAnAddress)
	_, _ = fmt.Fprintf(w, "  one network, at most %d/s: %d in its busiest second, %d in its busiest ten\n", p.Network, p.OneNetwork, p.TenOfANetwork)
	for _, other := range all {
		if other.Client == "penny" && other.Kind == "plain" {
			_, _ = fmt.Fprintf(w, "  paced, penny needs %.2f of its CPU without pacing and with %d in flight\n", m.CPU/other.CPU, other.InFlight)
		}
	}
}
