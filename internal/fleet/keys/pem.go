package keys

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// The types of PEM blocks (RFC 7468).
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// What is wrong with a file, where there is something to be done about it.
var (
	errDER       = errors.New("is in DER form, not PEM")
	errNotPEM    = errors.New("is not PEM: it has no -----BEGIN line")
	errDamaged   = errors.New("is damaged: it has a -----BEGIN line without what belongs to it")
	errNoCert    = errors.New("holds no certificate")
	errNoKey     = errors.New("holds no private key")
	errEncrypted = errors.New("holds a key that is encrypted with a passphrase")
)

// blocksOf returns all PEM blocks of a file. pem.Decode passes over damaged ones;
// here they are an error, because half of a chain is worse than none.
func blocksOf(data []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	begun := bytes.Count(data, []byte("-----BEGIN "))
	switch {
	case begun > len(blocks):
		return nil, errDamaged
	case len(blocks) > 0:
		return blocks, nil
	case len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80: // an ASN.1 sequence of 128 bytes or more
		return nil, errDER
	default:
		return nil, errNotPEM
	}
}

// EncodePair writes a certificate with the chain above it, and its key, as PEM: what an
// agent takes as the certificate of a site, and [LoadPair] reads.
func EncodePair(pair *tls.Certificate) ([]byte, error) {
	var text bytes.Buffer
	for _, der := range pair.Certificate {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}))
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode the key of a certificate: %w", err)
	}
	text.Write(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: key}))
	return text.Bytes(), nil
}

// parseCertificates returns the certificates of a PEM file, at least one.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := blocksOf(data)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, block := range blocks {
		if block.Type != pemCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate that cannot be read: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errNoCert
	}
	return certs, nil
}

// parseKey returns the first private key of a PEM file.
func parseKey(data []byte) (crypto.Signer, error) {
	blocks, err := blocksOf(data)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		if block.Type != pemKey && !strings.HasSuffix(block.Type, " "+pemKey) {
			continue
		}
		if block.Type == "ENCRYPTED "+pemKey || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errEncrypted
		}
		return parseKeyBlock(block)
	}
	return nil, errNoKey
}

func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "RSA " + pemKey:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC " + pemKey:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("holds a key that cannot be read: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("holds a key that cannot sign (%T)", key)
	}
	return signer, nil
}

// samePublicKey compares two public keys, of whatever kind.
func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
