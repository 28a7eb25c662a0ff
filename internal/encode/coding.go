package encode

import "strconv"

// A Coding is one content coding (RFC 9110 §8.4.1). The zero value is Identity:
// the bytes as they are.
type Coding uint8

// The codings, in no order of preference: [Negotiate] goes by size.
const (
	Identity Coding = iota
	Gzip
	Brotli
	Zstd

	// NumCodings is the length of an array with one element a coding.
	NumCodings = iota
)

// String returns the token that names the coding in Content-Encoding and
// Accept-Encoding (RFC 9110 §18.6).
func (c Coding) String() string {
	switch c {
	case Identity:
		return "identity"
	case Gzip:
		return "gzip"
	case Brotli:
		return "br"
	case Zstd:
		return "zstd"
	default:
		return "coding(" + strconv.Itoa(int(c)) + ")"
	}
}

// A Level is how much work goes into encoding. Decoding costs about the same at
// either.
type Level uint8

// The levels. Quick is for bodies that somebody waits for; Best takes ten to a
// hundred times as long and is for bodies that are sent many times.
const (
	Quick Level = iota
	Best
	numLevels = iota
)

// String returns "quick" or "best".
func (l Level) String() string {
	switch l {
	case Quick:
		return "quick"
	case Best:
		return "best"
	default:
		return "level(" + strconv.Itoa(int(l)) + ")"
	}
}
