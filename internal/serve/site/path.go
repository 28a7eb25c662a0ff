package site

import "strings"

// decodePath returns the path that an escaped request path (RFC 3986 §3.3,
// without the query) names, and whether it is one that this package serves.
// Refused are: bad escapes, "." and ".." segments, NUL and other controls,
// backslashes, and encoded slashes, all before and after one decoding. What is
// encoded twice stays encoded and names no file.
func decodePath(escaped string) (string, bool) {
	if escaped == "" || escaped[0] != '/' {
		return "", false
	}
	path := escaped
	if strings.IndexByte(escaped, '%') >= 0 {
		var ok bool
		if path, ok = unescape(escaped); !ok {
			return "", false
		}
	}
	return path, plain(path)
}

// unescape decodes percent-encoded octets, refusing encoded slashes.
func unescape(s string) (string, bool) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := fromHex(s[i+1]), fromHex(s[i+2])
		if hi < 0 || lo < 0 || hi<<4|lo == '/' {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}

func fromHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// plain reports whether a decoded path has no controls, backslashes or dot
// segments.
func plain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c < ' ' || c == 0x7f || c == '\\':
			return false
		case c == '.' && path[i-1] == '/' && dotSegment(path[i:]):
			return false
		}
	}
	return true
}

// dotSegment reports whether rest begins with a "." or ".." segment.
func dotSegment(rest string) bool {
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	return rest[:end] == "." || rest[:end] == ".."
}

// escapePath percent-encodes a decoded path for a Location field. Leading
// slashes are made one, so that it can never name another host.
func escapePath(path string) string {
	return "/" + escapeBytes(strings.TrimLeft(path, "/"), pathByte)
}

// escapeBytes percent-encodes the bytes of s that may not stand as they are.
func escapeBytes(s string, plain func(byte) bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

// queryByte reports whether c may stand in a query that is sent back as it came:
// whatever is visible ASCII.
func queryByte(c byte) bool { return '!' <= c && c <= '~' }

// pathByte reports whether c may stand in a path as it is: pchar or a slash
// (RFC 3986 §3.3).
func pathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-._~!$&'()*+,;=:@", c) >= 0
}
