package agent_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/serve/edge"
)

// A madeCertificate is a certificate of its own, with its key.
type madeCertificate struct {
	pem  []byte
	leaf *x509.Certificate
}

func certificate(t *testing.T, names ...string) madeCertificate {
	t.Helper()
	return certificateUntil(t, time.Now().Add(90*24*time.Hour), names...)
}

func certificateUntil(t *testing.T, until time.Time, names ...string) madeCertificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, DNSNames: names, NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return madeCertificate{
		pem:  append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...),
		leaf: leaf,
	}
}

// startTLS starts the agent with HTTPS for visitors and returns its address.
func (p *pop) startTLS() string {
	p.t.Helper()
	listeners, err := edge.Listen(p.t.Context(), true, "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	address := listeners.TLS[0].Addr().String()
	p.start(func(o *agent.Options) {
		for _, ln := range o.Edge.Plain {
			ln.Close()
		}
		o.Edge = listeners
	})
	return address
}

// visitTLS asks for the home page of a host. Its certificate must be leaf, if that
// is not nil.
func (p *pop) visitTLS(address, host string, leaf *x509.Certificate) answer {
	p.t.Helper()
	trust := &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // what is shown is compared below
	transport := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	req, err := http.NewRequestWithContext(context.WithoutCancel(p.t.Context()), "GET", "https://"+host+"/", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if leaf != nil && !resp.TLS.PeerCertificates[0].Equal(leaf) {
		p.t.Errorf("%s is shown the certificate of %q", host, resp.TLS.PeerCertificates[0].DNSNames)
	}
	return answerOf(resp)
}

func TestACertificateIsShownFromTheNextHandshakeOn(t *testing.T) {
	f := newFleet(t)
	p := f.enrol("au")
	address := p.startTLS()
	p.bringRoster()
	c := p.owner()
	c.deploy(1, tree{"index.html": "one"})
	if resp := p.visitTLS(address, siteName, nil); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("without a certificate for it a site is answered %s", resp.Status)
	}
	first, second, wild := certificate(t, siteName), certificate(t, siteName), certificate(t, "*.preview.example.org")
	var status api.CertificateStatus
	c.want(&status, "PUT", "/v1/certificates/"+siteName, first.pem)
	if status.Name != siteName || len(status.Names) != 1 || !status.Expires.Equal(first.leaf.NotAfter) {
		t.Errorf("answered %+v", status)
	}
	if resp := p.visitTLS(address, siteName, first.leaf); resp.StatusCode != http.StatusOK {
		t.Errorf("answered %s", resp.Status)
	}
	c.want(nil, "PUT", "/v1/certificates/"+siteName, second.pem)
	c.want(nil, "PUT", "/v1/certificates/*.preview.example.org", wild.pem)
	p.visitTLS(address, siteName, second.leaf)
	p.visitTLS(address, "x.preview.example.org", wild.leaf)
	for _, file := range []string{siteName + ".pem", "_wildcard.preview.example.org.pem"} {
		info, err := os.Stat(filepath.Join(p.dir, "certificates", file))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "certificates", "damaged.org.pem"), []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	address = p.startTLS()
	p.visitTLS(address, siteName, second.leaf)
	p.visitTLS(address, "x.preview.example.org", wild.leaf)
	if s := p.owner().status(); len(s.Certificates) != 2 {
		t.Errorf("certificates: %+v", s.Certificates)
	}
}

func TestACertificateThatCannotBeShownIsRefused(t *testing.T) {
	f := newFleet(t)
	c := f.ready("au").owner()
	good := certificate(t, siteName)
	_, keyOnly := pem.Decode(good.pem)
	other := certificate(t, siteName)
	block, _ := pem.Decode(other.pem)
	for name, body := range map[string][]byte{
		"nothing":            nil,
		"a key alone":        keyOnly,
		"a chain alone":      pem.EncodeToMemory(block),
		"somebody's key":     append(pem.EncodeToMemory(block), keyOnly...),
		"for no name":        certificate(t).pem,
		"expired long since": certificateUntil(t, time.Now().Add(-48*time.Hour), siteName).pem,
	} {
		t.Run(name, func(t *testing.T) {
			c.refused(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", "/v1/certificates/"+siteName, body)
		})
	}
	c.refused(http.StatusBadRequest, api.CodeBadRequest, "PUT", "/v1/certificates/..%2Fagent", good.pem)
	c.refused(http.StatusRequestEntityTooLarge, api.CodeTooLarge, "PUT", "/v1/certificates/"+siteName, make([]byte, api.MaxPEM+1))
	if s := c.status(); len(s.Certificates) != 0 {
		t.Errorf("certificates: %+v", s.Certificates)
	}
}

func TestTheAgentsCertificateIsRenewedByTheAPI(t *testing.T) {
	f := newFleet(t)
	renewer := f.member("renewer", "renew")
	p := f.ready("au")
	c := p.as(renewer)
	var leaf api.Leaf
	c.want(&leaf, "GET", "/v1/leaf", nil)
	if leaf.POP != "au" || leaf.Key != p.key().String() || leaf.Expires.Before(time.Now()) {
		t.Errorf("the leaf is %+v", leaf)
	}
	f.enrol("fr")
	foreign := newFleet(t)
	if err := foreign.owner.AddPOP("au", p.key()); err != nil {
		t.Fatal(err)
	}
	theirs, err := foreign.owner.IssuePOP("au")
	if err != nil {
		t.Fatal(err)
	}
	wrongPOP, err := f.owner.IssuePOP("fr")
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"of another CA": theirs, "of another POP": wrongPOP, "of nobody": []byte("rot")} {
		t.Run(name, func(t *testing.T) {
			told := c.told(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", "/v1/leaf", body)
			if !strings.Contains(told.Message, "certificate") {
				t.Errorf("told %q", told.Message)
			}
		})
	}
	next, err := f.owner.IssuePOP("au")
	if err != nil {
		t.Fatal(err)
	}
	c.want(&leaf, "PUT", "/v1/leaf", next)
	block, _ := pem.Decode(next)
	conn, err := tls.Dial("tcp", p.api, keys.ClientTLS(renewer, "au", func() *keys.Roster { return mustRoster(f) }, time.Now))
	if err != nil {
		t.Fatal(err)
	}
	shown := conn.ConnectionState().PeerCertificates[0]
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if string(shown.Raw) != string(block.Bytes) {
		t.Error("a new connection is shown the old certificate")
	}
	p.restart()
	p.as(renewer).status()
}

// A POP that was away for months is brought back by the key that is pinned.
func TestAnExpiredCertificateOfTheAgentMayStillBeRenewed(t *testing.T) {
	f := newFleet(t)
	renewer := f.member("renewer", "renew")
	p := f.ready("au")
	later := func() time.Time { return time.Now().Add(31 * 24 * time.Hour) }
	transport := &http.Transport{TLSClientConfig: keys.ClientTLS(renewer, "au", func() *keys.Roster { return mustRoster(f) }, later)}
	t.Cleanup(transport.CloseIdleConnections)
	c := &client{t: t, id: renewer, http: &http.Client{Transport: transport}, base: "https://" + p.api}
	next, err := f.owner.IssuePOP("au")
	if err != nil {
		t.Fatal(err)
	}
	c.want(nil, "PUT", "/v1/leaf", next)
}

func (p *pop) key() keys.PublicKey {
	p.t.Helper()
	key, err := agent.Key(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}
