package keys

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pennyfarthing/internal/mistake"
)

// EnvKey names the environment variable that holds a member's [Identity] where
// there is no state directory, in CI for example.
const EnvKey = "PENNY_KEY"

const (
	identityPrefix = "penny-key-1."
	maxIdentity    = 4 << 10 // bytes, as text
	ownerName      = "owner"
)

// A CAPin is the SHA-256 of the public key of a CA (its SubjectPublicKeyInfo, RFC
// 5280 §4.1.2.7): enough to know its certificate by.
type CAPin [sha256.Size]byte

// pinOf returns the pin of a CA's certificate.
func pinOf(cert *x509.Certificate) CAPin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// An Identity is what somebody needs to work with a fleet from anywhere: their
// key, and by what they know the fleet. Safe for concurrent use.
type Identity struct {
	Fleet string
	Name  string    // the member's, or "owner"
	Owner PublicKey // whose rosters are believed
	CA    CAPin     // which CA is believed until there is a roster

	key *Key
}

// NewIdentity returns the identity of somebody with a key: a member's, whose name
// must be one, or "owner".
func NewIdentity(fleet, name string, key *Key, owner PublicKey, ca CAPin) (*Identity, error) {
	if err := errors.Join(checkName("fleet", fleet), checkName("member", name)); err != nil {
		return nil, err
	}
	return &Identity{Fleet: fleet, Name: name, Owner: owner, CA: ca, key: key}, nil
}

// Key returns the private key.
func (id *Identity) Key() *Key { return id.key }

// String names the identity without its secret.
func (id *Identity) String() string {
	return fmt.Sprintf("%s of the fleet %s (%v)", id.Name, id.Fleet, id.key.Public())
}

// identityFile is an identity as JSON.
type identityFile struct {
	Fleet string    `json:"fleet"`
	Name  string    `json:"name"`
	Seed  string    `json:"seed"` // base64url without padding
	Owner PublicKey `json:"owner"`
	CA    string    `json:"ca"` // the same
}

// Secret returns the identity with its key as one string, which [ParseIdentity]
// reads: "penny-key-1." and base64url of JSON. Whoever has it is this member.
func (id *Identity) Secret() string {
	data, err := json.Marshal(identityFile{
		Fleet: id.Fleet, Name: id.Name, Owner: id.Owner,
		Seed: base64.RawURLEncoding.EncodeToString(id.key.private.Seed()),
		CA:   base64.RawURLEncoding.EncodeToString(id.CA[:]),
	})
	if err != nil {
		panic(err) // strings always have this form
	}
	return identityPrefix + base64.RawURLEncoding.EncodeToString(data)
}

// ParseIdentity reads what [Identity.Secret] writes, with white space around it
// or without. No error repeats any part of it.
func ParseIdentity(secret string) (*Identity, error) {
	wrong := func(what string) error {
		return &mistake.Error{
			What: "this is not a whole " + EnvKey + ": " + what,
			Hint: "copy it once more, all of the line that penny key add printed; it begins with " + identityPrefix,
		}
	}
	secret = strings.TrimSpace(secret)
	text, ok := strings.CutPrefix(secret, identityPrefix)
	switch {
	case len(secret) > maxIdentity:
		return nil, wrong(fmt.Sprintf("it has more than %d characters", maxIdentity))
	case !ok:
		return nil, wrong("its beginning is another")
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, wrong("it is cut off, or has characters that do not belong to it")
	}
	var f identityFile
	if err := decodeStrictly(data, &f); err != nil {
		return nil, wrong("it is damaged")
	}
	seed, seedErr := base64.RawURLEncoding.Strict().DecodeString(f.Seed)
	pin, pinErr := base64.RawURLEncoding.Strict().DecodeString(f.CA)
	switch {
	case seedErr != nil || len(seed) != 32 || pinErr != nil || len(pin) != sha256.Size || f.Owner.weak():
		return nil, wrong("it is damaged")
	}
	key, err := GenerateKey(bytes.NewReader(seed))
	if err != nil {
		return nil, wrong("it is damaged")
	}
	id, err := NewIdentity(f.Fleet, f.Name, key, f.Owner, CAPin(pin))
	if err != nil || id.Secret() != secret {
		return nil, wrong("it is damaged")
	}
	return id, nil
}
