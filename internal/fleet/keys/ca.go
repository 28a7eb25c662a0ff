package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"pennyfarthing/internal/lockfile"
	"pennyfarthing/internal/mistake"
)

const (
	caYears      = 10
	renewCAUnder = 30 * 24 * time.Hour // of validity that is left
	// backdate is how far certificates begin in the past, for clocks that are slow.
	backdate = time.Hour
	// maxCommonName is the limit of RFC 5280 appendix A, in characters.
	maxCommonName = 64
)

// A CA is a private certificate authority for one machine's own use. It is
// constrained to the names and addresses that it serves, so trusting it in a
// browser risks nothing else.
//
// It is immutable and safe for concurrent use.
type CA struct {
	pair  caPair
	file  string
	fresh bool
	now   func() time.Time
}

// OpenCA loads the CA that dir holds as ca.pem and ca.key, or makes it. Name is
// what its owner reads in a browser's list, for example "penny linkedlist", and
// has at most 64 bytes.
//
// If the CA that is there does not permit everything in c, or has no more than
// 30 days to live, a new one with a new key replaces it: the old certificate
// stays as ca.pem.old, and Fresh reports true. A CA that permits more than c is
// kept. Callers whose constraints differ need directories of their own, or each
// would replace the other's CA.
//
// Any number of processes may do this at once: one makes the CA, the others load
// it. A damaged file, and a key that others can read, are errors that name the
// file and carry a hint; nothing is replaced then.
func OpenCA(dir, name string, c Constraints, now func() time.Time) (*CA, error) {
	c, err := c.normalised()
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	if name == "" || len(name) > maxCommonName {
		return nil, fmt.Errorf("open CA: its name must have 1 to %d bytes: %q", maxCommonName, name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	unlock, err := lockfile.Wait(filepath.Join(dir, "ca.lock"))
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	ca, err := openLocked(caStore{dir}, name, c, now)
	if err := errors.Join(err, unlock()); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	return ca, nil
}

func openLocked(store caStore, name string, c Constraints, now func() time.Time) (*CA, error) {
	if err := store.finish(); err != nil {
		return nil, err
	}
	pair, err := store.load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if pair.cert.NotBefore.After(now()) {
			return nil, &mistake.Error{
				File: store.cert(),
				What: fmt.Sprintf("this CA is valid from %s on, but the clock says %s", day(pair.cert.NotBefore), day(now())),
				Hint: "set the clock of this machine",
			}
		}
		if constraintsOf(pair.cert).permitsAll(c) && pair.cert.NotAfter.Sub(now()) > renewCAUnder {
			return &CA{pair: pair, file: store.cert(), now: now}, nil
		}
	}
	if pair, err = newCAPair(name, c, now()); err != nil {
		return nil, err
	}
	if err := store.commit(pair); err != nil {
		return nil, err
	}
	return &CA{pair: pair, file: store.cert(), fresh: true, now: now}, nil
}

// File returns the path of the CA's certificate, a PEM file for browsers and
// curl.
func (ca *CA) File() string { return ca.file }

// Certificate returns the CA's certificate, which must not be changed.
func (ca *CA) Certificate() *x509.Certificate { return ca.pair.cert }

// Fresh reports whether OpenCA made this CA, rather than found it: then nobody
// trusts it yet.
func (ca *CA) Fresh() bool { return ca.fresh }

// newCAPair makes a key and its self-signed, constrained certificate.
func newCAPair(name string, c Constraints, now time.Time) (caPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return caPair{}, fmt.Errorf("make CA key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return caPair{}, fmt.Errorf("make CA serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The serial number in the subject keeps a CA apart from the one it
		// replaces: a client that trusts both looks its issuer up by subject.
		Subject:               pkix.Name{CommonName: name, SerialNumber: fmt.Sprintf("%x", serial.Bytes()[:4])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(caYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, // no mail, no programs
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	c.constrain(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return caPair{}, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return caPair{}, fmt.Errorf("make CA certificate: %w", err)
	}
	return caPair{cert: cert, key: key}, nil
}

// newSerial returns a random number of 128 bits, of which the first is set, so
// that it never has fewer.
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	b[0] |= 0x80
	return new(big.Int).SetBytes(b[:]), nil
}

// day writes a time for people.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
