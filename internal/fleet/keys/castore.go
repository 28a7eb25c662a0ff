package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"pennyfarthing/internal/mistake"
)

// A caPair is a CA's certificate and the key that belongs to it.
type caPair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// A caStore is the directory of a CA. Its methods are called with the lock held.
//
// Two files cannot be renamed at once. So the certificate of a new CA is written
// as ca.pem.new; its key is renamed to ca.key, and from then on it counts; then
// ca.pem.new is renamed to ca.pem. If a process dies before that last step, the
// next one does it, in finish.
type caStore struct{ dir string }

func (s caStore) cert() string    { return filepath.Join(s.dir, "ca.pem") }
func (s caStore) key() string     { return filepath.Join(s.dir, "ca.key") }
func (s caStore) pending() string { return s.cert() + ".new" }
func (s caStore) old() string     { return s.cert() + ".old" }

// load reads the CA. The error is fs.ErrNotExist if there is none.
func (s caStore) load() (caPair, error) {
	certPEM, certErr := readSmall(s.cert())
	keyPEM, keyErr := readSmall(s.key())
	noCert, noKey := errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist)
	switch {
	case noCert && noKey:
		return caPair{}, fs.ErrNotExist
	case noCert:
		return caPair{}, s.damaged(s.cert(), "is missing, though its key "+s.key()+" is there")
	case noKey:
		return caPair{}, s.damaged(s.key(), "is missing, though its certificate "+s.cert()+" is there")
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return caPair{}, err
	}
	if err := checkSecret(s.key()); err != nil {
		return caPair{}, err
	}
	return s.parse(certPEM, keyPEM)
}

func (s caStore) parse(certPEM, keyPEM []byte) (caPair, error) {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return caPair{}, s.damaged(s.cert(), err.Error())
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return caPair{}, s.damaged(s.key(), err.Error())
	}
	cert := certs[0]
	switch {
	case len(certs) != 1:
		return caPair{}, s.damaged(s.cert(), fmt.Sprintf("holds %d certificates, not one", len(certs)))
	case !cert.IsCA || !cert.PermittedDNSDomainsCritical:
		return caPair{}, s.damaged(s.cert(), "is not the certificate of a CA with constraints")
	case !samePublicKey(cert.PublicKey, key.Public()):
		return caPair{}, s.damaged(s.key(), "is not the key of "+s.cert())
	}
	return caPair{cert, key}, nil
}

func (s caStore) damaged(file, what string) error {
	return &mistake.Error{
		File: file,
		What: what,
		Hint: fmt.Sprintf("put it back from a backup, or remove %s and %s: a new CA is made then, which browsers must be told to trust",
			quoteFor(runtime.GOOS, s.cert()), quoteFor(runtime.GOOS, s.key())),
	}
}

// finish completes the commit of a process that died in it, or removes what it
// left before it came to the point.
func (s caStore) finish() error {
	certPEM, err := readSmall(s.pending())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	keyPEM, err := readSmall(s.key())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := s.parse(certPEM, keyPEM); err != nil {
		return os.Remove(s.pending())
	}
	return rename(s.pending(), s.cert())
}

// commit makes pair the CA of the directory.
func (s caStore) commit(pair caPair) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(pair.key)
	if err != nil {
		return fmt.Errorf("write CA key: %w", err)
	}
	switch old, err := readSmall(s.cert()); {
	case err == nil:
		if err := writeFile(s.old(), old, 0o644); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := writeFile(s.pending(), encodePEM(pemCertificate, pair.cert.Raw), 0o644); err != nil {
		return err
	}
	if err := writeFile(s.key(), encodePEM(pemKey, keyDER), 0o600); err != nil {
		return err
	}
	return rename(s.pending(), s.cert())
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
