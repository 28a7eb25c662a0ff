package site

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pages is a site with every kind of name.
var pages = files{
	"index.html":             "home",
	"about.html":             "about",
	"blog/index.html":        "blog",
	"blog/post.html":         "post",
	"blog/404.html":          "no such post",
	"404.html":               "no such page",
	"empty/readme.txt":       "read me",
	"both":                   "the file both",
	"both.html":              "the page both",
	"twin.html":              "twin page",
	"twin/index.html":        "twin directory",
	"x.html/index.html":      "directory with a page's name",
	"a.html.html":            "doubled",
	"deep/er/404.html":       "deep down",
	"with space.html":        "space",
	"100%.txt":               "percent",
	"a#b?c.txt":              "marks",
	"a%2fb.txt":              "encoded slash in the name",
	"grün/größe.txt":         "unicode",
	"semi;colon,comma.txt":   "punctuation",
	".env":                   "secret",
	".git/config":            "secret",
	"blog/.draft.html":       "secret",
	".well-known/a.txt":      "known",
	".well-known/.x/s.txt":   "secret",
	"blog/.well-known/n.txt": "secret",
	"nothing.txt":            "",
	"UPPER.HTML":             "upper",
}

func TestPathsLeadWhereTheyShould(t *testing.T) {
	s := compiled(t, pages)
	const noPage, noPost = "no such page", "no such post"
	for _, test := range []struct {
		name, path string
		status     int
		want       string // the body, or the Location of a redirect
	}{
		{"the root is its index", "/", 200, "home"},
		{"the index has one URL", "/index.html", 301, "/"},
		{"the index without its extension is the root", "/index", 301, "/"},
		{"a page has a clean URL", "/about", 200, "about"},
		{"a page's file name redirects", "/about.html", 301, "/about"},
		{"a redirect keeps the query", "/about.html?a=1&b=%20", 301, "/about?a=1&b=%20"},
		{"a redirect escapes what cannot stand in a field", "/about.html?a=\r\nSet-Cookie: x", 301, "/about?a=%0D%0ASet-Cookie:%20x"},
		{"a page with a slash redirects", "/about/", 301, "/about"},
		{"a directory has a slash", "/blog", 301, "/blog/"},
		{"a directory with a query keeps it", "/blog?p=2", 301, "/blog/?p=2"},
		{"a directory is its index", "/blog/", 200, "blog"},
		{"a directory's index has one URL", "/blog/index.html", 301, "/blog/"},
		{"a directory's index without extension redirects", "/blog/index", 301, "/blog/"},
		{"a page in a directory has a clean URL", "/blog/post", 200, "post"},
		{"a directory without an index is not found", "/empty/", 404, noPage},
		{"a directory without an index and slash is not found", "/empty", 404, noPage},
		{"a file comes before a page of that name", "/both", 200, "the file both"},
		{"the page then keeps its file name", "/both.html", 200, "the page both"},
		{"a page comes before a directory of that name", "/twin", 200, "twin page"},
		{"the directory then has the slash", "/twin/", 200, "twin directory"},
		{"a directory may have a page's name", "/x.html/", 200, "directory with a page's name"},
		{"a directory with a page's name has a slash", "/x.html", 301, "/x.html/"},
		{"a doubled extension is taken off once", "/a.html", 200, "doubled"},
		{"a doubled extension redirects", "/a.html.html", 301, "/a.html"},
		{"extensions have their case", "/UPPER.HTML", 200, "upper"},
		{"an empty file is a file", "/nothing.txt", 200, ""},
		{"the error document is a page as well", "/404", 200, noPage},
		{"the nearest error document counts", "/blog/none", 404, noPost},
		{"the nearest error document counts from far below", "/blog/a/b/c", 404, noPost},
		{"an error document holds for its directory only", "/deep/none", 404, noPage},
		{"an error document without a page beside it counts", "/deep/er/none", 404, "deep down"},
		{"a space is escaped", "/with%20space", 200, "space"},
		{"a redirect to a name with a space is escaped", "/with%20space.html", 301, "/with%20space"},
		{"a percent sign is escaped", "/100%25.txt", 200, "percent"},
		{"hash and question mark are escaped", "/a%23b%3Fc.txt", 200, "marks"},
		{"a name may look escaped", "/a%252fb.txt", 200, "encoded slash in the name"},
		{"unicode is escaped UTF-8", "/gr%C3%BCn/gr%c3%b6%C3%9fe.txt", 200, "unicode"},
		{"unicode may come raw", "/grün/größe.txt", 200, "unicode"},
		{"punctuation may be escaped or not", "/semi;colon%2Ccomma.txt", 200, "punctuation"},
		{"letters may be escaped", "/%61bout", 200, "about"},
		{"dotfiles are not found", "/.env", 404, noPage},
		{"dot directories are not found", "/.git/config", 404, noPage},
		{"dotfiles further down are not found", "/blog/.draft", 404, noPost},
		{"well-known is served", "/.well-known/a.txt", 200, "known"},
		{"dotfiles in well-known are not found", "/.well-known/.x/s.txt", 404, noPage},
		{"well-known counts at the top only", "/blog/.well-known/n.txt", 404, noPost},
		{"an over-long name is not found", "/" + strings.Repeat("a", 70000), 404, noPage},
		{"two slashes are not one", "//about", 404, noPage},
		{"another host is not redirected to", "//evil.example/..%2f", 400, "400 this path is not one that is served\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := get(t, s, test.path)
			got := r.body
			if r.status == 301 {
				got = r.header.Get("Location")
			}
			if r.status != test.status || got != test.want {
				t.Errorf("got %d %q, want %d %q", r.status, got, test.status, test.want)
			}
		})
	}
}

