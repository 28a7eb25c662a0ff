package config

import (
	"net/netip"
	"time"
)

func sweepFields() []field[Sweep] {
	return append(whoFields(), append(whatFields(), append(paceFields(), howFields()...)...)...)
}

// whoFields say who asks, and whom not.
func whoFields() []field[Sweep] {
	return []field[Sweep]{
		{Key{
			Name: "contact", Type: "string", Default: "none",
			Doc:     "How the owner of a target reaches you, in every request: a mailto: or https: URL. A list of over 10,000 targets needs it.",
			Example: `contact = "mailto:me@example.org"`,
		}, text(func(s *Sweep) *string { return &s.Contact }, parseContact)},
		{Key{
			Name: "user_agent", Type: "string", Default: "penny's own",
			Doc:     "What every request calls its sender, before the contact.",
			Example: `user_agent = "examplebot/1.0"`,
		}, text(func(s *Sweep) *string { return &s.Agent }, parseAgent)},
		{Key{
			Name: "optout", Type: "string", Default: "none",
			Doc:     "The host name where the fleet shows who sweeps, and how to opt out: a built-in site. It needs a `contact`.",
			Example: `optout = "bot.example.org"`,
		}, setOptOut},
		{Key{
			Name: "optout_list", Type: "string", Default: "`optout.txt` beside this file, if it is there",
			Doc:     "The file of names and networks whose owners have opted out, one a line, which `penny sweep optout` edits. It is not served.",
			Example: `optout_list = "optout.txt"`,
		}, text(func(s *Sweep) *string { return &s.OptOutList }, parseDirectory)},
		{Key{
			Name: "block", Type: "list of strings", Default: "none",
			Doc:     "Files of networks and names that are not asked, beside those that --block names.",
			Example: `block = ["block.txt"]`,
		}, texts(func(s *Sweep) *[]string { return &s.Block }, parseDirectory)},
		{Key{
			Name: "robots", Type: "true or false", Default: "false",
			Doc:     "Asks for robots.txt first (RFC 9309), and obeys it.",
			Example: `robots = true`,
		}, optional(func(s *Sweep) **bool { return &s.Robots }, truth[Sweep])},
		{Key{
			Name: "allow_private", Type: "true or false", Default: "false",
			Doc:     "Asks private, loopback and link-local addresses too.",
			Example: `allow_private = true`,
		}, truth(func(s *Sweep) *bool { return &s.AllowPrivate })},
	}
}

// whatFields say what is asked, and what is kept.
func whatFields() []field[Sweep] {
	return []field[Sweep]{
		{Key{
			Name: "https", Type: "string", Default: "first",
			Doc:     "Which schemes are asked: first (http where https does not answer), both, only or never.",
			Example: `https = "both"`,
		}, text(func(s *Sweep) *string { return &s.HTTPS }, oneOf("first", "both", "only", "never"))},
		{Key{
			Name: "www", Type: "true or false", Default: "true",
			Doc:     "Tries the name with www., or without it, before it is called dead.",
			Example: `www = false`,
		}, optional(func(s *Sweep) **bool { return &s.WWW }, truth[Sweep])},
		{Key{
			Name: "follow", Type: "integer", Default: "5",
			Doc:     "How many redirects are followed, from 0 to 20.",
			Example: `follow = 5`,
		}, optional(func(s *Sweep) **int { return &s.Follow }, counted(0, 20))},
		{Key{
			Name: "retries", Type: "integer", Default: "1",
			Doc:     "How often what may pass is asked again, from 0 to 10.",
			Example: `retries = 2`,
		}, optional(func(s *Sweep) **int { return &s.Retries }, counted(0, 10))},
		{Key{
			Name: "method", Type: "string", Default: "GET",
			Doc:     "The method of requests: GET or HEAD.",
			Example: `method = "HEAD"`,
		}, text(func(s *Sweep) *string { return &s.Method }, oneOf("GET", "HEAD"))},
		{Key{
			Name: "body", Type: "string", Default: "what a title needs",
			Doc:     "Bytes of a body that are read, and whose hash is kept, up to 64M.",
			Example: `body = "64k"`,
		}, text(func(s *Sweep) *int { return &s.Body }, parseBody)},
		{Key{
			Name: "ports", Type: "table", Default: "none",
			Doc:     "The ports that are asked instead of others.",
			Example: `ports = { 80 = 18080, 443 = 18443 }`,
		}, setPorts},
		{Key{
			Name: "column", Type: "string", Default: "found",
			Doc:     "The column of a list that has the targets, by its name or number.",
			Example: `column = "domain"`,
		}, text(func(s *Sweep) *string { return &s.Column }, parseText)},
		{Key{
			Name: "definition", Type: "list of strings", Default: "tonywang2024, strict, revised",
			Doc:     "What dead means, beside the built-in definitions: expressions over the columns of a row, with a name before `=` if you like.",
			Example: `definition = ['nameless=verdict startsWith "dns."']`,
		}, texts(func(s *Sweep) *[]string { return &s.Definitions }, parseText)},
		{Key{
			Name: "output", Type: "string", Default: "`runs/NAME-TIME` in the current directory",
			Doc:     "The directory of the run. One that holds a finished run is refused.",
			Example: `output = "run"`,
		}, text(func(s *Sweep) *string { return &s.Output }, parseDirectory)},
		{Key{
			Name: "format", Type: "string", Default: "parquet",
			Doc:     "The format of the rows: parquet, jsonl or csv.",
			Example: `format = "jsonl"`,
		}, text(func(s *Sweep) *string { return &s.Format }, oneOf("parquet", "jsonl", "csv"))},
	}
}

