package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// stream is what go test -json prints for one package p with these tests, each
// "name outcome" or "name skip what it says".
func stream(t *testing.T, tests ...string) io.Reader {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	put := func(e event) {
		e.Package = "p"
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	end := "pass"
	for _, line := range tests {
		name, rest, _ := strings.Cut(line, " ")
		outcome, said, _ := strings.Cut(rest, " ")
		put(event{Action: "run", Test: name})
		put(event{Action: "output", Test: name, Output: "=== RUN   " + name + "\n"})
		if said != "" {
			put(event{Action: "output", Test: name, Output: "    p_test.go:7: " + said + "\n"})
		}
		if outcome == "dies" {
			end = "fail"
			put(event{Action: "output", Output: "panic: test timed out\n"})
			continue
		}
		if outcome == "fail" {
			end = "fail"
		}
		put(event{Action: "output", Test: name, Output: "--- " + strings.ToUpper(outcome) + ": " + name + " (0.00s)\n"})
		put(event{Action: outcome, Test: name})
	}
	put(event{Action: end})
	return strings.NewReader(b.String())
}

func TestSummary(t *testing.T) {
	allow := []allowance{{test{"p", "TestRoot*"}, "needs root; CI has it"}}
	tests := []struct {
		name  string
		runs  [][]string
		ok    bool
		wants []string
	}{
		{
			"all pass",
			[][]string{{"TestA pass", "TestRootA pass"}},
			true,
			[]string{"2 tests and subtests ran, 0 failed, 0 were skipped"},
		},
		{
			"a failure fails",
			[][]string{{"TestA fail got 1, want 2", "TestRootA pass"}},
			false,
			[]string{"failed:\n  p  TestA"},
		},
		{
			"a skip fails, with its reason",
			[][]string{{"TestA skip nginx is missing", "TestRootA pass"}},
			false,
			[]string{"p  TestA: nginx is missing\n    FAILED: install"},
		},
		{
			"a skip that is allowed is shown with both reasons",
			[][]string{{"TestA pass", "TestRootA skip not root"}},
			true,
			[]string{"p  TestRootA: not root\n    allowed: needs root; CI has it"},
		},
		{
			"a skip without a reason fails even when it is allowed",
			[][]string{{"TestA pass", "TestRootA skip"}},
			false,
			[]string{"FAILED: it gives no reason"},
		},
		{
			"what the second run makes up for is well",
			[][]string{{"TestA skip counts allocations", "TestRootA pass"}, {"TestA pass"}},
			true,
			[]string{"run without it:\n  p  TestA: counts allocations", "0 were skipped"},
		},
		{
			"what fails in the second run fails",
			[][]string{{"TestA skip counts allocations", "TestRootA pass"}, {"TestA fail"}},
			false,
			[]string{"failed:\n  p  TestA"},
		},
		{
			"a pass in the second run does not mend a failure",
			[][]string{{"TestA fail", "TestA/sub skip counts", "TestRootA pass"}, {"TestA pass", "TestA/sub pass"}},
			false,
			[]string{"failed:\n  p  TestA"},
		},
		{
			"a test that takes the process with it fails",
			[][]string{{"TestRootA pass", "TestA dies"}},
			false,
			[]string{"failed:\n  p  TestA"},
		},
		{
			"a line in skips-allowed for a test that is gone fails",
			[][]string{{"TestA pass"}},
			false,
			[]string{"no such test exists:\n  p  TestRoot*"},
		},
		{
			"nothing at all fails",
			[][]string{{}},
			false,
			[]string{"0 tests and subtests ran"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newResults(t.Output())
			for _, run := range tt.runs {
				if err := r.read(stream(t, run...)); err != nil {
					t.Fatal(err)
				}
			}
			text, ok := r.summary(allow, true)
			if ok != tt.ok {
				t.Errorf("ok is %v, want %v, of\n%s", ok, tt.ok, text)
			}
			for _, want := range tt.wants {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
}

func TestReadPrintsWhatFailedTestsWroteAndNothingOfTheOthers(t *testing.T) {
	var out strings.Builder
	if err := newResults(&out).read(stream(t, "TestA fail got 1", "TestB pass quiet")); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "got 1") || strings.Contains(got, "quiet") {
		t.Errorf("printed %q", got)
	}
}

func TestABuildThatFailsIsAFailure(t *testing.T) {
	var out strings.Builder
	r := newResults(&out)
	err := r.read(strings.NewReader(`{"ImportPath":"p","Action":"build-output","Output":"p.go:1: undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
`))
	if err != nil {
		t.Fatal(err)
	}
	text, ok := r.summary(nil, true)
	if ok || !strings.Contains(out.String(), "undefined: x") || !strings.Contains(text, "failed:\n  p  ") {
		t.Errorf("ok is %v, printed %q, and then %q", ok, out.String(), text)
	}
}

func TestTestsToRunAgainAreTheTopLevelOnes(t *testing.T) {
	r := newResults(io.Discard)
	if err := r.read(stream(t, "TestB/x skip a", "TestB/y skip b", "TestB pass", "TestA skip c", "TestC pass")); err != nil {
		t.Fatal(err)
	}
	got := r.skippedTests()
	if len(got) != 1 || got[0].pkg != "p" || strings.Join(got[0].tests, " ") != "TestA TestB" {
		t.Errorf("got %v, want TestA and TestB of p", got)
	}
}
