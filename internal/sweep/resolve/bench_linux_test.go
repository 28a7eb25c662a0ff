package resolve

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// cpu is the processor time of this process so far.
func cpu(t testing.TB) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return time.Duration(unix.TimevalToNsec(ru.Utime) + unix.TimevalToNsec(ru.Stime))
}

// BenchmarkNames asks a server in another process for 50,000 names a time.
func BenchmarkNames(b *testing.B) {
	const names, under = 50_000, 2000
	list := make([]string, names)
	for i := range list {
		list[i] = fmt.Sprintf("name-%d.example.com", i)
	}
	for name, fast := range engines() {
		b.Run(name, func(b *testing.B) {
			addr := netip.MustParseAddrPort(startServer(b))
			var used time.Duration
			var rounds, wrong, queries int64
			for b.Loop() {
				used += sweepOnce(b, Config{Servers: []Server{{Addr: addr}}, Fast: fast}, list, under, &wrong, &queries)
				rounds++
			}
			n := float64(rounds * names)
			b.ReportMetric(float64(used.Nanoseconds())/1e3/n, "us-cpu/name")
			b.ReportMetric(n/b.Elapsed().Seconds(), "names/s")
			b.ReportMetric(float64(queries)/n, "queries/name")
			b.ReportMetric(float64(wrong), "wrong")
		})
	}
}

// sweepOnce resolves a list, so many at a time, and returns the CPU that it took.
func sweepOnce(b *testing.B, c Config, list []string, under int, wrong, queries *int64) time.Duration {
	r, err := loop.NewReactor()
	if err != nil {
		b.Fatal(err)
	}
	x, err := New(r, c)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	ctx, cancel := context.WithCancel(b.Context())
	next, left := 0, len(list)
	done := func(q *Question) {
		if q.Verdict != verdict.OK || len(q.Addrs) != 1 {
			*wrong++
		}
		if left--; left == 0 {
			cancel()
		}
		if next < len(list) {
			q.Name = list[next]
			next++
			x.Resolve(q)
		}
	}
	questions := make([]Question, under)
	before := cpu(b)
	r.Post(func() {
		for i := range questions {
			q := &questions[i]
			q.Name, q.Done = list[next], done
			next++
			x.Resolve(q)
		}
	})
	if err := r.Run(ctx); err != nil {
		b.Fatal(err)
	}
	used := cpu(b) - before
	*queries += x.Stats().Queries
	return used
}
