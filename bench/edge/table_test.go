//go:build linux

package main

import (
	"flag"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// turns makes a cell: CPU us, with a rate that goes with it.
func turns(server string, micros ...float64) cell {
	c := cell{Server: server}
	for _, us := range micros {
		c.Samples = append(c.Samples, sample{
			CPUMicros: us, Rate: 1e6 / us, P99Millis: us / 10, Memory: memory{Pss: int64(us * 1024)}, ServerBusy: 0.99, LoadBusy: 0.8, Requests: 1000,
		})
	}
	return c
}

func TestRatio(t *testing.T) {
	cpu, rate := metrics[0], metrics[1]
	failedPeer := cell{Server: "nginx", Failed: "turn 1: no"}
	tests := []struct {
		name  string
		m     metric
		cells []cell
		peers []string
		want  float64
		best  string
		ok    bool
	}{
		{
			// per turn 10/20, 30/20 (nginx is best there), 40/40: the median is 1, whatever the medians' ratio
			name: "the best peer of each turn counts", m: cpu, ok: true, want: 1, best: "h2o",
			cells: []cell{turns(ours, 10, 30, 40), turns("nginx", 50, 20, 60), turns("h2o", 20, 45, 40)},
		},
		{
			name: "more is better for requests a second", m: rate, ok: true, want: 2, best: "h2o",
			cells: []cell{turns("h2o", 20), turns("caddy", 80), turns(ours, 10)},
		},
		{
			name: "one peer when it is named", m: cpu, peers: []string{"caddy"}, ok: true, want: 0.125, best: "caddy",
			cells: []cell{turns("h2o", 20), turns("caddy", 80), turns(ours, 10)},
		},
		{
			name: "peers that failed are left out", m: cpu, ok: true, want: 0.5, best: "h2o",
			cells: []cell{failedPeer, turns("h2o", 20), turns(ours, 10)},
		},
		{name: "no ratio when every peer failed", m: cpu, cells: []cell{failedPeer, turns(ours, 10)}},
		{name: "no ratio when ours failed", m: cpu, cells: []cell{{Server: ours, Failed: "x"}, turns("h2o", 20)}},
		{name: "no ratio without ours", m: cpu, cells: []cell{turns("h2o", 20)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, best, ok := ratio(test.m, test.cells, test.peers...)
			if got != test.want || best != test.best || ok != test.ok {
				t.Errorf("got %v %q %v, want %v %q %v", got, best, ok, test.want, test.best, test.ok)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 3: {3}, 2: {3, 1}, 5: {9, 5, 1}} {
		if got := median(values); got != want {
			t.Errorf("median of %v is %v, want %v", values, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	cases := []caseReport{
		{Name: "h1-1k", Kind: kindCPU, Goals: []goal{{"nginx", 0.7}}, What: "HTTP/1.1 plain", Cells: []cell{turns(ours, 10, 11, 12), turns("nginx", 15, 14, 16), turns("caddy", 100, 110, 105)}},
		{Name: "tls-1k", Kind: kindCPU, Goals: []goal{{"nginx", 0.7}}, What: "HTTP/1.1 over TLS", Cells: []cell{turns(ours, 22, 22, 22), {Server: "nginx", Failed: "turn 2: wrk got no response"}, turns("caddy", 20, 20, 20)}},
		{Name: "connect", Kind: kindCPU, Goals: []goal{{"nginx", 0.9}}, What: "new connections", Cells: []cell{{Server: ours, Failed: "start: no"}, turns("nginx", 400), turns("caddy", 450)}},
	}
	var out strings.Builder
	for _, c := range cases {
		printCase(&out, c)
	}
	printSummary(&out, cases, []string{ours, "nginx", "caddy"})
	checkGolden(t, "tables.golden", out.String())
}
