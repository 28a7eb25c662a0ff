package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
)

func TestMalformedRedirectsAreRefusedWithPlaceAndHint(t *testing.T) {
	const (
		target = `expected a target that begins with "/", "http://" or "https://", found `
		gone   = "penny answers every visitor of a URL alike: delete the line, and link to the versions of the page or choose one by a script in it"
		origin = "serve these paths from one"
		choose = `delete the line, or choose dialect = "netlify"`
	)
	for name, c := range map[string]struct {
		dialect rules.Dialect
		src     string
		want    []mistake.Error
	}{
		"no target": {src: "\n  /c", want: []mistake.Error{
			{Line: 2, Column: 5, What: "expected a target after the source", Hint: "write: /c /new-path 301"},
		}},
		"no target but a comment": {src: "/c # d", want: []mistake.Error{
			{Line: 1, Column: 3, What: "expected a target after the source", Hint: "write: /c /new-path 301"},
		}},
		"no target but a status": {src: "/swfobject.html 301", want: []mistake.Error{
			{Line: 1, Column: 17, What: "expected a target before the status 301", Hint: "write: /swfobject.html /new-path 301"},
		}},
		"no target but a query": {src: "/m/legal source=:source", want: []mistake.Error{
			{Line: 1, Column: 10, What: target + `"source=:source"`, Hint: "write: /m/legal source=:source /new-path 301"},
		}},
		"a target without slash": {src: "/\tindex.html", want: []mistake.Error{
			{Line: 1, Column: 3, What: target + `"index.html"`, Hint: "write /index.html"},
		}},
		"a source without slash": {src: "workers.example.com/* /x", want: []mistake.Error{
			{
				Line: 1, Column: 1, What: `expected a source that begins with "/", "http://" or "https://", found "workers.example.com/*"`,
				Hint: "write /workers.example.com/*, or https://workers.example.com/* for that host alone",
			},
		}},
		"fields in the wrong file": {src: "/backup/*\n    Basic-Auth: a:b", want: []mistake.Error{
			{Line: 1, Column: 10, What: "expected a target after the source", Hint: "write: /backup/* /new-path 301"},
			{Line: 2, Column: 5, What: `"Basic-Auth:" is a header field, not a redirect`, Hint: "move it to _headers"},
		}},
		"no status": {src: "/from /to not_a_status", want: []mistake.Error{
			{
				Line: 1, Column: 11, What: `expected a status after the target, found "not_a_status"`,
				Hint: "write 301, 302, 303, 307 or 308 to redirect, 200, 404 or 410 to send content of the site",
			},
		}},
		"an unknown status": {src: "/c /d 418", want: []mistake.Error{
			{
				Line: 1, Column: 7, What: "status 418 is not one that a rule can have",
				Hint: "write 301, 302, 303, 307 or 308 to redirect, 200, 404 or 410 to send content of the site",
			},
		}},
		"a word too many": {src: "/d /e 302 !important", want: []mistake.Error{
			{Line: 1, Column: 11, What: `expected the end of the line after the status, found "!important"`, Hint: "put # before a comment"},
		}},
		"countries and languages": {src: "/ /anz 302 Country=au,nz Language=en", want: []mistake.Error{
			{Line: 1, Column: 12, What: "the condition Country is not supported", Hint: gone},
			{Line: 1, Column: 26, What: "the condition Language is not supported", Hint: gone},
		}},
		"a country without a status": {src: "/ /anz country=au", want: []mistake.Error{
			{Line: 1, Column: 8, What: "the condition Country is not supported", Hint: gone},
		}},
		"a role": {src: "/admin/* 200! Role=admin", want: []mistake.Error{
			{Line: 1, Column: 15, What: "the condition Role is not supported", Hint: "who may see what is for an app or an origin to decide: " + origin},
		}},
		"a cookie": {src: "/* /legacy/:splat 200 Cookie=is_legacy,my_other_cookie", want: []mistake.Error{
			{Line: 1, Column: 23, What: "the condition Cookie is not supported", Hint: "what depends on a cookie is for an app or an origin to decide: " + origin},
		}},
		"a condition with a typo": {src: "/a /b 301 Contry=au", want: []mistake.Error{
			{Line: 1, Column: 11, What: `"Contry=au" is no condition`, Hint: "did you mean Country? It is not supported"},
		}},
		"a proxy": {src: "/api/*  https://api.example.com/:splat  200", want: []mistake.Error{
			{
				Line: 1, Column: 9, What: "proxying to api.example.com (status 200 and a URL) is not supported yet",
				Hint: `make it a site of its own with origin = "https://api.example.com" in penny.toml, or redirect with 302`,
			},
		}},
		"a signed proxy": {src: "/api/* https://api.example.com/:splat 200! Sign=API_SECRET", want: []mistake.Error{
			{
				Line: 1, Column: 8, What: "proxying to api.example.com (status 200 and a URL) is not supported yet",
				Hint: `make it a site of its own with origin = "https://api.example.com" in penny.toml, or redirect with 302`,
			},
			{Line: 1, Column: 44, What: "the condition Sign is not supported", Hint: "signed proxying is not supported: serve these paths from an origin"},
		}},
		"a function": {src: "/api/* /.netlify/functions/:splat 200", want: []mistake.Error{
			{
				Line: 1, Column: 8, What: "the target /.netlify/functions (a Netlify function) is not supported",
				Hint: "run the program as an app or an origin of a site of its own, and redirect to its URL",
			},
		}},
		"a source that belongs to the platform": {src: "http://example.com/.netlify/from /to", want: []mistake.Error{
			{Line: 1, Column: 19, What: "a source below /.netlify", Hint: "the platform keeps these paths to itself: delete the line"},
		}},
		"no host": {src: "http:// /to", want: []mistake.Error{
			{Line: 1, Column: 8, What: "expected a host after ://", Hint: "write letters, digits, hyphens and dots; a name in another script as xn--…"},
		}},
		"a port in the source": {src: "https://example.com:8080/a /to", want: []mistake.Error{
			{Line: 1, Column: 20, What: "a port in the source", Hint: "rules look at the host only: delete the port"},
		}},
		"a placeholder in the host of the source": {src: "https://:sub.example.com/a /to", want: []mistake.Error{
			{Line: 1, Column: 9, What: "a placeholder in the host of a source", Hint: "write one rule for each host"},
		}},
		"a placeholder in the host of the target": {src: "/:sub/* https://:sub.example.com/:splat", want: []mistake.Error{
			{Line: 1, Column: 17, What: "a placeholder in the host of a target", Hint: "write one rule for each host"},
		}},
		"a target that only looks like a path": {src: "/a //evil.example/", want: []mistake.Error{
			{
				Line: 1, Column: 4, What: "a target that begins with // leads to another host",
				Hint: "write https://… for another host, or one slash for a path of the site",
			},
		}},
		"a query in the source": {src: "/a.html?x=1&y=2 /b", want: []mistake.Error{
			{Line: 1, Column: 8, What: "a query in the source", Hint: "write it behind a space: /a.html x=1 y=2"},
		}},
		"a splat in the middle": {src: "/jobs/*.html /x/:splat", want: []mistake.Error{
			{Line: 1, Column: 7, What: "a splat stands at the end of the source only", Hint: "use a placeholder such as :name in its place"},
			{
				Line: 1, Column: 17, What: "the placeholder :splat is not in the source",
				Hint: "the source has no placeholder; write %3A for a colon",
			},
		}},
		"an asterisk in the target": {src: "/a/* /b/*", want: []mistake.Error{
			{Line: 1, Column: 9, What: "a splat in the target", Hint: "write :splat for what the * of the source took, or %2A for an asterisk"},
		}},
		"an unknown placeholder": {src: "/news/:year/:slug /blog/:year/:story_id", want: []mistake.Error{
			{
				Line: 1, Column: 31, What: "the placeholder :story_id is not in the source",
				Hint: "the source has :year, :slug; write %3A for a colon",
			},
		}},
		"a placeholder twice": {src: "/a/:x/:x /b", want: []mistake.Error{
			{Line: 1, Column: 7, What: "the placeholder :x stands twice in the source", Hint: "give each its own name"},
		}},
		"a placeholder that is a part of a segment": {src: "/a/:x.html /b", want: []mistake.Error{
			{
				Line: 1, Column: 4, What: `the placeholder :x is only a part of ":x.html"`,
				Hint: "a placeholder takes a whole segment of the path: write /:x/",
			},
		}},
		"a query parameter without a value": {src: "/path foo /foo.html", want: []mistake.Error{
			{
				Line: 1, Column: 7, What: `expected a query parameter as key=value before the target, found "foo"`,
				Hint: "write foo=:foo for any value",
			},
		}},
		"a loop": {src: "/a /a 301\n/* /:splat 301!\n/x/:y /x/:y", want: []mistake.Error{
			{Line: 1, Column: 4, What: "the rule redirects to where it comes from", Hint: "delete it"},
			{Line: 2, Column: 4, What: "the rule redirects to where it comes from", Hint: "delete it"},
			{Line: 3, Column: 7, What: "the rule redirects to where it comes from", Hint: "delete it"},
		}},
		"a loop but for the slash": {src: "/blog/remove-my-slashes/ /blog/remove-my-slashes 301!", want: []mistake.Error{
			{
				Line: 1, Column: 26, What: "the rule redirects to where it comes from: a slash at the end of a path does not count",
				Hint: `delete it, or choose dialect = "cloudflare", to which it counts`,
			},
		}},
		"a control character": {src: "/a\x00 /b", want: []mistake.Error{
			{Line: 1, Column: 3, What: "control character U+0000", Hint: "delete it"},
		}},
		"bytes that are no text": {src: "/a /\xff", want: []mistake.Error{
			{Line: 1, Column: 5, What: "the line is not valid UTF-8", Hint: "save the file as UTF-8"},
		}},
		"a 404 by another host": {src: "/a https://example.com/x 404", want: []mistake.Error{
			{Line: 1, Column: 4, What: `status 404 needs a path of the site, found "https://example.com/x"`, Hint: "write a target that begins with /"},
		}},
		"what cloudflare does not take": {
			dialect: rules.Cloudflare,
			src:     "https://yeah.com/ /nah\n/shop id=:id /blog/:id\n/a /b 301!\n/blog/* /404.html 404\n/* /index.html 200\n/x/* 200\n/c/*/d/* /e",
			want: []mistake.Error{
				{Line: 1, Column: 1, What: "cloudflare does not take a source with a host", Hint: choose},
				{Line: 2, Column: 7, What: "cloudflare does not look at query parameters", Hint: choose},
				{Line: 3, Column: 7, What: `cloudflare does not know "!" after a status`, Hint: "write 301: with cloudflare a rule always comes before content"},
				{Line: 4, Column: 19, What: "cloudflare does not take status 404", Hint: choose},
				{Line: 5, Column: 4, What: "cloudflare takes the rule for an infinite loop", Hint: choose},
				{Line: 6, Column: 6, What: "cloudflare expects a target before the status", Hint: "write: /x/* /x/:splat 200"},
				{Line: 7, Column: 8, What: "a second splat", Hint: "cloudflare takes one splat a source: use placeholders such as :name for the others"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := rules.ParseRedirects("_redirects", []byte(c.src), c.dialect)
			if r != nil {
				t.Error("rules beside an error")
			}
			compareMistakes(t, "_redirects", c.want, err)
		})
	}
}

func compareMistakes(t *testing.T, file string, want []mistake.Error, err error) {
	t.Helper()
	got := []mistake.Error{}
	for _, e := range mistake.Of(err) {
		got = append(got, *e)
	}
	want = slices.Clone(want)
	for i := range want {
		want[i].File = file
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFilesBeyondTheBoundsAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"a large file":      {strings.Repeat("#\n", rules.MaxFile/2+1), "_redirects: the file has 1048578 bytes, at most 1048576 are read"},
		"a long line":       {"/a /" + strings.Repeat("b", rules.MaxLine), "_redirects:1:8193: the line has 8196 bytes, at most 8192 are read"},
		"too many rules":    {strings.Repeat("/a /b\n", rules.MaxRules+2), "_redirects:10001:1: more than 10000 rules"},
		"many placeholders": {"/a/* /" + strings.Repeat(":splat-", 17), "_redirects:1:119: more than 16 placeholders in one target"},
		"many parameters":   {"/a " + strings.Repeat("a=b ", 33) + "/c", "_redirects:1:132: more than 32 query parameters"},
		"many wildcards":    {"/a" + wildcards(33) + " /c", "_redirects:1:132: more than 32 placeholders in one source"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rules.ParseRedirects("_redirects", []byte(c.src), rules.Netlify)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	t.Run("a file with nothing but mistakes", func(t *testing.T) {
		_, err := rules.ParseRedirects("_redirects", []byte(strings.Repeat("x\n", 5000)), rules.Netlify)
		if got := len(mistake.Of(err)); got != 1001 {
			t.Errorf("%d mistakes, want 1001", got)
		}
	})
	t.Run("a long comment is no matter", func(t *testing.T) {
		redirects(t, rules.Netlify, "#"+strings.Repeat("x", rules.MaxLine))
	})
}

func TestSourcesThatAreCostlyToMatchAreCounted(t *testing.T) {
	_, err := rules.ParseHeaders("_headers", []byte(strings.Repeat("/*/x/*\n A: b\n", 1002)), rules.Netlify)
	want := []mistake.Error{{
		Line: 2001, Column: 1, What: "more than 1000 sources with wildcards inside of segments or of the path",
		Hint: "use placeholders for whole segments, and splats at the end",
	}}
	compareMistakes(t, "_headers", want, err)
}

func wildcards(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/:%c%c", 'a'+i%26, 'a'+i/26)
	}
	return b.String()
}
