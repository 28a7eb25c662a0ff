package rules_test

import (
	"fmt"
	"strings"
	"testing"

	"pennyfarthing/internal/rules"
)

// manyRedirects has n plain rules, and above them a few with wildcards.
func manyRedirects(tb testing.TB, n int) *rules.Redirects {
	tb.Helper()
	var src strings.Builder
	src.WriteString("/blog/:year/:month /archive/:year-:month 301\n/podcast/* https://cast.example.net/:splat 302\n")
	for i := range n {
		fmt.Fprintf(&src, "/old/page-%d.html /new/page-%d/ 301\n", i, i)
	}
	return redirects(tb, rules.Netlify, src.String())
}

func BenchmarkMatch(b *testing.B) {
	r := manyRedirects(b, 9000)
	notShadowed := func() bool { return false }
	for name, path := range map[string]string{
		"plain": "/old/page-8999.html", "placeholder": "/blog/2024/05", "none": "/assets/app-31415926.css",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			req := rules.Request{Scheme: "https", Host: "example.com", Path: path}
			for b.Loop() {
				r.Match(req, notShadowed)
			}
		})
	}
}

func TestRequestsThatNoRuleMatchesCostNoMemory(t *testing.T) {
	r := manyRedirects(t, 100)
	req := rules.Request{Scheme: "https", Host: "example.com", Path: "/assets/app-31415926.css"}
	if n := testing.AllocsPerRun(100, func() { r.Match(req, nil) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