func TestHostilePathsAreRefused(t *testing.T) {
	s := compiled(t, pages)
	for _, path := range []string{
		"/../etc/passwd", "/..", "/.", "/./about", "/blog/..", "/blog/../about", "/%2e%2e/etc/passwd", "/.%2e/", "/%2E/about",
		"/about%00", "/\x00", "/a%2fb.txt", "/blog%2Fpost", "/..%2f..%2fetc/passwd", "/..%5c..%5cboot.ini", "/a\\b", "/a%5Cb",
		"/%", "/%2", "/%zz", "/%-1", "/%1", "/a%0d%0aSet-Cookie:x", "/a\r\nb", "/%7f", "", "about", "*", "http://x/about",
	} {
		if r := get(t, s, path); r.status != http.StatusBadRequest {
			t.Errorf("%q is answered %d, want 400", path, r.status)
		}
	}
	for _, path := range []string{"/%252e%252e/etc/passwd", "/%252fetc", "/%255c", "/about%2500", "/...", "/..a", "/a..", "/%ff%fe"} {
		if r := get(t, s, path); r.status != http.StatusNotFound {
			t.Errorf("%q is answered %d, want 404", path, r.status)
		}
	}
}

func TestMediaTypesAreOurOwn(t *testing.T) {
	contents := files{
		"a.html": "<p>", "a.css": "a{}", "a.js": "1", "a.mjs": "1", "a.json": "{}", "a.map": "{}", "a.svg": "<svg/>", "a.wasm": "\x00asm\x01\x00",
		"a.avif": noise(1, 90), "a.webmanifest": "{}", "a.woff2": noise(2, 90), "a.txt": "grün", "latin.txt": "gr\xfcn", "a.PNG": noise(3, 90),
		"a.xml": "<x/>", "LICENSE": "free", "data": "\x00\x01", "a.unknown": "text", "b.unknown": noise(4, 90), "a.ts": "let x: number", "b.ts": "G\x00\x01",
		"a.ico": noise(5, 90), "a.pdf": "%PDF", "a.mp4": noise(6, 90), "a.md": "# a", "a.gz": noise(7, 90), "void": "", "utf16.html": "\xff\xfe<\x00p\x00",
	}
	want := map[string]string{
		"a": "text/html; charset=utf-8", "a.css": "text/css; charset=utf-8", "a.js": "text/javascript; charset=utf-8",
		"a.mjs": "text/javascript; charset=utf-8", "a.json": "application/json", "a.map": "application/json", "a.svg": "image/svg+xml",
		"a.wasm": "application/wasm", "a.avif": "image/avif", "a.webmanifest": "application/manifest+json", "a.woff2": "font/woff2",
		"a.txt": "text/plain; charset=utf-8", "latin.txt": "text/plain", "a.PNG": "image/png", "a.xml": "application/xml",
		"LICENSE": "text/plain; charset=utf-8", "data": "application/octet-stream", "a.unknown": "text/plain; charset=utf-8",
		"b.unknown": "application/octet-stream", "a.ts": "text/plain; charset=utf-8", "b.ts": "video/mp2t", "a.ico": "image/vnd.microsoft.icon",
		"a.pdf": "application/pdf", "a.mp4": "video/mp4", "a.md": "text/markdown; charset=utf-8", "a.gz": "application/gzip",
		"void": "application/octet-stream", "utf16": "text/html",
	}
	s, got := compiled(t, contents), make(map[string]string)
	for name := range want {
		got[name] = get(t, s, "/"+name).header.Get("Content-Type")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("types differ (-want +got):\n%s", diff)
	}
}

