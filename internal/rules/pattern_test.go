package rules

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPatternsCaptureWhatTheirWildcardsStandFor(t *testing.T) {
	for name, c := range map[string]struct {
		dialect Dialect
		source  string
		path    string
		want    []string // nil: no match
	}{
		"a splat takes what follows":                           {Netlify, "/news/*", "/news/2004/01/10/my-story", []string{"2004/01/10/my-story"}},
		"netlify's splat takes nothing as well":                {Netlify, "/news/*", "/news", []string{""}},
		"netlify's splat does not take a part of a segment":    {Netlify, "/news/*", "/newspaper", nil},
		"cloudflare's splat wants the slash":                   {Cloudflare, "/foo/*", "/foo", nil},
		"cloudflare's splat takes nothing behind the slash":    {Cloudflare, "/foo/*", "/foo/", []string{""}},
		"a splat may end a segment":                            {Netlify, "/jobs/dev*", "/jobs/developer/eu", []string{"eloper/eu"}},
		"everything":                                           {Netlify, "/*", "/", []string{""}},
		"a placeholder takes one segment":                      {Netlify, "/news/:month/:date", "/news/02/12", []string{"02", "12"}},
		"a placeholder takes no slash":                         {Netlify, "/news/:month", "/news/02/12", nil},
		"a placeholder takes no nothing":                       {Cloudflare, "/news/:month/", "/news//", nil},
		"cloudflare's placeholder may share a segment":         {Cloudflare, "/img/:name.jpg", "/img/a.jpg.jpg", []string{"a.jpg"}},
		"cloudflare's splat may stand in the middle":           {Cloudflare, "/a/*/z", "/a/b/z/z", []string{"b/z"}},
		"the earlier of two takes more":                        {Cloudflare, "/:a-:b", "/x-y-z", []string{"x-y", "z"}},
		"a placeholder before a splat stays in its segment":    {Cloudflare, "/:a-*", "/x-y/z-w", []string{"x", "y/z-w"}},
		"a splat before a placeholder gives way":               {Cloudflare, "/*-:b", "/x-y/z-w", []string{"x-y/z", "w"}},
		"escapes of the source are undone":                     {Netlify, "/c%C3%A9line", "/céline", []string{}},
		"a percent sign that begins no escape is one":          {Netlify, "/100%", "/100%", []string{}},
		"an escaped asterisk is no splat":                      {Cloudflare, "/%2A", "/x", nil},
		"a colon before no letter is one":                      {Cloudflare, "/://so", "/://so", []string{}},
		"netlify's colon inside of a segment is one":           {Netlify, "/a:b", "/a:b", []string{}},
		"netlify overlooks empty segments":                     {Netlify, "//a//b//", "/a/b", []string{}},
		"netlify's splat in the middle of _headers":            {Netlify, "/directory/*/test.html", "/directory/a/b/test.html", []string{"a/b"}},
		"netlify's splat in the middle may be left out":        {Netlify, "/a/*/b", "/a/b", []string{""}},
		"netlify's two splats":                                 {Netlify, "/*/_next/static/chunks/*", "/x/_next/static/chunks/y", []string{"x", "y"}},
		"netlify's splat inside of a segment":                  {Netlify, "/a/b*c", "/a/b/x/c", []string{"/x/"}},
		"the case of letters counts":                           {Netlify, "/A", "/a", nil},
		"netlify's two splats do not take the slash for two":   {Netlify, "/*/a/*", "/b", nil},
		"netlify's splats take nothing where nothing is given": {Netlify, "/*/a/*", "/a", []string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			p, problem := compileAny(c.source, c.dialect)
			if problem != nil {
				t.Fatal(problem)
			}
			got, ok := p.match(c.path, []string{})
			if !ok {
				got = nil
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func compileAny(source string, d Dialect) (pattern, *problem) {
	if d == Netlify {
		return compileNetlify(source, true)
	}
	return compileCloudflare(source, '/')
}

// TestBothMatchersAgreeWithRegexp takes Go's regular expressions for an oracle.
func TestBothMatchersAgreeWithRegexp(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{"/", "a", "-", ":x", ":y", "*", "/", "b", "ab"}
	for range 4_000 {
		source, path := "/", "/"
		for range random.IntN(7) {
			source += parts[random.IntN(len(parts))]
		}
		for range random.IntN(9) {
			path += string("/ab-/a"[random.IntN(6)])
		}
		for _, d := range []Dialect{Netlify, Cloudflare} {
			p, problem := compileAny(source, d)
			if problem != nil {
				continue
			}
			oracle := regexp.MustCompile(expression(p)).FindStringSubmatch(path)
			for _, match := range []func(string, []string) ([]string, bool){p.match, p.matchAny} {
				got, ok := match(path, []string{})
				if ok != (oracle != nil) || ok && !cmp.Equal(oracle[1:], got) {
					t.Fatalf("%s: %q on %q captures %q, %v; the oracle says %q", d, source, path, got, ok, oracle)
				}
			}
		}
	}
}

func expression(p pattern) string {
	var b strings.Builder
	for _, t := range p.tokens {
		switch t.kind {
		case literal:
			b.WriteString(regexp.QuoteMeta(t.text))
		case segment:
			fmt.Fprintf(&b, "([^%c]+)", t.stop)
		case splat:
			b.WriteString("(.*)")
		case tail:
			b.WriteString("(?:/(.*))?")
		}
	}
	return "^" + b.String() + "$"
}
