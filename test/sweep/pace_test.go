package sweep_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pennyfarthing/internal/sweep/pace"
	"pennyfarthing/internal/sweep/result"
	"pennyfarthing/internal/sweep/simnet"
)

// asked is when each address and each network was asked.
func (i *internet) asked(t *testing.T, dir string) map[netip.Prefix][]time.Time {
	t.Helper()
	asked := map[netip.Prefix][]time.Time{}
	for row, err := range result.Rows(dir) {
		if err != nil {
			t.Fatal(err)
		}
		for n := range row.Tries {
			try := &row.Tries[n]
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
	for _, times := range asked {
		slices.SortFunc(times, time.Time.Compare)
	}
	return asked
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

// A polite run keeps its limits: no address and no network hears more than they
// allow, in any second and in any ten.
func TestAPacedRunKeepsItsLimitsForAddressesAndNetworks(t *testing.T) {
	t.Parallel()
	const address, network = 4, 20 // a second
	i := startInternet(t, 500, simnet.ChildConfig{Profile: simnet.Quick})
	dir := filepath.Join(t.TempDir(), "run")
	finish(t, i.polite("-o", dir, "--per-address", fmt.Sprint(address), "--per-network", fmt.Sprint(network), "--quiet"))
	i.mustBeTrue(t, dir, simnet.DefaultPolicy())
	asked := i.asked(t, dir)
	busy := 0 // the busiest network's times in a second
	for prefix, times := range asked {
		limit := network
		if prefix.IsSingleIP() {
			limit = address
		}
		for _, seconds := range []int{1, 10} {
			// A try's time is known to some milliseconds, and one whose turn came
			// while penny had no processor is late for it: a few more than the limit.
			most := busiest(times, time.Duration(seconds)*time.Second)
			if !prefix.IsSingleIP() && seconds == 1 {
				busy = max(busy, most)
			}
			if allowed := limit*seconds + 1 + limit; most > allowed {
				t.Errorf("%s was asked %d times in %d s, want at most %d", prefix, most, seconds, allowed)
			}
		}
	}
	if busy < network/2 {
		t.Errorf("the busiest network was asked %d times in a second: nobody had to wait", busy)
	}
}
