package release

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// A Hash is a SHA-256: it names an object by its bytes, and a release by its
// manifest.
type Hash [sha256.Size]byte

// HashOf returns the hash of data.
func HashOf(data []byte) Hash { return sha256.Sum256(data) }

// String returns the hash in 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short returns the first eight digits, by which people call a release.
func (h Hash) Short() string { return hex.EncodeToString(h[:4]) }

// ParseHash reads what [Hash.String] writes, and nothing else: upper case is
// another spelling of the same, and one thing has one name here.
func ParseHash(s string) (Hash, error) {
	h, ok := parseHash(s)
	if !ok {
		return Hash{}, fmt.Errorf("parse hash %.80q: it must be %d lower-case hexadecimal digits", s, hex.EncodedLen(sha256.Size))
	}
	return h, nil
}

func parseHash[Text string | []byte](s Text) (Hash, bool) {
	var h Hash
	if len(s) != hex.EncodedLen(len(h)) {
		return Hash{}, false
	}
	for i := range h {
		hi, lo := digit(s[2*i]), digit(s[2*i+1])
		if hi < 0 || lo < 0 {
			return Hash{}, false
		}
		h[i] = byte(hi<<4 | lo)
	}
	return h, true
}

func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// MarshalText returns what [Hash.String] returns.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads what [ParseHash] reads.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}
