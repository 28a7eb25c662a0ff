package mediatype_test

import (
	"strings"
	"testing"

	"pennyfarthing/internal/mediatype"
)

func TestATypeComesFromTheNameAndTheNatureOfTheContent(t *testing.T) {
	long := strings.Repeat("é", mediatype.SniffLength)
	for _, tt := range []struct{ what, name, content, want string }{
		{"a page in UTF-8", "a/index.html", "<p>é", "text/html; charset=utf-8"},
		{"a page in another encoding", "index.html", "<p>\xe9", "text/html"},
		{"a page with nothing in it", "index.html", "", "text/html; charset=utf-8"},
		{"a page with a NUL", "index.html", "<p>\x00", "text/html; charset=utf-8"},
		{"a name in capitals", "INDEX.HTM", "x", "text/html; charset=utf-8"},
		{"a type without a charset", "a.json", "\xff", "application/json"},
		{"text without a name that says anything", "LICENSE", "free\n", "text/plain; charset=utf-8"},
		{"a rune cut off at the end of what was read", "LICENSE", long[:mediatype.SniffLength+1], "text/plain; charset=utf-8"},
		{"a short file that ends in half a rune", "LICENSE", "\xc3", "application/octet-stream"},
		{"binary without a name that says anything", "blob", "a\x00b", "application/octet-stream"},
		{"nothing under a name that says nothing", "blob", "", "application/octet-stream"},
		{"TypeScript", "main.ts", "let a = 1\n", "text/plain; charset=utf-8"},
		{"a transport stream", "film.ts", "G\x40\x00", "video/mp2t"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if got := mediatype.Of(tt.name, []byte(tt.content)); got != tt.want {
				t.Errorf("Of(%q) = %q, want %q", tt.name, got, tt.want)
			}
			if got := mediatype.OfNature(tt.name, mediatype.Look([]byte(tt.content))); got != tt.want {
				t.Errorf("OfNature(%q) = %q, want %q", tt.name, got, tt.want)
			}
		})
	}
}
