package site

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
)

func cloudflare(o *Options) { o.Dialect = rules.Cloudflare }

func TestRedirectsOfNetlify(t *testing.T) {
	s := compiled(t, files{
		"_redirects": `
/old          /about
/about        /elsewhere
/forced       /about            301!
/q            /about?x=1
/news/:y/:s   /blog/:y-:s       302
/app/*        /app/index.html   200
/page         /about.html       200
/lost         /none.html        200
/missing      /none.html        404
/away/*       https://example.net/:splat 308
/gone         /gone.html        410
/vanished     /none.html        410
/quiet        /about            404
/latest.js    /app.3f9c2b1e.js  200
/about/deep   /about/deeper
/hosted       /h
/api/v1       /api/v2           307
http://old.example/*   https://new.example/:splat 301!
`,
		"about.html": "about", "forced.html": "shadow", "app/index.html": "the app", "app/real.txt": "real", "404.html": "none", "gone.html": "gone page",
		"app.3f9c2b1e.js": "1",
	})
	for _, test := range []struct {
		name, host, path string
		status           int
		want             string
	}{
		{"a redirect", "", "/old", 301, "/about"},
		{"content comes first", "", "/about", 200, "about"},
		{"a page's other spelling is content as well", "", "/about/", 301, "/about"},
		{"a forced rule comes before content", "", "/forced", 301, "/about"},
		{"the query is kept", "", "/old?a=b&c", 301, "/about?a=b&c"},
		{"unless the target has one", "", "/q?a=b", 301, "/about?x=1"},
		{"placeholders", "", "/news/2024/hello", 302, "/blog/2024-hello"},
		{"a rewrite keeps the URL", "", "/app/some/where", 200, "the app"},
		{"a rewrite leaves content", "", "/app/real.txt", 200, "real"},
		{"a rewrite finds a page by its file name", "", "/page", 200, "about"},
		{"a rewrite to nothing is not found", "", "/lost", 404, "none"},
		{"404 with nothing to send is not found", "", "/missing", 404, "none"},
		{"404 with content", "", "/quiet", 404, "about"},
		{"410 with content", "", "/gone-no", 404, "none"},
		{"410 without content", "", "/vanished", 410, "410 gone\n"},
		{"a splat to another host", "", "/away/a/b?c", 308, "https://example.net/a/b?c"},
		{"a rule for a host", "old.example", "/about", 301, "https://new.example/about"},
		{"a rule for another host", "other.example", "/about", 200, "about"},
		{"307", "", "/api/v1", 307, "/api/v2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path, query, _ := strings.Cut(test.path, "?")
			r := ask(t, s, Request{Scheme: "http", Host: test.host, Path: path, Query: query})
			got := r.body
			if r.status/100 == 3 {
				got = r.header.Get("Location")
			}
			if r.status != test.status || got != test.want {
				t.Errorf("got %d %q, want %d %q", r.status, got, test.status, test.want)
			}
			if r.status >= 400 && (r.header.Get("Cache-Control") != "no-store" || r.header.Get("Etag") != "") {
				t.Errorf("an error may be stored: %v", r.header)
			}
		})
	}
	if r := get(t, s, "/latest.js"); r.body != "1" || r.header.Get("Cache-Control") != cacheRevalidate {
		t.Errorf("a fingerprinted file at another name has Cache-Control %q", r.header.Get("Cache-Control"))
	}
	if r := get(t, s, "/_redirects"); r.status != 404 {
		t.Errorf("/_redirects is answered %d", r.status)
	}
}

func TestRewritesHaveConditionsAndRanges(t *testing.T) {
	s := compiled(t, files{"_redirects": "/* /index.html 200", "index.html": alphabet})
	tag := get(t, s, "/some/route").header.Get("Etag")
	if r := ask(t, s, Request{Path: "/another", IfNoneMatch: tag}); r.status != 304 {
		t.Errorf("a condition is answered %d", r.status)
	}
	if r := ask(t, s, Request{Path: "/another", Range: "bytes=-1"}); r.status != 206 || r.body != "z" {
		t.Errorf("a range is answered %d %q", r.status, r.body)
	}
}

func TestRedirectsOfCloudflare(t *testing.T) {
	s := compiled(t, files{"_redirects": "/about /new\n/s/* /t/:splat 301\n", "about.html": "about", "s/a.txt": "a"}, cloudflare)
	for path, want := range map[string]string{"/about": "302 /new", "/s/a.txt": "301 /t/a.txt", "/about/": "301 /about"} {
		r := get(t, s, path)
		if got := strings.TrimSpace(strings.Join([]string{digits(r.status), r.header.Get("Location")}, " ")); got != want {
			t.Errorf("%s is answered %s, want %s: rules come before content", path, got, want)
		}
	}
}

func digits(n int) string { return fmt.Sprintf("%03d", n) }