// counted is count with its limits first, for optional.
func counted(low, high int) func(func(*Sweep) *int) setter[Sweep] {
	return func(at func(*Sweep) *int) setter[Sweep] { return count(at, low, high) }
}

// paceFields say how fast.
func paceFields() []field[Sweep] {
	return []field[Sweep]{
		{Key{
			Name: "concurrency", Type: "integer", Default: "8000",
			Doc:     "Targets under way at most, from 1 to 1000000.",
			Example: `concurrency = 15000`,
		}, count(func(s *Sweep) *int { return &s.Concurrency }, 1, 1_000_000)},
		{Key{
			Name: "dns_concurrency", Type: "integer", Default: "2000",
			Doc:     "Questions to resolvers under way at most, from 1 to 100000.",
			Example: `dns_concurrency = 500`,
		}, count(func(s *Sweep) *int { return &s.DNSConcurrency }, 1, 100_000)},
		{Key{
			Name: "rate", Type: "string", Default: "no limit",
			Doc:     "Requests in all, a second, minute or hour; \"0\" is no limit, here and below.",
			Example: `rate = "5000/s"`,
		}, rate(func(s *Sweep) **float64 { return &s.Rate })},
		{Key{
			Name: "per_address", Type: "string", Default: "2/s",
			Doc:     "Requests to one address.",
			Example: `per_address = "2/s"`,
		}, rate(func(s *Sweep) **float64 { return &s.PerAddress })},
		{Key{
			Name: "per_network", Type: "string", Default: "50/s",
			Doc:     "Requests to one /24 or /48.",
			Example: `per_network = "50/s"`,
		}, rate(func(s *Sweep) **float64 { return &s.PerNetwork })},
		{Key{
			Name: "per_domain", Type: "string", Default: "no limit",
			Doc:     "Requests to one registrable domain.",
			Example: `per_domain = "30/m"`,
		}, rate(func(s *Sweep) **float64 { return &s.PerDomain })},
		{Key{
			Name: "per_resolver", Type: "string", Default: "500/s",
			Doc:     "Questions to one resolver.",
			Example: `per_resolver = "1000/s"`,
		}, rate(func(s *Sweep) **float64 { return &s.PerResolver })},
		{Key{
			Name: "no_pacing", Type: "true or false", Default: "false",
			Doc:     "Keeps no limits to addresses, networks and domains. It needs `allow_private`: it is for machines of your own.",
			Example: `no_pacing = true`,
		}, truth(func(s *Sweep) *bool { return &s.NoPacing })},
		{Key{
			Name: "timeout", Type: "duration or table", Default: "as below",
			Doc:     "How long a phase may take, from 10ms to 10m: one time for all, or a table of them.",
			Example: `timeout = "5s"`,
		}, setTimeout},
	}
}

