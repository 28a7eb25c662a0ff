package h1

import (
	"bytes"
	"iter"
)

// fieldSet is which fields a head has, of those that matter to its framing and routing.
type fieldSet uint16

const (
	fieldHost fieldSet = 1 << iota
	fieldContentLength
	fieldTransferEncoding
	fieldConnection
	fieldExpect
	fieldUpgrade
	fieldTrailer
	tokenClose
	tokenKeepAlive
)

// has reports whether all of f are in s.
func (s fieldSet) has(f fieldSet) bool { return s&f == f }

// fieldOf tells which of the fields that matter name is, or 0.
func fieldOf(name []byte) fieldSet {
	match := func(lower string, f fieldSet) fieldSet {
		if isFold(name, lower) {
			return f
		}
		return 0
	}
	switch len(name) {
	case len("host"):
		return match("host", fieldHost)
	case len("expect"):
		return match("expect", fieldExpect)
	case len("upgrade"): // and trailer
		return match("upgrade", fieldUpgrade) | match("trailer", fieldTrailer)
	case len("connection"):
		return match("connection", fieldConnection)
	case len("content-length"):
		return match("content-length", fieldContentLength)
	case len("transfer-encoding"):
		return match("transfer-encoding", fieldTransferEncoding)
	}
	return 0
}

// field reads one field line of a head or of a trailer section (RFC 9112 §5).
func (h *Head) field(b []byte, line Span, lim *Limits) Reason {
	if h.Count++; h.Count > lim.Fields {
		return ReasonFieldCount
	}
	colon, why := checkName(line.Of(b))
	if why != ReasonNone {
		return why
	}
	value := Span{line.Start + colon + 1, line.End}
	if why := checkValue(value.Of(b)); why != ReasonNone {
		return why
	}
	kind := fieldOf(b[line.Start : line.Start+colon])
	switch {
	case kind == 0:
		return ReasonNone
	case h.at.step == stepTrailers:
		// Framing and routing are settled by the time a trailer comes (RFC 9110 §6.5.1).
		return ReasonTrailerField
	}
	return h.note(b, kind, trimSpan(b, value))
}

// checkName checks a line's field name and returns where its colon is.
func checkName(line []byte) (colon int, why Reason) {
	i := 0
	for i < len(line) && is(line[i], classToken) {
		i++
	}
	switch {
	case isBlank(line[0]):
		return 0, ReasonObsFold // or blanks before the first field, which is no better (RFC 9112 §2.2)
	case i == len(line):
		return 0, ReasonFieldName
	case line[i] == '\r':
		return 0, ReasonBareCR
	case i == 0:
		return 0, ReasonFieldName
	case line[i] == ':':
		return i, ReasonNone
	}
	if rest := trimBlanks(line[i:]); isBlank(line[i]) && len(rest) > 0 && rest[0] == ':' {
		return 0, ReasonSpaceBeforeColon
	}
	return 0, ReasonFieldName
}

// trimSpan removes OWS from both ends.
func trimSpan(b []byte, s Span) Span {
	for s.Start < s.End && isBlank(b[s.Start]) {
		s.Start++
	}
	for s.End > s.Start && isBlank(b[s.End-1]) {
		s.End--
	}
	return s
}

// note keeps what a field says about the message.
func (h *Head) note(b []byte, kind fieldSet, value Span) Reason {
	again := h.at.saw.has(kind)
	h.at.saw |= kind
	v := value.Of(b)
	switch kind {
	case fieldHost:
		return h.noteHost(v, value, again)
	case fieldContentLength:
		return h.noteLength(v, again)
	case fieldTransferEncoding:
		return h.noteEncoding(v, again)
	case fieldConnection:
		h.noteConnection(v, again)
	case fieldExpect:
		return h.noteExpect(v, again)
	case fieldTrailer:
		return checkTrailerList(v)
	case fieldUpgrade:
		h.Upgrade = true
	case tokenClose, tokenKeepAlive: // no fields
	}
	return ReasonNone
}

