package up

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/web"
)

// A runningSite is a site that the fleet serves.
type runningSite struct {
	config.Site
	hosts []string // names and addresses that it answers to
}

// WelcomeName is what the built-in site is called.
const WelcomeName = control.WelcomeSite

// localhost ends the names that every system takes for this machine (RFC 6761 §6.3).
const localhost = ".localhost"

// chooseSites decides what is served, writes the built-in sites, and opens the CA
// that vouches for all.
func (f *fleet) chooseSites() error {
	sites := f.startable()
	for _, s := range sites {
		if info, err := os.Stat(s.Files); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return &mistake.Error{File: s.Files, What: "there is no such directory", Hint: "give a directory of files, such as ./public"}
		}
	}
	optout, err := f.optout()
	if err != nil {
		return err
	}
	f.named = slices.Concat(sites, optout)
	if f.ca, err = f.openCA(f.named); err != nil {
		return err
	}
	f.report.CA, f.report.NewCA = f.ca.File(), f.ca.Fresh()
	if len(sites) == 0 {
		welcome, err := f.welcome()
		if err != nil {
			return err
		}
		sites = []config.Site{welcome}
	}
	for i, s := range slices.Concat(sites, optout) {
		site := runningSite{Site: s, hosts: control.LocalNames(s, i == 0)}
		if i == 0 {
			for _, addr := range loopback() {
				site.hosts = append(site.hosts, addr.String())
			}
		}
		f.sites = append(f.sites, site)
	}
	return nil
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

// openCA opens the fleet's CA for browsers, which can vouch for the fleet's names
// and for this machine only.
func (f *fleet) openCA(sites []config.Site) (*keys.CA, error) {
	all := []string{"localhost"}
	for _, s := range sites {
		all = append(all, control.LocalNames(s, false)...)
	}
	return openCA(filepath.Join(f.State, "ca", "fleet-"+f.Fleet.Name), f.Fleet.Name, all, nil, f.now)
}

// configuration is what the agents are told: as penny apply would say it.
func (f *fleet) configuration() api.Config {
	served := *f.Fleet
	served.Sites = nil
	for _, s := range f.sites {
		served.Sites = append(served.Sites, s.Site)
	}
	return control.CompileLocal(&served)
}

// renewSiteUnder is what is left of a site's certificate when it is replaced.
const renewSiteUnder = 30 * 24 * time.Hour

// sendCertificates gives the POPs a certificate for each site and one for its previews,
// where they have none that will do.
func (f *fleet) sendCertificates(ctx context.Context, c *control.Fleet, seen []control.Observation) error {
	for _, s := range f.sites {
		covered := slices.DeleteFunc(slices.Clone(s.hosts), func(host string) bool { return net.ParseIP(host) != nil })
		// In all of them are the addresses: a visitor who names no host gets any.
		if err := f.sendCertificate(ctx, c, seen, s.Name, covered, loopback()); err != nil {
			return err
		}
		previews := "*." + api.PreviewZone + "." + visible(s.Name)
		if err := f.sendCertificate(ctx, c, seen, previews, []string{previews}, nil); err != nil {
			return err
		}
	}
	return nil
}

// sendCertificate gives the POPs one certificate, unless all have one that will do.
func (f *fleet) sendCertificate(ctx context.Context, c *control.Fleet, seen []control.Observation, name string, covered []string, addrs []netip.Addr) error {
	want := slices.Clone(covered)
	for _, addr := range addrs {
		want = append(want, addr.String())
	}
	if !f.ca.Fresh() && !slices.ContainsFunc(seen, func(o control.Observation) bool { return !hasCertificate(o.Status, name, want, f.now()) }) {
		return nil
	}
	pair, err := f.ca.Issue(covered, addrs)
	if err != nil {
		return err
	}
	text, err := keys.EncodePair(pair)
	if err != nil {
		return err
	}
	return c.SetCertificate(ctx, name, text)
}

