package rules_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
)

func headers(t testing.TB, d rules.Dialect, src string) *rules.Headers {
	t.Helper()
	h, err := rules.ParseHeaders("_headers", []byte(src), d)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func headersOf(t testing.TB, d rules.Dialect, file string) *rules.Headers {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return headers(t, d, string(src))
}

type fields = map[string][]string

// apply returns what becomes of the fields that a server sends by itself.
func apply(h *rules.Headers, url string, defaults fields) fields {
	out := fields{}
	maps.Copy(out, defaults)
	carryOut(out, h.Match(request(url)))
	return out
}

func TestNetlifyHeaders(t *testing.T) {
	h := headersOf(t, rules.Netlify, "testdata/netlify.headers")
	everywhere := fields{
		"X-Frame-Options": {"DENY"}, "X-Content-Type-Options": {"nosniff"},
		"Content-Security-Policy": {"default-src 'self'; img-src https: data:"},
	}
	with := func(more fields) fields {
		out := fields{}
		maps.Copy(out, everywhere)
		maps.Copy(out, more)
		return out
	}
	for name, c := range map[string]struct {
		url  string
		want fields
	}{
		"the front page":                      {"/", everywhere},
		"a field given several times":         {"/assets/a.css", with(fields{"Cache-Control": {"public, max-age=31536000, immutable"}})},
		"the directory itself":                {"/assets", with(fields{"Cache-Control": {"public, max-age=31536000, immutable"}})},
		"no directory of a similar name":      {"/assets2", everywhere},
		"a splat in front":                    {"/a/b/feed.xml", with(fields{"Content-Type": {"application/atom+xml; charset=utf-8"}})},
		"a splat in front with nothing in it": {"/feed.xml", with(fields{"Content-Type": {"application/atom+xml; charset=utf-8"}})},
		"a placeholder, and cookies apart": {"/blog/a/", with(fields{
			"Link": {"</css/blog.css>; rel=preload; as=style"}, "Set-Cookie": {"seen=blog; Path=/", "theme=dark; Path=/"},
		})},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, apply(h, c.url, nil)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if h.DependsOnHost() || h.Len() != 4 {
		t.Errorf("%d blocks, depends on the host: %v; want 4 and false", h.Len(), h.DependsOnHost())
	}
}

func TestCloudflareHeaders(t *testing.T) {
	h := headersOf(t, rules.Cloudflare, "testdata/cloudflare.headers")
	defaults := fields{"Content-Security-Policy": {"default-src 'self'"}}
	with := func(more fields) fields {
		out := fields{"Content-Security-Policy": defaults["Content-Security-Policy"]}
		maps.Copy(out, more)
		return out
	}
	for name, c := range map[string]struct {
		url  string
		want fields
	}{
		"a path":                        {"custom.domain/secure/page", with(fields{"X-Frame-Options": {"DENY"}, "Referrer-Policy": {"no-referrer"}})},
		"a slash at the end counts":     {"custom.domain/secure/page/", with(nil)},
		"a host":                        {"other://myproject.pages.dev/home", with(fields{"X-Robots-Tag": {"noindex"}, "Access-Control-Allow-Origin": {"https://staging.myproject.pages.dev/"}})},
		"two blocks with one field":     {"myproject.pages.dev/static/styles.css", with(fields{"Access-Control-Allow-Origin": {"*, https://staging.myproject.pages.dev/"}, "X-Robots-Tag": {"nosnippet, noindex"}})},
		"a label takes no dot":          {"a.b.pages.dev/x", with(nil)},
		"a field that is removed":       {"custom.domain/a/b.jpg", fields{}},
		"a placeholder in a value":      {"custom.domain/movies/Brazil", with(fields{"X-Movie-Name": {`You are watching "Brazil"`}})},
		"a placeholder that is escaped": {"custom.domain/movies/a\r\nb: c", with(fields{"X-Movie-Name": {`You are watching "a%0D%0Ab:%20c"`}})},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, apply(h, c.url, defaults)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if !h.DependsOnHost() {
		t.Error("the file names hosts, but does not depend on them")
	}
}

func TestEditsAreInOrderAndNameTheirLines(t *testing.T) {
	const src = "/*\n  cache-control: a\n  X-Y: 1\n/a*\n  Cache-Control: b\n  Cache-Control: c\n  ! x-y\n"
	for name, c := range map[string]struct {
		dialect rules.Dialect
		want    []rules.Edit
	}{
		"at netlify the last block counts": {rules.Netlify, []rules.Edit{
			{Op: rules.Set, Name: "Cache-Control", Value: "a", Line: 2},
			{Op: rules.Set, Name: "X-Y", Value: "1", Line: 3},
			{Op: rules.Remove, Name: "X-Y", Line: 7},
			{Op: rules.Set, Name: "Cache-Control", Value: "b", Line: 5},
			{Op: rules.Append, Name: "Cache-Control", Value: "c", Line: 6},
		}},
		"at cloudflare all count": {rules.Cloudflare, []rules.Edit{
			{Op: rules.Set, Name: "Cache-Control", Value: "a", Line: 2},
			{Op: rules.Set, Name: "X-Y", Value: "1", Line: 3},
			{Op: rules.Remove, Name: "X-Y", Line: 7},
			{Op: rules.Append, Name: "Cache-Control", Value: "b", Line: 5},
			{Op: rules.Append, Name: "Cache-Control", Value: "c", Line: 6},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := headers(t, c.dialect, src).Match(rules.Request{Path: "/abc"})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRulesOverrideTheFieldsOfTheServer(t *testing.T) {
	for _, d := range []rules.Dialect{rules.Netlify, rules.Cloudflare} {
		h := headers(t, d, "/*\n  Cache-Control: no-store\n  Set-Cookie: a=b\n")
		got := apply(h, "/x", fields{"Cache-Control": {"public, max-age=0"}, "Etag": {`"1"`}})
		want := fields{"Cache-Control": {"no-store"}, "Etag": {`"1"`}, "Set-Cookie": {"a=b"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", d, diff)
		}
	}
}

func TestMalformedHeadersAreRefusedWithPlaceAndHint(t *testing.T) {
	const expected = `expected a path that begins with "/", or a field as Name: value, found `
	for name, c := range map[string]struct {
		dialect rules.Dialect
		src     string
		want    []mistake.Error
	}{
		"a field before a path": {src: "  Test: one\n/path\n A: b", want: []mistake.Error{
			{Line: 1, Column: 3, What: "expected a path before the field Test", Hint: "begin with a path such as /*"},
		}},
		"neither path nor field": {src: "c\n/a\n test = one\n !x-content-type\n A: b", want: []mistake.Error{
			{Line: 1, Column: 1, What: expected + `"c"`, Hint: "begin with a path such as /c"},
			{Line: 3, Column: 2, What: expected + `"test = one"`, Hint: "write test: one"},
			{Line: 4, Column: 2, What: expected + `"!x-content-type"`, Hint: "write ! x-content-type to remove a field"},
		}},
		"no name, no value": {src: "/path\n  : one\n  test:\n  a b: c", want: []mistake.Error{
			{Line: 2, Column: 3, What: "expected a field name before the colon", Hint: "write Name: value"},
			{Line: 3, Column: 7, What: "expected a value for the field test", Hint: "write Name: value, or ! Name to remove a field that the server sends"},
			{
				Line: 4, Column: 4, What: `expected a field name, found "a b"`,
				Hint: "a name has letters, digits and hyphens, no space; its value follows after a colon",
			},
		}},
		"a path without fields": {src: "/a\n/b\n  X: y\n/c", want: []mistake.Error{
			{Line: 1, Column: 1, What: `expected fields below "/a"`, Hint: "write them as Name: value; each path needs its own"},
			{Line: 4, Column: 1, What: `expected fields below "/c"`, Hint: "write them as Name: value; each path needs its own"},
		}},
		"a removal with a value": {src: "/b\n  ! Content-Type: application/json\n  !\n  A: b", want: []mistake.Error{
			{Line: 2, Column: 17, What: "a field that is removed has no value", Hint: "write ! Content-Type, or drop the ! to set it"},
			{Line: 3, Column: 4, What: "expected a field name after !", Hint: "write ! Name to remove a field"},
		}},
		"passwords": {src: "/protected/*\n  Basic-Auth: USERNAME:USER_PASSWORD", want: []mistake.Error{
			{
				Line: 2, Column: 3, What: "the field Basic-Auth (passwords by Netlify) is not supported",
				Hint: "passwords are for an app or an origin to check: serve these paths from one",
			},
		}},
		"fields of the server": {src: "/*\n content-length: 3\n ! Transfer-Encoding\n Content-Encoding: gzip\n Date: x\n ETag: x\n ! ETag\n Alt-Svc: clear\n Location: /", want: []mistake.Error{
			{Line: 2, Column: 2, What: "the field Content-Length belongs to the server: it says where an answer ends", Hint: "delete the line"},
			{Line: 3, Column: 4, What: "the field Transfer-Encoding belongs to the server: it says where an answer ends", Hint: "delete the line"},
			{
				Line: 4, Column: 2, What: "the field Content-Encoding belongs to the server: it says what the bytes of an answer are",
				Hint: "delete the line; files are compressed without it",
			},
			{Line: 5, Column: 2, What: "the field Date belongs to the server", Hint: "delete the line"},
			{
				Line: 6, Column: 2, What: "the field Etag belongs to the server: it says how an answer can be kept and asked for again",
				Hint: "delete the line, or write: ! Etag",
			},
			{Line: 8, Column: 2, What: "the field Alt-Svc belongs to the server: it announces HTTP/3", Hint: "delete the line; the server announces what it speaks"},
			{Line: 9, Column: 2, What: "the field Location belongs to a redirect", Hint: "write a line in _redirects"},
		}},
		"a control character": {src: "/*\n  A: b\x1b\n  C: d\te\n  F: g", want: []mistake.Error{
			{Line: 2, Column: 7, What: "control character U+001B", Hint: "delete it"},
			{Line: 3, Column: 7, What: "control character U+0009 in a value", Hint: "write a space"},
		}},
		"a field on the line of its path": {src: "/* X-Frame-Options: DENY", want: []mistake.Error{
			{Line: 1, Column: 3, What: "expected the end of the line after a path", Hint: "write each field on a line of its own below it"},
		}},
		"http instead of https": {src: "http://nah.com/blog\n  invalid: things", want: []mistake.Error{
			{
				Line: 1, Column: 1, What: `expected a URL that begins with "https://", found "http://nah.com/blog"`,
				Hint: "write https://; the rule holds for http as well",
			},
		}},
		"a port": {dialect: rules.Cloudflare, src: "https://nah.com:8080\n  invalid: also", want: []mistake.Error{
			{Line: 1, Column: 16, What: "a port in the source", Hint: "rules look at the host only: delete the port"},
		}},
		"two splats at cloudflare": {dialect: rules.Cloudflare, src: "/blog/*/posts/*\n A: b\nhttps://*.pages.dev/*\n A: b", want: []mistake.Error{
			{Line: 1, Column: 15, What: "a second splat", Hint: "cloudflare takes one splat a source: use placeholders such as :name for the others"},
			{Line: 3, Column: 20, What: "the placeholder :splat stands twice in the source", Hint: "give each its own name"},
		}},
		"a query at netlify": {src: "/a?b=c\n D: e", want: []mistake.Error{
			{Line: 1, Column: 3, What: "a query in the source", Hint: "write it behind a space: /a b=c"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rules.ParseHeaders("_headers", []byte(c.src), c.dialect)
			compareMistakes(t, "_headers", c.want, err)
		})
	}
}

// carryOut carries edits out on fields, as a server does.
func carryOut(fields map[string][]string, edits []rules.Edit) {
	for _, e := range edits {
		old := fields[e.Name]
		switch {
		case e.Op == rules.Remove:
			delete(fields, e.Name)
		case e.Op == rules.Append && len(old) > 0 && e.Name != "Set-Cookie":
			fields[e.Name] = []string{strings.Join(old, ", ") + ", " + e.Value}
		case e.Op == rules.Append:
			fields[e.Name] = append(slices.Clone(old), e.Value)
		default:
			fields[e.Name] = []string{e.Value}
		}
	}
}

func TestWhatComesThenComesLast(t *testing.T) {
	last := rules.Edit{Op: rules.Set, Name: "Cache-Control", Value: "private"}
	h, err := rules.ParseHeaders("_headers", []byte("/*\n  Cache-Control: public\n/x\n  X-Own: yes\n"), rules.Netlify)
	if err != nil {
		t.Fatal(err)
	}
	with := h.Then(last)
	for path, before := range map[string]int{"/": 1, "/x": 2} {
		if got := with.Match(rules.Request{Path: path}); len(got) != before+1 || got[before] != last {
			t.Errorf("%s: %+v", path, got)
		}
		if got := h.Match(rules.Request{Path: path}); len(got) != before {
			t.Errorf("%s without it: %+v", path, got)
		}
	}
	var none *rules.Headers
	if got := none.Then(last).Match(rules.Request{Path: "/any"}); len(got) != 1 || got[0] != last {
		t.Errorf("of no rules: %+v", got)
	}
}
