package rules_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/rules"
)

func TestUnreachableRulesAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		dialect rules.Dialect
		src     string
		want    []int
	}{
		"the same source again":                      {src: "/a /b\n/a/ /c", want: []int{2}},
		"placeholders by another name":               {src: "/a/:x /b 200\n/a/:y /c", want: []int{2}},
		"a forced rule still applies to content":     {src: "/a /b\n/a /c 301!"},
		"a rule behind a forced one does not":        {src: "/a /b 301!\n/a /c", want: []int{2}},
		"a rule behind a single-page app":            {src: "/* /index.html 200\n/a /c", want: []int{2}},
		"a condition on the query":                   {src: "/a x=1 /b\n/a /c"},
		"another host":                               {src: "https://a.example/x /b\n/x /c"},
		"a redirect of everything spares its target": {src: "/* /soon 302\n/soon /c"},
		"cloudflare does not look at content at all": {dialect: rules.Cloudflare, src: "/a /b\n/a /c", want: []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			for _, m := range redirects(t, c.dialect, c.src).Unreachable() {
				got = append(got, m.Line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
