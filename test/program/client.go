package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
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

// From lets a client of [Client] connect from an address. Its sockets are opened
// within do, which may be that of a host of a link; nil stands for here.
func From(t testing.TB, client *http.Client, from netip.Addr, do func(func())) {
	t.Helper()
	if do == nil {
		do = func(f func()) { f() }
	}
	switch transport := client.Transport.(type) {
	case *http.Transport:
		dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		transport.DialContext = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			do(func() { conn, err = dialer.DialContext(ctx, network, address) })
			return conn, err
		}
	case *http3.Transport:
		var socket *net.UDPConn
		var err error
		do(func() { socket, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))) })
		if err != nil {
			t.Fatal(err)
		}
		all := &quic.Transport{Conn: socket}
		t.Cleanup(func() {
			_ = all.Close() // the test is over
			socket.Close()
		})
		transport.Dial = func(ctx context.Context, address string, trust *tls.Config, config *quic.Config) (*quic.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return all.DialEarly(ctx, net.UDPAddrFromAddrPort(to), trust, config)
		}
	default:
		t.Fatalf("a transport of type %T has no address to come from", transport)
	}
}
