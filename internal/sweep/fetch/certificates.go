package fetch

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"pennyfarthing/internal/verdict"
)

// A judge says what is wrong with certificates. It is for many goroutines.
//
// Signatures are what costs: so it knows the issuers that lead to a root, of which
// there are few, and the chains that it has seen, for the many names of one server.
type judge struct {
	roots   *x509.CertPool // nil: the system's
	issuers memory
	chains  memory
}

// A memory has what was found out about certificates, by the hash of their bytes.
type memory struct {
	mu    sync.Mutex // guards known
	known map[[sha256.Size]byte]found
}

// found is a verdict that holds from the first to the last moment of a certificate.
type found struct {
	verdict     verdict.Code
	first, last time.Time
}

// maxKnown bounds the memory that strangers can fill. A full one is emptied.
const maxKnown = 1 << 12

func (m *memory) get(key [sha256.Size]byte, now time.Time) (verdict.Code, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.known[key]
	if !ok || now.Before(f.first) || now.After(f.last) {
		return verdict.None, false
	}
	return f.verdict, true
}

func (m *memory) put(key [sha256.Size]byte, f found) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= maxKnown {
		m.known = map[[sha256.Size]byte]found{}
	}
	m.known[key] = f
}

// verdict says what is wrong with a chain for a name, or OK.
func (j *judge) verdict(chain []*x509.Certificate, name string, now time.Time) verdict.Code {
	leaf := chain[0]
	switch {
	case now.Before(leaf.NotBefore), now.After(leaf.NotAfter):
		return verdict.TLSExpired
	case leaf.VerifyHostname(name) != nil:
		return verdict.TLSName
	}
	key := hashOf(chain)
	if v, ok := j.chains.get(key, now); ok {
		return v
	}
	var v verdict.Code
	if len(chain) > 1 && plain(chain[1]) && j.trusts(chain[1:], now) && forServers(leaf) && leaf.CheckSignatureFrom(chain[1]) == nil {
		v = verdict.OK
	} else {
		v = j.verify(chain, now)
	}
	j.chains.put(key, foundOf(v, chain, now))
	return v
}

// foundOf holds from the last moment before now at which one of the certificates has
// begun or ended until the next such moment.
func foundOf(v verdict.Code, chain []*x509.Certificate, now time.Time) found {
	f := found{v, time.Time{}, now.AddDate(1, 0, 0)}
	for _, c := range chain {
		for _, t := range []time.Time{c.NotBefore, c.NotAfter} {
			if t.After(now) && t.Before(f.last) {
				f.last = t
			}
			if !t.After(now) && t.After(f.first) {
				f.first = t
			}
		}
	}
	return f
}

func hashOf(chain []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range chain { // DER says where it ends: no other chain has these bytes
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}

// plain reports whether an issuer says nothing that must be held against a leaf but
// its signature.
func plain(c *x509.Certificate) bool {
	constraints := len(c.PermittedDNSDomains) + len(c.ExcludedDNSDomains) + len(c.PermittedIPRanges) + len(c.ExcludedIPRanges) +
		len(c.PermittedURIDomains) + len(c.ExcludedURIDomains) + len(c.PermittedEmailAddresses) + len(c.ExcludedEmailAddresses)
	return c.IsCA && constraints == 0 && len(c.UnhandledCriticalExtensions) == 0
}

func forServers(leaf *x509.Certificate) bool {
	if len(leaf.UnhandledCriticalExtensions) > 0 {
		return false
	}
	for _, use := range leaf.ExtKeyUsage {
		if use == x509.ExtKeyUsageServerAuth || use == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// trusts reports whether an issuer leads to a root, with the certificates behind it. It
// is known with them and not by itself: what one server left out must not be found
// because another one has sent it, or the verdict would depend on who was asked before.
func (j *judge) trusts(chain []*x509.Certificate, now time.Time) bool {
	issuer := chain[0]
	if now.Before(issuer.NotBefore) || now.After(issuer.NotAfter) {
		return false
	}
	key := hashOf(chain)
	if _, known := j.issuers.get(key, now); known {
		return true
	}
	if j.verify(chain, now) != verdict.OK {
		return false
	}
	j.issuers.put(key, foundOf(verdict.OK, chain, now))
	return true
}

// verify verifies a chain as crypto/tls would, but for the name.
func (j *judge) verify(chain []*x509.Certificate, now time.Time) verdict.Code {
	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: j.roots, Intermediates: pool, CurrentTime: now})
	if err == nil {
		return verdict.OK
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return verdict.TLSExpired
	}
	return verdict.TLSUntrusted
}