// hasCertificate reports whether a POP shows a certificate for these names and no
// others, for some time to come.
func hasCertificate(s *api.Status, name string, want []string, now time.Time) bool {
	return slices.ContainsFunc(s.Certificates, func(c api.CertificateStatus) bool {
		return c.Name == name && slices.Equal(slices.Sorted(slices.Values(c.Names)), slices.Sorted(slices.Values(want))) && c.Expires.After(now.Add(renewSiteUnder))
	})
}

// deploy makes the POPs serve what a site's directory holds.
func (f *fleet) deploy(ctx context.Context, c *control.Fleet, s *runningSite) error {
	r, err := c.Deploy(ctx, control.DeployOptions{Site: s.Name, Dir: s.Files, Dialect: string(s.Dialect), All: true, Wait: true})
	if err != nil {
		return err
	}
	for _, why := range r.Notes {
		f.report.Skipped = append(f.report.Skipped, s.Name+": "+why)
	}
	f.report.Sites = append(f.report.Sites, RunningSite{
		Name: s.Name, Hosts: s.hosts, Dir: s.Files, Release: r.Release, Generation: r.Generation, Deployed: !r.Nothing,
		URL: "https://" + net.JoinHostPort(visible(s.Name), strconv.Itoa(f.pops[0].https)) + "/",
	})
	return nil
}

// visible is the name of a site that a browser on this machine finds.
func visible(name string) string {
	if strings.HasSuffix(name, localhost) || name == "localhost" {
		return name
	}
	return name + localhost
}

// look asks the first POP how much it serves.
func (f *fleet) look(ctx context.Context, c *control.Fleet) error {
	seen, err := c.Observe(ctx)
	if err != nil {
		return err
	}
	if seen[0].Err != nil {
		return seen[0].Err
	}
	for i := range f.report.Sites {
		site := &f.report.Sites[i]
		for _, there := range seen[0].Status.Sites {
			if there.Site == site.Name {
				site.Files, site.Bytes = there.Files, there.Bytes
			}
		}
	}
	return nil
}

// writeFile writes a fleet file for other commands to find the fleet by, if it has
// none of its own: those who run without one want to deploy as well.
func (f *fleet) writeFile() error {
	if f.report.File = f.Fleet.File; f.report.File != "" {
		return nil
	}
	f.report.File = filepath.Join(f.dir, config.FileName)
	var text bytes.Buffer
	text.WriteString("# This is what runs: penny up wrote it, and writes it again at its next start.\nfleet = " + quote(f.Fleet.Name) + "\n")
	for _, s := range f.sites {
		dir, err := filepath.Abs(s.Files)
		if err != nil {
			return err
		}
		text.WriteString("\n[sites." + quote(s.Name) + "]\nfiles = " + quote(dir) + "\n")
	}
	return replaceFile(f.report.File, text.Bytes())
}

// quote writes a string of TOML, of which those of JSON are a part.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always have this form
	}
	return string(text)
}

// replaceFile writes a file whole or not at all.
func replaceFile(file string, data []byte) error {
	temp := file + ".tmp"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(temp, file); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// builtIn makes an empty directory for a built-in site.
func (f *fleet) builtIn(name string) (string, error) {
	dir := filepath.Join(f.State, name, f.Fleet.Name)
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
func (f *fleet) welcome() (config.Site, error) {
	dir, err := f.builtIn("welcome")
	if err != nil {
		return config.Site{}, err
	}
	data := web.WelcomeData{Version: f.Version, CAFile: f.ca.File(), TrustHint: keys.TrustHint(runtime.GOOS, f.ca.File())}
	for _, p := range f.report.POPs {
		data.POPs = append(data.POPs, web.WelcomePOP{Name: p.Name, Place: p.Place, HTTPS: p.HTTPS, HTTP: p.HTTP})
	}
	if err := web.WriteWelcome(dir, data); err != nil {
		return config.Site{}, err
	}
	return config.Site{Name: WelcomeName, Files: dir, Dialect: config.DialectNetlify}, nil
}
