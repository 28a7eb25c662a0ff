package h1

import "cmp"

// Sizes that are not for configuring.
const (
	// maxMethod bounds a method; the longest registered one has 17 letters.
	maxMethod = 32
	// maxTrailers bounds a trailer section with its empty line. net/http looks for its end in a buffer of this size.
	maxTrailers = 4 << 10
	// maxChunkExtensions bounds the extensions of one chunk.
	maxChunkExtensions = 256
	// maxChunkLine is the longest line that may stand before a chunk: 16 digits, extensions, CRLF.
	maxChunkLine = 16 + maxChunkExtensions + 2
	// maxChunkExcess is how much more framing than data a chunked body may have gathered; the number is net/http's.
	maxChunkExcess = 16 << 10
	// maxHost bounds a Host value: a name of 255 bytes, a colon, a port.
	maxHost = 255 + 1 + 5
)

// Limits bounds a request head. Zero fields mean the defaults.
type Limits struct {
	// HeadBytes is the most a whole head may take, its empty line included. Default 32 KiB; beyond it 431.
	HeadBytes int
	// Fields is the most field lines a head may have. Default 128; beyond it 431.
	Fields int
	// RequestLine is the longest request line, without its CRLF. Default 8 KiB, never more than a head; beyond it 414.
	RequestLine int
}

// withDefaults returns a filled copy.
func (l Limits) withDefaults() Limits {
	l.HeadBytes = cmp.Or(l.HeadBytes, 32<<10)
	l.Fields = cmp.Or(l.Fields, 128)
	// The request line's limit must be met first, or the answer would depend on how the bytes arrived.
	l.RequestLine = min(cmp.Or(l.RequestLine, 8<<10), l.HeadBytes-4)
	return l
}
