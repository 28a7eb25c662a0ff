package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"pennyfarthing/internal/verdict"
)

// dialTCP connects to the server, whatever the URL's host is.
func (p *Client) dialTCP(ctx context.Context, _, _ string) (net.Conn, error) {
	t := trackerOf(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.Connect, errConnect)
	defer cancel()
	began := p.config.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.config.Address)
	if err != nil {
		return nil, &phaseError{connecting, err}
	}
	t.connected(p.config.Now().Sub(began))
	return conn, nil
}

// dialTLS connects and shakes hands.
func (p *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := p.dialTCP(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	c := p.tls.Clone()
	c.ServerName = host
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.Handshake, errHandshake)
	defer cancel()
	began := p.config.Now()
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, &phaseError{shaking, err}
	}
	if p.config.Protocol == HTTP2 && secure.ConnectionState().NegotiatedProtocol != "h2" {
		_ = secure.Close() // as above
		return nil, &phaseError{shaking, errNoHTTP2}
	}
	trackerOf(ctx).shook(p.config.Now().Sub(began))
	return secure, nil
}

// dialQUIC shakes hands over UDP.
func (p *Client) dialQUIC(ctx context.Context, _ string, c *tls.Config, qc *quic.Config) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.Handshake, errHandshake)
	defer cancel()
	began := p.config.Now()
	conn, err := quic.DialAddr(ctx, p.config.Address, c, qc)
	if err != nil {
		return nil, &phaseError{shaking, err}
	}
	trackerOf(ctx).shook(p.config.Now().Sub(began))
	return conn, nil
}

// certificate judges what the server has shown for a name.
func (p *Client) certificate(state *tls.ConnectionState, name string) verdict.Code {
	if state == nil {
		return verdict.None
	}
	if len(state.PeerCertificates) == 0 {
		return verdict.TLSUntrusted
	}
	key := judgement{leaf: sha256.Sum256(state.PeerCertificates[0].Raw), name: name}
	p.mu.Lock()
	defer p.mu.Unlock()
	code, known := p.judged[key]
	if !known {
		code = judge(state.PeerCertificates, name, p.config.Roots, p.config.Now())
		p.judged[key] = code
	}
	return code
}

// judge says what is wrong with a chain: its time before its name before its issuer,
// because a browser names them in that order.
func judge(chain []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) verdict.Code {
	leaf := chain[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return verdict.TLSExpired
	}
	if leaf.VerifyHostname(name) != nil {
		return verdict.TLSName
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return verdict.TLSExpired
	}
	if err != nil {
		return verdict.TLSUntrusted
	}
	return verdict.OK
}
