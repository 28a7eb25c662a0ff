package config

import (
	"slices"
	"time"
)

// Keys describes every key of the fleet file, table by table.
func Keys() []Key {
	return slices.Concat(
		describe("", topFields()),
		describe("pops.NAME", popFields()),
		describe(`sites."HOST"`, siteFields()),
		describe(`sites."HOST".app`, appFields()),
		describe("edge", edgeFields()),
		describe("edge.limits", limitFields()),
		describe("steer", steerFields()),
		describe("certs", certsFields()),
		describe("watch", watchFields()),
		describe("sweep", sweepFields()),
		describe("sweep.timeout", timeoutFields()),
		describe("health", healthFields()),
		describe("retention", retentionFields()),
	)
}

func topFields() []field[Fleet] {
	return []field[Fleet]{
		{Key{
			Name: "fleet", Type: "string", Required: true,
			Doc:     "The fleet's name: letters, digits and hyphens.",
			Example: `fleet = "linkedlist"`,
		}, text(func(f *Fleet) *string { return &f.Name }, parseLabel)},
		{Key{
			Name: "pops", Type: "table", Default: "none",
			Doc:     "The machines that serve, each in a table of its own, `[pops.NAME]`. The name is letters, digits and hyphens; the order is that of the file.",
			Example: `[pops.au]`,
		}, setPOPs},
		{Key{
			Name: "sites", Type: "table", Default: "none",
			Doc:     "What is served, each host name in a table of its own, `[sites.\"HOST\"]`, with quotes around the name. Each has exactly one of `files`, `app` and `origin`.",
			Example: `[sites."example.org"]`,
		}, setSites},
		{Key{
			Name: "edge", Type: "table", Default: "no proxies, built-in limits",
			Doc:     "How POPs take requests.",
			Example: `[edge]`,
		}, setEdge},
		{Key{
			Name: "steer", Type: "table", Default: "the nearest healthy POP",
			Doc:     "Which POP answers whom, where the nearest is not the best.",
			Example: `[steer]`,
		}, section(func(f *Fleet) *Steer { return &f.Steer }, "[steer]", steerFields)},
		{Key{
			Name: "certs", Type: "table", Default: "Let's Encrypt, without an address",
			Doc:     "How certificates are ordered.",
			Example: `[certs]`,
		}, section(func(f *Fleet) *Certs { return &f.Certs }, "[certs]", certsFields)},
		{Key{
			Name: "watch", Type: "table", Default: "every 30s, no alerts",
			Doc:     "How latency and health are followed over time.",
			Example: `[watch]`,
		}, section(func(f *Fleet) *Watch { return &f.Watch }, "[watch]", watchFields)},
		{Key{
			Name: "sweep", Type: "table", Default: "none",
			Doc:     "How `penny sweep` asks, who it says it is, and who wants not to be asked. What is typed after `penny sweep` goes before what is written here.",
			Example: `[sweep]`,
		}, setSweep},
		{Key{
			Name: "health", Type: "table", Default: "none",
			Doc:     "How POPs judge each other.",
			Example: `[health]`,
		}, section(func(f *Fleet) *Health { return &f.Health }, "[health]", healthFields)},
		{Key{
			Name: "retention", Type: "table", Default: "ten releases, a week, previews two weeks",
			Doc:     "What POPs keep of a site beside what they serve, to go back to.",
			Example: `[retention]`,
		}, section(func(f *Fleet) *Retention { return &f.Retention }, "[retention]", retentionFields)},
	}
}

