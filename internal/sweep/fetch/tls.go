package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"pennyfarthing/internal/verdict"
)

// A secure runs the part of exchanges that is over TLS: in a goroutine, over a
// connection that is there.
type secure struct {
	agent   string
	slots   chan struct{} // handshakes
	roots   *x509.CertPool
	issuers issuers
	closing context.Context
}

// config is for one handshake. X25519 alone is offered at first, because a share of
// ML-KEM doubles what a handshake costs and nothing here stays secret; a server that
// wants P-256 asks for it.
func (s *secure) config(x *Exchange) *tls.Config {
	return &tls.Config{
		ServerName:         serverName(x.Host),
		InsecureSkipVerify: true, //nolint:gosec // what is wrong is recorded: see VerifyConnection
		MinVersion:         tls.VersionTLS12,
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
		NextProtos:         []string{"http/1.1"},
		VerifyConnection: func(state tls.ConnectionState) error {
			x.TLSVersion = state.Version
			if len(state.PeerCertificates) > 0 {
				x.NotAfter = state.PeerCertificates[0].NotAfter.UTC()
				x.Certificate = s.judge(state.PeerCertificates, serverName(x.Host), time.Now())
			}
			return nil
		},
	}
}

// serverName is the host without its port and brackets.
func serverName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// run makes a handshake over conn, asks, and closes it. began is when the exchange
// did. It waits for one of the slots first, which does not count.
func (s *secure) run(conn net.Conn, x *Exchange, began time.Time) {
	defer conn.Close() //nolint:errcheck // nothing is to be saved
	stop := context.AfterFunc(s.closing, func() { _ = conn.Close() })
	defer stop()
	waited := time.Now()
	select {
	case s.slots <- struct{}{}:
	case <-s.closing.Done():
		return
	}
	started := time.Now()
	began = began.Add(started.Sub(waited))
	_ = conn.SetDeadline(earlier(started, x.Handshake, began, x.Total)) // an error comes again
	tc := tls.Client(conn, s.config(x))
	err := tc.Handshake()
	<-s.slots
	x.TotalTook = time.Since(began)
	if err != nil {
		x.Verdict = handshakeVerdict(err)
		x.Err = brief(err)
		return
	}
	x.TLSTook = time.Since(started)
	talk(tc, x, s.agent, began)
}

// earlier is the earlier of two deadlines, each from a moment on; zero durations are
// none.
func earlier(from time.Time, limit time.Duration, began time.Time, total time.Duration) time.Time {
	var t time.Time
	if limit > 0 {
		t = from.Add(limit)
	}
	if end := began.Add(total); total > 0 && (t.IsZero() || end.Before(t)) {
		t = end
	}
	return t
}

// buffers are for reading where there is no reactor's.
//
//nolint:gochecknoglobals // a pool
var buffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// talk sends the request and reads the answer, over a connection that blocks.
func talk(conn net.Conn, x *Exchange, agent string, began time.Time) {
	buf := buffers.Get().(*[8 << 10]byte)
	defer buffers.Put(buf)
	sent := time.Now()
	_ = conn.SetDeadline(earlier(sent, x.FirstByte, began, x.Total)) // an error comes again
	request := x.request(buf[:0], agent)
	n, err := conn.Write(request)
	x.BytesOut += int64(n)
	if err != nil {
		x.fail(err, began)
		return
	}
	a := answer{x: x}
	for {
		n, err := conn.Read(buf[:])
		if n > 0 {
			if x.FirstByteTook == 0 {
				x.FirstByteTook = time.Since(sent)
			}
			had := x.Status
			if a.add(buf[:n], func(b []byte) string { return string(b) }) {
				break
			}
			if had == 0 && x.Status != 0 { // the body has the rest of the time
				_ = conn.SetDeadline(earlier(time.Now(), x.FirstByte, began, x.Total))
			}
		}
		if err != nil {
			a.end(err)
			break
		}
	}
	x.TotalTook = time.Since(began)
}

