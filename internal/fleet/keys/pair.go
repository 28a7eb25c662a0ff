package keys

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"time"

	"pennyfarthing/internal/mistake"
)

// expiresSoon is when a certificate that somebody else should have renewed is
// worth a warning.
const expiresSoon = 7 * 24 * time.Hour

// LoadPair reads a server's certificate with the chain above it, and its key,
// from PEM files, which may be one and the same. The certificate has its Leaf.
//
// An error names the file, what is wrong with it, and what to type. The chain
// must be in order, each certificate issued by the next (RFC 8446 §4.4.2):
// clients that do not sort it themselves would refuse it. Dates are not looked
// at; ask [Warnings].
func LoadPair(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := readSmall(certFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	keyPEM, err := readSmall(keyFile)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	return parsePair(certFile, keyFile, certPEM, keyPEM)
}

func parsePair(certFile, keyFile string, certPEM, keyPEM []byte) (*tls.Certificate, error) {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return nil, explain(certFile, "x509", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, explain(keyFile, "pkey", err)
	}
	if err := checkKey(certFile, keyFile, certs, key); err != nil {
		return nil, err
	}
	if err := checkOrder(certFile, certs); err != nil {
		return nil, err
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, cert := range certs {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair, nil
}

// explain names the file of an error in its form, and says what to type. Tool is
// the openssl command that converts such a file.
func explain(file, tool string, err error) error {
	m := &mistake.Error{File: file, What: err.Error()}
	quoted, converted := quoteFor(runtime.GOOS, file), quoteFor(runtime.GOOS, file+".pem")
	switch {
	case errors.Is(err, errDER):
		m.Hint = fmt.Sprintf("openssl %s -inform DER -in %s -out %s (or openssl pkcs12, if it is a .p12 or .pfx file)", tool, quoted, converted)
	case errors.Is(err, errEncrypted):
		m.Hint = fmt.Sprintf("openssl pkey -in %s -out %s; chmod 600 %s", quoted, converted, converted)
	case errors.Is(err, errNoCert), errors.Is(err, errNoKey):
		m.Hint = "are the certificate and the key the wrong way round?"
	case errors.Is(err, errDamaged):
		m.Hint = "copy it once more, with all of its lines"
	case errors.Is(err, errNotPEM):
		m.Hint = "a PEM file begins with a line such as -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----"
	}
	return m
}

// checkKey finds whether the key belongs to the first certificate.
func checkKey(certFile, keyFile string, certs []*x509.Certificate, key crypto.Signer) error {
	for i, cert := range certs {
		if !samePublicKey(cert.PublicKey, key.Public()) {
			continue
		}
		if i == 0 {
			return nil
		}
		return &mistake.Error{
			File: certFile,
			What: fmt.Sprintf("the server's own certificate, %s, is number %d of %d", nameOf(cert), i+1, len(certs)),
			Hint: "put it first, then the one that issued it, and so on",
		}
	}
	return &mistake.Error{
		File: keyFile,
		What: fmt.Sprintf("is not the key of the certificate in %s, which is for %s", certFile, nameOf(certs[0])),
		Hint: "certificate and key must come from the same order; a renewal often makes a new key",
	}
}

// checkOrder finds whether each certificate was issued by the next, going by
// names: signatures are the business of who verifies the chain.
func checkOrder(file string, certs []*x509.Certificate) error {
	for i, cert := range certs[:len(certs)-1] {
		if bytes.Equal(cert.RawIssuer, certs[i+1].RawSubject) {
			continue
		}
		return &mistake.Error{
			File: file,
			What: fmt.Sprintf("certificate %d, %s, was issued by %q, but is followed by %s",
				i+1, nameOf(cert), cert.Issuer, nameOf(certs[i+1])),
			Hint: "put the server's certificate first, then the one that issued it, and so on, and nothing else",
		}
	}
	return nil
}

// nameOf names a certificate for people: by its first name or address, else by
// its subject.
func nameOf(cert *x509.Certificate) string {
	switch {
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case len(cert.IPAddresses) > 0:
		return cert.IPAddresses[0].String()
	default:
		return fmt.Sprintf("%q", cert.Subject)
	}
}

// Warnings says what browsers will not like about a certificate that can be
// served all the same: that it has expired or will within 7 days, that it is not
// valid yet, that it has no names. Each is one line without a full stop.
func Warnings(pair *tls.Certificate, now time.Time) []string {
	leaf := pair.Leaf
	if leaf == nil {
		return nil
	}
	var warnings []string
	switch left := leaf.NotAfter.Sub(now); {
	case left < 0:
		warnings = append(warnings, fmt.Sprintf("the certificate for %s expired on %s", nameOf(leaf), day(leaf.NotAfter)))
	case left < expiresSoon:
		warnings = append(warnings, fmt.Sprintf("the certificate for %s expires on %s", nameOf(leaf), day(leaf.NotAfter)))
	}
	if leaf.NotBefore.After(now) {
		warnings = append(warnings, fmt.Sprintf("the certificate for %s is not valid before %s", nameOf(leaf), day(leaf.NotBefore)))
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		warnings = append(warnings, fmt.Sprintf("the certificate for %s has no subject alternative name, so browsers refuse it", nameOf(leaf)))
	}
	return warnings
}
