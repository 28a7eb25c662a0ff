package h1

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
)

// Classes of bytes, as bits.
const (
	classToken byte = 1 << iota // tchar, RFC 9110 §5.6.2
	classHost                   // reg-name without pct-encoded, RFC 3986 §3.2.2
	classHex
)

// classes holds the classes of every byte. Never written to.
var classes = buildClasses()

// buildClasses spells the grammars out.
func buildClasses() (t [256]byte) {
	const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark := func(set string, class byte) {
		for _, c := range []byte(set) {
			t[c] |= class
		}
	}
	mark(alnum, classToken|classHost)
	mark("!#$%&'*+-.^_`|~", classToken)
	mark("-._~"+"!$&'()*+,;=", classHost)
	mark("0123456789abcdefABCDEF", classHex)
	return t
}

func is(c, class byte) bool { return classes[c]&class != 0 }

// isToken reports whether v is a token: one tchar or more.
func isToken(v []byte) bool {
	for _, c := range v {
		if !is(c, classToken) {
			return false
		}
	}
	return len(v) > 0
}

// isFold reports whether v is lower, whatever its case. v must hold no controls and lower only letters, digits and "-".
func isFold(v []byte, lower string) bool {
	if len(v) != len(lower) {
		return false
	}
	for i, c := range v {
		if c|0x20 != lower[i] {
			return false
		}
	}
	return true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// trimBlanks removes OWS from both ends (RFC 9110 §5.6.3).
func trimBlanks(v []byte) []byte {
	for len(v) > 0 && isBlank(v[0]) {
		v = v[1:]
	}
	for len(v) > 0 && isBlank(v[len(v)-1]) {
		v = v[:len(v)-1]
	}
	return v
}

// nextElement cuts the first element off a comma-separated list (RFC 9110 §5.6.1).
func nextElement(list []byte) (element, rest []byte, more bool) {
	element, rest, more = bytes.Cut(list, []byte{','})
	return trimBlanks(element), rest, more
}

// checkValue reports whether v holds only what a field value may: VCHAR, obs-text, SP and HTAB (RFC 9110 §5.5).
func checkValue(v []byte) Reason {
	const ones = 0x0101010101010101
	for len(v) >= 8 {
		x := binary.LittleEndian.Uint64(v)
		d := x ^ 0x7f*ones
		// High bits tell of a byte below 0x20, or one that is 0x7f; there are false alarms, which the loop below clears.
		if ((x-0x20*ones)&^x|(d-ones)&^d)&(0x80*ones) != 0 {
			if why := checkValueSlowly(v[:8]); why != ReasonNone {
				return why
			}
		}
		v = v[8:]
	}
	return checkValueSlowly(v)
}

// checkValueSlowly is checkValue byte by byte.
func checkValueSlowly(v []byte) Reason {
	for _, c := range v {
		switch {
		case c == '\r':
			return ReasonBareCR
		case c < ' ' && c != '\t', c == 0x7f:
			return ReasonFieldValue
		}
	}
	return ReasonNone
}

// checkHost reports whether v is a name, an IPv4 address or an IPv6 address in brackets, with or without a port
// (RFC 9110 §7.2). Percent-encoding and an empty port, which RFC 3986 allows and nobody sends, are refused.
func checkHost(v []byte) bool {
	if len(v) == 0 || len(v) > maxHost {
		return false
	}
	end := 0
	if v[0] == '[' {
		if end = ipLiteral(v); end == 0 {
			return false
		}
	} else {
		for end < len(v) && is(v[end], classHost) {
			end++
		}
	}
	return end > 0 && (end == len(v) || v[end] == ':' && isPort(v[end+1:]))
}

// ipLiteral returns where the bracketed IPv6 address at the beginning of v ends, or 0.
func ipLiteral(v []byte) int {
	end := bytes.IndexByte(v, ']')
	if end < 0 {
		return 0
	}
	addr, err := netip.ParseAddr(string(v[1:end]))
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return 0
	}
	return end + 1
}

func isPort(v []byte) bool {
	n, ok := decimal(v)
	return ok && n <= 65535
}

// decimal reads 1*DIGIT that fits an int64: no sign, no blanks, no more than 19 digits.
func decimal(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	var u uint64 // 19 nines fit
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	return int64(u), u <= 1<<63-1
}

// checkPath checks the path and query of a target: printable ASCII, no "#", whole escapes in the path. Browsers send
// characters that RFC 3986 wants escaped ("|", "{", a lone "%" in a query), so those pass.
func checkPath(v []byte) Reason {
	inPath := true
	for i, c := range v {
		switch {
		case c == '\r':
			return ReasonBareCR
		case c <= ' ' || c >= 0x7f || c == '#':
			return ReasonTarget
		case c == '?':
			inPath = false
		case c == '%' && inPath && !escapeAt(v, i):
			return ReasonEscape
		}
	}
	return ReasonNone
}

func escapeAt(v []byte, i int) bool {
	return i+2 < len(v) && is(v[i+1], classHex) && is(v[i+2], classHex)
}

// schemeEnd returns where "http://" or "https://" at the beginning of v ends, or 0.
func schemeEnd(v []byte) int {
	for _, scheme := range [...]string{"http://", "https://"} {
		// The scheme alone: isFold is for letters.
		colon := strings.IndexByte(scheme, ':')
		if len(v) >= len(scheme) && isFold(v[:colon], scheme[:colon]) && string(v[colon:len(scheme)]) == "://" {
			return len(scheme)
		}
	}
	return 0
}