// noteHost: one Host, of a valid syntax (RFC 9112 §3.2). An absolute-form target overrides it.
func (h *Head) noteHost(v []byte, value Span, again bool) Reason {
	switch {
	case again:
		return ReasonTwoHosts
	case !checkHost(v):
		return ReasonHost
	case h.Form != FormAbsolute:
		h.Host = value
	}
	return ReasonNone
}

// noteLength: one Content-Length with one number, even where RFC 9112 §6.3 would let a recipient merge equal ones.
func (h *Head) noteLength(v []byte, again bool) Reason {
	if again {
		return ReasonTwoContentLengths
	}
	n, ok := decimal(v)
	if !ok {
		return ReasonContentLength
	}
	h.Length = n
	return ReasonNone
}

// noteEncoding: "chunked", once and alone. When chunked is not the last coding the body has no end that one could
// trust: 400; when only codings before it are unknown: 501 (RFC 9112 §6.1, §6.3).
func (h *Head) noteEncoding(v []byte, again bool) Reason {
	switch {
	case again:
		return ReasonTwoTransferEncodings
	case h.Minor == 0:
		return ReasonOldTransferEncoding
	case isFold(v, "chunked"):
		return ReasonNone
	}
	for more := true; more; {
		var coding []byte
		coding, v, more = nextElement(v)
		if !isToken(coding) || isFold(coding, "chunked") == more {
			return ReasonTransferEncoding
		}
	}
	return ReasonUnknownCoding
}

// noteConnection looks for close and keep-alive (RFC 9112 §9.3). net/http takes
// close for an option in the first field also where blanks, which no option has,
// are around it; whoever serves must not disagree about the end.
func (h *Head) noteConnection(v []byte, again bool) {
	for more := true; more; {
		var option []byte
		option, v, more = nextElement(v)
		switch {
		case isFold(option, "close"), !again && hasWord(option, "close"):
			h.at.saw |= tokenClose
		case isFold(option, "keep-alive"):
			h.at.saw |= tokenKeepAlive
		}
	}
}

// hasWord reports whether a word stands among others, with blanks between them.
func hasWord(v []byte, word string) bool {
	for len(v) > len(word) {
		end := bytes.IndexFunc(v, func(r rune) bool { return r == ' ' || r == '\t' })
		if end < 0 {
			break
		}
		if isFold(v[:end], word) {
			return true
		}
		v = v[end+1:]
	}
	return isFold(v, word)
}

// noteExpect: the one expectation there is (RFC 9110 §10.1.1), once.
func (h *Head) noteExpect(v []byte, again bool) Reason {
	if again || !isFold(v, "100-continue") {
		return ReasonExpectation
	}
	h.Continue = h.Minor > 0
	return ReasonNone
}

// checkTrailerList refuses a Trailer field that announces fields which no trailer section may have.
func checkTrailerList(v []byte) Reason {
	for more := true; more; {
		var name []byte
		name, v, more = nextElement(v)
		if fieldOf(name) != 0 {
			return ReasonTrailerField
		}
	}
	return ReasonNone
}

// finish settles what only the whole head can tell.
func (h *Head) finish() Reason {
	if h.at.step == stepTrailers {
		return ReasonNone
	}
	saw := h.at.saw
	switch {
	case saw.has(fieldContentLength | fieldTransferEncoding):
		return ReasonLengthAndEncoding
	case h.Minor > 0 && !saw.has(fieldHost):
		return ReasonNoHost
	case saw.has(fieldTransferEncoding):
		h.Framing = FramingChunked
	case saw.has(fieldContentLength):
		h.Framing = FramingLength
	}
	h.Close = saw.has(tokenClose) || h.Minor == 0 && !saw.has(tokenKeepAlive)
	return ReasonNone
}

// Each yields the fields of a scanned head in their order, names as they were written, values without blanks around them.
// b must be the bytes that were scanned.
func (h *Head) Each(b []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for pos := h.Fields.Start; pos < h.Fields.End; {
			colon, end := pos, pos
			for b[colon] != ':' {
				colon++
			}
			for b[end] != '\n' {
				end++
			}
			if !yield(b[pos:colon], trimBlanks(b[colon+1:end-1])) {
				return
			}
			pos = end + 1
		}
	}
}