func TestHeadersAreAppliedToWhatIsAskedFor(t *testing.T) {
	s := compiled(t, files{
		"_redirects": "/app/* /app/index.html 200\n/old /index.html 301\n/stale/* /stale.html 404",
		"_headers": `
/*
  X-Frame-Options: DENY
  X-Two: a
  X-Two: b
/assets/*
  Cache-Control: public, max-age=60
/app/*
  Cache-Control: private
/plain/*
  ! X-Frame-Options
  ! Referrer-Policy
  ! ETag
  ! Last-Modified
  ! Accept-Ranges
  Vary: Origin
  Content-Type: text/x-own
  Set-Cookie: a=1
  Set-Cookie: b=2
/dated.txt
  Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT
/both.html
  X-Page: yes
`,
		"index.html": "home", "assets/app.3f9c2b1e.js": "1", "app/index.html": "app", "plain/a.txt": "plain", "404.html": "none",
		"dated.txt": "dated", "stale.html": "stale", "both": "file", "both.html": "page",
	})
	pick := func(path string, names ...string) []string {
		r := get(t, s, path)
		got := []string{digits(r.status)}
		for _, name := range names {
			got = append(got, strings.Join(r.header[name], " | "))
		}
		return got
	}
	for _, test := range []struct {
		name string
		got  []string
		want []string
	}{
		{"on a page", pick("/", "X-Frame-Options", "X-Two"), []string{"200", "DENY", "a, b"}},
		{"instead of our Cache-Control", pick("/assets/app.3f9c2b1e.js", "Cache-Control"), []string{"200", "public, max-age=60"}},
		{"on errors, which are never stored", pick("/assets/none.js", "X-Frame-Options", "Cache-Control", "Etag"), []string{"404", "DENY", "no-store", ""}},
		{"on errors by rule", pick("/stale/x", "X-Frame-Options", "Cache-Control", "Etag"), []string{"404", "DENY", "no-store", ""}},
		{"on rewrites, by the path asked for", pick("/app/x", "X-Frame-Options", "Cache-Control"), []string{"200", "DENY", "private"}},
		{"taken away again", pick("/plain/a.txt", "X-Frame-Options", "Referrer-Policy"), []string{"200", "", ""}},
		{"validators taken away", pick("/plain/a.txt", "Etag", "Last-Modified", "Accept-Ranges"), []string{"200", "", "", ""}},
		{"Vary keeps what we vary on", pick("/plain/a.txt", "Vary"), []string{"200", "Accept-Encoding, Origin"}},
		{"another type", pick("/plain/a.txt", "Content-Type"), []string{"200", "text/x-own"}},
		{"cookies are two lines", pick("/plain/a.txt", "Set-Cookie"), []string{"200", "a=1 | b=2"}},
		{"another date, once", pick("/dated.txt", "Last-Modified"), []string{"200", "Thu, 01 Jan 1970 00:00:00 GMT"}},
		{"on a page that keeps its file name", pick("/both.html", "X-Page"), []string{"200", "yes"}},
		{"not on what has its clean name", pick("/both", "X-Page"), []string{"200", ""}},
		{"the file itself is not served", pick("/_headers"), []string{"404"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeadersAreAppliedToPlainErrors(t *testing.T) {
	s := compiled(t, files{"_headers": "/*\n  X-A: 1\n  Cache-Control: max-age=9\n", "index.html": "home"})
	r := get(t, s, "/none")
	if r.status != 404 || r.header.Get("X-A") != "1" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %d %v", r.status, r.header)
	}
}

func TestHeadersMayDependOnTheHost(t *testing.T) {
	s := compiled(t, files{"_headers": "https://:sub.pages.example/*\n  X-Robots-Tag: noindex\n", "index.html": "home", "404.html": "none"})
	for _, path := range []string{"/", "/none"} {
		preview := ask(t, s, Request{Path: path, Host: "abc.pages.example"})
		own := ask(t, s, Request{Path: path, Host: "www.example"})
		if preview.header.Get("X-Robots-Tag") != "noindex" || own.header.Get("X-Robots-Tag") != "" {
			t.Errorf("%s: %v and %v", path, preview.header, own.header)
		}
	}
}

func TestHeadersOfCloudflareAreJoined(t *testing.T) {
	content := files{"_headers": "/*\n  X-A: 1\n/a.txt\n  X-A: 2\n", "a.txt": "a"}
	if got := get(t, compiled(t, content, cloudflare), "/a.txt").header.Get("X-A"); got != "1, 2" {
		t.Errorf("cloudflare: %q", got)
	}
	if got := get(t, compiled(t, content), "/a.txt").header.Get("X-A"); got != "2" {
		t.Errorf("netlify: %q", got)
	}
}

func TestAMalformedLineRefusesTheSite(t *testing.T) {
	o := options(t, t.TempDir())
	files{"_redirects": "/a /b\n/c\n/d /e 999\n", "_headers": "/*\n  X Y: 1\n", "index.html": "home"}.write(t, o.Dir)
	_, err := Compile(t.Context(), o, nil)
	list := mistake.Of(err)
	var places []string
	for _, m := range list {
		_, name, _ := strings.Cut(m.File, o.Dir+"/")
		places = append(places, name+":"+digits(m.Line))
		if m.What == "" || m.Hint == "" {
			t.Errorf("%v does not say what was expected: %q", m, m.Hint)
		}
	}
	if diff := cmp.Diff([]string{"_headers:002", "_redirects:002", "_redirects:003"}, places); diff != "" {
		t.Errorf("places differ (-want +got):\n%s\n%v", diff, err)
	}
}

func TestRulesFilesThatAreTooLargeAreRefusedAtOnce(t *testing.T) {
	for name, content := range map[string]string{
		"a hundred thousand short rules": strings.Repeat("/a /b\n", 100_000),
		"a hundred thousand long rules":  strings.Repeat("/aaaaaaaaa /bbbbbbbbb\n", 100_000),
	} {
		o := options(t, t.TempDir())
		writeIn(t, o.Dir, "_redirects", content)
		_, err := Compile(t.Context(), o, nil)
		if list := mistake.Of(err); len(list) == 0 || len(list) > 100 {
			t.Errorf("%s: %d mistakes, want a few: %.200v", name, len(list), err)
		}
	}
	o := options(t, t.TempDir())
	writeIn(t, o.Dir, "_redirects", "")
	writeIn(t, o.Dir, "_headers", "")
	writeIn(t, o.Dir, "a.txt", "a")
	if s, err := Compile(t.Context(), o, nil); err != nil || get(t, s, "/a.txt").status != 200 {
		t.Errorf("empty rules files: %v", err)
	}
}
