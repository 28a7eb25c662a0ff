package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// An allowance is one line of scripts/skips-allowed. Its name may end in *.
type allowance struct {
	test
	why string
}

func (a allowance) covers(t test) bool {
	if prefix, ok := strings.CutSuffix(a.name, "*"); ok {
		return a.pkg == t.pkg && strings.HasPrefix(t.name, prefix)
	}
	return a.test == t
}

func readAllowed(file string) ([]allowance, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []allowance
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s:%d: want a package, a test and the reason why it may be skipped", file, n)
		}
		all = append(all, allowance{test{fields[0], fields[1]}, strings.Join(fields[2:], " ")})
	}
	return all, nil
}

// summary says what ran and what did not, and whether all is well. A line of
// allow that covers no test at all is a mistake too, if the whole module ran.
func (r *results) summary(allow []allowance, whole bool) (string, bool) {
	count := map[string]int{}
	ok := r.failed == 0
	var failed, again, skipped, unknown []string
	tests := slices.SortedFunc(maps.Keys(r.outcome), test.compare)
	for _, t := range tests {
		count[r.outcome[t]]++
		switch {
		case r.outcome[t] == "fail":
			failed = append(failed, t.pkg+"  "+t.name)
		case r.again[t]:
			again = append(again, t.pkg+"  "+t.name+": "+r.reason[t])
		case r.outcome[t] == "skip":
			verdict, allowed := judge(t, r.reason[t], allow)
			ok = ok && allowed
			skipped = append(skipped, t.pkg+"  "+t.name+": "+r.reason[t]+"\n    "+verdict)
		}
	}
	for _, pkg := range slices.Compact(slices.Sorted(slices.Values(r.broken))) {
		if !slices.ContainsFunc(failed, func(line string) bool { return strings.HasPrefix(line, pkg+"  ") }) {
			failed = append(failed, pkg+"  not by one of its tests: see above")
		}
	}
	for _, a := range allow {
		if whole && !slices.ContainsFunc(tests, a.covers) {
			ok = false
			unknown = append(unknown, a.pkg+"  "+a.name)
		}
	}
	slices.Sort(r.untested)

	text := fmt.Sprintf("\n%d tests and subtests ran, %d failed, %d were skipped\n",
		count["pass"]+count["fail"], count["fail"], count["skip"]) +
		section("failed", failed) +
		section("skipped under the race detector, and run without it", again) +
		section("skipped", skipped) +
		section("FAILED: named in skips-allowed, and no such test exists", unknown) +
		section("no tests of their own", slices.Compact(r.untested))
	return text, ok && count["pass"] > 0
}

func section(title string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return title + ":\n  " + strings.Join(lines, "\n  ") + "\n"
}

// judge says whether a test may be skipped, and why.
func judge(t test, reason string, allow []allowance) (string, bool) {
	if reason == "" {
		return "FAILED: it gives no reason", false
	}
	for _, a := range allow {
		if a.covers(t) {
			return "allowed: " + a.why, true
		}
	}
	return "FAILED: install what it lacks (scripts/packages), or say in scripts/skips-allowed why it may be skipped", false
}
