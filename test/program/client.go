package program

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// Protocols are the versions of HTTP that [Client] speaks.
var Protocols = []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}

// Client returns a client that speaks one version of HTTP and no other, trusts
// the CA in a PEM file, follows no redirect and asks for no coding by itself.
func Client(t testing.TB, protocol, caFile string) *http.Client {
	t.Helper()
	trust := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			t.Fatal(err)
		}
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			t.Fatalf("%s has no certificate", caFile)
		}
	}
	client := &http.Client{
		Timeout:       5 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if protocol == "HTTP/3.0" {
		transport := &http3.Transport{TLSClientConfig: trust, DisableCompression: true}
		t.Cleanup(func() { _ = transport.Close() })
		client.Transport = transport
		return client
	}
	speaks := new(http.Protocols)
	speaks.SetHTTP1(protocol == "HTTP/1.1")
	speaks.SetHTTP2(protocol == "HTTP/2.0")
	transport := &http.Transport{TLSClientConfig: trust, Protocols: speaks, DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	client.Transport = transport
	return client
}
