package h2

import "strings"

// A member is the value of a dictionary's member (RFC 8941 §3.2), as far as
// anybody here wants to know it.
type member struct {
	kind    memberKind
	integer int64 // 0 and 1 are false and true
}

type memberKind uint8

const (
	memberOther memberKind = iota
	memberInteger
	memberBoolean
)

// eachMember hands over the members of a dictionary (RFC 8941 §4.2.2), and reports
// whether it is well-formed. If not, what was handed over is of no use.
func eachMember(s string, take func(key string, v member)) bool {
	for s = strings.TrimLeft(s, " "); s != ""; {
		key, rest := cutKey(s)
		if key == "" {
			return false
		}
		var ok bool
		value := member{memberBoolean, 1}
		if strings.HasPrefix(rest, "=") {
			if value, rest, ok = cutMember(rest[1:]); !ok {
				return false
			}
		}
		if rest, ok = cutParameters(rest); !ok {
			return false
		}
		take(key, value)
		if rest = strings.TrimLeft(rest, " \t"); rest == "" {
			return true
		}
		if rest[0] != ',' {
			return false
		}
		if s = strings.TrimLeft(rest[1:], " \t"); s == "" {
			return false
		}
	}
	return true
}

// cutKey takes a key off the front of s; "" is none (RFC 8941 §4.2.3.3).
func cutKey(s string) (key, rest string) {
	n := 0
	for n < len(s) && (isLower(s[n]) || s[n] == '*' || n > 0 && (isDigit(s[n]) || strings.IndexByte("_-.", s[n]) >= 0)) {
		n++
	}
	return s[:n], s[n:]
}

// cutMember takes an item or an inner list off the front of s (RFC 8941 §4.2.1.1).
func cutMember(s string) (v member, rest string, ok bool) {
	if !strings.HasPrefix(s, "(") {
		return cutItem(s)
	}
	for s = s[1:]; ; {
		trimmed := strings.TrimLeft(s, " ")
		if strings.HasPrefix(trimmed, ")") {
			return v, trimmed[1:], true
		}
		if _, s, ok = cutItem(trimmed); !ok {
			return v, "", false
		}
		if s, ok = cutParameters(s); !ok || s == "" || s[0] != ' ' && s[0] != ')' {
			return v, "", false
		}
	}
}

// cutParameters takes parameters off the front of s (RFC 8941 §4.2.3.2).
func cutParameters(s string) (rest string, ok bool) {
	for strings.HasPrefix(s, ";") {
		key, rest := cutKey(strings.TrimLeft(s[1:], " "))
		if key == "" {
			return "", false
		}
		if strings.HasPrefix(rest, "=") {
			if _, rest, ok = cutItem(rest[1:]); !ok {
				return "", false
			}
		}
		s = rest
	}
	return s, true
}

// cutItem takes an item without its parameters off the front of s (RFC 8941 §4.2.3.1).
func cutItem(s string) (v member, rest string, ok bool) {
	if s == "" {
		return v, "", false
	}
	switch c := s[0]; {
	case c == '-' || isDigit(c):
		return cutNumber(s)
	case c == '"':
		return cutString(s)
	case c == ':':
		n := 1 + span(s[1:], func(c byte) bool { return isLower(c|0x20) || isDigit(c) || strings.IndexByte("+/=", c) >= 0 })
		if n == len(s) || s[n] != ':' {
			return v, "", false
		}
		return v, s[n+1:], true
	case c == '?' && len(s) > 1 && (s[1] == '0' || s[1] == '1'):
		return member{memberBoolean, int64(s[1] - '0')}, s[2:], true
	case c == '*' || isLower(c|0x20):
		n := span(s, func(c byte) bool { return tokenBytes[c] || c == ':' || c == '/' })
		return v, s[n:], true
	}
	return v, "", false
}

// cutNumber takes an integer or a decimal off the front of s (RFC 8941 §4.2.4).
func cutNumber(s string) (v member, rest string, ok bool) {
	digits := strings.TrimPrefix(s, "-")
	n := span(digits, isDigit)
	whole, rest := digits[:n], digits[n:]
	if fraction, decimal := strings.CutPrefix(rest, "."); decimal {
		n := span(fraction, isDigit)
		return v, fraction[n:], len(whole) > 0 && len(whole) <= 12 && n > 0 && n <= 3
	}
	for _, d := range []byte(whole) {
		v.integer = 10*v.integer + int64(d-'0') // whatever it is if there are too many digits
	}
	if len(digits) < len(s) {
		v.integer = -v.integer
	}
	v.kind = memberInteger
	return v, rest, len(whole) > 0 && len(whole) <= 15
}

// cutString takes a string off the front of s (RFC 8941 §4.2.5).
func cutString(s string) (v member, rest string, ok bool) {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return v, s[i+1:], true
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return v, "", false
			}
		case c < ' ' || c > '~':
			return v, "", false
		}
	}
	return v, "", false
}

// span is how many bytes at the front of s are of a kind.
func span(s string, is func(c byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