// timeoutFields are the phases of a try.
func timeoutFields() []field[Timeouts] {
	phase := between(minPhase, maxPhase)
	return []field[Timeouts]{
		{Key{
			Name: "dns", Type: "duration", Default: "3s",
			Doc:     "For a resolver to answer.",
			Example: `dns = "3s"`,
		}, text(func(t *Timeouts) *time.Duration { return &t.DNS }, phase)},
		{Key{
			Name: "connect", Type: "duration", Default: "5s",
			Doc:     "For a connection.",
			Example: `connect = "5s"`,
		}, text(func(t *Timeouts) *time.Duration { return &t.Connect }, phase)},
		{Key{
			Name: "tls", Type: "duration", Default: "8s",
			Doc:     "For the TLS handshake.",
			Example: `tls = "8s"`,
		}, text(func(t *Timeouts) *time.Duration { return &t.TLS }, phase)},
		{Key{
			Name: "first_byte", Type: "duration", Default: "10s",
			Doc:     "From the request to the first byte of its answer.",
			Example: `first_byte = "10s"`,
		}, text(func(t *Timeouts) *time.Duration { return &t.FirstByte }, phase)},
		{Key{
			Name: "total", Type: "duration", Default: "20s",
			Doc:     "For the whole try.",
			Example: `total = "20s"`,
		}, text(func(t *Timeouts) *time.Duration { return &t.Total }, phase)},
	}
}

// howFields say with what.
func howFields() []field[Sweep] {
	return []field[Sweep]{
		{Key{
			Name: "resolver", Type: "list of strings", Default: "the system's",
			Doc:     "The resolvers, as addresses with or without a port.",
			Example: `resolver = ["127.0.0.1", "[::1]:5300"]`,
		}, texts(func(s *Sweep) *[]netip.AddrPort { return &s.Resolvers }, parseResolver)},
		{Key{
			Name: "control", Type: "list of strings", Default: "the sites of this fleet, if its POPs have public addresses",
			Doc:     "Known-good URLs that tell whether our own line is well.",
			Example: `control = ["https://www.example.org/"]`,
		}, texts(func(s *Sweep) *[]string { return &s.Controls }, parseControl)},
		{Key{
			Name: "engine", Type: "string", Default: "fast",
			Doc:     "What asks: fast (epoll, on Linux) or plain (goroutines).",
			Example: `engine = "plain"`,
		}, text(func(s *Sweep) *string { return &s.Engine }, oneOf("fast", "plain"))},
		{Key{
			Name: "queue", Type: "string", Default: "local",
			Doc:     "Where the shards of a list wait: local.",
			Example: `queue = "local"`,
		}, text(func(s *Sweep) *string { return &s.Queue }, oneOf("local"))},
		{Key{
			Name: "metrics", Type: "string", Default: "none",
			Doc:     "The address for Prometheus' metrics, as host:port.",
			Example: `metrics = "127.0.0.1:9100"`,
		}, text(func(s *Sweep) *string { return &s.Metrics }, parseListen)},
		{Key{
			Name: "vantage", Type: "string", Default: "the machine's host name",
			Doc:     "What the place is called from which is asked.",
			Example: `vantage = "sydney"`,
		}, text(func(s *Sweep) *string { return &s.Vantage }, parseText)},
		{Key{
			Name: "roots", Type: "string", Default: "none",
			Doc:     "A file of certificates in PEM form that are trusted beside the system's.",
			Example: `roots = "ca.pem"`,
		}, text(func(s *Sweep) *string { return &s.Roots }, parseDirectory)},
		{Key{
			Name: "prices", Type: "string", Default: "the built-in table",
			Doc:     "A file of prices for the bill of a run.",
			Example: `prices = "prices.toml"`,
		}, text(func(s *Sweep) *string { return &s.Prices }, parseDirectory)},
	}
}
