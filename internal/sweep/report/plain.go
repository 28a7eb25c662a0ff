package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain makes text of strangers fit for people: what is no UTF-8, controls a terminal,
// turns the direction of writing or cannot be seen becomes U+FFFD, and what is
// longer than n characters is cut. Combining marks stay, but not alone in heaps:
// they are cut with the rest.
func plain(s string, n int) string {
	if len(s) > 4*n {
		s = s[:4*n] // no more is looked at; it is cut below
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return r
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Cf, r):
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
