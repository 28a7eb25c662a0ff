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
	addr, err := net.ResolveUDPAddr("udp", p.config.Address)
	if err != nil {
		return nil, &phaseError{shaking, err}
	}
	transport, err := p.transport(addr)
	if err != nil {
		return nil, &phaseError{shaking, err}
	}
	conn, err := transport.Dial(ctx, addr, c, qc)
	if err != nil {
		return nil, &phaseError{shaking, err}
	}
	trackerOf(ctx).shook(p.config.Now().Sub(began))
	return conn, nil
}

// idLength is that of our connections' IDs, in bytes. quic-go hears a server's
// stateless reset (RFC 9000 §10.3) only where they have some length, and those that
// quic.DialAddr makes have none.
const idLength = 4

// transport returns what all QUIC connections of the client go over.
func (p *Client) transport(to *net.UDPAddr) (*quic.Transport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	if p.quic != nil {
		return p.quic, nil
	}
	local := &net.UDPAddr{IP: net.IPv6unspecified}
	if to.IP.To4() != nil {
		local.IP = net.IPv4zero
	}
	socket, err := net.ListenUDP("udp", local)
	if err != nil {
		return nil, err
	}
	p.quic = &quic.Transport{Conn: socket, ConnectionIDLength: idLength}
	return p.quic, nil
}

// closeQUIC gives up what the connections went over.
func (p *Client) closeQUIC() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.quic == nil {
		return nil
	}
	return errors.Join(p.quic.Close(), p.quic.Conn.Close())
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
