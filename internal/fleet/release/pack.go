package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"pennyfarthing/internal/encode"
)

// A Coding is a form in which an object travels in a pack.
type Coding string

const (
	// Identity is the bytes as they are.
	Identity Coding = "identity"
	// Brotli is the coding of HTTP (RFC 7932). The store keeps this form as well,
	// so that a POP need not make it.
	Brotli Coding = "br"
	// Zstd is RFC 8878, with the bytes of the base as a raw dictionary if there is
	// one.
	Zstd Coding = "zstd"
	// Blocks says which ranges of the base to copy, and what else there is.
	Blocks Coding = "blocks"
)

// A Header announces an object in a pack.
type Header struct {
	Hash   Hash   `json:"sha256"`
	Size   int64  `json:"size"` // of the identity form, in bytes
	Coding Coding `json:"coding"`
	Base   *Hash  `json:"base,omitempty"`  // the object that the coding refers to, which the receiver has
	Level  string `json:"level,omitempty"` // "quick" or "best", of br
	Length int64  `json:"length"`          // bytes that follow
}

// The limits of a pack, which are part of the format.
const (
	maxHeaderLine  = 1 << 10
	maxPackObjects = 2 * MaxFiles // each in identity and in one coding
	// MaxDictionary is the largest object that travels in zstd, and the largest
	// base that it may have, in bytes: both are held in memory.
	MaxDictionary = 32 << 20
	// dictionaryID is what a zstd frame calls its base.
	dictionaryID = 1
	// slack is by how many bytes a coded form may be longer than the identity form.
	slack = 1 << 10
)

const packHead = `{"penny":"pack","version":1}`

// packEnd is the last line. It says how many objects there were, so that a stream
// that was cut between two of them is not taken for whole.
type packEnd struct {
	Objects int `json:"end"`
}

// wrong says what is wrong with a header, or nothing.
func (h *Header) wrong() string {
	if h.Size < 0 || h.Size > MaxFileBytes || h.Length < 0 {
		return "its size or its length is out of bounds"
	}
	switch h.Coding {
	case Identity:
		if h.Length != h.Size || h.Base != nil || h.Level != "" {
			return "identity has the length of the object, no base and no level"
		}
	case Brotli:
		if _, ok := parseLevel(h.Level); !ok || h.Base != nil || h.Size > MaxCoded {
			return fmt.Sprintf("br has a level, no base, and at most %d bytes", MaxCoded)
		}
	case Zstd:
		if h.Level != "" || h.Size > MaxDictionary {
			return fmt.Sprintf("zstd has no level, and at most %d bytes", MaxDictionary)
		}
	case Blocks:
		if h.Level != "" {
			return "blocks have no level"
		}
	default:
		return fmt.Sprintf("the coding %.20q is not known", h.Coding)
	}
	if h.Length > h.Size+slack {
		return "the coded form is longer than the object"
	}
	return ""
}

func parseLevel(s string) (encode.Level, bool) {
	for _, l := range []encode.Level{encode.Quick, encode.Best} {
		if s == l.String() {
			return l, true
		}
	}
	return 0, false
}

// parseLine reads a line of JSON that has nothing but what v knows.
func parseLine(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if len(bytes.TrimSpace(line[d.InputOffset():])) > 0 {
		return errors.New("there is more than one value")
	}
	return nil
}
