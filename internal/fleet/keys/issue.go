package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// leafLifetime is well under the 398 days that browsers insist on.
const leafLifetime = 90 * 24 * time.Hour

// Issue makes a key (ECDSA P-256) and a server certificate for it, valid from an
// hour ago for 90 days, but no longer than the CA. A name may begin with "*.".
// An error names every name and address that the CA may not speak for.
//
// The names stand in the subject alternative name alone; the subject is empty,
// because some clients take a common name for a host.
func (ca *CA) Issue(names []string, addrs []netip.Addr) (*tls.Certificate, error) {
	template, err := ca.leafTemplate(names, addrs)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: make key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.pair.cert, key.Public(), ca.pair.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if err := ca.check(leaf); err != nil {
		return nil, fmt.Errorf("issue certificate: it does not hold: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// check verifies a leaf as a browser would that trusts the CA.
func (ca *CA) check(leaf *x509.Certificate) error {
	roots := x509.NewCertPool()
	roots.AddCert(ca.pair.cert)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: ca.now()})
	return err
}

func (ca *CA) leafTemplate(names []string, addrs []netip.Addr) (*x509.Certificate, error) {
	names, ips, err := constraintsOf(ca.pair.cert).admit(names, addrs)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	begin := ca.now().Add(-backdate)
	end := begin.Add(leafLifetime)
	if ca.pair.cert.NotAfter.Before(end) {
		end = ca.pair.cert.NotAfter
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             begin,
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              names,
		IPAddresses:           ips,
	}, nil
}

// admit returns names and addresses as certificates have them, or an error that
// names each that c does not permit.
func (c Constraints) admit(names []string, addrs []netip.Addr) ([]string, []net.IP, error) {
	var dns []string
	var ips []net.IP
	var refused []string
	for _, name := range names {
		base, wildcard := strings.CutPrefix(name, "*.")
		n, err := normalName(base)
		if err != nil {
			return nil, nil, err
		}
		if !c.permitsName(n) {
			refused = append(refused, name)
		}
		if wildcard {
			n = "*." + n
		}
		dns = append(dns, n)
	}
	for _, addr := range addrs {
		a := addr.Unmap().WithZone("")
		if !a.IsValid() || !c.permitsPrefix(netip.PrefixFrom(a, a.BitLen())) {
			refused = append(refused, addr.String())
		}
		ips = append(ips, a.AsSlice())
	}
	if len(refused) > 0 {
		return nil, nil, fmt.Errorf("the CA may not speak for %s", strings.Join(refused, ", "))
	}
	if len(dns)+len(ips) == 0 {
		return nil, nil, errors.New("it needs at least one name or address")
	}
	slices.Sort(dns)
	return slices.Compact(dns), ips, nil
}
