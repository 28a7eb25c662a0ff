package keys

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
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

// fuzzKey is the same key in every process: corpora hold what it has signed.
func fuzzKey(tb testing.TB, first byte) *Key {
	tb.Helper()
	key, err := GenerateKey(bytes.NewReader(append([]byte{first}, make([]byte, 31)...)))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func FuzzParseStatement(f *testing.F) {
	key := fuzzKey(f, 1)
	for _, payload := range []string{`{"site":"a.test","generation":3}`, `null`, `"<\u2028>"`, `[1e400,{"a":{"a":[]}}]`} {
		st, err := key.Sign("head", "test", []byte(payload))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(st.encode(), '\n'))
		f.Add(bytes.Replace(st.encode(), []byte("head"), []byte("he\\u0061d"), 1))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := ParseStatement(data)
		if err != nil {
			return
		}
		if !bytes.Equal(bytes.TrimSuffix(data, []byte("\n")), st.encode()) {
			t.Errorf("%q is written as %q", data, st.encode())
		}
		payload, err := st.Verify("test", "head")
		if err != nil {
			return
		}
		// Ed25519 is deterministic: there is one signature, and it is the key's.
		if st.Key == key.Public() {
			again, err := key.Sign("head", "test", payload)
			if err != nil || !sameStatement(st, again) {
				t.Errorf("%q holds, but the key signs %q, %v", data, again.encode(), err)
			}
		}
	})
}

// FuzzOpenRoster writes K1 to K4 for keys and CA for a CA: whole ones are tried
// elsewhere, and short inputs are minimised in time to try many.
func FuzzOpenRoster(f *testing.F) {
	key := fuzzKey(f, 0)
	ca, err := newCAPair("penny", Constraints{Names: []string{zoneOf("test")}}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	pem, err := json.Marshal(string(encodePEM(pemCertificate, ca.cert.Raw)))
	if err != nil {
		f.Fatal(err)
	}
	words := []string{`"CA"`, string(pem), "K0", key.Public().String()}
	for i := range byte(4) {
		words = append(words, fmt.Sprint("K", i+1), fuzzKey(f, i+1).Public().String())
	}
	whole := strings.NewReplacer(words...)
	const head = `{"fleet":"test","number":3,"time":"2026-11-29T07:00:00Z","ca":"CA",`
	f.Add(head + `"members":[{"name":"a","key":"K1","may":["deploy:a.test","renew"]}],"pops":[{"name":"b","key":"K2"}],"revoked":["K3"]}`)
	f.Add(head + `"members":null,"pops":[],"revoked":["K0"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		payload := whole.Replace(text)
		st, err := key.Sign(KindRoster, "test", []byte(payload))
		if err != nil {
			return
		}
		r, err := OpenRoster(st, key.Public(), "test")
		if err != nil {
			return
		}
		again, err := r.sign(key)
		if err != nil {
			t.Fatalf("%s is read, and cannot be signed: %v", payload, err)
		}
		same, err := OpenRoster(again, key.Public(), "test")
		if err != nil || fmt.Sprint(same) != fmt.Sprint(r) {
			t.Errorf("%+v becomes %+v, %v", r, same, err)
		}
		for _, k := range append(r.Revoked, PublicKey{}) {
			if r.Knows(k) || r.May(k, Right{What: Renew}) {
				t.Errorf("%v may do something", k)
			}
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	id, err := NewIdentity("test", "laptop", fuzzKey(f, 2), fuzzKey(f, 1).Public(), CAPin{5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id.Secret())
	f.Add(" " + id.Secret() + "\r\n")
	f.Add(identityPrefix + "e30")
	f.Fuzz(func(t *testing.T, secret string) {
		id, err := ParseIdentity(secret)
		if (id == nil) == (err == nil) {
			t.Fatalf("identity %v, error %v", id, err)
		}
		if err != nil {
			return
		}
		if again, err := ParseIdentity(id.Secret()); err != nil || again.Secret() != id.Secret() {
			t.Errorf("%v cannot be read again: %v", id, err)
		}
	})
}

func FuzzParseRight(f *testing.F) {
	for _, s := range []string{"deploy", "deploy:a.test", "renew", "operate", "deploy:", "renew:a.test", "deploy:xn--bcher-kva.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRight(s); err == nil && r.String() != s {
			t.Errorf("%q is read as %q", s, r)
		}
	})
}

func FuzzUnseal(f *testing.F) {
	f.Add([]byte("-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBBQUFBIDEKCi0tLSAKCg==\n-----END AGE ENCRYPTED FILE-----\n"))
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAA 99\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, err := unseal(data, "correct horse", 4); err == nil { // with more, an input could ask for a gigabyte
			t.Errorf("%q is opened as %q", data, plain)
		}
	})
}
