package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/rules"
)

func lines(differences []rules.Difference) []string {
	var out []string
	for _, d := range differences {
		out = append(out, fmt.Sprintf("%d: %s", d.Line, d.What))
	}
	return out
}

func TestRedirectsThatTheDialectsUnderstandDifferently(t *testing.T) {
	const netlify = `/same /thing 301
/home /
/a /b 301!
/gone /gone.html 410
/store id=:id /blog/:id 301
http://old.example.com/* https://www.example.com/:splat 301
/app/* 200
/* /index.html 200
/news/* /blog/:splat 301
/about /about/ 301
/x:y /z 301`
	r := redirects(t, rules.Netlify, netlify)
	if diff := cmp.Diff([]string{
		"2: netlify redirects with 301 where no status is given; cloudflare with 302",
		`3: netlify applies the rule also where the site has content; cloudflare ignores the line: it does not know "!" after a status`,
		"4: netlify sends the target with status 410; cloudflare ignores the line: it does not take status 410",
		"5: netlify applies the rule to requests with these query parameters only; cloudflare ignores the line: it does not look at query parameters",
		"6: netlify applies the rule to http://old.example.com only; cloudflare ignores the line: it does not take a source with a host",
		"7: netlify takes the target from the source; cloudflare ignores the line: it expects a target before the status",
		"8: netlify applies the rule; cloudflare ignores the line: it takes the rule for an infinite loop",
		"9: netlify matches /news as well; cloudflare only what begins with /news/",
		"10: netlify takes source and target for the same path; cloudflare redirects from one to the other",
		"11: netlify takes a colon inside of a segment for a colon; cloudflare for the beginning of a placeholder",
	}, lines(r.Differences())); diff != "" {
		t.Error(diff)
	}
	if len(r.Everywhere()) != 2 {
		t.Errorf("%q hold everywhere, want two sentences", r.Everywhere())
	}
	if diff := cmp.Diff([]string{
		"1: netlify sends the content that the site has at /same/; cloudflare applies the rule",
		"9: netlify sends the content that the site has at /news/today; cloudflare applies the rule",
	}, lines(r.Shadowed(slices.Values([]string{"/", "/same/", "/news/today", "/news/old", "/gone"})))); diff != "" {
		t.Error(diff)
	}

	const cloudflare = "/c?d=e /f 301\n/img/:name.jpg /x/:name 301\n/a/*/b /c/:splat 301"
	if diff := cmp.Diff([]string{
		"1: netlify never matches a source with a query or a fragment; cloudflare matches /c",
		`2: netlify does not take this source: the placeholder :name is only a part of ":name.jpg"; cloudflare does`,
		"3: netlify does not take this source: a splat stands at the end of the source only; cloudflare does",
	}, lines(redirects(t, rules.Cloudflare, cloudflare).Differences())); diff != "" {
		t.Error(diff)
	}
}

func TestCloudflaresBoundsAreDifferences(t *testing.T) {
	var src strings.Builder
	for i := range 102 {
		fmt.Fprintf(&src, "/%d/:x /y 301\n", i)
	}
	if diff := cmp.Diff([]string{
		"101: netlify has no such limit; cloudflare ignores the line: it takes 100 rules from the first with wildcards on",
		"102: netlify has no such limit; cloudflare ignores the line: it takes 100 rules from the first with wildcards on",
	}, lines(redirects(t, rules.Netlify, src.String()).Differences())); diff != "" {
		t.Error(diff)
	}
}

func TestHeadersThatTheDialectsUnderstandDifferently(t *testing.T) {
	const src = `/same
  X-A: 1
/*
  X-B: 1
/static/*
  ! X-B
  X-C: 2
/*.jpg
  X-B: 2
https://:project.pages.dev/x
  X-D: https://staging.:project.pages.dev
/*/a/*
  X-E: 1`
	if diff := cmp.Diff([]string{
		"5: netlify matches /static as well; cloudflare only what begins with /static/",
		"6: netlify ignores the line; cloudflare removes the field X-B",
		`9: netlify sends this value of X-B alone to what "/*" in line 3 matches as well; cloudflare adds it to the value from there`,
		"10: netlify takes the line for a field named https; cloudflare applies the block to that host only",
		"11: netlify sends :project as it is written; cloudflare sends what the path has in its place",
		"12: netlify takes this source; cloudflare ignores the line: a second splat",
	}, lines(headers(t, rules.Netlify, src).Differences())); diff != "" {
		t.Error(diff)
	}
}
