package rules_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/rules"
)

func redirects(t testing.TB, d rules.Dialect, src string) *rules.Redirects {
	t.Helper()
	r, err := rules.ParseRedirects("_redirects", []byte(src), d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// request reads "host/path?query" or "scheme://host/path?query".
func request(url string) rules.Request {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || url[0] == '/' {
		scheme, rest = "https", url
	}
	rest, query, _ := strings.Cut(rest, "?")
	host, path, _ := strings.Cut(rest, "/")
	return rules.Request{Scheme: scheme, Host: host, Path: "/" + path, Query: query}
}

// show writes an action as "301 https://…", or "-" if there is none.
func show(a rules.Action, ok bool) string {
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%d %s", a.Status, a.Location+a.Path)
}

func TestNetlifyRedirects(t *testing.T) {
	for name, c := range map[string]struct{ src, url, want string }{
		"the default is 301":                              {"/home /", "/home", "301 /"},
		"a status of its own":                             {"/my-redirect / 302", "/my-redirect", "302 /"},
		"a page for what is gone":                         {"/ecommerce /store-closed 404", "/ecommerce", "404 /store-closed"},
		"a rewrite":                                       {"/pass-through /index.html 200", "/pass-through", "200 /index.html"},
		"another host":                                    {"/cuties https://www.petsofnetlify.com", "/cuties", "301 https://www.petsofnetlify.com/"},
		"an escaped source and target":                    {"/authors/c%C3%A9line /authors/about-c%C3%A9line", "/authors/céline", "301 /authors/about-c%C3%A9line"},
		"a target that is not escaped":                    {"/a /café", "/a", "301 /caf%C3%A9"},
		"a splat":                                         {"/news/* /blog/:splat", "/news/2004/01/10/my-story", "301 /blog/2004/01/10/my-story"},
		"a splat with nothing in it":                      {"/news/* /blog/:splat", "/news", "301 /blog/"},
		"placeholders in another order":                   {"/news/:month/:date/:year/:slug /blog/:year/:month/:date/:slug", "/news/02/12/2004/my-story", "301 /blog/2004/02/12/my-story"},
		"placeholders between hyphens":                    {"/news/:year/:month/:date /blog-:year-:month-:date.html", "/news/2004/02/12", "301 /blog-2004-02-12.html"},
		"the first of two rules wins":                     {"/jobs/a /x\n/jobs/* /careers/:splat", "/jobs/a", "301 /x"},
		"the rule for the rest":                           {"/jobs/a /x\n/jobs/* /careers/:splat", "/jobs/b", "301 /careers/b"},
		"a wildcard above a plain rule wins":              {"/jobs/* /careers/:splat\n/jobs/a /x", "/jobs/a", "301 /careers/a"},
		"a page for every missing path of a language":     {"/en/* /en/404.html 404\n/de/* /de/404.html 404", "/de/x/y", "404 /de/404.html"},
		"a single-page app":                               {"/* /index.html 200", "/any/where", "200 /index.html"},
		"the site itself may be rewritten to":             {"/* / 200", "/x", "200 /"},
		"a query parameter":                               {"/store id=:id /blog/:id 301", "/store?id=my-blog-post", "301 /blog/my-blog-post"},
		"a query parameter that is not there":             {"/store id=:id /blog/:id 301", "/store", "-"},
		"a query parameter too many":                      {"/store id=:id /blog/:id 301", "/store?id=1&x=2", "-"},
		"a query parameter twice":                         {"/store id=:id /blog/:id 301", "/store?id=1&id=2", "-"},
		"an empty query parameter":                        {"/store id=:id /blog/:id 301", "/store?id=", "-"},
		"an escaped query parameter":                      {"/store id=:id /blog/:id 301", "/store?id=a%2Bb+c%3F", "301 /blog/a+b%20c%3F"},
		"two query parameters in whatever order":          {"/articles id=:id tag=:tag /posts/:tag/:id 301", "/articles?tag=go&id=7", "301 /posts/go/7"},
		"a query parameter beside a splat":                {"/path/* param1=:value1 /otherpath/:value1/:splat 301", "/path/a/b?param1=x", "301 /otherpath/x/a/b"},
		"two query parameters beside a splat":             {"/path/* param1=:value1 param2=:value2 /otherpath/:value1/:value2/:splat 301", "/path/a?param2=y&param1=x", "301 /otherpath/x/y/a"},
		"a query parameter with a value":                  {"/ page=news /news", "/?page=news", "301 /news"},
		"a query parameter with another value":            {"/ page=news /news", "/?page=olds", "-"},
		"a query parameter whose value is a path":         {"/ _escaped_fragment_=/about /about", "/?_escaped_fragment_=/about", "301 /about"},
		"the query of the request is passed on":           {"/a /b 301", "/a?x=1&y=%20", "301 /b?x=1&y=%20"},
		"the query of the target counts more":             {"/a /b?z=3", "/a?x=1", "301 /b?z=3"},
		"a query without parameters is none":              {"/a /b?", "/a?x=1", "301 /b?x=1"},
		"the query goes before the fragment":              {"/a /b#c # why", "/a?x=1", "301 /b?x=1#c"},
		"a rewrite has no query":                          {"/a /b.html?x=1 200", "/a?y=2", "200 /b.html"},
		"a host":                                          {"http://blog.example.com/* https://www.example.com/blog/:splat 301!", "http://blog.example.com/a/b", "301 https://www.example.com/blog/a/b"},
		"another host than the rule's":                    {"http://blog.example.com/* https://www.example.com/blog/:splat 301!", "http://www.example.com/a", "-"},
		"another scheme than the rule's":                  {"http://blog.example.com/* https://www.example.com/blog/:splat 301!", "https://blog.example.com/a", "-"},
		"upper case in the host of a rule":                {"https://Blog.Example.com/ /b", "https://blog.example.com/", "301 /b"},
		"from http to https on one host":                  {"http://example.com/* https://example.com/:splat 301!", "http://example.com/a?b", "301 https://example.com/a?b"},
		"a slash at the end of the path does not count":   {"/blog/title /blog/typo", "/blog/title/", "301 /blog/typo"},
		"a slash at the end of the source does not count": {"/blog/title/ /blog/typo", "/blog/title", "301 /blog/typo"},
		"a slash at the end stays in the splat":           {"/a/* /b/:splat", "/a/x/", "301 /b/x/"},
		"an inline comment":                               {"/blog/my-post.php  /blog/my-post # an old leftover", "/blog/my-post.php", "301 /blog/my-post"},
		"a fragment before a comment":                     {"/p.php /p#ads # not a comment before here", "/p.php", "301 /p#ads"},
		"a line that takes its target from the source":    {"/admin/* 200!", "/admin/x", "200 /admin/x"},
		"a byte-order mark, CRLF, tabs and empty lines":   {"\ufeff\r\n/a\t/b\t302\r\n\r\n", "/a", "302 /b"},
		"303": {"/a /b 303", "/a", "303 /b"},
		"307": {"/a /b 307", "/a", "307 /b"},
		"308": {"/a /b 308!", "/a", "308 /b"},
		"410": {"/a /gone.html 410", "/a", "410 /gone.html"},
		"a colon inside of a segment of the target": {"/a https://example.com:8443/wiki/Special:Search", "/a", "301 https://example.com:8443/wiki/Special:Search"},
		"a rule for the page that it leads to":      {"/* /maintenance 302!", "/maintenance", "-"},
		"a rule for the host that it leads to":      {"/* https://www.example.com/:splat 301!", "https://www.example.com/a?b=c", "-"},
		"a rule for other hosts than it leads to":   {"/* https://www.example.com/:splat 301!", "https://example.com/a?b=c", "301 https://www.example.com/a?b=c"},

		"adding a slash":               {"/about /about/ 301", "/about", "301 /about/"},
		"adding a slash that is there": {"/about /about/ 301", "/about/", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			a, ok := redirects(t, rules.Netlify, c.src).Match(request(c.url), nil)
			if got := show(a, ok); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestCloudflareRedirects(t *testing.T) {
	for name, c := range map[string]struct{ src, url, want string }{
		"the default is 302":                       {"/twitch https://twitch.tv", "/twitch", "302 https://twitch.tv/"},
		"a status of its own":                      {"/home301 / 301", "/home301", "301 /"},
		"a query of the target":                    {"/querystrings /?query=string 301", "/querystrings?a=b", "301 /?query=string"},
		"a query that is passed on":                {"/ /home 301", "/?sort=price", "301 /home?sort=price"},
		"a query that is passed on, with fragment": {"/bar https://foobar.com/#heading 301", "/bar?test=abc", "301 https://foobar.com/?test=abc#heading"},
		"a question mark in a fragment":            {"/bar https://foobar.com/#def?test=abc 301", "/bar", "301 https://foobar.com/#def?test=abc"},
		"two number signs":                         {"/a /b##blah-1", "/a", "302 /b##blah-1"},
		"adding a slash":                           {"/trailing /trailing/ 301", "/trailing", "301 /trailing/"},
		"adding a slash that is there":             {"/trailing /trailing/ 301", "/trailing/", "-"},
		"removing a slash":                         {"/notrailing/ /nottrailing 301", "/notrailing/", "301 /nottrailing"},
		"a slash at the end counts":                {"/a /b", "/a/", "-"},
		"a fragment":                               {"/page/ /page2/#fragment 301", "/page/", "301 /page2/#fragment"},
		"a splat to another host":                  {"/blog/* https://blog.my.domain/:splat", "/blog/a/b", "302 https://blog.my.domain/a/b"},
		"placeholders in a query":                  {"/products/:code/:name /products?code=:code&name=:name", "/products/1/x", "302 /products?code=1&name=x"},
		"a placeholder that would add a parameter": {"/p/:name /p?name=:name", "/p/a&b=c#d", "302 /p?name=a%26b%3Dc%23d"},
		"unusual letters in a query":               {"/products/:code/:name/* /products?junk=:splat&name=:name&code=:code 301", "/products/abba_562/tricycle/123abc@~!", "301 /products?junk=123abc@~!&name=tricycle&code=abba_562"},
		"a rewrite":                                {"/a /b 200\n/b /c 200", "/a", "200 /b"},
		"the second rewrite":                       {"/a /b 200\n/b /c 200", "/b", "200 /c"},
		"an escaped source":                        {"/some%20page /home 301", "/some page", "301 /home"},
		"a query in the source is overlooked":      {"/c?this=rejected /d 301", "/c", "301 /d"},
		"a part of a segment":                      {"/img/:name.jpeg /img/:name.jpg", "/img/a.jpeg", "302 /img/a.jpg"},
		"strange but valid":                        {"/://so;`me /nons:/&@%+~{}ense", "/://so;`me", "302 /nons:/&@%25+~%7B%7Dense"},
		"a comment":                                {"/a https://x.example/b#c # comment", "/a", "302 https://x.example/b#c"},
	} {
		t.Run(name, func(t *testing.T) {
			a, ok := redirects(t, rules.Cloudflare, c.src).Match(request(c.url), func() bool { return true })
			if got := show(a, ok); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestContentComesBeforeRulesWithoutForceAtNetlify(t *testing.T) {
	const src = "/a /b\n/* /index.html 200\n/a /c 302!\n/* /d 302!"
	r := redirects(t, rules.Netlify, src)
	for name, c := range map[string]struct {
		path     string
		shadowed bool
		want     string
	}{
		"no content":                             {"/a", false, "301 /b"},
		"content: the first forced rule applies": {"/a", true, "302 /c"},
		"content elsewhere":                      {"/x", true, "302 /d"},
		"no content elsewhere":                   {"/x", false, "200 /index.html"},
		"content where the forced rule leads":    {"/d", true, "-"},
		"no content where the forced rule leads": {"/d", false, "200 /index.html"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			a, ok := r.Match(rules.Request{Path: c.path}, func() bool { asked++; return c.shadowed })
			if got := show(a, ok); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if asked != 1 {
				t.Errorf("the site was asked %d times, want once", asked)
			}
		})
	}
}

func TestVisitorsCannotLeadARedirectAway(t *testing.T) {
	for _, d := range []rules.Dialect{rules.Netlify, rules.Cloudflare} {
		r := redirects(t, d, "/go/* /:splat 301\n/one/:x /:x 301\n/out/* https://www.example.com/:splat 301\n/file/* /:splat 200")
		for path, want := range map[string]string{
			"/go//evil.example/x":            "301 /evil.example/x",
			"/go////evil.example":            "301 /evil.example",
			`/go/\evil.example`:              "301 /%5Cevil.example",
			`/go//\evil.example`:             "301 /%5Cevil.example",
			"/one/\\evil.example":            "301 /%5Cevil.example",
			"/go/\t/evil.example":            "301 /%09/evil.example",
			"/go/a\r\nSet-Cookie: x=y":       "301 /a%0D%0ASet-Cookie:%20x=y",
			"/go/a?b#c%":                     "301 /a%3Fb%23c%25",
			"/out/@evil.example":             "301 https://www.example.com/@evil.example",
			"/out/.evil.example":             "301 https://www.example.com/.evil.example",
			"/file/../../etc/passwd":         "200 /etc/passwd",
			"/file//etc//x/":                 "200 /etc/x/",
			"/go/https://evil.example":       "301 /https://evil.example",
			"/go/a\x00b\x7f\u0085\u2028\xff": "301 /a%00b%7F%C2%85%E2%80%A8%FF",
		} {
			a, ok := r.Match(rules.Request{Scheme: "https", Host: "example.com", Path: path}, nil)
			if got := show(a, ok); got != want {
				t.Errorf("%s: %q leads to %q, want %q", d, path, got, want)
			}
		}
		a, _ := r.Match(rules.Request{Path: "/go/a", Query: "x=\r\nEvil: 1#\\%zz"}, nil)
		if want := "/a?x=%0D%0AEvil:%201%23%5C%25zz"; a.Location != want {
			t.Errorf("%s: the query makes %q, want %q", d, a.Location, want)
		}
	}
}

func TestRedirectsTellTheSiteCompilerWhatItNeeds(t *testing.T) {
	src, err := os.ReadFile("testdata/netlify.redirects")
	if err != nil {
		t.Fatal(err)
	}
	r := redirects(t, rules.Netlify, string(src))
	if r.Len() != 16 || !r.DependsOnHost() {
		t.Errorf("%d rules, depends on the host: %v; want 16 and true", r.Len(), r.DependsOnHost())
	}
	want := []rules.Target{
		{Path: "/gone.html", Status: 410, Line: 12},
		{Path: "/en/404.html", Status: 404, Line: 13},
		{Path: "/index.html", Status: 200, Line: 17},
	}
	if diff := cmp.Diff(want, r.Targets()); diff != "" {
		t.Error(diff)
	}
}

func TestNoFileMeansNoRules(t *testing.T) {
	var r *rules.Redirects
	var h *rules.Headers
	if _, ok := r.Match(rules.Request{Path: "/"}, nil); ok || r.Len() != 0 || r.DependsOnHost() || r.Targets() != nil {
		t.Error("nil redirects have rules")
	}
	if h.Match(rules.Request{Path: "/"}) != nil || h.Len() != 0 || h.DependsOnHost() {
		t.Error("nil headers have rules")
	}
	if r.Differences() != nil || r.Everywhere() != nil || r.Shadowed(nil) != nil || r.Unreachable() != nil || h.Differences() != nil || h.Everywhere() != nil {
		t.Error("nil has something to tell")
	}
}

func TestForcedRulesAreAskedBeforeContent(t *testing.T) {
	for src, want := range map[string]bool{"": false, "/a /b": false, "/a /b\n/c /d 301!": true} {
		if got := redirects(t, rules.Netlify, src).Forced(); got != want {
			t.Errorf("%q: forced is %v, want %v", src, got, want)
		}
	}
	if !redirects(t, rules.Cloudflare, "/a /b").Forced() {
		t.Error("cloudflare's rules do not come before content")
	}
}
