package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
)

func issue(t *testing.T, ca *keys.CA, names ...string) *tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func poolOf(ca *keys.CA) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	return pool
}

func TestAnIssuedCertificateHoldsForItsNamesAndAddressesOnly(t *testing.T) {
	ca := openCA(t, t.TempDir(), example, time.Now)
	cert, err := ca.Issue(
		[]string{"LinkedList.org.", "www.linkedlist.org", "*.pop.linkedlist.org", "localhost", "localhost"},
		addrs("127.0.0.1", "::1", "::ffff:127.0.0.2", "2001:db8:a::10"))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"linkedlist.org": true, "www.linkedlist.org": true, "au.pop.linkedlist.org": true, "localhost": true,
		"127.0.0.1": true, "127.0.0.2": true, "[::1]": true, "[2001:db8:a::10]": true,
		"app.linkedlist.org": false, "a.b.pop.linkedlist.org": false, "127.0.0.3": false, "[2001:db8:a::11]": false,
	} {
		_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: poolOf(ca), DNSName: host})
		if (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestAnIssuedCertificateIsWhatBrowsersInsistOn(t *testing.T) {
	now := time.Now().Truncate(time.Second).UTC()
	ca := openCA(t, t.TempDir(), example, at(now))
	leaf := issue(t, ca, "linkedlist.org").Leaf
	got := map[string]any{
		"from": leaf.NotBefore, "for": leaf.NotAfter.Sub(leaf.NotBefore), "subject": leaf.Subject.String(), "CA": leaf.IsCA,
		"usage": leaf.KeyUsage, "purpose": leaf.ExtKeyUsage, "curve": leaf.PublicKey.(*ecdsa.PublicKey).Curve,
		"issuer": string(leaf.AuthorityKeyId), "bits of serial number": leaf.SerialNumber.BitLen(),
	}
	want := map[string]any{
		"from": now.Add(-time.Hour), "for": 90 * 24 * time.Hour, "subject": "", "CA": false,
		"usage": x509.KeyUsageDigitalSignature, "purpose": []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, "curve": elliptic.P256(),
		"issuer": string(ca.Certificate().SubjectKeyId), "bits of serial number": 128,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b elliptic.Curve) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestAnIssuedCertificateDoesNotOutliveItsCA(t *testing.T) {
	begin := time.Now()
	dir := t.TempDir()
	openCA(t, dir, example, at(begin))
	ca := openCA(t, dir, example, at(begin.AddDate(10, 0, -40)))
	if got, want := issue(t, ca, "localhost").Leaf.NotAfter, ca.Certificate().NotAfter; !got.Equal(want) {
		t.Errorf("it ends on %v, want %v", got, want)
	}
}

func TestIssueRefusesAndNamesWhatTheCAMayNotSpeakFor(t *testing.T) {
	ca := openCA(t, t.TempDir(), example, time.Now)
	for name, tc := range map[string]struct {
		names []string
		addrs []netip.Addr
		want  string // in the error
	}{
		"several":                  {[]string{"localhost", "example.org", "*.example.net"}, addrs("127.0.0.1", "10.0.0.1"), "example.org, *.example.net, 10.0.0.1"},
		"a parent":                 {[]string{"org"}, nil, "org"},
		"a wildcard over a parent": {[]string{"*.org"}, nil, "*.org"},
		"a name that ends alike":   {[]string{"notlinkedlist.org"}, nil, "notlinkedlist.org"},
		"IPv6":                     {nil, addrs("::2", "2001:db8:b::1"), "::2, 2001:db8:b::1"},
		"no address":               {nil, []netip.Addr{{}}, "invalid IP"},
		"nothing":                  {nil, nil, "at least one"},
		"no host name":             {[]string{"a b.linkedlist.org"}, nil, "not a host name"},
		"an address as a name":     {[]string{"127.0.0.1"}, nil, "is an address"},
		"two stars":                {[]string{"*.*.linkedlist.org"}, nil, "not a host name"},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := ca.Issue(tc.names, tc.addrs)
			if err == nil || cert != nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestAClientThatTrustsTheCASpeaksTLSWithItsCertificate(t *testing.T) {
	ca := openCA(t, t.TempDir(), example, time.Now)
	cert, err := ca.Issue([]string{"localhost"}, addrs("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: poolOf(ca)}}
	t.Cleanup(transport.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
}

// forge does what a thief of the CA's key could: it signs a certificate for
// anything. It returns the file and the certificate.
func forge(t *testing.T, dir, host string) (string, *x509.Certificate) {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "forged"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		template.IPAddresses = []net.IP{addr.AsSlice()}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "leaf.pem")
	writeFile(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return file, leaf
}

// forgeries are hosts for which a thief signs, by constraints, and whether they
// are within them.
var forgeries = []struct {
	name  string
	c     keys.Constraints
	hosts map[string]bool
}{
	{"names and addresses", example, map[string]bool{
		"linkedlist.org": true, "a.b.linkedlist.org": true, "*.linkedlist.org": true, "localhost": true,
		"127.9.9.9": true, "::1": true, "2001:db8:a:ffff::1": true,
		"example.org": false, "org": false, "notlinkedlist.org": false, "linkedlist.org.example.com": false, "*.org": false,
		"10.0.0.1": false, "::2": false, "2001:db8:b::1": false,
	}},
	{"names only", keys.Constraints{Names: []string{"linkedlist.org"}}, map[string]bool{
		"linkedlist.org": true, "example.org": false, "127.0.0.1": false, "::1": false,
	}},
	{"IPv4 only", keys.Constraints{Prefixes: example.Prefixes[:1]}, map[string]bool{
		"127.0.0.1": true, "10.0.0.1": false, "::1": false, "::ffff:7f00:1": true, "linkedlist.org": false, "localhost": false,
	}},
	{"IPv6 only", keys.Constraints{Prefixes: example.Prefixes[1:]}, map[string]bool{
		"::1": true, "2001:db8:a::1": true, "2001:db8::1": false, "127.0.0.1": false, "linkedlist.org": false,
	}},
}

func TestTheConstraintsHoldEvenWhenTheKeyIsStolen(t *testing.T) {
	for _, tc := range forgeries {
		dir := t.TempDir()
		ca := openCA(t, dir, tc.c, time.Now)
		for host, want := range tc.hosts {
			t.Run(fmt.Sprintf("%s, %s", tc.name, host), func(t *testing.T) {
				_, leaf := forge(t, dir, host)
				_, err := leaf.Verify(x509.VerifyOptions{Roots: poolOf(ca)})
				if (err == nil) != want {
					t.Errorf("verified: %v", err)
				}
			})
		}
	}
}

func TestOpenSSLSeesTheSameConstraints(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("cannot run: there is no openssl in PATH")
	}
	for _, tc := range forgeries {
		dir := t.TempDir()
		ca := openCA(t, dir, tc.c, time.Now)
		for host, want := range tc.hosts {
			t.Run(fmt.Sprintf("%s, %s", tc.name, host), func(t *testing.T) {
				file, _ := forge(t, dir, host)
				out, err := exec.CommandContext(t.Context(), openssl, "verify", "-x509_strict", "-purpose", "sslserver",
					"-no-CApath", "-CAfile", ca.File(), file).CombinedOutput()
				if (err == nil) != want {
					t.Errorf("verified: %v\n%s", err, out)
				}
			})
		}
	}
}

func TestOpenSSLTakesWhatIssueMakes(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("cannot run: there is no openssl in PATH")
	}
	ca := openCA(t, t.TempDir(), example, time.Now)
	cert, err := ca.Issue([]string{"*.linkedlist.org", "localhost"}, addrs("127.0.0.1", "::1"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "leaf.pem")
	writeFile(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	for _, host := range []string{"-verify_hostname www.linkedlist.org", "-verify_hostname localhost", "-verify_ip 127.0.0.1", "-verify_ip ::1"} {
		args := append([]string{"verify", "-x509_strict", "-purpose", "sslserver", "-no-CApath", "-CAfile", ca.File()}, strings.Fields(host)...)
		if out, err := exec.CommandContext(t.Context(), openssl, append(args, file)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", host, err, out)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	ca, err := keys.OpenCA(b.TempDir(), "penny test", example, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ca.Issue([]string{"linkedlist.org"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
