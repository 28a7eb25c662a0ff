package keys

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// publicPrefix begins a written public key, so that nobody takes it for a hash.
const publicPrefix = "pk1"

// A PublicKey is an actor's identity: an Ed25519 public key (RFC 8032 §5.1.5).
// The zero value is nobody's.
type PublicKey [ed25519.PublicKeySize]byte

// ParsePublicKey reads what [PublicKey.String] writes, and nothing else.
func ParsePublicKey(s string) (PublicKey, error) {
	text, ok := strings.CutPrefix(s, publicPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(ed25519.PublicKeySize) {
		return PublicKey{}, fmt.Errorf("%.64q is not a public key: it has %d characters and begins with %q",
			s, len(publicPrefix)+base64.RawURLEncoding.EncodedLen(ed25519.PublicKeySize), publicPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%.64q is not a public key: %w", s, err)
	}
	return publicKeyOf(b)
}

// publicKeyOf takes the bytes of an Ed25519 public key, unless its signatures
// would say nothing.
func publicKeyOf(b []byte) (PublicKey, error) {
	if len(b) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("a public key has %d bytes, not %d", ed25519.PublicKeySize, len(b))
	}
	k := PublicKey(b)
	if k.weak() {
		return PublicKey{}, errors.New("this public key belongs to nobody: anyone can sign for it")
	}
	return k, nil
}

// String returns "pk1" and the key in base64url (RFC 4648 §5), without padding.
func (k PublicKey) String() string { return publicPrefix + base64.RawURLEncoding.EncodeToString(k[:]) }

// MarshalText returns what String does.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what [ParsePublicKey] does.
func (k *PublicKey) UnmarshalText(text []byte) error {
	parsed, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// weak reports whether the key is a point of small order. One signature holds
// for many messages under such a key (RFC 8032 §8.4 asks for no check of that,
// because it thinks of keys that somebody made), and the zero value is one.
func (k PublicKey) weak() bool {
	k[31] &= 0x7f // the sign of x
	for _, point := range smallOrder() {
		if k == point {
			return true
		}
	}
	return false
}

// smallOrder returns the encodings of all points whose order divides 8, without
// the sign of x, those included that are not reduced modulo p = 2^255-19.
func smallOrder() [7]PublicKey {
	p := PublicKey{0: 0xed, 31: 0x7f}
	for i := 1; i < 31; i++ {
		p[i] = 0xff
	}
	less, more := p, p
	less[0]--
	more[0]++
	return [7]PublicKey{
		{},     // y = 0, order 4
		{0: 1}, // y = 1, the neutral element
		less,   // y = -1, order 2
		{ // order 8
			0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
			0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
		},
		{ // order 8
			0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
			0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
		},
		p,    // y = 0 again
		more, // y = 1 again
	}
}
