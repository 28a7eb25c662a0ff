package control

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/config"
)

// localhost ends the names that every system takes for this machine (RFC 6761 §6.3).
const localhost = ".localhost"

// WelcomeSite is what the site is called that penny up serves where a fleet file has none.
const WelcomeSite = "welcome" + localhost

// LocalNames returns the names that a site answers to where the fleet runs on this
// machine: its own, and those that browsers find here without any help. The first site
// is also what visitors get who ask for this machine by its plain name.
func LocalNames(s config.Site, first bool) []string {
	var all []string
	for _, name := range append([]string{s.Name}, s.Hosts...) {
		all = append(all, name)
		if !strings.HasSuffix(name, localhost) && name != "localhost" {
			all = append(all, name+localhost)
		}
	}
	if first && !slices.Contains(all, "localhost") {
		all = append(all, "localhost")
	}
	return all
}

// LocalAddresses are what the first site of a fleet on this machine answers to besides.
func LocalAddresses() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
}

// Compile returns what POPs have to know of a fleet file: sites, proxies and limits, the
// POPs and which of them answers whom. Sites that are not of files are left out, and
// everything that is nobody's business there: how to reach machines by ssh, prices,
// whom to alert.
func Compile(fleet *config.Fleet) api.Config {
	c := api.Config{Edge: compileEdge(fleet.Edge), Retention: compileRetention(fleet.Retention)}
	for _, s := range fleet.Sites {
		if s.Kind() != config.KindFiles {
			continue
		}
		c.Sites = append(c.Sites, api.ConfigSite{Name: s.Name, Hosts: s.Hosts, Dialect: string(s.Dialect), HSTS: int64(s.HSTS / time.Second)})
	}
	for _, p := range fleet.POPs {
		pop := api.ConfigPOP{Name: p.Name, Place: p.Place, Default: p.Default}
		for _, a := range p.Addresses {
			pop.Addresses = append(pop.Addresses, a.String())
		}
		c.POPs = append(c.POPs, pop)
	}
	if len(fleet.Steer.Continents) > 0 {
		c.Steer.Continents = fleet.Steer.Continents
	}
	if len(fleet.Steer.Countries) > 0 {
		c.Steer.Countries = fleet.Steer.Countries
	}
	return c
}

// CompileLocal is [Compile] for a fleet that runs on this machine, as penny up does it:
// there its sites, and the page for those whom sweeps ask, have further names. None has
// HSTS: a browser that has seen it for localhost lets nothing else on this machine be
// tried without TLS. Where visitors come from is always the same.
func CompileLocal(fleet *config.Fleet) api.Config {
	c := api.Config{Edge: compileEdge(fleet.Edge), Retention: compileRetention(fleet.Retention)}
	sites := slices.DeleteFunc(slices.Clone(fleet.Sites), func(s config.Site) bool { return s.Kind() != config.KindFiles })
	if len(sites) == 0 {
		sites = []config.Site{{Name: WelcomeSite, Dialect: config.DialectNetlify}}
	}
	if page := fleet.Sweep.OptOut; page != "" && !slices.ContainsFunc(sites, func(s config.Site) bool { return s.Name == page }) {
		sites = append(sites, config.Site{Name: page, Dialect: config.DialectNetlify})
	}
	for i, s := range sites {
		hosts := LocalNames(s, i == 0)
		if i == 0 {
			for _, addr := range LocalAddresses() {
				hosts = append(hosts, addr.String())
			}
		}
		hosts = slices.DeleteFunc(hosts, func(host string) bool { return host == s.Name })
		c.Sites = append(c.Sites, api.ConfigSite{Name: s.Name, Hosts: hosts, Dialect: string(s.Dialect)})
	}
	return c
}

// compileRetention is what POPs keep. Of a fleet without a file it is what a file has that
// says nothing of it: both are the same to who compares them.
func compileRetention(r config.Retention) api.Retention {
	const releases, days = 10, 7
	return api.Retention{Releases: cmp.Or(r.Releases, releases), Age: int64(cmp.Or(r.Days, days)) * 24 * 60 * 60}
}

func compileEdge(e config.Edge) api.ConfigEdge {
	c := api.ConfigEdge{
		ProxyProtocol: e.ProxyProtocol, HeaderBytes: e.Limits.HeaderBytes, HeaderFields: e.Limits.HeaderFields,
		HeaderTimeout: int64(e.Limits.HeaderTimeout / time.Second), IdleTimeout: int64(e.Limits.IdleTimeout / time.Second),
		MinRate: int64(e.Limits.MinRate), ConnectionsPerClient: e.Limits.ConnectionsPerClient, StreamsPerConnection: e.Limits.StreamsPerConnection,
	}
	for _, p := range e.TrustedProxies {
		c.TrustedProxies = append(c.TrustedProxies, p.String())
	}
	return c
}

// Compile is [Compile], or [CompileLocal] where the fleet runs in a penny up on this
// machine.
func (f *Fleet) Compile(file *config.Fleet) api.Config {
	if f.POPs.up {
		return CompileLocal(file)
	}
	return Compile(file)
}
