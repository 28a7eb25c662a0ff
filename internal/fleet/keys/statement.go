package keys

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxStatement is how many bytes a statement may have as JSON.
const MaxStatement = 1 << 20

// statementVersion begins what is signed. No TLS handshake (RFC 8446 §4.4.3
// begins with 64 spaces) and no certificate (a DER sequence begins with 0x30)
// can be taken for it, though the same key signs them.
const statementVersion = "penny statement v1\n"

// ErrForged is what [Statement.Verify] returns for a signature that does not
// hold.
var ErrForged = errors.New("the signature does not hold")

// A Statement is something that a key has signed: a roster, a head, a release, a
// configuration. It says who signed it, not whether they may: that is the
// [Roster]'s to say.
//
// The signature covers "penny statement v1", the kind and the fleet, each with a
// line feed after it, and then the bytes of the payload exactly as they stand in
// the file. So that these survive every encoder, a payload has one form: that
// of encoding/json, without blanks.
type Statement struct {
	Kind      string          `json:"kind"`
	Fleet     string          `json:"fleet"`
	Payload   json.RawMessage `json:"payload"`
	Key       PublicKey       `json:"key"`
	Signature []byte          `json:"signature"`
}

// Sign makes a statement of a kind, a word in lower case, for a fleet. The
// payload is JSON; what is signed, and what the statement holds, is its form
// without blanks.
func (k *Key) Sign(kind, fleet string, payload []byte) (*Statement, error) {
	if err := errors.Join(checkKind(kind), checkName("fleet", fleet)); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	canonical, err := canonicalJSON(payload)
	if err != nil {
		return nil, fmt.Errorf("sign a %s: its payload is not JSON: %w", kind, err)
	}
	s := &Statement{Kind: kind, Fleet: fleet, Payload: canonical, Key: k.Public()}
	s.Signature = ed25519.Sign(k.private, s.signed())
	if n := len(s.encode()); n > MaxStatement {
		return nil, fmt.Errorf("sign a %s: it has %d bytes, more than %d", kind, n, MaxStatement)
	}
	return s, nil
}

// ParseStatement reads a statement as encoding/json writes it, with a line feed
// after it or without. It has no other form, so that two parsers cannot see two
// statements in the same bytes. Nothing is verified.
func ParseStatement(data []byte) (*Statement, error) {
	if len(data) > MaxStatement+1 {
		return nil, fmt.Errorf("read a statement: it has more than %d bytes", MaxStatement)
	}
	var s Statement
	if err := decodeStrictly(data, &s); err != nil {
		return nil, fmt.Errorf("read a statement: %w", err)
	}
	if err := errors.Join(checkKind(s.Kind), checkName("fleet", s.Fleet)); err != nil {
		return nil, fmt.Errorf("read a statement: %w", err)
	}
	if !bytes.Equal(bytes.TrimSuffix(data, []byte("\n")), s.encode()) {
		return nil, errors.New("read a statement: it is not in the form in which penny writes one: the same members in the same order, without blanks")
	}
	return &s, nil
}

// Verify returns the payload of a statement of a kind for a fleet. It looks at
// the signature only; whether the key may say this is the [Roster]'s to say. An
// error is ErrForged if the signature does not hold.
func (s *Statement) Verify(fleet, kind string) (payload []byte, err error) {
	switch canonical, err := canonicalJSON(s.Payload); {
	case s.Kind != kind:
		return nil, fmt.Errorf("verify a %s: this is a statement of kind %.40q", kind, s.Kind)
	case s.Fleet != fleet:
		return nil, fmt.Errorf("verify a %s: it is for the fleet %.80q, not for %q", kind, s.Fleet, fleet)
	case err != nil || !bytes.Equal(canonical, s.Payload):
		return nil, fmt.Errorf("verify a %s: its payload is not JSON without blanks", kind)
	case s.Key.weak() || !ed25519.Verify(s.Key[:], s.signed(), s.Signature):
		return nil, fmt.Errorf("verify a %s of %v: %w", kind, s.Key, ErrForged)
	}
	return bytes.Clone(s.Payload), nil
}

// signed returns what the signature is about.
func (s *Statement) signed() []byte {
	var b bytes.Buffer
	for _, part := range []string{statementVersion, s.Kind, "\n", s.Fleet, "\n"} {
		b.WriteString(part)
	}
	b.Write(s.Payload)
	return b.Bytes()
}

// encode returns the statement as a file holds it. The payload is JSON: it was
// signed or parsed.
func (s *Statement) encode() []byte {
	data, err := json.Marshal(s)
	if err != nil {
		return nil // equal to no statement
	}
	return data
}

// checkKind refuses kinds that could be mistaken for something else where they
// stand between line feeds.
func checkKind(kind string) error {
	if kind == "" || len(kind) > 32 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return fmt.Errorf("%.40q is not a kind of statement: a word in lower case", kind)
	}
	return nil
}

// canonicalJSON returns JSON without blanks, and with "<", ">" and "&" escaped,
// which is what an encoder makes of a json.RawMessage.
func canonicalJSON(text []byte) ([]byte, error) {
	if len(text) > MaxStatement {
		return nil, fmt.Errorf("it has more than %d bytes", MaxStatement)
	}
	return json.Marshal(json.RawMessage(text))
}

// decodeStrictly reads one JSON value that has no member that is not known, and
// nothing after it.
func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after its end")
	}
	return nil
}
