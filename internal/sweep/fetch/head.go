package fetch

import (
	"bytes"

	"pennyfarthing/internal/verdict"
)

// A head is the head of an answer (RFC 9112 §4). Its slices lie in what was scanned.
type head struct {
	status      int
	location    []byte
	server      []byte
	contentType []byte
	length      int64 // Content-Length, or -1
	coded       bool  // there is a Transfer-Encoding
	chunked     bool  // and it ends with chunked
}

// A headScanner finds the end of a head in bytes that come piece by piece, without
// looking at any twice.
type headScanner struct {
	start   int // of the head, behind interim ones
	looked  int // bytes of it in which there is no end
	interim int // interim answers that were skipped
}

const httpVersion = "HTTP/1."

// scan looks for a whole head at the beginning of b, behind interim ones. n is its
// length with these; 0 while it is not whole. A bad verdict says that it never will
// be.
//
// It takes a single LF for the end of a line (RFC 9112 §2.2), a missing reason
// phrase, and folded lines (§5.2). Nothing else that is not in the grammar is taken:
// a space before the colon, a CR or NUL in a value, lengths that differ.
func (s *headScanner) scan(b []byte, h *head) (n int, bad verdict.Code) {
	for {
		rest := b[s.start:]
		if v := begins(rest); v != verdict.None {
			return 0, v
		}
		end := s.end(rest)
		if end < 0 {
			if len(b) > HeadLimit {
				return 0, verdict.HTTPTooLarge
			}
			return 0, verdict.None
		}
		if s.start+end > HeadLimit {
			return 0, verdict.HTTPTooLarge
		}
		if v := h.parse(rest[:end]); v != verdict.None {
			return 0, v
		}
		s.start += end
		if h.status >= 200 || h.status == 101 {
			return s.start, verdict.None
		}
		if s.interim++; s.interim > interimLimit {
			return 0, verdict.HTTPMalformed
		}
		s.looked = 0
	}
}

// begins checks what there is of the version.
func begins(b []byte) verdict.Code {
	n := min(len(b), len(httpVersion))
	if string(b[:n]) != httpVersion[:n] {
		return verdict.HTTPMalformed
	}
	return verdict.None
}

// end is the length of the head with the empty line that ends it, or -1.
func (s *headScanner) end(b []byte) int {
	for i := max(0, s.looked-2); ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			break
		}
		i += j + 1
		switch {
		case i < len(b) && b[i] == '\n':
			return i + 1
		case i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n':
			return i + 2
		}
	}
	s.looked = len(b)
	return -1
}

// parse reads a head that is whole.
func (h *head) parse(b []byte) verdict.Code {
	*h = head{length: -1}
	line, rest := cutLine(b)
	if !h.parseStatus(line) {
		return verdict.HTTPMalformed
	}
	fields := 0
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if len(line) == 0 {
			break
		}
		if fields++; fields > fieldLimit {
			return verdict.HTTPTooLarge
		}
		for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') { // folded
			if fields++; fields > fieldLimit { // each is copied
				return verdict.HTTPTooLarge
			}
			var more []byte
			more, rest = cutLine(rest)
			line = append(append(bytes.Clone(line), ' '), bytes.Trim(more, " \t")...)
		}
		if !h.parseField(line) {
			return verdict.HTTPMalformed
		}
	}
	return verdict.None
}

// cutLine takes the first line, without its end.
func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, rest
}

// parseStatus reads a status line (RFC 9112 §4).
func (h *head) parseStatus(line []byte) bool {
	const least = len("HTTP/1.1 200")
	if len(line) < least || string(line[:len(httpVersion)]) != httpVersion || line[8] != ' ' {
		return false
	}
	if line[7] != '0' && line[7] != '1' {
		return false
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return false
		}
		h.status = 10*h.status + int(c-'0')
	}
	if h.status < 100 || len(line) > least && line[least] != ' ' {
		return false
	}
	return clean(line[least:])
}

// clean reports whether a value has no byte that must not be in one (RFC 9110 §5.5).
func clean(b []byte) bool {
	return bytes.IndexByte(b, 0) < 0 && bytes.IndexByte(b, '\r') < 0
}

// parseField reads a field line (RFC 9112 §5).
func (h *head) parseField(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false
	}
	name, value := line[:colon], line[colon+1:]
	for _, c := range name {
		if !token[c] {
			return false
		}
	}
	if !clean(value) {
		return false
	}
	value = bytes.Trim(value, " \t")
	switch len(name) {
	case len("server"):
		if equalFold(name, "server") && h.server == nil {
			h.server = value
		}
	case len("location"):
		if equalFold(name, "location") && h.location == nil {
			h.location = value
		}
	case len("content-type"):
		if equalFold(name, "content-type") && h.contentType == nil {
			h.contentType = value
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return h.parseLength(value)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			_, last := cutLast(value, ',')
			h.coded, h.chunked = true, equalFold(bytes.Trim(last, " \t"), "chunked")
		}
	}
	return true
}

func cutLast(b []byte, sep byte) (before, after []byte) {
	i := bytes.LastIndexByte(b, sep)
	return b[:max(i, 0)], b[i+1:]
}

// parseLength reads a length, or several that are the same (RFC 9112 §6.3).
func (h *head) parseLength(value []byte) bool {
	for more := true; more; {
		var one []byte
		one, value, more = bytes.Cut(value, []byte{','})
		one = bytes.Trim(one, " \t")
		if len(one) == 0 || len(one) > 18 {
			return false
		}
		n := int64(0)
		for _, c := range one {
			if c < '0' || c > '9' {
				return false
			}
			n = 10*n + int64(c-'0')
		}
		if h.length >= 0 && h.length != n {
			return false
		}
		h.length = n
	}
	return true
}

// equalFold compares a name with one in lower case.
func equalFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// token are the bytes of names (RFC 9110 §5.6.2).
//
//nolint:gochecknoglobals // a table
var token = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-0x20] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
