package site

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A preview is of the same files and rules as the site will be, and promises nothing.
func TestNoAnswerOfAPreviewIsIndexedOrKept(t *testing.T) {
	o := newObjects(t)
	src := o.release(t, files{
		"index.html": "front", "404.html": "nothing here", "about.html": "about", "app.3f9a1c7be2d04a58.js": "script", "blog/index.html": "blog", "plain.txt": "text",
		"_redirects": "/old /about 301\n/away https://other.example/ 302\n",
		"_headers":   "/*\n  X-Robots-Tag: all\n  Strict-Transport-Security: max-age=1000\n  Cache-Control: public, max-age=600\n  X-Own: yes\n",
	})
	bare := o.release(t, files{"index.html": "front", "app.3f9a1c7be2d04a58.js": "script"})
	for name, r := range map[string]*release{"with rules": src, "without": bare} {
		options := options(t, "")
		options.Preview, options.HSTS = true, time.Hour
		s, err := CompileSource(t.Context(), options, r, nil)
		check(t, err)
		for _, path := range []string{"/", "/about", "/app.3f9a1c7be2d04a58.js", "/plain.txt", "/old", "/away", "/blog", "/about.html", "/missing", "/%zz", "/%2e%2e/x"} {
			a := s.Respond(&Request{Method: http.MethodGet, Scheme: "https", Host: "preview.example", Path: path})
			robots, cache := 0, a.Field("Cache-Control")
			for f := range a.Fields() {
				switch f.Name {
				case "X-Robots-Tag":
					robots++
				case "Strict-Transport-Security":
					t.Errorf("%s: %s has HSTS", name, path)
				}
			}
			if robots != 1 || a.Field("X-Robots-Tag") != "noindex" {
				t.Errorf("%s: %s has %d fields X-Robots-Tag, %q", name, path, robots, a.Field("X-Robots-Tag"))
			}
			want := cachePreview
			if a.Status >= http.StatusBadRequest {
				want = cacheNever
			}
			if cache != want {
				t.Errorf("%s: %s (%d) has Cache-Control %q, want %q", name, path, a.Status, cache, want)
			}
			var p Prepared
			if a.Prepared(&p) {
				t.Errorf("%s: %s stands ready without what a preview adds", name, path)
			}
		}
		if got := get(t, s, "/"); !strings.Contains(got.body, "front") {
			t.Errorf("%s: the front page is %q", name, got.body)
		}
	}
	s, err := CompileSource(t.Context(), options(t, ""), src, nil)
	check(t, err)
	a := s.Respond(&Request{Method: http.MethodGet, Scheme: "https", Host: "x.example", Path: "/"})
	if a.Field("X-Robots-Tag") != "all" || a.Field("X-Own") != "yes" || a.Field("Cache-Control") != "public, max-age=600" {
		t.Errorf("what is no preview has %q, %q, %q", a.Field("X-Robots-Tag"), a.Field("X-Own"), a.Field("Cache-Control"))
	}
}

// What a preview has made of content is taken over by the site, and nothing of its
// fields with it.
func TestAReleaseThatWasPreviewedIsServedAsOneThatWasNot(t *testing.T) {
	o := newObjects(t)
	src := o.release(t, files{"index.html": "front", "app.3f9a1c7be2d04a58.js": "script"})
	previewing := options(t, "")
	previewing.Preview = true
	preview, err := CompileSource(t.Context(), previewing, src, nil)
	check(t, err)
	s, err := CompileSource(t.Context(), previewing.live(), src, preview)
	check(t, err)
	for path, want := range map[string]string{"/": cacheRevalidate, "/app.3f9a1c7be2d04a58.js": cacheImmutable} {
		a := s.Respond(&Request{Method: http.MethodGet, Scheme: "https", Host: "x.example", Path: path})
		if got := a.Field("Cache-Control"); got != want || a.Field("X-Robots-Tag") != "" {
			t.Errorf("%s has Cache-Control %q, want %q; X-Robots-Tag %q", path, got, want, a.Field("X-Robots-Tag"))
		}
	}
}

func (o Options) live() Options {
	o.Preview = false
	return o
}
