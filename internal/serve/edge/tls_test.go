package edge

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
)

func TestOnlyGoodTLSIsSpoken(t *testing.T) {
	r := start(t, setup{secure: true})
	for name, c := range map[string]struct {
		edit func(*tls.Config)
		ok   bool
	}{
		"TLS 1.3": {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, true},
		"TLS 1.2 with AEAD": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		}, true},
		"TLS 1.2 with ChaCha20": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
		}, true},
		"TLS 1.2 with CBC": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{
				tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
			}
		}, false},
		"TLS 1.2 without forward secrecy": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, false},
		"TLS 1.1":             {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
		"TLS 1.0":             {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, false},
		"a protocol unknown":  {func(c *tls.Config) { c.NextProtos = []string{"spdy/3"} }, false},
		"no protocol":         {func(*tls.Config) {}, true},
		"HTTP/2 over TLS 1.2": {func(c *tls.Config) { c.MaxVersion, c.NextProtos = tls.VersionTLS12, []string{"h2"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			config := clientTLS("localhost")
			c.edit(config)
			conn, err := tls.Dial("tcp", r.secure, config)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != c.ok {
				t.Errorf("got %v, want ok %v", err, c.ok)
			}
		})
	}
}

func TestAClientOnTheWrongPortIsTold(t *testing.T) {
	r := start(t, setup{plain: true, secure: true})
	t.Run("plain HTTP on the TLS port", func(t *testing.T) {
		conn, err := net.Dial("tcp", r.secure)
		if err != nil {
			t.Fatal(err)
		}
		raw := newRawConn(t, conn).send("GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + strings.Repeat("x", 8000) + "\r\n\r\n")
		got := raw.receive("GET")
		if got.StatusCode != 400 || !strings.Contains(got.text, "https://") {
			t.Errorf("got %d %q", got.StatusCode, got.text)
		}
	})
	t.Run("TLS on the plain port", func(t *testing.T) {
		conn, err := net.Dial("tcp", r.plain)
		if err != nil {
			t.Fatal(err)
		}
		got := newRawConn(t, conn).send("\x16\x03\x01\x00\xa5\x01\x00").receive("GET")
		if got.StatusCode != 400 || !strings.Contains(got.text, "TLS on a plain port") || !strings.Contains(got.text, "hint: ") {
			t.Errorf("got %d %q", got.StatusCode, got.text)
		}
	})
}

func TestNewRefusesWhatCannotServe(t *testing.T) {
	live := newSite(t, "one", nil)
	l, err := Listen(t.Context(), true, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := New(Options{}, Listeners{}); err == nil {
		t.Error("a server without a table was made")
	}
	if _, err := New(Options{Table: AnyHost(live.Live)}, l); err == nil {
		t.Error("a server with TLS and without a certificate was made")
	}
	if _, err := NewCertificates(true); err == nil {
		t.Error("a set of no certificates was made")
	}
	if _, err := NewCertificates(true, &tls.Certificate{Certificate: [][]byte{{1}}}); err == nil {
		t.Error("a certificate that is none was taken")
	}
}
