//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// held makes a cell of idle connections: MiB before, and with them.
func held(server string, connections int, before, with int64) cell {
	return cell{Server: server, Samples: []sample{{
		Memory: memory{Rss: with << 10}, Idle: &idleFigures{Connections: connections, Before: memory{Rss: before << 10}},
	}}}
}

// shared makes a cell of fair and unfair answers, one turn for each p99.
func shared(server string, p99 ...float64) cell {
	c := cell{Server: server}
	for _, ms := range p99 {
		c.Samples = append(c.Samples, sample{
			Rate: 1000, Requests: 1000, ServerBusy: 0.99, LoadBusy: 0.5, P99Millis: ms, Classes: []classFigures{
				{What: "1 KiB", Done: 900, P50Millis: ms / 2, P99Millis: ms, MaxMillis: 2 * ms, Least: 90, Middle: 100, Most: 110, Jain: 0.995},
				{What: "1 MiB", Done: 100, P50Millis: 5 * ms, P99Millis: 10 * ms, MaxMillis: 20 * ms, Least: 9, Middle: 10.5, Most: 11, Jain: 0.9},
			},
		})
	}
	return c
}

func exampleReport() report {
	servers := []string{ours, "nginx", theBar}
	return report{
		Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: "go run ./bench/edge -turns 2", Turns: 2, Seconds: 1, Servers: servers,
		Machine:  machine{CPU: "A CPU", Cores: 2, MemoryMiB: 2048, Kernel: "6.1", Congestion: "cubic", Go: "go1.26", Load: "0.1, 0.2, 0.3"},
		Versions: map[string]string{ours: "penny abc", "nginx": "nginx/1", theBar: "caddy 2", "wrk": "wrk 4", "h2load": "h2load 1"},
		Logs:     "one request in 100", Traffic: []traffic{{"h1-mix-hot", "nginx", "70 % br; 900 bytes a request"}},
		Cases: []caseReport{
			{Name: "h1-1k", Kind: kindCPU, Goals: []goal{{"nginx", 0.7}}, What: "one kibibyte", Cells: []cell{turns(ours, 10, 12), turns("nginx", 20, 20), turns(theBar, 100, 100)}},
			{Name: "idle-h1", Kind: kindIdle, What: "plain", Cells: []cell{held(ours, 10000, 20, 300), held("nginx", 10000, 5, 15)}},
			{Name: "idle-tls", Kind: kindIdle, What: "over TLS", Cells: []cell{
				held(ours, 10000, 20, 190), held(oursPlain, 10000, 20, 400), held("nginx", 10000, 5, 155), {Server: theBar, Failed: "it ended:\nno files"},
			}},
			{Name: "fair-h2-mixed", Kind: kindFair, What: "all at once", Cells: []cell{shared(ours, 5, 5), shared("nginx", 10, 20), {Server: theBar, Failed: "turn 1: no"}}},
		},
	}
}

func TestThePage(t *testing.T) {
	var out strings.Builder
	page(&out, exampleReport())
	checkGolden(t, "performance.golden", out.String())
}

func TestTheSummaryHasEveryKind(t *testing.T) {
	var out strings.Builder
	r := exampleReport()
	for _, c := range r.Cases {
		printCase(&out, c)
	}
	printSummary(&out, r.Cases, r.Servers)
	checkGolden(t, "kinds.golden", out.String())
}

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(captured(t, name), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTheBarOfMemoryIsForItsNumberOfConnections(t *testing.T) {
	tests := []struct {
		name, c string
		it      cell
		ok      bool
	}{
		{"over TLS", "idle-tls", held(ours, idleBarConnections, 20, 150), true},
		{"fewer connections", "idle-tls", held(ours, 1000, 20, 150), false},
		{"plain", "idle-h1", held(ours, idleBarConnections, 20, 150), false},
		{"failed", "idle-h2", cell{Server: ours, Failed: "no"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			total, ok := idleTotal(caseReport{Name: test.c}, test.it)
			if ok != test.ok || ok && total != 150 {
				t.Errorf("%v, %v", total, ok)
			}
		})
	}
	if got := held(ours, 1024, 20, 150).Samples[0].perConnection(); got != 130 {
		t.Errorf("%v KiB a connection, want 130", got)
	}
}

func TestBothEnginesAreMeasuredWhereMemoryIs(t *testing.T) {
	idle, other := benchCase{load: loadIdle}, benchCase{load: loadFair}
	tests := []struct {
		name, servers, engine string
		c                     benchCase
		want                  string
	}{
		{"idle", "penny,nginx", "fast", idle, "penny,penny-plain,nginx"},
		{"already named", "penny-plain,penny", "fast", idle, "penny-plain,penny"},
		{"the plain one alone", "penny,nginx", "plain", idle, "penny,nginx"},
		{"without ours", "nginx", "fast", idle, "nginx"},
		{"other cases", "penny,nginx", "fast", other, "penny,nginx"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := &bench{opts: options{servers: splitList(test.servers), engine: test.engine}}
			if got := strings.Join(b.serversOf(test.c), ","); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
