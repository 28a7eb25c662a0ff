package up

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/edge"
	"pennyfarthing/internal/serve/site"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/web"
)

// FleetOptions are what `penny up` can be told.
type FleetOptions struct {
	Common
	Fleet   *config.Fleet // see [Demo] for one without a file
	Version string
}

// Demo returns the fleet that `penny up` runs without a fleet file.
func Demo() *config.Fleet {
	return &config.Fleet{Name: "demo", POPs: []config.POP{
		{Name: "au", Place: "Sydney", Default: true}, {Name: "ny", Place: "New York"}, {Name: "fr", Place: "Strasbourg"},
	}}
}

// Running is what Fleet reports once everything answers.
type Running struct {
	POPs  []RunningPOP  `json:"pops"`
	Sites []RunningSite `json:"sites"`
	CA    string        `json:"ca"`
	Admin string        `json:"admin"`

	// NotYet are the sites that this version cannot start, with the reason.
	NotYet []string `json:"not_yet,omitempty"`

	Name    string   `json:"-"`
	NewCA   bool     `json:"-"`
	Skipped []string `json:"-"` // files that are not served, with the reason
}

// A RunningPOP is a POP with the URLs of its first site.
type RunningPOP struct {
	Name  string `json:"name"`
	Place string `json:"place,omitempty"`
	HTTPS string `json:"https"`
	HTTP  string `json:"http"`
}

// A RunningSite is a site with its URL on the first POP.
type RunningSite struct {
	Name  string   `json:"name"`
	Hosts []string `json:"hosts"`
	URL   string   `json:"url"`
	Files int      `json:"files"`
	Bytes int64    `json:"bytes"`
	Dir   string   `json:"dir"`
}

// Ports that POPs get as long as they are free: the first POP these, the next
// ones those that follow.
const (
	firstHTTPS = 8441
	firstHTTP  = 8081
	portTries  = 20
)

// Fleet runs every POP of a fleet on this machine until ctx ends, or those of
// [Demo] if it has none. It calls ready once when all answer.
func Fleet(ctx context.Context, o FleetOptions, ready func(Running)) error {
	if len(o.Fleet.POPs) == 0 {
		fleet := *o.Fleet
		fleet.POPs = Demo().POPs
		o.Fleet = &fleet
	}
	p, err := newProcess(ctx, o.Common)
	if err != nil {
		return err
	}
	f := &fleet{process: p, FleetOptions: o}
	if err := f.prepare(ctx); err != nil {
		for _, pop := range f.pops {
			err = errors.Join(err, pop.listeners.Close())
		}
		return errors.Join(err, p.close())
	}
	return p.runReady(ctx, func() { ready(f.report) })
}

// A fleet is a fleet that is being put together.
type fleet struct {
	*process
	FleetOptions
	pops   []pop
	routes []edge.Route
	certs  []*tls.Certificate
	report Running
}

type pop struct {
	config.POP
	listeners edge.Listeners
	https     int
	http      int
}

func (f *fleet) prepare(ctx context.Context) error {
	f.report.Name = f.Fleet.Name
	if err := f.listen(ctx); err != nil {
		return err
	}
	sites := f.startable()
	optout, err := f.optout()
	if err != nil {
		return err
	}
	ca, err := f.openCA(slices.Concat(sites, optout))
	if err != nil {
		return err
	}
	if len(sites) == 0 {
		welcome, err := f.welcome(ca)
		if err != nil {
			return err
		}
		sites = []config.Site{welcome}
	}
	sites = slices.Concat(sites, optout)
	for i, s := range sites {
		if err := f.addSite(ctx, s, ca, i == 0, len(sites)); err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
	}
	return f.start()
}

