package site

import (
	"net/url"
	"strings"
	"testing"
)

func FuzzDecodePath(f *testing.F) {
	for _, path := range []string{
		"/", "/index.html", "/a%20b", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f", "/a/./b", "/a//b", "/%5c..%5c", "/%00", "/%c3%bc", "/ü", "/%", "/%2", "/a%252e%252e",
		"/.well-known/acme-challenge/x", "/...", "/a/..", "//x", "", "*", "/\x7f",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		path, ok := decodePath(escaped)
		if !ok {
			return
		}
		if path == "" || path[0] != '/' || strings.ContainsAny(path, "\\\x00\r\n") {
			t.Errorf("%q became %q", escaped, path)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if segment == "." || segment == ".." {
				t.Errorf("%q became %q with a dot segment", escaped, path)
			}
		}
		if strings.Count(path, "/") != strings.Count(escaped, "/") {
			t.Errorf("%q became %q: the slashes are others", escaped, path)
		}
		if want, err := url.PathUnescape(escaped); err != nil || path != want {
			t.Errorf("%q became %q, net/url says %q, %v", escaped, path, want, err)
		}
		again, ok := decodePath(escapePath(path))
		if want := "/" + strings.TrimLeft(path, "/"); !ok || again != want {
			t.Errorf("%q escaped and decoded again is %q, %t", want, again, ok)
		}
	})
}
