package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"pennyfarthing/internal/mistake"
)

const (
	// sealWork is the binary logarithm of scrypt's N (RFC 7914 §2): 128 MiB of
	// memory and about half a second, once for each guess.
	sealWork = 17
	// openWork is what a file may ask for at most: 1 GiB. The age command asks for 18.
	openWork = 20

	minPassphrase = 8    // bytes; a person's care is worth more than a rule
	maxPassphrase = 1024 // bytes
)

// errPassphrase says that a passphrase is not the one.
var errPassphrase = errors.New("the passphrase is another")

// seal encrypts a secret with a passphrase, as an age file in ASCII
// (age-encryption.org/v1), so that the age command can open it without us. Work is
// the binary logarithm of scrypt's N.
func seal(plain []byte, passphrase string, work int) ([]byte, error) {
	recipient, err := recipientOf(passphrase, work)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	w, err := age.Encrypt(text, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), text.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// recipientOf is who can open what is encrypted with a new passphrase. Work is the
// binary logarithm of scrypt's N.
func recipientOf(passphrase string, work int) (*age.ScryptRecipient, error) {
	if len(passphrase) < minPassphrase || len(passphrase) > maxPassphrase {
		return nil, &mistake.Error{
			What: fmt.Sprintf("this passphrase has %d bytes", len(passphrase)),
			Hint: fmt.Sprintf("take %d to %d; five words or more are good", minPassphrase, maxPassphrase),
		}
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(work)
	return recipient, nil
}

// sealed reports whether a file is one that seal has made.
func sealed(data []byte) bool {
	return strings.HasPrefix(strings.TrimSpace(string(data[:min(len(data), 200)])), armor.Header)
}

// unseal decrypts what seal has made. The error is errPassphrase if it was made
// with another passphrase. Most is the most work that the file may ask for.
func unseal(data []byte, passphrase string, most int) ([]byte, error) {
	if passphrase == "" || len(passphrase) > maxPassphrase {
		return nil, errPassphrase
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(most)
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), identity)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return nil, errPassphrase
	}
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(plain) > maxFile {
		err = fmt.Errorf("it holds more than %d bytes", maxFile)
	}
	return plain, err
}
