package fetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"pennyfarthing/internal/verdict"
)

// issued is a certificate of another one, or of itself.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func issue(t *testing.T, by *issued, template x509.Certificate) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &issued{key: key}
	template.SerialNumber = big.NewInt(1)
	if by == nil {
		by = &issued{&template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChainsAreJudgedAlikeEveryTime(t *testing.T) {
	now := time.Now()
	ca := func(name string, hours int) x509.Certificate {
		return x509.Certificate{
			Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Duration(hours) * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	site := x509.Certificate{
		Subject: pkix.Name{CommonName: "site"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10 * time.Hour), DNSNames: []string{"example.org"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	forClients := site
	forClients.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	constrained := ca("constrained", 20)
	constrained.PermittedDNSDomains = []string{"example.com"}
	noCA := ca("no CA", 20)
	noCA.IsCA, noCA.KeyUsage = false, x509.KeyUsageDigitalSignature

	root, other := issue(t, nil, ca("root", 100)), issue(t, nil, ca("root", 100))
	top := issue(t, root, ca("top", 50))
	low := issue(t, top, ca("low", 5))
	narrow := issue(t, root, constrained)
	leafAsIssuer := issue(t, root, noCA)
	leaf := issue(t, low, site)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)

	chain := func(cs ...*issued) (chain []*x509.Certificate) {
		for _, c := range cs {
			chain = append(chain, c.cert)
		}
		return chain
	}
	j := &judge{roots: pool}
	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		host  string
		after time.Duration
		want  verdict.Code
	}{
		{"left out", chain(leaf, low), "example.org", 0, verdict.TLSUntrusted},
		{"whole", chain(leaf, low, top), "example.org", 0, verdict.OK},
		{"with the root", chain(leaf, low, top, root), "example.org", 0, verdict.OK},
		{"out of order", chain(leaf, top, low), "example.org", 0, verdict.OK},
		{"left out, though others have sent it", chain(issue(t, low, site), low), "example.org", 0, verdict.TLSUntrusted},
		{"another name", chain(leaf, low, top), "example.com", 0, verdict.TLSName},
		{"an issuer ends", chain(leaf, low, top), "example.org", 6 * time.Hour, verdict.TLSExpired},
		{"and has not ended yet", chain(leaf, low, top), "example.org", time.Hour, verdict.OK},
		{"the leaf ends", chain(leaf, low, top), "example.org", 11 * time.Hour, verdict.TLSExpired},
		{"not yet", chain(leaf, low, top), "example.org", -2 * time.Hour, verdict.TLSExpired},
		{"alone", chain(issue(t, root, site)), "example.org", 0, verdict.OK},
		{"signed by itself", chain(issue(t, nil, site)), "example.org", 0, verdict.TLSUntrusted},
		{"a root of the same name", chain(issue(t, other, site), other), "example.org", 0, verdict.TLSUntrusted},
		{"for clients", chain(issue(t, low, forClients), low, top), "example.org", 0, verdict.TLSUntrusted},
		{"outside of a constraint", chain(issue(t, narrow, site), narrow), "example.org", 0, verdict.TLSUntrusted},
		{"issued by no authority", chain(issue(t, leafAsIssuer, site), leafAsIssuer), "example.org", 0, verdict.TLSUntrusted},
	} {
		for range 2 {
			if got := j.verdict(c.chain, c.host, now.Add(c.after)); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
	}
}

func TestWhatIsKnownOfCertificatesIsBounded(t *testing.T) {
	var m memory
	for i := range maxKnown + 10 {
		m.put([32]byte{byte(i), byte(i >> 8)}, found{verdict.OK, time.Time{}, time.Now().Add(time.Hour)})
	}
	if len(m.known) > maxKnown {
		t.Errorf("%d are known", len(m.known))
	}
}
