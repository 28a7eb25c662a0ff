package h1

import "bytes"

// scanChunkLine reads the line before a chunk at the beginning of b (RFC 9112 §7.1): the size, extensions that are well
// formed and then ignored, CRLF. It returns the line's length, zero when it is not whole yet, and the chunk's size.
func scanChunkLine(b []byte) (n int, size int64, why Reason) {
	if len(b) > 0 && !is(b[0], classHex) {
		return 0, 0, ReasonChunkSize // nobody waits for the end of such a line
	}
	lf := bytes.IndexByte(b[:min(len(b), maxChunkLine)], '\n')
	switch {
	case lf < 0 && len(b) >= maxChunkLine:
		return 0, 0, ReasonChunkExtension
	case lf < 0:
		return 0, 0, ReasonNone
	case b[lf-1] != '\r':
		return 0, 0, ReasonBareLF
	}
	line := b[:lf-1]
	digits, size, ok := hexSize(line)
	switch rest := line[digits:]; {
	case !ok, len(rest) > 0 && rest[0] != ';':
		return 0, 0, ReasonChunkSize
	case len(rest) > maxChunkExtensions || !checkExtensions(rest):
		return 0, 0, ReasonChunkExtension
	}
	return lf + 1, size, ReasonNone
}

// hexSize reads the 1 to 16 hexadecimal digits at the beginning of line, a number that fits an int64.
func hexSize(line []byte) (digits int, size int64, ok bool) {
	var u uint64
	for digits < len(line) && is(line[digits], classHex) {
		c := line[digits]
		if c >= 'A' {
			c += 9 // 'A' and 'a' have 1 in the low half
		}
		u = u<<4 | uint64(c&0x0f)
		digits++
	}
	return digits, int64(u), 0 < digits && digits <= 16 && u <= 1<<63-1
}

// checkExtensions checks *( ";" name [ "=" value ] ) (RFC 9112 §7.1.1). The blanks that a recipient may put up with ("bad
// whitespace") are refused: they only ever served attacks.
func checkExtensions(v []byte) bool {
	for len(v) > 0 {
		if v[0] != ';' {
			return false
		}
		n := tokenLen(v[1:])
		if n == 0 {
			return false
		}
		v = v[1+n:]
		if len(v) == 0 || v[0] != '=' {
			continue
		}
		if n = extensionValueLen(v[1:]); n == 0 {
			return false
		}
		v = v[1+n:]
	}
	return true
}

func tokenLen(v []byte) int {
	n := 0
	for n < len(v) && is(v[n], classToken) {
		n++
	}
	return n
}

// extensionValueLen returns the length of the token or quoted string (RFC 9110 §5.6.4) at the beginning of v, or 0.
func extensionValueLen(v []byte) int {
	if len(v) == 0 || v[0] != '"' {
		return tokenLen(v)
	}
	for i := 1; i < len(v); i++ {
		switch {
		case v[i] == '"':
			return i + 1
		case v[i] == '\\': // the next byte is taken as it is
			i++
		}
		if i == len(v) || v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
			return 0
		}
	}
	return 0
}
