package rules

import "strings"

const upperHex = "0123456789ABCDEF"

// unescape undoes percent-escapes; a percent sign that begins none stands for
// itself, as browsers have it.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c, ok := escapeAt(s, i); ok {
			b = append(b, c)
			i += 2
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// escape writes every byte of s that keep does not hold as a percent-escape.
func escape(b *strings.Builder, s string, keep func(byte) bool) {
	for i := range len(s) {
		if c := s[i]; keep(c) {
			b.WriteByte(c)
		} else {
			writeEscape(b, c)
		}
	}
}

// escapeAgain is escape for text that has been escaped by somebody already: what
// is escaped stays so, whatever else may not stand in a URL is escaped.
func escapeAgain(b *strings.Builder, s string, keep func(byte) bool) {
	for i := 0; i < len(s); i++ {
		if c, ok := escapeAt(s, i); ok {
			writeEscape(b, c)
			i += 2
		} else if keep(s[i]) {
			b.WriteByte(s[i])
		} else {
			writeEscape(b, s[i])
		}
	}
}

func writeEscape(b *strings.Builder, c byte) {
	b.WriteByte('%')
	b.WriteByte(upperHex[c>>4])
	b.WriteByte(upperHex[c&15])
}

// escapeAt returns the byte for which the percent-escape at s[i] stands.
func escapeAt(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	hi, lo := hexValue(s[i+1]), hexValue(s[i+2])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

func hexValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// The sets of bytes that stand for themselves follow RFC 3986, section 3.3
// to 3.5. A fragment may hold further number signs: browsers take them, and both
// platforms pass them on.

func inPath(c byte) bool {
	return isUnreserved(c) || strings.IndexByte("!$&'()*+,;=:@/", c) >= 0
}

func inQuery(c byte) bool    { return inPath(c) || c == '?' }
func inFragment(c byte) bool { return inQuery(c) || c == '#' }

// inValue holds what a captured text may bring into a query or a fragment: none
// of the bytes by which it could add a parameter of its own.
func inValue(c byte) bool {
	return isUnreserved(c) || strings.IndexByte("!$'()*,:@/", c) >= 0
}

func isUnreserved(c byte) bool {
	return isLetter(c) || isDigit(c) || strings.IndexByte("-._~", c) >= 0
}
