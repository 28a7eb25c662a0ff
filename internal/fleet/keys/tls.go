package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"
)

// clientLifetime is how long the certificate of one connection is valid. Nobody
// of ours looks at it: it keeps other programs' libraries content.
const clientLifetime = 24 * time.Hour

// Why a connection between a member and a POP is refused.
var (
	// ErrNotPinned says that a POP's key is not the one that the roster has for
	// it, or that the roster has none.
	ErrNotPinned = errors.New("the roster does not pin this key for this POP")
	// ErrNotMember says that a client's key is neither the owner's nor a member's.
	ErrNotMember = errors.New("the roster does not have this key")
	// ErrNotEd25519 says that the other side's certificate is no identity.
	ErrNotEd25519 = errors.New("it shows no certificate of an Ed25519 key")
)

// zoneOf is the name below which the POPs of a fleet have theirs. The domain is
// ICANN's for private use.
func zoneOf(fleet string) string { return fleet + ".penny.internal" }

// POPName returns the DNS name that the certificate of a POP's agent is for. It
// is in no DNS.
func POPName(fleet, pop string) string { return pop + "." + zoneOf(fleet) }

// ClientTLS returns how an identity connects to a POP's agent: TLS 1.3, with a
// certificate that is made for the connection and shows nothing but the key.
//
// The agent's certificate must be from the fleet's CA and for the POP's name,
// and its key the one that the roster pins for the POP. One that has expired,
// and has nothing else wrong with it, is taken for the sake of that pin: so a
// POP that was away for long can be given another one. For the same reason one is
// taken that the pinned key has signed itself ([Key.SelfSigned]): so a new POP can
// be given its first. Roster may return nil as long as there is none; then the CA
// is known by the identity's pin, nothing expired or self-signed is taken, and who
// connects must look the key ([PeerKey]) up in the first roster that it gets.
//
// Sessions are not resumed. Each call of roster sees the latest one.
func ClientTLS(id *Identity, pop string, roster func() *Roster, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: POPName(id.Fleet, pop),
		Time:       now,
		// crypto/tls would refuse what has expired. VerifyConnection does all that
		// it would, and more.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if err := verifyPOP(&cs, id, pop, roster(), now()); err != nil {
				return fmt.Errorf("connect to the POP %s of the fleet %s: %w", pop, id.Fleet, err)
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.key.certificate(now())
		},
	}
}

// verifyPOP decides whether the other side is a POP of the fleet.
func verifyPOP(cs *tls.ConnectionState, id *Identity, pop string, r *Roster, now time.Time) error {
	key, ok := PeerKey(cs)
	if !ok {
		return ErrNotEd25519
	}
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), DNSName: POPName(id.Fleet, pop), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf := cs.PeerCertificates[0]
	if r == nil {
		for _, cert := range cs.PeerCertificates[1:] {
			if cert.IsCA && pinOf(cert) == id.CA {
				opts.Roots.AddCert(cert)
			}
		}
		_, err := leaf.Verify(opts)
		return err
	}
	if pinned, ok := r.POP(pop); !ok || pinned != key {
		return fmt.Errorf("roster %d: %w: %v", r.Number, ErrNotPinned, key)
	}
	if selfSigned(leaf) {
		return leaf.VerifyHostname(opts.DNSName) // there is nothing else that could be wrong with it
	}
	authorities, err := r.authorities()
	if err != nil {
		return fmt.Errorf("roster %d: %w", r.Number, err)
	}
	for _, cert := range authorities {
		opts.Roots.AddCert(cert)
	}
	if now.After(leaf.NotAfter) {
		opts.CurrentTime = leaf.NotAfter // of which nothing else may be wrong
	}
	_, err = leaf.Verify(opts)
	return err
}

// certificate makes a certificate that shows a key, and says nothing else.
func (k *Key) certificate(now time.Time) (*tls.Certificate, error) {
	pair, err := k.signSelf(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "penny"},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(clientLifetime),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("make a certificate to connect with: %w", err)
	}
	return pair, nil
}

// SelfSigned makes the certificate that a POP's agent shows until it has one of the
// fleet's CA. It proves which key the POP has, and nothing else: only who was told that
// key takes it, and at any date, because the clock of a new machine may be wrong.
func (k *Key) SelfSigned(fleet, pop string, now time.Time) (*tls.Certificate, error) {
	pair, err := k.signSelf(&x509.Certificate{
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(popLifetime),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{POPName(fleet, pop)},
	})
	if err != nil {
		return nil, fmt.Errorf("make the first certificate of the POP %s: %w", pop, err)
	}
	return pair, nil
}

// signSelf makes a certificate of a template for a key, and signed by it.
func (k *Key) signSelf(template *x509.Certificate) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.KeyUsage, template.BasicConstraintsValid = serial, x509.KeyUsageDigitalSignature, true
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.private}, nil
}

// selfSigned reports whether a certificate is signed by the key that it is for.
func selfSigned(cert *x509.Certificate) bool {
	return cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// ServerTLS returns how an agent takes connections: TLS 1.3, from clients whose
// key is in the roster. No chain and no date of theirs is looked at: the
// handshake proves the key (RFC 8446 §4.4.3), and the roster says whose it is.
//
// A connection outlives a roster. So who answers requests must ask the latest
// roster what [PeerKey] may do at every request, and not only here.
//
// Leaf returns the agent's certificate, nil if it has none yet. Sessions are not
// resumed. HTTP/2 is offered, and HTTP/1.1.
func ServerTLS(leaf func() *tls.Certificate, roster func() *Roster) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2", "http/1.1"},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if pair := leaf(); pair != nil {
				return pair, nil
			}
			return nil, errors.New("this agent has no certificate yet")
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			key, ok := PeerKey(&cs)
			if !ok {
				return fmt.Errorf("refuse a client: %w", ErrNotEd25519)
			}
			if r := roster(); r == nil || !r.Knows(key) {
				return fmt.Errorf("refuse a client: %w: %v", ErrNotMember, key)
			}
			return nil
		},
	}
}

// PeerKey returns the key that the other side of a connection has proved to
// have, if it is an identity.
func PeerKey(cs *tls.ConnectionState) (PublicKey, bool) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return PublicKey{}, false
	}
	public, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, false
	}
	key, err := publicKeyOf(public)
	return key, err == nil
}
