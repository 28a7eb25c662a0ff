package agent

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/serve/edge"
)

// certExt ends the names of files in the certificates' directory. Each has the
// chain and the key, so that no crash can leave one without the other.
const certExt = ".pem"

// maxCertificates bounds how many a POP keeps.
const maxCertificates = 1000

// A siteCertificate is what visitors are shown for some names. It is immutable.
type siteCertificate struct {
	name string
	pair *tls.Certificate
}

// A certificateSet has certificates by name. It is immutable.
type certificateSet map[string]*siteCertificate

// loadCertificates reads what the directory has. What is damaged is told and left
// out, so that it costs its own names only.
func (a *Agent) loadCertificates(ctx context.Context) error {
	names, err := a.dir.list(certsDir)
	if err != nil {
		return err
	}
	all := make(certificateSet)
	for _, file := range names {
		name, ok := certNameOf(file)
		if !ok {
			continue
		}
		raw, err := a.dir.read(api.MaxPEM, certsDir, file)
		if err == nil {
			all[name], err = parseSiteCertificate(name, raw)
		}
		if err != nil {
			delete(all, name)
			a.log.LogAttrs(ctx, slog.LevelWarn, "certificate left out", slog.String("name", name), slog.Any("err", err))
		}
	}
	a.certs.Store(&all)
	return nil
}

// parseSiteCertificate reads a chain and its key from PEM.
func parseSiteCertificate(name string, raw []byte) (*siteCertificate, error) {
	pair, err := tls.X509KeyPair(raw, raw)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s: %w", name, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("read the certificate %s: %w", name, err)
		}
	}
	if len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == 0 {
		return nil, fmt.Errorf("read the certificate %s: it is for no name", name)
	}
	return &siteCertificate{name: name, pair: &pair}, nil
}

// putCertificate takes a chain with its key under a name, and shows it from the
// next handshake on.
func (a *Agent) putCertificate(c *call) error {
	name := c.values["name"]
	if plain := strings.TrimPrefix(name, "*."); !isSiteName(plain) {
		return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("%.260q is not a name for a certificate", name), Hint: "use the first host name that it covers"}
	}
	raw, err := c.body(api.MaxPEM)
	if err != nil {
		return err
	}
	cert, err := parseSiteCertificate(name, raw)
	if err != nil {
		return invalid(err)
	}
	if cert.pair.Leaf.NotAfter.Before(a.o.Now().Add(-clockPatience)) {
		return invalid(fmt.Errorf("the certificate %s has expired at %s", name, cert.pair.Leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	all := maps.Clone(*a.certs.Load())
	if _, has := all[name]; !has && len(all) >= maxCertificates {
		return &api.Error{Status: http.StatusUnprocessableEntity, Code: api.CodeInvalid, Message: fmt.Sprintf("the POP has %d certificates, and keeps no more", len(all))}
	}
	if err := a.dir.makeDir(certsDir); err != nil {
		return err
	}
	if err := a.dir.write(raw, certsDir, certFileName(name)); err != nil {
		return err
	}
	all[name] = cert
	a.certs.Store(&all)
	if err := a.showCertificates(); err != nil {
		return err
	}
	a.log.LogAttrs(c.r.Context(), slog.LevelInfo, "certificate taken", slog.String("name", name), slog.Time("expires", cert.pair.Leaf.NotAfter))
	return c.answer(cert.status())
}

// wildcardFile begins the names of wildcard certificates' files: a star is no part
// of a file's name on every system.
const wildcardFile = "_wildcard."

// certFileName returns the file of a certificate, whose name is a site's, or one
// after "*.".
func certFileName(name string) string {
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		name = wildcardFile + rest
	}
	return name + certExt
}

// certNameOf undoes it.
func certNameOf(file string) (string, bool) {
	name, ok := strings.CutSuffix(file, certExt)
	if rest, wild := strings.CutPrefix(name, wildcardFile); wild {
		name = "*." + rest
	}
	return name, ok && isSiteName(strings.TrimPrefix(name, "*."))
}

func (c *siteCertificate) status() api.CertificateStatus {
	names := slices.Clone(c.pair.Leaf.DNSNames)
	for _, ip := range c.pair.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return api.CertificateStatus{Name: c.name, Names: names, Expires: c.pair.Leaf.NotAfter}
}

// showCertificates gives the edge what there is, by name, and until there is any
// one that nobody trusts. The caller holds changing.
func (a *Agent) showCertificates() error {
	if a.server == nil {
		return nil
	}
	set, err := a.edgeCertificates()
	if err != nil {
		return err
	}
	a.server.SetCertificates(set)
	return nil
}

// edgeCertificates are in the order of their names, wildcards last: visitors who name
// no host are shown the first.
func (a *Agent) edgeCertificates() (*edge.Certificates, error) {
	sorted := slices.SortedFunc(maps.Values(*a.certs.Load()), func(x, y *siteCertificate) int {
		return cmp.Or(wildcards(x)-wildcards(y), strings.Compare(x.name, y.name))
	})
	pairs := make([]*tls.Certificate, 0, len(sorted)+1)
	for _, c := range sorted {
		pairs = append(pairs, c.pair)
	}
	if len(pairs) == 0 {
		stand, err := standIn(a.o.Now())
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, stand)
	}
	return edge.NewCertificates(true, pairs...)
}

// wildcards is 1 for a certificate that is named after its wildcard, and otherwise 0.
func wildcards(c *siteCertificate) int {
	if strings.HasPrefix(c.name, "*.") {
		return 1
	}
	return 0
}

// standIn makes a certificate that is for no site: a listener with TLS needs one,
// and a POP listens before its first certificate comes.
func standIn(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a certificate to stand in: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "no certificate yet"}, DNSNames: []string{"no-certificate-yet.invalid"},
		NotBefore: now.Add(-clockPatience), NotAfter: now.Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate to stand in: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
