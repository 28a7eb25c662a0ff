package keys

import (
	"crypto/tls"
	"testing"
	"time"
)

func FuzzParsePair(f *testing.F) {
	pair, err := newCAPair("penny", Constraints{Names: []string{"a.test"}}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	certPEM := encodePEM(pemCertificate, pair.cert.Raw)
	for _, key := range []string{
		"", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
	} {
		f.Add(certPEM, []byte(key))
		f.Add([]byte(key), certPEM)
	}
	f.Add(append(certPEM, certPEM...), certPEM)
	f.Fuzz(func(t *testing.T, certPEM, keyPEM []byte) {
		got, err := parsePair("a.crt", "a.key", certPEM, keyPEM)
		if (got == nil) == (err == nil) {
			t.Fatalf("got %v and error %v", got, err)
		}
		if err != nil {
			return
		}
		if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
			t.Errorf("crypto/tls does not take it: %v", err)
		}
	})
}

func FuzzNormalName(f *testing.F) {
	for _, name := range []string{"linkedlist.org", "A.B.", "*.a.test", "127.0.0.1", "::1", "bücher.test", "a..b", "-", "_dmarc.a"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, err := normalName(name)
		if err != nil {
			return
		}
		if again, err := normalName(n); err != nil || again != n {
			t.Errorf("%q becomes %q, which becomes %q, %v", name, n, again, err)
		}
		// What we take for a name, the certificate must take as a constraint.
		c := Constraints{Names: []string{n}}
		pair, err := newCAPair("penny", c, time.Now())
		if err != nil {
			t.Fatalf("%q: %v", n, err)
		}
		if !constraintsOf(pair.cert).permitsAll(c) {
			t.Errorf("a CA for %q does not permit it", n)
		}
	})
}
