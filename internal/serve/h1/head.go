package h1

import "bytes"

// A Span is a part of the bytes that were scanned.
type Span struct{ Start, End int }

// Of returns the span's bytes in b.
func (s Span) Of(b []byte) []byte { return b[s.Start:s.End] }

// Method is a request method that engines ask for often.
type Method uint8

// The methods; MethodOther is any other token.
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodOptions
	MethodPatch
	MethodTrace
)

// methodNames are the methods as they are written. Never written to.
var methodNames = [...]string{"other", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"}

// String is the method as it is written in a request, or "other".
func (m Method) String() string { return methodNames[m] }

// Form is the form of a request target (RFC 9112 §3.2). The authority form belongs to CONNECT, which is refused.
type Form uint8

// The forms.
const (
	FormOrigin Form = iota
	FormAbsolute
	FormAsterisk
)

// String is the form's name in RFC 9112.
func (f Form) String() string { return [...]string{"origin-form", "absolute-form", "asterisk-form"}[f] }

// Framing says how the end of the body is found (RFC 9112 §6.3).
type Framing uint8

// The framings.
const (
	FramingNone Framing = iota
	FramingLength
	FramingChunked
)

// String is the framing in a word.
func (f Framing) String() string { return [...]string{"none", "length", "chunked"}[f] }

// A Head is what [ScanHead] found, as offsets into the bytes it was given. Use a zero Head for every new message.
type Head struct {
	// Start is where the request line begins: 2 after the one empty line that is tolerated, else 0.
	Start int
	// Method, Target and Version are the parts of the request line; Fields holds all field lines with their CRLFs.
	Method, Target, Version, Fields Span
	// Host is the host that was asked for: the authority of an absolute-form target (RFC 9112 §3.2.2), else the
	// value of Host. It is empty for HTTP/1.0 without one.
	Host Span
	// Kind is the method, Form the target's form, Minor the digit after "HTTP/1.".
	Kind  Method
	Form  Form
	Minor uint8
	// Count is the number of field lines.
	Count int
	// Framing tells how the body ends; Length is its size with FramingLength.
	Framing Framing
	Length  int64
	// Close says that the connection ends after the answer (RFC 9112 §9.3).
	Close bool
	// Continue says that the client waits for 100 (Continue). HTTP/1.0 cannot (RFC 9110 §10.1.1).
	Continue bool
	// Upgrade says that there is an Upgrade field.
	Upgrade bool

	at progress
}

// step is what the scanner looks for next.
type step uint8

const (
	stepMethod step = iota
	stepRequestLine
	stepFields
	stepTrailers
)

// progress is where a scan goes on when there are more bytes.
type progress struct {
	step step
	pos  int // where the current line begins
	seen int // no LF between pos and here
	saw  fieldSet
}

// ScanHead looks for a whole head at the beginning of b and returns its length with the empty line. Zero and no refusal
// means that more bytes are needed: call again with the same h and the same bytes followed by more, wherever they lie by then.
// After a length or a refusal h is done. How the bytes were cut never changes the result, and bytes are not looked at twice.
func ScanHead(b []byte, lim Limits, h *Head) (n int, refusal Refusal) {
	lim = lim.withDefaults()
	n, why := h.scan(b, &lim)
	if why != ReasonNone {
		return 0, why.Refusal()
	}
	return n, Refusal{}
}

// scan goes through the lines that are whole.
func (h *Head) scan(b []byte, lim *Limits) (int, Reason) {
	if h.at.step == stepMethod {
		if whole, why := h.scanMethod(b); !whole || why != ReasonNone {
			return 0, why
		}
	}
	for {
		end, why := h.nextLine(b, lim)
		if end == 0 {
			return 0, why
		}
		line := Span{h.at.pos, end - 2}
		h.at.pos = end
		switch {
		case h.at.step == stepRequestLine:
			h.at.step, h.Fields = stepFields, Span{end, end}
			why = h.requestLine(b, line.End)
		case line.Start == line.End:
			return end, h.finish()
		default:
			h.Fields.End = end
			why = h.field(b, line, lim)
		}
		if why != ReasonNone {
			return 0, why
		}
	}
}

// scanMethod skips the empty line that may stand before a request line (RFC 9112 §2.2: one, not more) and reads the
// method. It looks at single bytes, so that garbage is refused by what it is and does not wait for the end of a line.
func (h *Head) scanMethod(b []byte) (whole bool, why Reason) {
	start, why := leadingLine(b)
	if why != ReasonNone || start == len(b) {
		return false, why
	}
	for i := start; i < len(b); i++ {
		switch {
		case b[i] == ' ' && i > start:
			return true, h.setMethod(b, Span{start, i})
		case b[i] == '\n':
			return false, ReasonBareLF
		case !is(b[i], classToken):
			return false, notMethod(b[start:])
		case i-start == maxMethod:
			return false, ReasonMethodSize
		}
	}
	return false, ReasonNone
}

// leadingLine returns where the request line begins; len(b) when that cannot be known yet.
func leadingLine(b []byte) (start int, why Reason) {
	switch {
	case len(b) == 0 || b[0] != '\r':
		return 0, ReasonNone
	case len(b) == 1:
		return 1, ReasonNone
	case b[1] != '\n':
		return 0, ReasonBareCR
	case len(b) > 2 && (b[2] == '\r' || b[2] == '\n'):
		return 0, ReasonEmptyLines
	}
	return 2, ReasonNone
}

// notMethod names what b is, which does not begin with a method. 0x16 0x03 is how a TLS ClientHello begins (RFC 8446 §5.1).
func notMethod(b []byte) Reason {
	switch {
	case b[0] != 0x16:
		return ReasonMethod
	case len(b) == 1:
		return ReasonNone // the next byte tells
	case b[1] == 0x03:
		return ReasonTLS
	}
	return ReasonMethod
}

// setMethod keeps the method and refuses the two that nobody may use. CONNECT asks for a tunnel, which only proxies
// have; 501 and not 405, because no resource here has it (RFC 9110 §9.3.6, §15.6.2).
func (h *Head) setMethod(b []byte, method Span) Reason {
	h.Start, h.Method = method.Start, method
	h.at = progress{step: stepRequestLine, pos: method.Start, seen: method.End}
	name := method.Of(b)
	switch string(name) {
	case "CONNECT":
		return ReasonConnect
	case refusedMethod:
		return ReasonReservedMethod
	}
	for i := MethodGet; int(i) < len(methodNames); i++ {
		if string(name) == methodNames[i] {
			h.Kind = i
			break
		}
	}
	return ReasonNone
}

// nextLine returns the end of the line at h.at.pos, behind its LF, or 0. A line that is not whole yet is held to the limits
// as if it ended with the next byte.
func (h *Head) nextLine(b []byte, lim *Limits) (int, Reason) {
	end, reach := 0, len(b)+1
	if i := bytes.IndexByte(b[h.at.seen:], '\n'); i >= 0 {
		end = h.at.seen + i + 1
		reach = end
	}
	switch {
	case h.at.step == stepRequestLine && reach-h.at.pos > lim.RequestLine+2:
		return 0, ReasonRequestLineSize
	case reach > lim.HeadBytes && h.at.step == stepTrailers:
		return 0, ReasonTrailerSize
	case reach > lim.HeadBytes:
		return 0, ReasonHeadSize
	case end == 0:
		h.at.seen = len(b)
		return 0, ReasonNone
	case end-2 < h.at.pos || b[end-2] != '\r':
		return 0, ReasonBareLF
	}
	h.at.seen = end
	return end, ReasonNone
}

// requestLine reads what follows the method (RFC 9112 §3): exactly one space, the target, one space, the version.
func (h *Head) requestLine(b []byte, end int) Reason {
	start := h.Method.End + 1
	space := bytes.LastIndexByte(b[start:end], ' ')
	if space < 0 {
		return ReasonRequestLine
	}
	h.Target = Span{start, start + space}
	h.Version = Span{start + space + 1, end}
	if why := h.setVersion(h.Version.Of(b)); why != ReasonNone {
		return why
	}
	return h.checkTarget(b)
}

// setVersion takes HTTP/1.1 and HTTP/1.0; anything else that is a version is answered 505 (RFC 9110 §15.6.6).
func (h *Head) setVersion(v []byte) Reason {
	switch string(v) {
	case "HTTP/1.1":
		h.Minor = 1
		return ReasonNone
	case "HTTP/1.0":
		return ReasonNone
	}
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	if len(v) == 8 && string(v[:5]) == "HTTP/" && digit(v[5]) && v[6] == '.' && digit(v[7]) {
		return ReasonVersion
	}
	return ReasonRequestLine
}

// checkTarget finds the form of the target and checks it (RFC 9112 §3.2).
func (h *Head) checkTarget(b []byte) Reason {
	target := h.Target.Of(b)
	switch {
	case len(target) > 0 && target[0] == '/':
		return checkPath(target)
	case h.Kind == MethodOptions && string(target) == "*":
		h.Form = FormAsterisk
		return ReasonNone
	}
	return h.absoluteForm(b)
}

// absoluteForm reads "http://authority/path?query". User information is refused (RFC 9110 §4.2.4).
func (h *Head) absoluteForm(b []byte) Reason {
	target := h.Target.Of(b)
	start := schemeEnd(target)
	if start == 0 {
		return ReasonTarget
	}
	end := len(target)
	if i := bytes.IndexAny(target[start:], "/?"); i >= 0 {
		end = start + i
	}
	if !checkHost(target[start:end]) {
		return ReasonTarget
	}
	h.Form = FormAbsolute
	h.Host = Span{h.Target.Start + start, h.Target.Start + end}
	return checkPath(target[end:])
}
