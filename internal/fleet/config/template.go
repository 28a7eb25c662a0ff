package config

import (
	"cmp"
	"fmt"
	"strings"
)

// TemplateOptions say what is in a first fleet file.
type TemplateOptions struct {
	Fleet string // the fleet's name; "" is "myfleet"
	Site  string // the site's host name; "" is "example.org"
	Files string // the site's directory; "" is "./public"
}

func (o TemplateOptions) withDefaults() TemplateOptions {
	o.Fleet = cmp.Or(o.Fleet, "myfleet")
	o.Site = cmp.Or(o.Site, "example.org")
	o.Files = cmp.Or(o.Files, "./public")
	return o
}

// Template returns a commented fleet file with a name and one site, and with
// everything else commented out: lines of TOML begin with "#", words with "# ".
// With options that are valid it parses; others are written as they are, for
// [Parse] to point at.
func Template(o TemplateOptions) []byte {
	o = o.withDefaults()
	sub := func(label string) string { return tomlString(label + "." + o.Site) }
	return []byte(strings.NewReplacer(
		"{fleet}", tomlString(o.Fleet),
		"{site}", tomlString(o.Site),
		"{files}", tomlString(o.Files),
		"{www}", sub("www"),
		"{app}", sub("app"),
		"{img}", sub("img"),
		"{bot}", sub("bot"),
	).Replace(template))
}

// tomlString returns s as a basic string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

const template = `# penny.toml: the whole fleet. ` + "`penny check`" + ` says what is wrong with it.
# Lines that begin with # are comments; the settings among them are examples.

# The fleet's name: letters, digits and hyphens.
fleet = {fleet}


# ---- The machines. One table for each; the name is yours to choose. ----

#[pops.au]
# What visitors reach, IPv4 and IPv6.
#addresses = ["203.0.113.10", "2001:db8:a::10"]
# What to listen on, if the machine is behind NAT and has other addresses.
#bind = ["10.0.0.5", "2001:db8:a::10"]
# How ssh calls the machine, for the first contact.
#ssh = "root@203.0.113.10"
# Where it stands; visitors are sent to the nearest.
#place = "Sydney"
# What it costs, for ` + "`penny cost`" + `.
#price = "5 USD/month"
# Serves visitors of whom nothing else is known.
#default = true
# A web server that was here first: names that are not yours go to it.
#beside = "127.0.0.1:8443"

#[pops.ny]
#addresses = ["198.51.100.20"]
#place = "New York"
#price = "12 USD/year"


# ---- The sites. The host name is in quotes. ----

[sites.{site}]
# A directory, seen from this file.
files = {files}
# Further names of the same site.
#also = [{www}]
# Whose rules _headers and _redirects follow: netlify or cloudflare.
#dialect = "netlify"
# How long browsers shall insist on https. Hard to take back: begin small.
#hsts = "1d"

#[sites.{app}]
# A program and its content: how to build it, how to run it, what it serves,
# and a path that answers when it is ready.
#app = { build = "make server GOARCH=$ARCH", run = "./server", files = "./content", health = "/healthz" }
# Keep what may be kept in a cache at every machine.
#cache = true

#[sites.{img}]
# A server elsewhere that has the content.
#origin = "https://bucket.example.net"
#cache = true


# ---- Everything below has defaults. ----

#[edge]
# Proxies before the machines that may say whom a request is from,
#trusted_proxies = ["10.0.0.0/8"]
# and that begin each connection with a PROXY header.
#proxy_protocol = true

# What one visitor can take of a machine.
#[edge.limits]
# Bytes and fields of a request's head.
#header_bytes = 32768
#header_fields = 100
# Time for the head to arrive, and between two requests.
#header_timeout = "10s"
#idle_timeout = "2m"
# Bytes a second below which a transfer is cut.
#min_rate = 500
# Connections of one address, and requests at once on one of them.
#connections_per_client = 100
#streams_per_connection = 100

#[steer]
# Where the nearest machine is not the best one: by continent (AF AN AS EU NA OC
# SA) or country (two letters).
#map = { NA = "ny", JP = "au" }

#[certs]
# Where the certificate authority writes to.
#email = "me@example.org"
# letsencrypt, letsencrypt-staging, or the URL of an ACME directory.
#ca = "letsencrypt"

#[watch]
# How often every machine is asked.
#every = "30s"
# Where to tell you that one is down.
#alert = ["ntfy://ntfy.sh/my-topic"]

# How ` + "`penny sweep`" + ` asks; its flags go before what is here.
#[sweep]
# How the owner of a target reaches you: in every request of a sweep.
#contact = "mailto:me@example.org"
# What every request calls its sender, instead of penny.
#user_agent = "examplebot/1.0"
# Where the fleet shows who sweeps, and how to opt out; and the file of those
# who did, which ` + "`penny sweep optout`" + ` edits.
#optout = {bot}
#optout_list = "optout.txt"
# Networks and names that are not asked, in files.
#block = ["block.txt"]
# Ask for robots.txt first, and obey it.
#robots = true
# Ask private and loopback addresses too.
#allow_private = true

# What is asked: first, both, only or never https; with www. or without; how
# many redirects and retries; GET or HEAD; bytes of a body; other ports.
#https = "first"
#www = true
#follow = 5
#retries = 1
#method = "GET"
#body = "64k"
#ports = { 80 = 18080, 443 = 18443 }
# Of which column of the list, if it is not found; and what dead means.
#column = "domain"
#definition = ['nameless=verdict startsWith "dns."']
# Where the rows go: parquet, jsonl or csv.
#output = "run"
#format = "parquet"

# How fast: targets and questions under way, and requests a time.
#concurrency = 8000
#dns_concurrency = 2000
#rate = "5000/s"
#per_address = "2/s"
#per_network = "50/s"
#per_domain = "30/m"
#per_resolver = "500/s"
# No limits at all, for machines of your own.
#no_pacing = true
# One time for all phases, or by phase.
#timeout = { dns = "3s", connect = "5s", tls = "8s", first_byte = "10s", total = "20s" }

# Who resolves names, and what is known to answer as long as our line is well.
#resolver = ["127.0.0.1"]
#control = ["https://www.example.org/"]
# fast or plain; where the shards wait; where Prometheus looks.
#engine = "fast"
#queue = "local"
#metrics = "127.0.0.1:9100"
# What this place is called, whom to trust beside the system's CAs, and what
# machines cost.
#vantage = "sydney"
#roots = "ca.pem"
#prices = "prices.toml"

#[health]
# Servers of others: with two machines, one that reaches none of them does not
# judge the other.
#outside = ["one.one.one.one:443", "dns.quad9.net:443"]

#[retention]
# What machines keep to go back to: so many releases, and all of so many days; and
# how long a preview is to be seen.
#releases = 10
#days = 7
#preview = "14d"
`
