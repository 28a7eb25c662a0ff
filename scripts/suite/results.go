package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// An event is one line of go test -json; see go doc test2json.
type event struct {
	Action     string
	ImportPath string // of what was built, in build-output and build-fail
	Package    string
	Test       string
	Output     string
	Elapsed    float64
}

// A test is named by its package and by its own name, which for a subtest begins
// with that of its parent. The empty name stands for the package as a whole.
type test struct{ pkg, name string }

func (t test) compare(u test) int {
	return cmp.Or(cmp.Compare(t.pkg, u.pkg), cmp.Compare(t.name, u.name))
}

// results is what the tests came to, over one or more runs of go test. A later
// outcome of the same test replaces an earlier one, unless that was a failure.
type results struct {
	out      io.Writer
	outcome  map[test]string // pass, fail or skip
	reason   map[test]string // of what was skipped
	again    map[test]bool   // skipped at first, then run
	untested []string        // packages that have no tests
	broken   []string        // packages that failed, by a test of theirs or without
	failed   int             // failures of tests, packages and builds

	output map[test][]string   // of what is still running
	builds map[string][]string // what the compiler said
}

func newResults(out io.Writer) *results {
	return &results{
		out:     out,
		outcome: map[test]string{},
		reason:  map[test]string{},
		again:   map[test]bool{},
		output:  map[test][]string{},
		builds:  map[string][]string{},
	}
}

// read takes in the events of one run and prints a line a package, and all that
// a test wrote when it failed.
func (r *results) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				r.take(e)
			} else {
				fmt.Fprintf(r.out, "%s", line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *results) take(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "build-fail":
		r.failed++
		fmt.Fprintf(r.out, "FAIL  build of %s\n%s", e.ImportPath, strings.Join(r.builds[e.ImportPath], ""))
	case "run":
		r.output[t] = nil
	case "output":
		if _, running := r.output[t]; !running {
			t.name = ""
		}
		r.output[t] = append(r.output[t], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(t, e.Action)
		}
	}
}

func (r *results) endTest(t test, outcome string) {
	switch {
	case r.outcome[t] == "fail":
	case outcome == "fail":
		r.outcome[t] = outcome
		r.failed++
		fmt.Fprintf(r.out, "\nFAIL  %s  %s\n%s\n", t.pkg, t.name, strings.Join(withoutProgress(r.output[t]), ""))
	case outcome == "skip":
		r.outcome[t] = outcome
		r.reason[t] = reason(r.output[t])
	default:
		r.again[t] = r.outcome[t] == "skip"
		r.outcome[t] = outcome
	}
	delete(r.output, t)
}

// endPackage also ends the tests that had no end of their own, because one of
// them took the process with it.
func (r *results) endPackage(e event) {
	pkg := test{pkg: e.Package}
	switch e.Action {
	case "skip":
		r.untested = append(r.untested, e.Package)
	case "pass":
		fmt.Fprintf(r.out, "ok    %6.1fs  %s\n", e.Elapsed, e.Package)
	case "fail":
		r.failed++
		r.broken = append(r.broken, e.Package)
		fmt.Fprintf(r.out, "\nFAIL  %6.1fs  %s\n%s\n", e.Elapsed, e.Package, strings.Join(withoutProgress(r.output[pkg]), ""))
		running := slices.SortedFunc(maps.Keys(r.output), test.compare)
		for _, t := range running {
			if t.pkg == e.Package && t.name != "" {
				r.endTest(t, "fail")
			}
		}
	}
	delete(r.output, pkg)
}

// withoutProgress leaves out the lines by which go test says that a test began,
// paused or went on.
func withoutProgress(output []string) []string {
	return slices.DeleteFunc(slices.Clone(output), func(line string) bool {
		return strings.HasPrefix(line, "=== ")
	})
}

// reason is what a skipped test said, on one line and without the place in the
// file that stands before it.
func reason(output []string) string {
	var said []string
	for _, line := range withoutProgress(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--- SKIP: ") {
			continue
		}
		if place, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = rest
		}
		said = append(said, line)
	}
	return strings.Join(said, " ")
}

// skippedIn names the tests of one package to run again.
type skippedIn struct {
	pkg   string
	tests []string
}

// skippedTests returns, package by package, the top-level tests that were
// skipped or that hold a subtest which was.
func (r *results) skippedTests() []skippedIn {
	tests := map[string][]string{}
	for t := range r.reason {
		top, _, _ := strings.Cut(t.name, "/")
		tests[t.pkg] = append(tests[t.pkg], top)
	}
	var all []skippedIn
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		slices.Sort(tests[pkg])
		all = append(all, skippedIn{pkg, slices.Compact(tests[pkg])})
	}
	return all
}
