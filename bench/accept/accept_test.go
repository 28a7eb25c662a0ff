//go:build linux

package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain is also the children, which are this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-"+childFlag {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestATurnGivesNumbers(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each child sleeps for a second at its end
	cpus, err := allowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	opts := options{turns: 1, length: 20 * time.Second, workers: 16, most: 100}
	for _, secure := range []bool{false, true} {
		for _, s := range []setup{{CPUs: 1, TLS: secure}, {CPUs: min(2, len(cpus)), TLS: secure, ReusePort: true}} {
			t.Run(s.String(), func(t *testing.T) {
				rows := []row{{setup: s}}
				if err := measurePair(t.Context(), opts, cpus, rows); err != nil {
					t.Fatal(err)
				}
				got := rows[0].samples[0]
				if got.cpuMicros <= 0 || got.rate <= 0 || got.p99 <= 0 || got.most <= 0 || got.least > got.most || got.most > 1 {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}

func TestSharesAreOfOneTurn(t *testing.T) {
	before := reading{CPU: time.Second, Accepted: []int64{100, 0}}
	after := reading{CPU: time.Second + 50*time.Millisecond, Accepted: []int64{130, 70}}
	report := loadReport{Done: 100, Elapsed: 2 * time.Second, P99: time.Millisecond}
	got, err := sampleOf(before, after, report)
	want := sample{cpuMicros: 500, rate: 50, p99: time.Millisecond, least: 0.3, most: 0.7}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	report.Done++
	if _, err := sampleOf(before, after, report); err == nil {
		t.Error("a connection that was not accepted passes")
	}
}

func TestTheTableComparesTurnByTurn(t *testing.T) {
	rows := []row{
		{setup{CPUs: 2}, []sample{{cpuMicros: 10, rate: 100, p99: time.Millisecond, least: 1, most: 1}, {cpuMicros: 20, rate: 100, p99: time.Millisecond, least: 1, most: 1}}},
		{setup{CPUs: 2, ReusePort: true}, []sample{{cpuMicros: 20, rate: 50, p99: time.Millisecond, least: 0.5, most: 0.5}, {cpuMicros: 20, rate: 50, p99: 2 * time.Millisecond, least: 0.4, most: 0.6}}},
	}
	var out strings.Builder
	if err := printTable(&out, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SO_REUSEPORT, 2", "45.0..55.0 %", "10.0..20.0", "-cpus 2, plain: CPU 1.500, conn/s 0.500, p99 1.500"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestWrongUseIsSaid(t *testing.T) {
	for _, args := range []string{"-cpus 0", "-cpus x", "-turns 0", "-length 2m", "-connections 0", "more"} {
		if _, err := parseOptions(strings.Fields(args)); !errors.Is(err, errUsage) {
			t.Errorf("%s: %v", args, err)
		}
	}
	opts, err := parseOptions([]string{"-cpus", "1, 2"})
	if err != nil || len(opts.cpus) != 2 || opts.turns != 5 || opts.workers != 16 {
		t.Errorf("%+v, %v", opts, err)
	}
}
