//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func samples(seconds ...float64) []sample {
	var all []sample
	for _, s := range seconds {
		all = append(all, sample{Seconds: s, CPU: 2 * s, Traffic: traffic{Up: int64(s * 10_000), Down: int64(s * 1000), Visitors: 10}})
	}
	return all
}

func TestARatioIsTakenTurnByTurn(t *testing.T) {
	// 1/10, 2/2, 6/3: a busy moment that both sides shared is none in a ratio
	r := rowReport{Penny: samples(1, 2, 6), Rsync: samples(10, 2, 3)}
	if got := r.ratio(seconds); got != 1 {
		t.Errorf("ratio %v, want 1", got)
	}
}

func testReport() report {
	cases := allCases()
	r := report{
		Command: "go run ./bench/deploy -turns 3", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Turns: 3,
		Machine:  machine{CPU: "A CPU", Cores: 2, Memory: 8 << 20, Kernel: "6.1", Go: "go1.26", Load: "1.00, 1.00, 1.00"},
		Versions: map[string]string{"penny": "penny 1", "rsync": "rsync version 3"},
		Trees:    []treeReport{{"files", filesTree().what, 10_001, 175e6}},
	}
	for _, c := range cases {
		row := rowReport{Name: c.name(), plan: c, Penny: samples(0.4, 0.5, 0.6), Rsync: samples(1, 2, 3)}
		if c.row.name == "byte" {
			row.Failed = "turn 1: a reason"
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

func TestThePageIsAsItWas(t *testing.T) {
	var got bytes.Buffer
	page(&got, testReport())
	golden := filepath.Join("testdata", "page.md")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-update rewrites it)", diff)
	}
}

func TestThePageOfARunThatWasInterruptedSaysSo(t *testing.T) {
	r := testReport()
	r.Planned = len(r.Rows) + 3
	var got bytes.Buffer
	page(&got, r)
	if !strings.Contains(got.String(), "The run was interrupted: 20 rows of 23.") {
		t.Error("it does not")
	}
}

func TestBarsAreMetAtTheirEdgeAndMissedBeyond(t *testing.T) {
	r := rowReport{Penny: samples(0.2), Rsync: samples(1), plan: benchCase{row: nothing(), far: &barFar{0.2, 2199}}}
	var got []string
	for _, b := range r.bars() {
		got = append(got, b.String())
	}
	want := []string{
		"time 0.20 of rsync's, at most 0.2: met", "bytes 0.20 of rsync's, at most 1: met",
		"0.20 s, at most 0.2 s: met", "2.2 KB, at most 2.199 KB: missed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryRowOfTheTaskIsInThePlan(t *testing.T) {
	var names []string
	for _, c := range allCases() {
		names = append(names, c.name())
	}
	want := strings.Fields(`files/near/first files/near/nothing files/near/one files/near/percent files/near/byte
		files/slow/first files/slow/nothing files/slow/one files/slow/percent files/slow/byte files/far/nothing
		small/near/first small/near/nothing small/near/one small/near/percent
		small/slow/first small/slow/nothing small/slow/one small/slow/percent small/far/nothing`)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestOptionsThatAreWrongAreToldTogether(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-turns 0 -scale 2", "-turns is between 1 and 100\n-scale is between 0.001 and 1"},
		{"more", "unexpected arguments: more"},
		{"-only nowhere", `-only "nowhere" names no row`},
		{"-only [", "syntax error in pattern"},
	}
	for _, tt := range tests {
		err := realMain(t.Context(), append([]string{"-list"}, strings.Fields(tt.args)...), new(bytes.Buffer))
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestAPatternSelectsRowsInTheOrderOfThePlan(t *testing.T) {
	var out bytes.Buffer
	if err := realMain(t.Context(), []string{"-list", "-only", "*/far/*,files/near/o*"}, &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Fields(line)[0])
	}
	if diff := cmp.Diff([]string{"files/near/one", "files/far/nothing", "small/far/nothing"}, got); diff != "" {
		t.Error(diff)
	}
}