// fail gives the verdict of an error before any answer.
func (x *Exchange) fail(err error, began time.Time) {
	a := answer{x: x}
	a.end(err)
	x.TotalTook = time.Since(began)
}

// An answer is one that comes in pieces.
type answer struct {
	x       *Exchange
	scanner headScanner
	body    body
	partial []byte // of a head that is not whole
	inBody  bool
}

// add takes a piece, and reports whether the exchange is over.
func (a *answer) add(p []byte, text func([]byte) string) bool {
	x := a.x
	x.BytesIn += int64(len(p))
	if !a.inBody {
		if len(a.partial) > 0 {
			a.partial = append(a.partial, p...)
			p = a.partial
		}
		var h head
		n, bad := a.scanner.scan(p, &h)
		switch {
		case bad != verdict.None:
			x.Verdict, x.Err = bad, bad.Text()
			return true
		case n == 0:
			if len(a.partial) == 0 {
				a.partial = append(a.partial, p...)
			}
			return false
		}
		x.answered(&h, text)
		a.inBody = true
		if !a.body.begin(x, &h) {
			x.Complete = x.Method == "HEAD" || h.status == 204 || h.status == 304 || h.length == 0
			x.judge(verdict.None)
			return true
		}
		p = p[n:]
	}
	switch a.body.add(p) {
	case bodyMore:
		return false
	case bodyComplete:
		x.Complete = true
		x.judge(verdict.None)
	case bodyEnough:
		x.judge(verdict.None)
	case bodyBad:
		x.judge(verdict.HTTPTruncated)
	}
	x.Sample = a.body.sample
	return true
}

// end says what the end of the connection means.
func (a *answer) end(err error) {
	x := a.x
	timeout := false
	if ne, ok := errors.AsType[net.Error](err); ok {
		timeout = ne.Timeout()
	}
	if a.inBody {
		x.Sample = a.body.sample
		switch {
		case timeout:
			x.judge(verdict.HTTPSlow)
		case errors.Is(err, io.EOF):
			complete, bad := a.body.closed()
			x.Complete = complete
			x.judge(bad)
		default:
			x.judge(verdict.HTTPTruncated)
		}
		return
	}
	x.Err = brief(err)
	switch v := own(err); {
	case v != verdict.None:
		x.Verdict = v
	case timeout:
		x.Verdict, x.Err = verdict.HTTPTimeout, "no whole head in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		x.Verdict, x.Err = verdict.HTTPClosed, verdict.HTTPClosed.Text()
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		x.Verdict, x.Err = verdict.HTTPReset, verdict.HTTPReset.Text()
	default: // an alert, or a record that cannot be read
		x.Verdict = verdict.HTTPClosed
	}
}

// own are the faults that are ours.
func own(err error) verdict.Code {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return verdict.SelfDescriptors
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EAGAIN):
		return verdict.SelfPorts
	case errors.Is(err, syscall.ENETDOWN):
		return verdict.SelfNetwork
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EPERM):
		return verdict.SelfOther
	}
	return verdict.None
}

// connectVerdict says why there is no connection.
func connectVerdict(err error) verdict.Code {
	if v := own(err); v != verdict.None {
		return v
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict.TCPRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPIPE):
		return verdict.TCPReset
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return verdict.TCPTimeout
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return verdict.TCPTimeout
	}
	return verdict.TCPUnreachable // ENETUNREACH, EHOSTUNREACH, EACCES (a broadcast address), EINVAL, …
}

// handshakeVerdict says why there is no TLS.
func handshakeVerdict(err error) verdict.Code {
	if v := own(err); v != verdict.None {
		return v
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return verdict.TLSTimeout
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return verdict.TLSMalformed
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return alertVerdict(uint8(alert))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return verdict.TLSClosed
	}
	// What crypto/tls says has no types: a server that picks a version or cipher we
	// do not have, or sends an alert (op "remote error").
	text := err.Error()
	switch {
	case strings.Contains(text, "remote error: tls: protocol version"), strings.Contains(text, "remote error: tls: handshake failure"),
		strings.Contains(text, "remote error: tls: insufficient security"),
		strings.Contains(text, "unsupported protocol version"), strings.Contains(text, "server selected unsupported"),
		strings.Contains(text, "server chose an unconfigured cipher suite"), strings.Contains(text, "unsupported versions"):
		return verdict.TLSVersion
	case strings.Contains(text, "remote error"):
		return verdict.TLSAlert
	}
	return verdict.TLSMalformed
}