func TestFieldsOfAnswers(t *testing.T) {
	o := options(t, t.TempDir())
	files{"index.html": "home", "404.html": "none", "app.3f9c2b1e.js": "1", "a.png": noise(1, 50)}.write(t, o.Dir)
	modified := time.Date(2024, 2, 29, 12, 0, 0, 999, time.UTC)
	for _, name := range []string{"index.html", "app.3f9c2b1e.js", "a.png"} {
		if err := os.Chtimes(filepath.Join(o.Dir, name), modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	s := compileDir(t, o, nil)
	base := http.Header{"X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"strict-origin-when-cross-origin"}}
	for _, test := range []struct {
		name string
		q    Request
		want http.Header
	}{
		{"of a page", Request{Path: "/"}, http.Header{
			"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {cacheRevalidate}, "Vary": {"Accept-Encoding"}, "Content-Length": {"4"},
			"Accept-Ranges": {"bytes"}, "Last-Modified": {"Thu, 29 Feb 2024 12:00:00 GMT"}, "Etag": {`"4ea140588150773ce3aace786aeef7f4"`},
		}},
		{"of a fingerprinted file", Request{Path: "/app.3f9c2b1e.js"}, http.Header{
			"Content-Type": {"text/javascript; charset=utf-8"}, "Cache-Control": {cacheImmutable}, "Vary": {"Accept-Encoding"}, "Content-Length": {"1"},
			"Accept-Ranges": {"bytes"}, "Last-Modified": {"Thu, 29 Feb 2024 12:00:00 GMT"}, "Etag": {`"6b86b273ff34fce19d6b804eff5a3f57"`},
		}},
		{"of a type that is not coded", Request{Path: "/a.png", Method: "HEAD"}, http.Header{
			"Content-Type": {"image/png"}, "Cache-Control": {cacheRevalidate}, "Content-Length": {"50"}, "Accept-Ranges": {"bytes"},
			"Last-Modified": {"Thu, 29 Feb 2024 12:00:00 GMT"}, "Etag": {`"e04021518f1e4c0733401618a46b0ca9"`},
		}},
		{"of an error document", Request{Path: "/none"}, http.Header{
			"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store"}, "Vary": {"Accept-Encoding"}, "Content-Length": {"4"},
		}},
		{"of a redirect", Request{Path: "/index"}, http.Header{"Location": {"/"}, "Cache-Control": {cacheRevalidate}, "Content-Length": {"0"}}},
		{"of a path that is refused", Request{Path: "/.."}, http.Header{
			"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "Content-Length": {"40"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			maps.Copy(test.want, base)
			if diff := cmp.Diff(test.want, ask(t, s, test.q).header); diff != "" {
				t.Errorf("fields differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHSTSIsSentOnRequestAndOverTLSOnly(t *testing.T) {
	pages := files{"index.html": "home", "old.html": "x", "_headers": "/own\n  Strict-Transport-Security: max-age=1\n/none\n  ! Strict-Transport-Security\n", "own.html": "", "none.html": ""}
	with := compiled(t, pages, func(o *Options) { o.HSTS = 24 * time.Hour })
	without := compiled(t, pages)
	for _, test := range []struct {
		name         string
		site         *Site
		scheme, path string
		want         []string
	}{
		{"over https", with, "https", "/", []string{"max-age=86400"}},
		{"on redirects", with, "https", "/old.html", []string{"max-age=86400"}},
		{"on errors", with, "https", "/..", []string{"max-age=86400"}},
		{"not over http", with, "http", "/", nil},
		{"not unless asked for", without, "https", "/", nil},
		{"once, as _headers has it", with, "https", "/own", []string{"max-age=1"}},
		{"not where _headers removes it", with, "https", "/none", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := ask(t, test.site, Request{Scheme: test.scheme, Path: test.path, Range: "bytes=0-0"})
			if diff := cmp.Diff(test.want, r.header["Strict-Transport-Security"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
