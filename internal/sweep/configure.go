package sweep

import (
	"net/netip"
	"slices"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/sweep/block"
)

// Configure takes over what a fleet file says in [sweep], except where typed says
// that a flag has been typed: flags go before the file, and the file before the
// defaults. The phases of --timeout are flags of their own here, as in
// timeout.connect. Lists of whom not to ask are never replaced, only added to.
func (s *Settings) Configure(c *config.Sweep, typed func(flag string) bool) {
	from := &source{typed}
	take(from, "format", &s.Format, c.Format)
	take(from, "column", &s.Column, c.Column)
	take(from, "https", &s.HTTPS, c.HTTPS)
	takeIf(from, "www", &s.WWW, c.WWW)
	takeIf(from, "follow", &s.Follow, c.Follow)
	takeIf(from, "retries", &s.Retries, c.Retries)
	take(from, "method", &s.Method, c.Method)
	take(from, "body", &s.Body, c.Body)
	takeIf(from, "robots", &s.Robots, c.Robots)
	take(from, "contact", &s.Contact, c.Contact)
	take(from, "user-agent", &s.Agent, c.Agent)
	take(from, "allow-private", &s.AllowPrivate, c.AllowPrivate)

	takeIf(from, "rate", &s.Rate, c.Rate)
	takeIf(from, "per-address", &s.AddressRate, c.PerAddress)
	takeIf(from, "per-network", &s.NetworkRate, c.PerNetwork)
	takeIf(from, "per-domain", &s.DomainRate, c.PerDomain)
	takeIf(from, "per-resolver", &s.ResolverRate, c.PerResolver)
	take(from, "concurrency", &s.Concurrency, c.Concurrency)
	take(from, "dns-concurrency", &s.DNSConcurrency, c.DNSConcurrency)
	take(from, "timeout.dns", &s.DNSTimeout, c.Timeout.DNS)
	take(from, "timeout.connect", &s.ConnectTimeout, c.Timeout.Connect)
	take(from, "timeout.tls", &s.TLSTimeout, c.Timeout.TLS)
	take(from, "timeout.first-byte", &s.FirstByteTimeout, c.Timeout.FirstByte)
	take(from, "timeout.total", &s.TotalTimeout, c.Timeout.Total)
	if c.NoPacing && !typed("no-pacing") {
		s.Pacing = false
	}

	take(from, "vantage", &s.Vantage, c.Vantage)
	take(from, "engine", &s.Engine, c.Engine)
	if c.Ports != nil && !typed("ports") {
		s.Ports = c.Ports
	}
	takeList(from, "resolver", &s.Resolvers, c.Resolvers)
	takeList(from, "control", &s.Controls, c.Controls)
	takeList(from, "definition", &s.Definitions, c.Definitions)
	s.Block = slices.Concat(c.Block, s.Block)
	if c.OptOut != "" {
		s.OptoutPage = "https://" + c.OptOut + "/"
	}
}

// A source is a fleet file behind flags.
type source struct{ typed func(flag string) bool }

func take[T comparable](from *source, flag string, into *T, value T) {
	var unsaid T
	if value != unsaid && !from.typed(flag) {
		*into = value
	}
}

func takeIf[T any](from *source, flag string, into, value *T) {
	if value != nil && !from.typed(flag) {
		*into = *value
	}
}

func takeList[T any](from *source, flag string, into *[]T, value []T) {
	if len(value) > 0 && !from.typed(flag) {
		*into = value
	}
}

// maxFleetControls is how many sites of a fleet are controls: a few tell as much as
// all of them.
const maxFleetControls = 8

// FleetControls are the URLs of a fleet's own sites, which are known to be good if
// the fleet is there: if its POPs have public addresses.
func FleetControls(f *config.Fleet) []string {
	public := func(addr netip.Addr) bool { return !block.Private(addr) }
	if !slices.ContainsFunc(f.POPs, func(p config.POP) bool { return slices.ContainsFunc(p.Addresses, public) }) {
		return nil
	}
	var urls []string
	for _, site := range f.Sites[:min(len(f.Sites), maxFleetControls)] {
		urls = append(urls, "https://"+site.Name+"/")
	}
	return urls
}