// startable returns the sites that this version can serve and notes the others.
func (f *fleet) startable() []config.Site {
	var sites []config.Site
	for _, s := range f.Fleet.Sites {
		switch s.Kind() {
		case config.KindFiles:
			sites = append(sites, s)
		case config.KindApp:
			f.report.NotYet = append(f.report.NotYet, s.Name+": not yet: this version does not run apps")
		case config.KindOrigin:
			f.report.NotYet = append(f.report.NotYet, s.Name+": not yet: this version does not fetch from origins")
		}
	}
	return sites
}

// listen binds two ports for every POP, moving on from those that are taken.
func (f *fleet) listen(ctx context.Context) error {
	for i, c := range f.Fleet.POPs {
		p := pop{POP: c}
		secure, err := bind(ctx, true, firstHTTPS+i, len(f.Fleet.POPs))
		if err != nil {
			return fmt.Errorf("POP %s: %w", c.Name, err)
		}
		p.listeners = secure
		f.pops = append(f.pops, p)
		plain, err := bind(ctx, false, firstHTTP+i, len(f.Fleet.POPs))
		if err != nil {
			return fmt.Errorf("POP %s: %w", c.Name, err)
		}
		added := &f.pops[i]
		added.listeners.Plain = plain.Plain
		added.https = secure.TLS[0].Addr().(*net.TCPAddr).Port
		added.http = plain.Plain[0].Addr().(*net.TCPAddr).Port
		f.report.POPs = append(f.report.POPs, RunningPOP{
			Name: c.Name, Place: c.Place, HTTPS: "https://localhost:" + strconv.Itoa(added.https), HTTP: "http://localhost:" + strconv.Itoa(added.http),
		})
	}
	return nil
}

// bind takes a port on both loopback addresses: first, or the next of its stride
// that is free, or any.
func bind(ctx context.Context, secure bool, first, stride int) (edge.Listeners, error) {
	for i := range portTries + 1 {
		port := first + i*stride
		if i == portTries {
			port = 0
		}
		addresses := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		if hasIPv6() {
			addresses = append(addresses, net.JoinHostPort("::1", strconv.Itoa(port)))
		}
		l, err := edge.Listen(ctx, secure, addresses...)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			return l, err
		}
	}
	return edge.Listeners{}, errors.New("no free port on loopback")
}

// hosts returns the names that a site answers to on this machine. A name without
// a dot is not a host's: the welcome site has one.
func hosts(s config.Site, first bool) []string {
	var all []string
	for _, name := range append([]string{s.Name}, s.Hosts...) {
		if strings.Contains(name, ".") {
			all = append(all, name)
		}
		all = append(all, name+".localhost")
	}
	if first {
		all = append(all, "localhost")
	}
	return all
}

// openCA opens the fleet's CA for browsers, which can vouch for the fleet's names
// and for this machine only.
func (f *fleet) openCA(sites []config.Site) (*keys.CA, error) {
	names := []string{"localhost"}
	for _, s := range sites {
		names = append(names, hosts(s, false)...)
	}
	ca, err := openCA(filepath.Join(f.FleetOptions.State, "ca", "fleet-"+f.Fleet.Name), f.Fleet.Name, names, nil)
	if err != nil {
		return nil, err
	}
	f.report.CA, f.report.NewCA = ca.File(), ca.Fresh()
	return ca, nil
}

// addSite compiles a site and gives it its hosts and its certificate.
func (f *fleet) addSite(ctx context.Context, s config.Site, ca *keys.CA, first bool, sites int) error {
	dialect := rules.Netlify
	if s.Dialect == config.DialectCloudflare {
		dialect = rules.Cloudflare
	}
	live, err := f.live(ctx, s.Name, site.Options{Dir: s.Files, Dialect: dialect}, sites) // no HSTS with a private CA
	if err != nil {
		return err
	}
	names := hosts(s, first)
	route := edge.Route{Hosts: names, Site: live}
	addrs := loopback()
	if first {
		for _, addr := range addrs {
			route.Hosts = append(route.Hosts, addr.String())
		}
	} else {
		addrs = nil
	}
	pair, err := ca.Issue(names, addrs)
	if err != nil {
		return err
	}
	f.routes, f.certs = append(f.routes, route), append(f.certs, pair)
	sum := live.Site().Summary()
	for _, why := range sum.Skipped {
		f.report.Skipped = append(f.report.Skipped, s.Name+": "+why)
	}
	f.report.Sites = append(f.report.Sites, RunningSite{
		Name: s.Name, Hosts: route.Hosts, Files: sum.Files, Bytes: sum.Bytes, Dir: s.Files,
		URL: "https://" + net.JoinHostPort(s.Name+".localhost", strconv.Itoa(f.pops[0].https)) + "/",
	})
	return nil
}

