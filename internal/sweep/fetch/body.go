package fetch

import (
	"bytes"

	"pennyfarthing/internal/verdict"
)

// A body reads an answer's body, as far as it is wanted.
type body struct {
	want     int // bytes of the sample
	title    bool
	framed   bool  // left counts
	left     int64 // bytes of the body, or of the chunk
	whole    bool  // the sample has room for all of a framed body, and no title ended it
	chunk    chunkState
	line     int   // bytes of a chunk's line so far, or of the trailers
	size     int64 // of the chunk whose line is being read; -1: no digit has come
	begun    bool  // the line of the trailers has something in it
	sample   []byte
	borrowed bool // the sample lies in the piece that was added
	store    *store
	looked   int // bytes of the sample in which no end of a title begins
}

type chunkState uint8

const (
	unchunked chunkState = iota
	chunkSize
	chunkExtension
	chunkLineEnd // the LF behind the CR of its line
	chunkData
	chunkEnd // the CRLF behind the data
	chunkTrailers
)

// maxChunkLine is the longest line before a chunk, and the longest trailer section.
const maxChunkLine = 4 << 10

// bodyless reports whether answers with a status have no body, whatever their fields
// say (RFC 9112 §6.3).
func bodyless(status int) bool { return status < 200 || status == 204 || status == 304 }

// begin prepares for the body of an answer, and reports whether there is one that is
// wanted. A transfer coding overrides a length; one that does not end with chunked
// lasts until the connection ends (RFC 9112 §6.3).
func (b *body) begin(x *Exchange, h *head) bool {
	*b = body{want: x.Body, title: x.Title, store: b.store}
	if x.Method == "HEAD" || bodyless(h.status) || x.Body == 0 {
		return false
	}
	if x.Title && (!isHTML(h.contentType) || h.status >= 300 && h.status < 400) {
		return false
	}
	switch {
	case h.chunked:
		b.chunk, b.size = chunkSize, -1
	case h.coded:
	case h.length >= 0:
		b.framed, b.left, b.whole = true, h.length, h.length <= int64(x.Body)
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
		if b.chunk == chunkData {
			n := min(int64(len(p)), b.left)
			b.left -= n
			if b.keep(p[:n]) {
				return bodyEnough
			}
			p = p[n:]
			if b.left == 0 {
				b.chunk, b.line = chunkEnd, 0
			}
			continue
		}
		state := b.frame(p[0])
		if state != bodyMore {
			return state
		}
		p = p[1:]
	}
	return bodyMore
}

// frame takes a byte of what is around chunks (RFC 9112 §7.1).
func (b *body) frame(c byte) bodyState {
	if b.line++; b.line > maxChunkLine {
		return bodyBad
	}
	switch b.chunk {
	case chunkEnd:
		switch {
		case c == '\r' && b.line == 1:
			return bodyMore
		case c == '\n':
			b.chunk, b.line, b.size = chunkSize, 0, -1
			return bodyMore
		}
		return bodyBad
	case chunkTrailers:
		switch {
		case c == '\n' && !b.begun:
			return bodyComplete
		case c != '\r':
			b.begun = c != '\n'
		}
		return bodyMore
	default:
		if !b.chunkLine(c) {
			return bodyBad
		}
		return bodyMore
	}
}

// chunkLine takes a byte of the line before a chunk.
func (b *body) chunkLine(c byte) bool {
	switch {
	case c == '\n':
		b.left, b.line = b.size, 0
		b.chunk, b.begun = chunkData, false
		if b.size == 0 {
			b.chunk = chunkTrailers
		}
		return b.size >= 0
	case b.chunk == chunkLineEnd:
		return false
	case c == '\r':
		b.chunk = chunkLineEnd
		return b.size >= 0
	case b.chunk == chunkExtension:
		return c != 0
	case c == ';', c == ' ', c == '\t':
		b.chunk = chunkExtension
		return b.size >= 0
	}
	digit := int64(0)
	switch {
	case '0' <= c && c <= '9':
		digit = int64(c - '0')
	case 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		digit = int64(c|0x20-'a') + 10
	default:
		return false
	}
	if b.size > 1<<40 {
		return false
	}
	b.size = max(b.size, 0)<<4 | digit
	return true
}

func (b *body) addPlain(p []byte) bodyState {
	if b.framed {
		p = p[:min(int64(len(p)), b.left)] // what follows is another's
		b.left -= int64(len(p))
	}
	enough := b.keep(p)
	switch {
	case b.framed && b.left == 0 && b.whole:
		return bodyComplete
	case enough:
		return bodyEnough
	}
	return bodyMore
}

// keep adds to the sample, and reports whether it is enough. A title that has ended
// ends the sample, however the pieces were cut.
func (b *body) keep(p []byte) bool {
	p = p[:min(len(p), b.want-len(b.sample))]
	if len(b.sample) == 0 && len(p) > 0 {
		b.sample, b.borrowed = p, true
	} else {
		b.own()
		b.sample = append(b.sample, p...)
	}
	if b.title && b.titleEnded() {
		return true
	}
	return len(b.sample) >= b.want
}

// own has the sample in a slice of its own.
func (b *body) own() {
	if b.borrowed {
		b.sample, b.borrowed = append(b.store.take(), b.sample...), false
	}
}

// titleEnded looks for the end of a title, and cuts the sample off behind it.
func (b *body) titleEnded() bool {
	const end = "</title"
	for {
		i := bytes.Index(b.sample[b.looked:], []byte("</"))
		if i < 0 {
			b.looked = max(b.looked, len(b.sample)-1) // it may be the "<" of one
			return false
		}
		b.looked += i
		rest := b.sample[b.looked:]
		if len(rest) < len(end) {
			return false
		}
		if equalFold(rest[:len(end)], end) {
			b.sample = b.sample[:b.looked+len(end)]
			b.whole = false
			return true
		}
		b.looked += 2
	}
}

// closed is what the end of the connection means.
func (b *body) closed() (complete bool, bad verdict.Code) {
	if b.framed || b.chunk != unchunked {
		return false, verdict.HTTPTruncated
	}
	return true, verdict.None
}
