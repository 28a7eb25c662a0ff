package keys_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// A link is a certificate of a chain, with its key.
type link struct {
	cert    *x509.Certificate
	key     crypto.Signer
	certPEM []byte
	keyPEM  []byte
}

// newLink makes a certificate that parent issues, or itself if that is nil.
func newLink(t *testing.T, subject string, names []string, parent *link, key crypto.Signer) *link {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		BasicConstraintsValid: true, IsCA: names == nil,
	}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &link{cert, key, block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// selfSigned returns a certificate and its key as PEM.
func selfSigned(t *testing.T, names []string, from time.Time, lifetime time.Duration) (certPEM, keyPEM []byte) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "self"}, DNSNames: names,
		NotBefore: from, NotAfter: from.Add(lifetime),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// loadPair writes two files and loads them.
func loadPair(t *testing.T, cert, key []byte) (*tls.Certificate, error) {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "site.crt"), cert)
	writeFile(t, filepath.Join(dir, "site.key"), key)
	return keys.LoadPair(filepath.Join(dir, "site.crt"), filepath.Join(dir, "site.key"))
}

func TestLoadPairTakesWhatPeopleHave(t *testing.T) {
	root := newLink(t, "root", nil, nil, newKey(t))
	middle := newLink(t, "middle", nil, root, newKey(t))
	leaf := newLink(t, "", []string{"a.test"}, middle, newKey(t))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaLeaf, edLeaf := newLink(t, "", []string{"a.test"}, middle, rsaKey), newLink(t, "", []string{"a.test"}, middle, edKey)
	ecDER, err := x509.MarshalECPrivateKey(leaf.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cert, key []byte
		chain     int
	}{
		"a certificate alone":      {leaf.certPEM, leaf.keyPEM, 1},
		"a chain":                  {join(leaf.certPEM, middle.certPEM), leaf.keyPEM, 2},
		"a chain with its root":    {join(leaf.certPEM, middle.certPEM, root.certPEM), leaf.keyPEM, 3},
		"text between the blocks":  {join([]byte("subject=a\n"), leaf.certPEM, []byte("issuer=b\n"), middle.certPEM), leaf.keyPEM, 2},
		"everything in both files": {join(leaf.keyPEM, leaf.certPEM, middle.certPEM), join(leaf.certPEM, leaf.keyPEM), 2},
		"an old EC key with its parameters": {leaf.certPEM, join(
			[]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), block("EC PRIVATE KEY", ecDER)), 1},
		"an RSA key":     {rsaLeaf.certPEM, rsaLeaf.keyPEM, 1},
		"an old RSA key": {rsaLeaf.certPEM, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), 1},
		"an Ed25519 key": {edLeaf.certPEM, edLeaf.keyPEM, 1},
		"Windows lines":  {[]byte(strings.ReplaceAll(string(leaf.certPEM), "\n", "\r\n")), leaf.keyPEM, 1},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := loadPair(t, tc.cert, tc.key)
			if err != nil {
				t.Fatal(err)
			}
			if pair.Leaf == nil || pair.Leaf.DNSNames[0] != "a.test" || len(pair.Certificate) != tc.chain {
				t.Errorf("got a chain of %d and leaf %v", len(pair.Certificate), pair.Leaf)
			}
			if _, err := tls.X509KeyPair(tc.cert, tc.key); err != nil {
				t.Errorf("crypto/tls does not take it: %v", err)
			}
		})
	}
}