// start makes a server of every POP.
func (f *fleet) start() error {
	table, err := edge.NewTable(f.routes...)
	if err != nil {
		return err
	}
	certs, err := edge.NewCertificates(true, f.certs...)
	if err != nil {
		return err
	}
	f.report.Admin = f.adminURL()
	for _, p := range f.pops {
		err := f.serve(edge.Options{
			Name: p.Name, Table: table, Certificates: certs, Limits: limits(f.Fleet.Edge.Limits),
			TrustedProxies: f.Fleet.Edge.TrustedProxies, ProxyProtocol: f.Fleet.Edge.ProxyProtocol,
		}, p.listeners)
		if err != nil {
			return err
		}
	}
	return nil
}

func limits(l config.Limits) edge.Limits {
	return edge.Limits{
		HeaderBytes: l.HeaderBytes, HeaderFields: l.HeaderFields, HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout,
		MinRate: int64(l.MinRate), ConnectionsPerClient: l.ConnectionsPerClient, StreamsPerConnection: l.StreamsPerConnection,
	}
}

// builtIn makes an empty directory for a built-in site.
func (f *fleet) builtIn(name string) (string, error) {
	dir := filepath.Join(f.FleetOptions.State, name, f.Fleet.Name)
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("clear the %s site: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the %s site: %w", name, err)
	}
	return dir, nil
}

// optout writes the page for those whom sweeps ask, if the fleet has one. It says
// what a sweep does that no flag changes.
func (f *fleet) optout() ([]config.Site, error) {
	c := &f.Fleet.Sweep
	if c.OptOut == "" {
		return nil, nil
	}
	dir, err := f.builtIn("optout")
	if err != nil {
		return nil, err
	}
	s := sweep.Defaults()
	s.Configure(c, func(string) bool { return false })
	err = web.WriteOptout(dir, web.OptoutData{
		Host: c.OptOut, Contact: s.Contact, Agent: s.UserAgent(f.Version),
		HTTPS: s.HTTPS, WWW: s.WWW, Follow: s.Follow, Retries: s.Retries, Method: s.Method, Body: s.Body, Robots: s.Robots,
		AddressRate: s.AddressRate, NetworkRate: s.NetworkRate, DomainRate: s.DomainRate,
	})
	if err != nil {
		return nil, err
	}
	return []config.Site{{Name: c.OptOut, Files: dir, Dialect: config.DialectNetlify}}, nil
}

// welcome writes the built-in site.
func (f *fleet) welcome(ca *keys.CA) (config.Site, error) {
	dir, err := f.builtIn("welcome")
	if err != nil {
		return config.Site{}, err
	}
	data := web.WelcomeData{Version: f.Version, CAFile: ca.File(), TrustHint: keys.TrustHint(runtime.GOOS, ca.File())}
	for _, p := range f.report.POPs {
		data.POPs = append(data.POPs, web.WelcomePOP{Name: p.Name, Place: p.Place, HTTPS: p.HTTPS, HTTP: p.HTTP})
	}
	if err := web.WriteWelcome(dir, data); err != nil {
		return config.Site{}, err
	}
	return config.Site{Name: "welcome", Files: dir, Dialect: config.DialectNetlify}, nil
}
