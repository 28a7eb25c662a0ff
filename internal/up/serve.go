package up

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/edge"
	"pennyfarthing/internal/serve/site"
)

// ServeOptions are what `penny serve` can be told.
type ServeOptions struct {
	Common
	Dir            string
	Listen         string
	TLS            bool   // with a certificate of the private CA, unless Cert is set
	Cert, Key      string // files
	Hosts          []string
	Dialect        rules.Dialect
	HSTS           time.Duration
	TrustedProxies []netip.Prefix
	ProxyProtocol  bool
	Limits         edge.Limits
}

// Serving is what Serve reports once it answers.
type Serving struct {
	URL    string `json:"url"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	Memory int64  `json:"memory"` // bytes of bodies in memory
	CA     string `json:"ca"`     // file of the private CA, or ""
	Admin  string `json:"admin"`  // URL of metrics, or ""

	NewCA   bool     `json:"-"` // nobody can trust the CA yet
	Skipped []string `json:"-"` // files that are not served, with the reason
	OnDisk  int      `json:"-"` // files that are read from disk
}

// Serve serves a directory until ctx ends. It calls ready once when it answers.
func Serve(ctx context.Context, o ServeOptions, ready func(Serving)) error {
	p, err := newProcess(ctx, o.Common)
	if err != nil {
		return err
	}
	report, err := p.prepare(ctx, o)
	if err != nil {
		return errors.Join(err, p.close())
	}
	return p.runReady(ctx, func() { ready(report) })
}

// runReady runs the process and calls ready, at once: listeners are bound, so
// that whoever connects is answered.
func (p *process) runReady(ctx context.Context, ready func()) error {
	ready()
	return p.run(ctx)
}

func (p *process) prepare(ctx context.Context, o ServeOptions) (Serving, error) {
	pair, ca, err := o.certificate(ctx)
	if err != nil {
		return Serving{}, err
	}
	if ca != nil && o.HSTS > 0 {
		o.Log.LogAttrs(ctx, slog.LevelWarn, "HSTS not sent", slog.String("why", "a certificate of the private CA must stay easy to leave"))
		o.HSTS = 0
	}
	name := o.Dir
	if len(o.Hosts) > 0 {
		name = o.Hosts[0]
	}
	if pair == nil && o.HSTS > 0 {
		o.Log.LogAttrs(ctx, slog.LevelWarn, "HSTS not sent", slog.String("why", "browsers take it over HTTPS only, and this is served without"))
	}
	live, err := p.live(ctx, name, site.Options{Dir: o.Dir, Dialect: o.Dialect, HSTS: o.HSTS}, 1)
	if err != nil {
		return Serving{}, err
	}
	options := edge.Options{Limits: o.Limits, TrustedProxies: o.TrustedProxies, ProxyProtocol: o.ProxyProtocol, Table: edge.AnyHost(live)}
	if len(o.Hosts) > 0 {
		if options.Table, err = edge.NewTable(edge.Route{Hosts: o.Hosts, Site: live}); err != nil {
			return Serving{}, err
		}
	}
	if pair != nil {
		if options.Certificates, err = edge.NewCertificates(false, pair); err != nil {
			return Serving{}, err
		}
		if options.ResetKey, err = resetKey(pair, o.Listen); err != nil {
			return Serving{}, err
		}
	}
	listeners, err := edge.Listen(ctx, pair != nil, o.addresses()...)
	if err != nil {
		return Serving{}, inUse(err, "--listen")
	}
	sum := live.Site().Summary()
	report := Serving{
		URL: o.url(pair != nil, listeners), Files: sum.Files, Bytes: sum.Bytes, Memory: sum.Memory,
		Admin: p.adminURL(), Skipped: sum.Skipped, OnDisk: sum.OnDisk,
	}
	if ca != nil {
		report.CA, report.NewCA = ca.File(), ca.Fresh()
	}
	return report, p.serve(options, listeners)
}

// resetKey returns the secret for [edge.Options]: it follows from the certificate's key,
// so that a certificate of files outlasts the process, and from where it listens, so
// that no two servers have the same.
func resetKey(pair *tls.Certificate, listen string) ([32]byte, error) {
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return [32]byte{}, fmt.Errorf("read the certificate's key: %w", err)
	}
	secret, err := hkdf.Key(sha256.New, private, nil, "pennyfarthing stateless reset "+listen, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive a key: %w", err)
	}
	return [32]byte(secret), nil
}

// addresses returns what to bind: "localhost" is both of its addresses.
func (o ServeOptions) addresses() []string {
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil || !strings.EqualFold(host, "localhost") {
		return []string{o.Listen}
	}
	addresses := []string{net.JoinHostPort("127.0.0.1", port)}
	if hasIPv6() {
		addresses = append(addresses, net.JoinHostPort("::1", port))
	}
	return addresses
}

// hasIPv6 reports whether [::1] can be bound.
func hasIPv6() bool {
	ln, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: net.IPv6loopback})
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// url is what to type into a browser.
func (o ServeOptions) url(secure bool, l edge.Listeners) string {
	scheme, listeners := "http", l.Plain
	if secure {
		scheme, listeners = "https", l.TLS
	}
	bound := listeners[0].Addr().(*net.TCPAddr)
	host := bound.AddrPort().Addr().Unmap().String()
	switch {
	case len(o.Hosts) > 0:
		host = o.Hosts[0]
	case bound.IP.IsUnspecified(), strings.HasPrefix(strings.ToLower(o.Listen), "localhost:"):
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(bound.Port)) + "/"
}

// certificate returns what to show: nothing without TLS, the user's, or one of
// the private CA, which is then returned too.
func (o ServeOptions) certificate(ctx context.Context) (*tls.Certificate, *keys.CA, error) {
	if o.Cert != "" {
		pair, err := keys.LoadPair(o.Cert, o.Key)
		if missing, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, fs.ErrNotExist) {
			return nil, nil, &mistake.Error{File: missing.Path, What: "there is no such file", Hint: "--cert and --key name the files of the certificate and of its key"}
		}
		if err != nil {
			return nil, nil, err
		}
		for _, warning := range keys.Warnings(pair, time.Now()) {
			o.Log.LogAttrs(ctx, slog.LevelWarn, "certificate", slog.String("file", o.Cert), slog.String("warning", warning))
		}
		return pair, nil, nil
	}
	if !o.TLS {
		return nil, nil, nil
	}
	names, addrs := o.names()
	dir := filepath.Join(o.State, "ca", "local")
	if len(o.Hosts) > 0 {
		dir = filepath.Join(o.State, "ca", "host-"+o.Hosts[0])
	}
	ca, err := openCA(dir, "local", names, addrs, time.Now)
	if err != nil {
		return nil, nil, err
	}
	pair, err := ca.Issue(names, addrs)
	return pair, ca, err
}

// names returns what the private CA vouches for.
func (o ServeOptions) names() ([]string, []netip.Addr) {
	names := []string{"localhost"}
	addrs := loopback()
	for _, host := range o.Hosts {
		if addr, err := netip.ParseAddr(host); err == nil {
			addrs = append(addrs, addr.Unmap().WithZone(""))
		} else {
			names = append(names, host)
		}
	}
	if host, _, err := net.SplitHostPort(o.Listen); err == nil {
		if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() && !addr.IsLoopback() {
			addrs = append(addrs, addr.Unmap().WithZone(""))
		}
	}
	return names, addrs
}

func loopback() []netip.Addr {
	return control.LocalAddresses()
}

// openCA opens the CA in dir, constrained to names and addresses; loopback is
// always permitted.
func openCA(dir, name string, names []string, addrs []netip.Addr, now func() time.Time) (*keys.CA, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, &mistake.Error{What: fmt.Sprintf("there is no place for the private CA: %v", err), Hint: "--state names a directory that you can write to"}
	}
	c := keys.Constraints{Names: names, Prefixes: []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8), netip.PrefixFrom(netip.IPv6Loopback(), 128),
	}}
	for _, addr := range addrs {
		if !addr.IsLoopback() {
			c.Prefixes = append(c.Prefixes, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return keys.OpenCA(dir, "penny "+name, c, now)
}
