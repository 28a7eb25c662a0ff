package site

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/body"
)

// TestALayoutExpectsWhatASiteAnswers compares the two at every path that the files and
// rules of a site could mean.
func TestALayoutExpectsWhatASiteAnswers(t *testing.T) {
	all := files{
		"index.html": "front", "about.html": "about", "blog/index.html": "blog", "blog/post.html": "post", "404.html": "none", "blog/404.html": "none of the blog",
		"both": "a file with a page's name", "both.html": "and the page", "app.3f9c2b1e.js": "script", "pic ture.png": "image", "ünï.txt": "text",
		".hidden/x": "never", ".well-known/x": "well known", "a/.htaccess": "never", "_headers": "/*\n  X-Test: 1\n", "100%.txt": "percent",
	}
	dirs := []string{
		"",
		"/old /new\n/about /blog/ 301!\n/gone / 410\n/nothing /missing 410\n/r/* /blog/post 200\n/* /index.html 200\n",
		"/gone /about 404\n/x/:name /blog/:name 302\nhttps://other.test/about https://else.test/ 301!\n/blog/* /404 404\n",
	}
	for _, redirects := range dirs {
		for _, dialect := range []rules.Dialect{rules.Netlify, rules.Cloudflare} {
			f := maps.Clone(all)
			if redirects != "" {
				if f["_redirects"] = redirects; dialect == rules.Cloudflare {
					f["_redirects"] = "/old /new\n/about /blog/ 301\n/r/* /blog/post 200\n"
				}
			}
			s := compiled(t, f, func(o *Options) { o.Dialect = dialect })
			var listed []SourceFile
			var ofSite []byte
			for _, a := range s.assets {
				if !a.document {
					listed = append(listed, SourceFile{Name: a.name, Type: a.contentType})
				}
			}
			for name, content := range f {
				if !slices.ContainsFunc(listed, func(l SourceFile) bool { return l.Name == name }) {
					listed = append(listed, SourceFile{Name: name})
				}
				if name == "_redirects" {
					ofSite = []byte(content)
				}
			}
			l, err := Lay(dialect, listed, ofSite)
			if err != nil {
				t.Fatal(err)
			}
			paths := []string{"/", "/old", "/gone", "/nothing", "/r/1", "/x/post", "/blog", "/blog/x", "/blog/x/y", "/none.3f9c2b1e.js", "/..", "/%2f", "/about.html", "/blog/index", "/about/", "x", "/both/"}
			for name := range f {
				path, served := l.Path(name)
				if want := name != "_redirects" && name != "_headers" && name != ".hidden/x" && name != "a/.htaccess"; served != want {
					t.Errorf("%s is served: %v", name, served)
				}
				if served {
					paths = append(paths, path)
				}
				paths = append(paths, escapePath("/"+name))
			}
			for _, host := range []string{"example.org", "other.test"} {
				for _, path := range paths {
					want := s.Respond(&Request{Method: "GET", Scheme: "https", Host: host, Path: path})
					got := l.Ask(host, path)
					var body bytes.Buffer
					if _, err := want.WriteTo(&body); err != nil {
						t.Fatal(err)
					}
					content := f[got.Name]
					if got.Name == "" {
						content = body.String() // a text of the site's own
					}
					if got.Status != want.Status || got.Location != want.Field("Location") || content != body.String() {
						t.Errorf("%s %s, rules %q: expected %+v, answered %d %q %q", host, path, f["_redirects"], got, want.Status, want.Field("Location"), body.String())
					}
				}
			}
		}
	}
}

// TestALayoutOfAnyTreeIsThatOfItsSite compares the two for trees whose paths get into each
// other's way.
func TestALayoutOfAnyTreeIsThatOfItsSite(t *testing.T) {
	store := newObjects(t)
	o := Options{Store: body.NewStore("")}
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 2))
		f := make(files)
		for _, name := range treeNames() {
			if name != "large.bin" && random.IntN(3) > 0 {
				f[name] = "the content of " + name
			}
		}
		r := store.release(t, f)
		s := compileRelease(t, o, r, nil)
		random.Shuffle(len(r.files), func(i, j int) { r.files[i], r.files[j] = r.files[j], r.files[i] })
		l, err := Lay(rules.Netlify, r.files, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range treeNames() {
			clean := canonicalPath(name)
			for _, path := range []string{"/" + name, clean, clean + "/", strings.TrimSuffix(clean, "/"), clean + "index", strings.TrimSuffix("/"+name, ".html") + "/", clean + "/none", clean + ".html"} {
				if path == "" {
					continue
				}
				want := get(t, s, path)
				got := l.Ask("example.org", path)
				if got.Status != want.status || got.Location != want.header.Get("Location") || got.Name != "" && f[got.Name] != want.body {
					t.Errorf("seed %d: %s: expected %+v, answered %d %q %q", seed, path, got, want.status, want.header.Get("Location"), want.body)
				}
			}
			at, served := l.Path(name)
			if _, there := f[name]; served != (there && !hiddenWithin(name)) || served && l.Ask("example.org", at).Name != name {
				t.Errorf("seed %d: %s is served: %v, at %s", seed, name, served, at)
			}
		}
	}
}

func TestALayoutRefusesRulesWithMistakes(t *testing.T) {
	if _, err := Lay(rules.Netlify, nil, []byte("/a /b 999\n")); err == nil {
		t.Error("a status of 999 is taken")
	}
}