func popFields() []field[POP] {
	return []field[POP]{
		{Key{
			Name: "addresses", Type: "list of strings", Required: true,
			Doc:     "The addresses that visitors reach, IPv4 and IPv6. No other POP has them.",
			Example: `addresses = ["203.0.113.10", "2001:db8:a::10"]`,
		}, eachText(parseAddress, addAddress)},
		{Key{
			Name: "bind", Type: "list of strings", Default: "`addresses`",
			Doc:     "The addresses to listen on, where they are others: behind 1:1 NAT. If `addresses` has IPv6, so must `bind`; the same for IPv4.",
			Example: `bind = ["10.0.0.5"]`,
		}, setBind},
		{Key{
			Name: "ssh", Type: "string", Default: "the first address",
			Doc:     "How ssh calls the machine at first contact: an alias, or user@host.",
			Example: `ssh = "root@203.0.113.10"`,
		}, text(func(p *POP) *string { return &p.SSH }, parseSSH)},
		{Key{
			Name: "place", Type: "string", Default: "none",
			Doc:     "Where the machine stands, for distances: a city, with its country if there are several.",
			Example: `place = "Sydney"`,
		}, text(func(p *POP) *string { return &p.Place }, parseText)},
		{Key{
			Name: "price", Type: "string", Default: "unknown",
			Doc:     "What the machine costs, for `penny cost`: an amount, a currency of ISO 4217, and hour, month or year.",
			Example: `price = "5 USD/month"`,
		}, text(func(p *POP) *Price { return &p.Price }, parsePrice)},
		{Key{
			Name: "default", Type: "true or false", Default: "false",
			Doc:     "Serves visitors of whom nothing else is known. At most one POP.",
			Example: `default = true`,
		}, setDefault},
		{Key{
			Name: "beside", Type: "string", Default: "none",
			Doc:     "A web server that was here first, as host:port: names that are not this fleet's go to it, untouched.",
			Example: `beside = "127.0.0.1:8443"`,
		}, text(func(p *POP) *string { return &p.Beside }, parseHostPort)},
	}
}

func siteFields() []field[Site] {
	return []field[Site]{
		{Key{
			Name: "files", Type: "string",
			Doc:     "A directory to serve, seen from the fleet file.",
			Example: `files = "./public"`,
		}, setSiteFiles},
		{Key{
			Name: "app", Type: "table",
			Doc:     "A program that every POP runs, with its content.",
			Example: `app = { run = "./linkedlistd", health = "/healthz" }`,
		}, setApp},
		{Key{
			Name: "origin", Type: "string",
			Doc:     "A server elsewhere that requests are sent on to, as an http or https URL.",
			Example: `origin = "https://bucket.example.net"`,
		}, setOrigin},
		{Key{
			Name: "also", Type: "list of strings", Default: "none",
			Doc:     "Further host names of the same site.",
			Example: `also = ["www.example.org"]`,
		}, eachText(parseHost, addHost)},
		{Key{
			Name: "dialect", Type: "string", Default: "netlify",
			Doc:     "Whose rules the files _headers and _redirects follow: netlify or cloudflare.",
			Example: `dialect = "cloudflare"`,
		}, text(func(s *Site) *Dialect { return &s.Dialect }, parseDialect)},
		{Key{
			Name: "hsts", Type: "duration", Default: "no header",
			Doc:     "How long browsers shall insist on https for this host (Strict-Transport-Security).",
			Example: `hsts = "180d"`,
		}, text(func(s *Site) *time.Duration { return &s.HSTS }, parseHSTS)},
		{Key{
			Name: "cache", Type: "true or false", Default: "false",
			Doc:     "Puts a shared cache (RFC 9111) before an `app` or `origin`.",
			Example: `cache = true`,
		}, truth(func(s *Site) *bool { return &s.Cache })},
	}
}

func appFields() []field[App] {
	return []field[App]{
		{Key{
			Name: "build", Type: "string", Default: "nothing to build",
			Doc:     "A shell command that makes the program for $ARCH, run beside the fleet file before a release.",
			Example: `build = "make linkedlistd GOARCH=$ARCH"`,
		}, text(func(a *App) *string { return &a.Build }, parseCommand)},
		{Key{
			Name: "run", Type: "string", Required: true,
			Doc:     "The command that starts the program.",
			Example: `run = "./linkedlistd"`,
		}, text(func(a *App) *string { return &a.Run }, parseCommand)},
		{Key{
			Name: "files", Type: "string", Default: "none",
			Doc:     "A directory that is released with the program, seen from the fleet file.",
			Example: `files = "./content"`,
		}, setAppFiles},
		{Key{
			Name: "health", Type: "string", Default: "none",
			Doc:     "A path that answers with a 2xx status when the program is ready.",
			Example: `health = "/healthz"`,
		}, text(func(a *App) *string { return &a.Health }, parsePath)},
	}
}
