package simnet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// An authority makes the certificates of the simulated internet: a root, an
// intermediate, and leaves when they are asked for.
type authority struct {
	root    *x509.Certificate
	good    *minter
	expired *minter
	self    *minter // whose leaves nobody else signs
}

// newAuthority makes the keys and certificates. Those that are good have been so
// since a day before now, and will be for a year.
func newAuthority(now time.Time) (*authority, error) {
	keys := make([]*ecdsa.PrivateKey, 3) // of the root, the intermediate, and all leaves
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, fmt.Errorf("make a key of the simulated internet: %w", err)
		}
	}
	begin, end := now.Add(-24*time.Hour), now.Add(365*24*time.Hour)
	ca := func(number int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name}, NotBefore: begin.Add(-1000 * time.Hour), NotAfter: end,
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	root, err := signed(ca(1, "penny simnet root"), nil, keys[0], keys[0])
	if err != nil {
		return nil, err
	}
	middle, err := signed(ca(2, "penny simnet intermediate"), root, keys[1], keys[0])
	if err != nil {
		return nil, err
	}
	leaf := func(begin, end time.Time) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "a site"}, NotBefore: begin, NotAfter: end,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"x.test"},
		}
	}
	a := &authority{root: root}
	if a.good, err = newMinter(leaf(begin, end), middle, keys[2], keys[1]); err != nil {
		return nil, err
	}
	if a.expired, err = newMinter(leaf(begin.Add(-900*time.Hour), begin), middle, keys[2], keys[1]); err != nil {
		return nil, err
	}
	if a.self, err = newMinter(leaf(begin, end), nil, keys[2], keys[2]); err != nil {
		return nil, err
	}
	return a, nil
}

// pem is the root.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
}

// certificate makes the one that a site with a fate shows.
func (a *authority) certificate(h Handshake, name string) (*tls.Certificate, error) {
	switch h {
	case Expired:
		return a.expired.mint(name)
	case SelfSigned:
		return a.self.mint(name)
	case WrongName:
		return a.good.mint("another-site.test")
	default:
		return a.good.mint(name)
	}
}

// signed makes a certificate. Without a parent it signs itself.
func signed(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// A minter makes leaves that differ in their names alone. It puts the name into the
// DER of a model and signs: 30 microseconds, where x509.CreateCertificate, which
// encodes everything anew and verifies what it signed, takes five times as long.
type minter struct {
	front     []byte // of the part that is signed: version to public key
	fields    []byte // extensions, without the names
	algorithm []byte
	chain     [][]byte // above the leaf
	key       *ecdsa.PrivateKey
	signer    *ecdsa.PrivateKey
}

func newMinter(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*minter, error) {
	model, err := signed(template, parent, key, signer)
	if err != nil {
		return nil, err
	}
	m := &minter{key: key, signer: signer}
	if parent != nil {
		m.chain = [][]byte{parent.Raw}
	}
	var whole, tbs asn1.RawValue
	if _, err := asn1.Unmarshal(model.Raw, &whole); err != nil {
		return nil, fmt.Errorf("take a certificate apart: %w", err)
	}
	algorithm, err := asn1.Unmarshal(whole.Bytes, &tbs)
	if err != nil {
		return nil, fmt.Errorf("take a certificate apart: %w", err)
	}
	var element asn1.RawValue
	if _, err = asn1.Unmarshal(algorithm, &element); err != nil {
		return nil, fmt.Errorf("take a certificate apart: %w", err)
	}
	m.algorithm = element.FullBytes
	for rest := tbs.Bytes; len(rest) > 0; {
		if rest, err = asn1.Unmarshal(rest, &element); err != nil {
			return nil, fmt.Errorf("take a certificate apart: %w", err)
		}
		if element.Class != asn1.ClassContextSpecific || element.Tag != 3 { // RFC 5280 §4.1: the extensions
			m.front = append(m.front, element.FullBytes...)
		}
	}
	for _, extension := range model.Extensions {
		if extension.Id.Equal(oidSubjectAltName()) {
			continue
		}
		der, err := asn1.Marshal(extension)
		if err != nil {
			return nil, fmt.Errorf("write an extension: %w", err)
		}
		m.fields = append(m.fields, der...)
	}
	return m, nil
}

func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

// Tags of DER.
const (
	derBitString   = 3
	derOctetString = 4
	derSequence    = 0x30
	derExtensions  = 0xa3
	derDNSName     = 0x82 // in GeneralName
)

// mint makes a certificate for a name.
func (m *minter) mint(name string) (*tls.Certificate, error) {
	const oid = "\x06\x03\x55\x1d\x11"
	names := der(derSequence, der(derDNSName, []byte(name)))
	fields := der(derSequence, m.fields, der(derSequence, []byte(oid), der(derOctetString, names)))
	tbs := der(derSequence, m.front, der(derExtensions, fields))
	digest := sha256.Sum256(tbs)
	signature, err := ecdsa.SignASN1(rand.Reader, m.signer, digest[:])
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	leaf := der(derSequence, tbs, m.algorithm, der(derBitString, []byte{0}, signature))
	return &tls.Certificate{Certificate: append([][]byte{leaf}, m.chain...), PrivateKey: m.key}, nil
}

// der is an element with parts as its content, of less than 64 KiB.
func der(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	out := make([]byte, 0, n+4)
	switch {
	case n < 0x80:
		out = append(out, tag, byte(n))
	case n < 0x100:
		out = append(out, tag, 0x81, byte(n))
	default:
		out = append(out, tag, 0x82, byte(n>>8), byte(n))
	}
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}