func TestLoadPairSaysWhichFileIsWrongAndWhatToDo(t *testing.T) {
	root := newLink(t, "root", nil, nil, newKey(t))
	middle := newLink(t, "middle", nil, root, newKey(t))
	leaf := newLink(t, "", []string{"a.test"}, middle, newKey(t))
	ecdhKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecdhDER, err := x509.MarshalPKCS8PrivateKey(ecdhKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, _ := pem.Decode(leaf.keyPEM)
	for name, tc := range map[string]struct {
		cert, key        []byte
		file, what, hint string // parts of them
	}{
		"an empty certificate":    {nil, leaf.keyPEM, "site.crt", "not PEM", "-----BEGIN CERTIFICATE-----"},
		"an empty key":            {leaf.certPEM, nil, "site.key", "not PEM", "-----BEGIN PRIVATE KEY-----"},
		"a certificate in DER":    {leaf.cert.Raw, leaf.keyPEM, "site.crt", "DER", "openssl x509 -inform DER -in "},
		"a key in DER":            {leaf.certPEM, keyDER.Bytes, "site.key", "DER", "openssl pkey -inform DER -in "},
		"the wrong way round":     {leaf.keyPEM, leaf.certPEM, "site.crt", "no certificate", "wrong way round"},
		"a certificate for a key": {leaf.certPEM, leaf.certPEM, "site.key", "no private key", "wrong way round"},
		"a cut certificate":       {leaf.certPEM[:300], leaf.keyPEM, "site.crt", "damaged", "copy it once more"},
		"a cut key":               {leaf.certPEM, leaf.keyPEM[:100], "site.key", "damaged", "copy it once more"},
		"a chain cut at its end":  {join(leaf.certPEM, middle.certPEM[:300]), leaf.keyPEM, "site.crt", "damaged", "copy it once more"},
		"an unreadable certificate": {
			block("CERTIFICATE", []byte("nonsense")), leaf.keyPEM, "site.crt", "cannot be read", "",
		},
		"an unreadable key": {leaf.certPEM, block("PRIVATE KEY", []byte("nonsense")), "site.key", "cannot be read", ""},
		"a key that cannot sign": {
			leaf.certPEM, block("PRIVATE KEY", ecdhDER), "site.key", "cannot sign", "",
		},
		"an encrypted key": {
			leaf.certPEM, block("ENCRYPTED PRIVATE KEY", []byte("secret")), "site.key", "passphrase", "openssl pkey -in ",
		},
		"an old encrypted key": {
			leaf.certPEM, pem.EncodeToMemory(&pem.Block{
				Type: "RSA PRIVATE KEY", Bytes: []byte("secret"),
				Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"},
			}), "site.key", "passphrase", "openssl pkey -in ",
		},
		"another's key": {leaf.certPEM, middle.keyPEM, "site.key", "is for a.test", "same order"},
		"the root first": {
			join(middle.certPEM, leaf.certPEM), leaf.keyPEM, "site.crt", "a.test, is number 2 of 2", "put it first",
		},
		"a link is missing": {
			join(leaf.certPEM, root.certPEM), leaf.keyPEM, "site.crt", `was issued by "CN=middle", but is followed by "CN=root"`, "nothing else",
		},
		"the links are swapped": {
			join(leaf.certPEM, root.certPEM, middle.certPEM), leaf.keyPEM, "site.crt", "certificate 1, a.test", "then the one that issued it",
		},
		"the certificate twice": {
			join(leaf.certPEM, leaf.certPEM), leaf.keyPEM, "site.crt", "is followed by a.test", "nothing else",
		},
		"a huge file": {make([]byte, 2<<20), leaf.keyPEM, "site.crt", "neither a certificate nor a key", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := loadPair(t, tc.cert, tc.key)
			found := mistake.Of(err)
			if pair != nil || len(found) != 1 {
				t.Fatalf("got %v, error %v", pair, err)
			}
			got := found[0]
			if filepath.Base(got.File) != tc.file || !strings.Contains(got.What, tc.what) || !strings.Contains(got.Hint, tc.hint) {
				t.Errorf("got %v\nhint: %s\nwant %s: …%s…\nhint: …%s…", got, got.Hint, tc.file, tc.what, tc.hint)
			}
		})
	}
}

func TestLoadPairNamesAFileThatIsNotThere(t *testing.T) {
	certPEM, _ := selfSigned(t, []string{"a.test"}, time.Now(), time.Hour)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "site.crt"), certPEM)
	for want, files := range map[string][2]string{
		"none.crt": {"none.crt", "site.crt"},
		"none.key": {"site.crt", "none.key"},
	} {
		_, err := keys.LoadPair(filepath.Join(dir, files[0]), filepath.Join(dir, files[1]))
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one about %s", err, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	now := time.Date(2026, 10, 14, 12, 0, 0, 0, time.UTC)
	const days = 24 * time.Hour
	for name, tc := range map[string]struct {
		names    []string
		from     time.Time
		lifetime time.Duration
		want     []string
	}{
		"nothing to say": {[]string{"a.test"}, now.Add(-days), 30 * days, nil},
		"expired":        {[]string{"a.test"}, now.Add(-90 * days), 89 * days, []string{"the certificate for a.test expired on 2026-10-13 12:00 UTC"}},
		"expires soon":   {[]string{"a.test"}, now.Add(-90 * days), 96 * days, []string{"the certificate for a.test expires on 2026-10-20 12:00 UTC"}},
		"not valid yet":  {[]string{"a.test"}, now.Add(days), 90 * days, []string{"the certificate for a.test is not valid before 2026-10-15 12:00 UTC"}},
		"no names": {nil, now.Add(-days), 90 * days, []string{
			`the certificate for "CN=self" has no subject alternative name, so browsers refuse it`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			certPEM, keyPEM := selfSigned(t, tc.names, tc.from, tc.lifetime)
			pair, err := loadPair(t, certPEM, keyPEM)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, keys.Warnings(pair, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := keys.Warnings(&tls.Certificate{}, now); got != nil {
		t.Errorf("a certificate without its leaf: %q", got)
	}
}

func TestAPairThatIsWrittenIsReadAsItWas(t *testing.T) {
	ca, err := keys.OpenCA(t.TempDir(), "penny test", keys.Constraints{Names: []string{"example.org"}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue([]string{"example.org"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.EncodePair(pair)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pair.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := keys.LoadPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pair.Certificate, read.Certificate); diff != "" || !pair.PrivateKey.(*ecdsa.PrivateKey).Equal(read.PrivateKey) {
		t.Errorf("another pair is read than was written: %s", diff)
	}
	if _, err := keys.EncodePair(&tls.Certificate{PrivateKey: "none"}); err == nil {
		t.Error("what is no key is written")
	}
}
