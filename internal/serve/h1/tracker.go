package h1

// phase is what a connection's next byte belongs to.
type phase uint8

const (
	phaseHead phase = iota
	phaseBody
	phaseChunkLine
	phaseChunkData
	phaseChunkEnd
	phaseTrailers
	phaseOver // the last message has ended: what follows it is thrown away
	phasePass // another protocol: nothing is looked at any more
)

// preface is how HTTP/2 with prior knowledge begins (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A tracker follows the messages on one connection, unit by unit: a head, some data, a chunk's line, the CRLF after a chunk, a
// trailer section. Every unit but data is passed whole or not at all.
type tracker struct {
	limits   Limits
	protocol Protocol
	phase    phase
	head     Head  // of the head, or the trailer section, that is being scanned
	rest     int64 // bytes of data until the next unit
	excess   int64 // framing beyond the data in a chunked body
	last     bool  // the current message said close
	turns    int   // how often a head or a message has ended
}

// next looks at w, which begins with the current unit. skip bytes are to be thrown away and n bytes after them handed on;
// zero n and no reason means that the unit is not whole yet.
func (t *tracker) next(w []byte) (skip, n int, why Reason) {
	if t.protocol == ProtocolUnknown && !t.sniff(w) {
		return 0, 0, ReasonNone
	}
	switch t.phase {
	case phaseHead:
		return t.nextHead(w)
	case phaseBody, phaseChunkData:
		return 0, t.data(w), ReasonNone
	case phaseChunkLine:
		n, why = t.chunkLine(w)
	case phaseChunkEnd:
		n, why = t.chunkEnd(w)
	case phaseTrailers:
		n, why = t.trailers(w)
	case phaseOver:
		return len(w), 0, ReasonNone
	case phasePass:
		n = len(w)
	}
	return 0, n, why
}

// sniff decides between HTTP/1 and HTTP/2 by the first bytes of the connection; false when there are too few.
func (t *tracker) sniff(w []byte) (decided bool) {
	n := min(len(w), len(preface))
	switch {
	case string(w[:n]) != preface[:n]:
		t.protocol = ProtocolHTTP1
	case n == len(preface):
		t.protocol, t.phase = ProtocolHTTP2, phasePass
	default:
		return false
	}
	return true
}

// nextHead passes a whole head, without the empty line before it.
func (t *tracker) nextHead(w []byte) (skip, n int, why Reason) {
	n, why = t.head.scan(w, &t.limits)
	if n == 0 {
		return 0, 0, why
	}
	if why != ReasonNone {
		return 0, 0, why
	}
	skip, t.last = t.head.Start, t.head.Close
	switch {
	case t.head.Framing == FramingChunked:
		t.excess = 0
		t.enter(phaseChunkLine)
	case t.head.Length > 0:
		t.rest = t.head.Length
		t.enter(phaseBody)
	default:
		t.finish()
	}
	return skip, n - skip, ReasonNone
}

// finish goes from a message to the next; there is none after one that said close (RFC 9112 §9.6).
func (t *tracker) finish() {
	if t.last {
		t.enter(phaseOver)
	} else {
		t.enter(phaseHead)
	}
}

// enter goes to the body of a message or to what follows it.
func (t *tracker) enter(p phase) {
	t.phase = p
	t.head = Head{}
	t.turns++
}

// data passes what belongs to the body or chunk.
func (t *tracker) data(w []byte) int {
	n := int(min(int64(len(w)), t.rest))
	t.rest -= int64(n)
	switch {
	case t.rest > 0:
	case t.phase == phaseBody:
		t.finish()
	default:
		t.phase = phaseChunkEnd
	}
	return n
}

// chunkLine passes the line before a chunk. A body of many tiny chunks or long extensions is refused as net/http refuses it:
// 16 bytes a chunk are free, and twice its data.
func (t *tracker) chunkLine(w []byte) (int, Reason) {
	n, size, why := scanChunkLine(w)
	if n == 0 || why != ReasonNone {
		return 0, why
	}
	t.excess = max(0, t.excess+int64(n)-16-2*min(size, 1<<32))
	if t.excess > maxChunkExcess {
		return 0, ReasonChunkOverhead
	}
	t.rest, t.phase = size, phaseChunkData
	if size == 0 {
		t.phase = phaseTrailers
		t.head = Head{at: progress{step: stepTrailers}}
	}
	return n, ReasonNone
}

// chunkEnd passes the CRLF after a chunk's data, and nothing else.
func (t *tracker) chunkEnd(w []byte) (int, Reason) {
	n := min(len(w), 2)
	switch {
	case string(w[:n]) != "\r\n"[:n]:
		return 0, ReasonChunkEnd
	case n < 2:
		return 0, ReasonNone
	}
	t.phase = phaseChunkLine
	return n, ReasonNone
}

// trailers passes a whole trailer section with its empty line (RFC 9112 §7.1.2).
func (t *tracker) trailers(w []byte) (int, Reason) {
	lim := t.limits
	lim.HeadBytes = maxTrailers
	n, why := t.head.scan(w, &lim)
	if n == 0 || why != ReasonNone {
		return 0, why
	}
	t.finish()
	return n, ReasonNone
}