// alertVerdict is for alerts (RFC 8446 §6): those that say that nothing in common was
// found, and others.
func alertVerdict(alert uint8) verdict.Code {
	switch alert {
	case 40, 70, 71: // handshake_failure, protocol_version, insufficient_security
		return verdict.TLSVersion
	}
	return verdict.TLSAlert
}

// brief is an error in one short line.
func brief(err error) string {
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok {
		text = op.Err.Error()
	}
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// issuers are the certificates of authorities that were verified, by their bytes.
// There are few of them, and verifying one costs as much as a handshake.
type issuers struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]bool
}

// maxIssuers bounds the memory that strangers can fill.
const maxIssuers = 1 << 12

// judge says what is wrong with a chain, or OK.
func (s *secure) judge(chain []*x509.Certificate, name string, now time.Time) verdict.Code {
	leaf := chain[0]
	switch {
	case now.Before(leaf.NotBefore), now.After(leaf.NotAfter):
		return verdict.TLSExpired
	case leaf.VerifyHostname(name) != nil:
		return verdict.TLSName
	}
	if len(chain) > 1 && plain(chain[1]) && s.trusts(chain[1:], now) && leaf.CheckSignatureFrom(chain[1]) == nil && forServers(leaf) {
		return verdict.OK
	}
	return s.verify(chain, now)
}

// plain reports whether an issuer says nothing that must be held against a leaf but
// its signature.
func plain(c *x509.Certificate) bool {
	return c.IsCA && !c.PermittedDNSDomainsCritical && len(c.PermittedDNSDomains) == 0 && len(c.ExcludedDNSDomains) == 0 && len(c.UnhandledCriticalExtensions) == 0
}

func forServers(leaf *x509.Certificate) bool {
	if len(leaf.UnhandledCriticalExtensions) > 0 {
		return false
	}
	for _, use := range leaf.ExtKeyUsage {
		if use == x509.ExtKeyUsageServerAuth || use == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// trusts reports whether an issuer leads to a root.
func (s *secure) trusts(chain []*x509.Certificate, now time.Time) bool {
	issuer := chain[0]
	if now.Before(issuer.NotBefore) || now.After(issuer.NotAfter) {
		return false
	}
	key := sha256.Sum256(issuer.Raw)
	s.issuers.mu.Lock()
	trusted, known := s.issuers.known[key]
	s.issuers.mu.Unlock()
	if known {
		return trusted
	}
	trusted = s.verify(chain, now) == verdict.OK
	s.issuers.mu.Lock()
	defer s.issuers.mu.Unlock()
	if s.issuers.known == nil || len(s.issuers.known) >= maxIssuers {
		s.issuers.known = map[[sha256.Size]byte]bool{}
	}
	s.issuers.known[key] = trusted
	return trusted
}

// verify verifies a chain as crypto/tls would, but for the name.
func (s *secure) verify(chain []*x509.Certificate, now time.Time) verdict.Code {
	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: s.roots, Intermediates: pool, CurrentTime: now})
	if err == nil {
		return verdict.OK
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return verdict.TLSExpired
	}
	return verdict.TLSUntrusted
}

// settle is the last line of defence: an exchange never goes without a verdict.
func (x *Exchange) settle(p any) {
	if p != nil {
		x.Verdict, x.Err = verdict.SelfOther, fmt.Sprintf("panic: %.100v", p)
	}
	if x.Verdict == verdict.None {
		x.Verdict, x.Err = verdict.SelfOther, "the exchange ended without a verdict"
	}
}
