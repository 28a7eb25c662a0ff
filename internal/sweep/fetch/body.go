package fetch

import (
	"bytes"

	"pennyfarthing/internal/verdict"
)

// A body reads an answer's body, as far as it is wanted.
type body struct {
	want   int // bytes of the sample
	title  bool
	framed bool  // left counts
	left   int64 // bytes of the body, or of the chunk
	chunk  chunkState
	line   int   // bytes of a chunk's line so far
	size   int64 // of the chunk whose line is being read
	sample []byte
	looked int  // bytes of the sample that have no end of a title
	cut    bool // there was more than is wanted
}

type chunkState uint8

const (
	unchunked chunkState = iota
	chunkSize
	chunkExtension
	chunkData
	chunkEnd // the CRLF behind the data
	chunkTrailers
)

// maxChunkLine is the longest line before a chunk, and the longest trailer section.
const maxChunkLine = 4 << 10

// begin prepares for the body of an answer, and reports whether there is one that is
// wanted (RFC 9112 §6.3).
func (b *body) begin(x *Exchange, h *head) bool {
	*b = body{want: x.Body, title: x.Title, sample: b.sample[:0]}
	if x.Method == "HEAD" || h.status == 204 || h.status == 304 || h.status < 200 || x.Body == 0 {
		return false
	}
	if x.Title && (!isHTML(h.contentType) || h.status >= 300 && h.status < 400) {
		return false
	}
	switch {
	case h.chunked:
		b.chunk = chunkSize
	case h.length >= 0:
		b.framed, b.left = true, h.length
		return h.length > 0
	}
	return true
}

// isHTML says whether a title may be expected: also where no type was sent.
func isHTML(contentType []byte) bool {
	t, _, _ := bytes.Cut(contentType, []byte{';'})
	t = bytes.TrimSpace(t)
	return len(t) == 0 || equalFold(t, "text/html") || equalFold(t, "application/xhtml+xml")
}

// What became of a piece of a body.
type bodyState uint8

const (
	bodyMore     bodyState = iota // is wanted
	bodyEnough                    // the sample is what was wanted
	bodyComplete                  // it has ended
	bodyBad                       // its framing is wrong
)

// add takes a piece.
func (b *body) add(p []byte) bodyState {
	if b.chunk == unchunked {
		return b.addPlain(p)
	}
	for len(p) > 0 {
		switch b.chunk {
		case chunkSize, chunkExtension:
			c := p[0]
			p = p[1:]
			if b.line++; b.line > maxChunkLine {
				return bodyBad
			}
			if !b.chunkLine(c) {
				return bodyBad
			}
		case chunkData:
			n := min(int64(len(p)), b.left)
			b.left -= n
			if b.keep(p[:n]) {
				return bodyEnough
			}
			p = p[n:]
			if b.left == 0 {
				b.chunk, b.line = chunkEnd, 0
			}
		case chunkEnd:
			c := p[0]
			p = p[1:]
			switch {
			case c == '\r' && b.line == 0:
				b.line++
			case c == '\n':
				b.chunk, b.line, b.size = chunkSize, 0, -1
			default:
				return bodyBad
			}
		case chunkTrailers:
			c := p[0]
			p = p[1:]
			if b.line++; b.line > maxChunkLine {
				return bodyBad
			}
			switch {
			case c == '\n' && b.size == 0:
				return bodyComplete
			case c == '\n':
				b.size = 0
			case c != '\r':
				b.size = 1 // the line is not empty
			}
		}
	}
	return bodyMore
}

// chunkLine takes a byte of the line before a chunk (RFC 9112 §7.1).
func (b *body) chunkLine(c byte) bool {
	if b.line == 1 {
		b.size = -1
	}
	switch {
	case c == '\n':
		if b.size < 0 {
			return false
		}
		b.left, b.line = b.size, 0
		if b.chunk = chunkData; b.size == 0 {
			b.chunk = chunkTrailers
		}
		return true
	case b.chunk == chunkExtension:
		return c != 0
	case c == ';', c == ' ', c == '\t', c == '\r':
		b.chunk = chunkExtension
		return b.size >= 0
	}
	digit := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20*btoi(c >= 'A'))
	if digit < 0 || b.size > 1<<40 {
		return false
	}
	b.size = max(b.size, 0)<<4 | int64(digit)
	return true
}

func btoi(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (b *body) addPlain(p []byte) bodyState {
	if b.framed {
		p = p[:min(int64(len(p)), b.left)] // what follows is another's
		b.left -= int64(len(p))
	}
	enough := b.keep(p)
	switch {
	case b.framed && b.left == 0 && !b.cut:
		return bodyComplete
	case enough:
		return bodyEnough
	}
	return bodyMore
}

// keep adds to the sample, and reports whether it is enough.
func (b *body) keep(p []byte) bool {
	room := b.want - len(b.sample)
	b.cut = b.cut || len(p) > room
	b.sample = append(b.sample, p[:min(len(p), room)]...)
	if len(b.sample) >= b.want {
		return true
	}
	if !b.title {
		return false
	}
	const end = "</title"
	from := max(0, b.looked-len(end))
	b.looked = len(b.sample)
	for rest := b.sample[from:]; ; {
		i := bytes.Index(rest, []byte("</"))
		if i < 0 {
			return false
		}
		rest = rest[i:]
		if len(rest) >= len(end) && equalFold(rest[:len(end)], end) {
			return true
		}
		rest = rest[2:]
	}
}

// closed is what the end of the connection means.
func (b *body) closed() (complete bool, bad verdict.Code) {
	if b.framed || b.chunk != unchunked {
		return false, verdict.HTTPTruncated
	}
	return true, verdict.None
}
