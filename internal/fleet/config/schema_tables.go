package config

import (
	"errors"
	"net/netip"
	"time"
)

func edgeFields() []field[Edge] {
	return []field[Edge]{
		{Key{
			Name: "trusted_proxies", Type: "list of strings", Default: "none",
			Doc:     "Networks and addresses of proxies before the POPs that may say whom a request is from.",
			Example: `trusted_proxies = ["10.0.0.0/8"]`,
		}, texts(func(e *Edge) *[]netip.Prefix { return &e.TrustedProxies }, parseProxy)},
		{Key{
			Name: "proxy_protocol", Type: "true or false", Default: "false",
			Doc:     "The trusted proxies begin each connection with a PROXY header.",
			Example: `proxy_protocol = true`,
		}, truth(func(e *Edge) *bool { return &e.ProxyProtocol })},
		{Key{
			Name: "limits", Type: "table", Default: "built-in limits",
			Doc:     "What one visitor can take of a POP.",
			Example: `[edge.limits]`,
		}, section(func(e *Edge) *Limits { return &e.Limits }, "[edge.limits]", limitFields)},
	}
}

func limitFields() []field[Limits] {
	return []field[Limits]{
		{Key{
			Name: "header_bytes", Type: "integer", Default: "built in",
			Doc:     "Bytes of a request's head, from 1024 to 1048576.",
			Example: `header_bytes = 32768`,
		}, count(func(l *Limits) *int { return &l.HeaderBytes }, 1<<10, 1<<20)},
		{Key{
			Name: "header_fields", Type: "integer", Default: "built in",
			Doc:     "Fields of a request's head, from 10 to 10000.",
			Example: `header_fields = 100`,
		}, count(func(l *Limits) *int { return &l.HeaderFields }, 10, 10_000)},
		{Key{
			Name: "header_timeout", Type: "duration", Default: "built in",
			Doc:     "Time for the whole head to arrive, from 1s to 1h.",
			Example: `header_timeout = "10s"`,
		}, text(func(l *Limits) *time.Duration { return &l.HeaderTimeout }, between(time.Second, time.Hour))},
		{Key{
			Name: "idle_timeout", Type: "duration", Default: "built in",
			Doc:     "Time between two requests of a connection, from 1s to 1d.",
			Example: `idle_timeout = "2m"`,
		}, text(func(l *Limits) *time.Duration { return &l.IdleTimeout }, between(time.Second, 24*time.Hour))},
		{Key{
			Name: "min_rate", Type: "integer", Default: "built in",
			Doc:     "Bytes a second below which a transfer is cut, from 1 to 1000000.",
			Example: `min_rate = 500`,
		}, count(func(l *Limits) *int { return &l.MinRate }, 1, 1_000_000)},
		{Key{
			Name: "connections_per_client", Type: "integer", Default: "built in",
			Doc:     "Connections of one address, from 1 to 1000000.",
			Example: `connections_per_client = 100`,
		}, count(func(l *Limits) *int { return &l.ConnectionsPerClient }, 1, 1_000_000)},
		{Key{
			Name: "streams_per_connection", Type: "integer", Default: "built in",
			Doc:     "Requests at once on one HTTP/2 or HTTP/3 connection, from 1 to 10000.",
			Example: `streams_per_connection = 100`,
		}, count(func(l *Limits) *int { return &l.StreamsPerConnection }, 1, 10_000)},
	}
}

func steerFields() []field[Steer] {
	return []field[Steer]{
		{Key{
			Name: "map", Type: "table", Default: "none",
			Doc: "The POP for a continent (AF AN AS EU NA OC SA) or for a country (two letters of ISO 3166-1; a country goes before its continent). " +
				"The four countries whose letters stand for a continent have three here: AFG, ASM, NAM, SAU.",
			Example: `map = { NA = "ny", EU = "fr", JP = "au" }`,
		}, setMap},
	}
}

func certsFields() []field[Certs] {
	return []field[Certs]{
		{Key{
			Name: "email", Type: "string", Default: "none",
			Doc:     "Where the certificate authority writes to.",
			Example: `email = "me@example.org"`,
		}, text(func(c *Certs) *string { return &c.Email }, parseEmail)},
		{Key{
			Name: "ca", Type: "string", Default: LetsEncrypt,
			Doc:     "Who issues certificates: letsencrypt, letsencrypt-staging, or the https URL of an ACME directory.",
			Example: `ca = "letsencrypt"`,
		}, text(func(c *Certs) *string { return &c.CA }, parseCA)},
	}
}

func watchFields() []field[Watch] {
	return []field[Watch]{
		{Key{
			Name: "every", Type: "duration", Default: "30s",
			Doc:     "How often every POP is asked, from 1s to 1d.",
			Example: `every = "30s"`,
		}, text(func(w *Watch) *time.Duration { return &w.Every }, between(time.Second, 24*time.Hour))},
		{Key{
			Name: "alert", Type: "list of strings", Default: "none",
			Doc:     "Where alerts go, as URLs. They are treated as secrets.",
			Example: `alert = ["ntfy://ntfy.sh/my-topic"]`,
		}, texts(func(w *Watch) *[]AlertURL { return &w.Alert }, parseAlert)},
	}
}

func healthFields() []field[Health] {
	return []field[Health]{
		{Key{
			Name: "outside", Type: "list of strings", Default: "none",
			Doc:     "Servers of others, as host:port. With two POPs, one must reach some of them before it judges the other.",
			Example: `outside = ["one.one.one.one:443", "dns.quad9.net:443"]`,
		}, texts(func(h *Health) *[]string { return &h.Outside }, parseHostPort)},
	}
}

func retentionFields() []field[Retention] {
	return []field[Retention]{
		{Key{
			Name: "releases", Type: "integer", Default: "10",
			Doc:     "How many of the latest releases that were served are kept, from 1 to 1000.",
			Example: `releases = 10`,
		}, count(func(r *Retention) *int { return &r.Releases }, 1, 1000)},
		{Key{
			Name: "days", Type: "integer", Default: "7",
			Doc:     "How many days every release is kept since it came or was last served, from 1 to 3650.",
			Example: `days = 7`,
		}, count(func(r *Retention) *int { return &r.Days }, 1, 3650)},
		{Key{
			Name: "preview", Type: "duration", Default: "14d",
			Doc:     "How long `penny deploy --preview` shows a release, from 1m to 366d.",
			Example: `preview = "14d"`,
		}, text(func(r *Retention) *time.Duration { return &r.Preview }, parsePreview)},
	}
}

// parsePreview returns how long a preview lasts.
func parsePreview(s string) (time.Duration, *flaw) {
	return between(time.Minute, 366*24*time.Hour)(s)
}

// ParsePreview returns a duration as `preview` has it, such as "14d", for flags that
// mean the same.
func ParsePreview(s string) (time.Duration, error) {
	d, f := parsePreview(s)
	if f != nil {
		return 0, errors.New(f.what + ": " + f.hint)
	}
	return d, nil
}
