package h3

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"pennyfarthing/internal/serve/qpack"
)

// notSent are fields that HTTP/3 does not have (RFC 9114 §4.2).
var notSent = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"}

// An encoder makes the frames of one write: first of all HEADERS, if there is one.
type encoder struct {
	b     []byte // behind frameRoom bytes that are for the header of the first frame
	start int    // of the first frame
}

const (
	// frameRoom is the largest header of a frame, in bytes.
	frameRoom = 16
	// keepEncoded is the largest buffer that goes back to the pool, in bytes.
	keepEncoded = 2*responseBuffer + frameRoom
)

var encoders = sync.Pool{New: func() any { return &encoder{b: make([]byte, frameRoom, keepEncoded)} }}

// newEncoder returns an encoder that has nothing yet; free gives it back.
func newEncoder() *encoder {
	e := encoders.Get().(*encoder)
	e.b, e.start = e.b[:frameRoom], frameRoom
	return e
}

func (e *encoder) free() {
	if cap(e.b) <= keepEncoded {
		encoders.Put(e)
	}
}

// bytes are the frames that were made.
func (e *encoder) bytes() []byte { return e.b[e.start:] }

// add appends one field to the section that is being made.
func (e *encoder) add(name, value string) {
	if len(e.b) == frameRoom {
		e.b = qpack.AppendPrefix(e.b)
	}
	e.b = qpack.AppendField(e.b, name, value)
}

// addAll appends fields in the order of their names.
func (e *encoder) addAll(h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		if !strings.HasPrefix(name, http.TrailerPrefix) && !slices.Contains(notSent, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		lower := strings.ToLower(name)
		if !validName(lower) {
			continue
		}
		for _, value := range h[name] {
			if value = strings.Trim(value, " \t"); validValue(value) {
				e.add(lower, value)
			}
		}
	}
}

// endHeaders makes the section a frame.
func (e *encoder) endHeaders() {
	if len(e.b) == frameRoom { // trailers of which none can be sent
		e.b = qpack.AppendPrefix(e.b)
	}
	var room [frameRoom]byte
	header := appendFrame(room[:0], frameHeaders, uint64(len(e.b)-frameRoom))
	e.start = frameRoom - len(header)
	copy(e.b[e.start:], header)
}

// data appends a DATA frame of n bytes, of which some are given.
func (e *encoder) data(n int, given []byte) {
	e.b = append(appendFrame(e.b, frameData, uint64(n)), given...)
}
