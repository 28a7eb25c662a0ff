package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sweep is how `penny sweep` asks, unless its flags say otherwise. What is nil,
// empty or zero is not said.
type Sweep struct {
	Contact string // a mailto: or https: URL
	Agent   string // instead of penny's own, printable ASCII

	OptOut     string // the host name of the opt-out page
	OptOutList string // a file of names and networks that have opted out

	Output  string // the run's directory
	Format  string // parquet, jsonl or csv
	Column  string // of the targets, by its name or number
	HTTPS   string // first, only, never or both
	WWW     *bool
	Follow  *int   // redirects
	Retries *int   // further tries
	Method  string // GET or HEAD
	Body    int    // bytes of a body
	Robots  *bool

	Concurrency    int      // targets under way
	DNSConcurrency int      // questions under way
	Rate           *float64 // requests a second in all; 0: no limit, as below
	PerAddress     *float64 // requests a second to one address
	PerNetwork     *float64 // requests a second to one /24 or /48
	PerDomain      *float64 // requests a second to one registrable domain
	PerResolver    *float64 // questions a second to one resolver
	NoPacing       bool
	Timeout        Timeouts
	Resolvers      []netip.AddrPort

	Block        []string // files of networks and names
	AllowPrivate bool
	Ports        map[uint16]uint16 // which port is asked instead of which
	Controls     []string          // known-good URLs
	Definitions  []string          // names, or expressions; not parsed
	Queue        string            // local
	Metrics      string            // host:port
	Engine       string            // fast or plain
	Vantage      string
	Roots        string // a file of certificates
	Prices       string // a file
}

// Timeouts are how long the phases of a try may take.
type Timeouts struct {
	DNS, Connect, TLS, FirstByte, Total time.Duration
}

// The limits of numbers in [sweep].
const (
	minPhase = 10 * time.Millisecond
	maxPhase = 10 * time.Minute
	maxRate  = 1e9
	maxBody  = 64 << 20 // of one body: a sweep keeps samples
)

// resolve makes the paths of s relative to where dir is.
func (s *Sweep) resolve(dir string) {
	for _, path := range []*string{&s.OptOutList, &s.Output, &s.Roots, &s.Prices} {
		*path = under(dir, *path)
	}
	for i := range s.Block {
		s.Block[i] = under(dir, s.Block[i])
	}
}

// setSweep reads [sweep]. The opt-out page is a site, and names the contact.
func setSweep(d *decoder, f *Fleet, k Key, e entry) {
	section(func(f *Fleet) *Sweep { return &f.Sweep }, "[sweep]", sweepFields)(d, f, k, e)
	if e.value.kind != kindTable {
		return
	}
	t := e.value.table
	if host, ok := t.lookup("optout"); ok && !t.mentions("contact") && !d.doc.broken {
		d.wrong(host.at, "`optout` without `contact`: the page could not say whom to write to", `add a line such as contact = "mailto:me@example.org"`)
	}
	if pacing, ok := t.lookup("no_pacing"); ok && f.Sweep.NoPacing && !f.Sweep.AllowPrivate && !d.doc.broken {
		d.wrong(pacing.at, "`no_pacing` without `allow_private`: it is for machines of your own, others would be flooded", "raise `per_address` and `per_network`; for your own machines add allow_private = true")
	}
}

// setOptOut reads `optout`, whose host is like that of a site. Sites may follow in
// the file, so it is claimed when all are known.
func setOptOut(d *decoder, s *Sweep, k Key, e entry) {
	host, ok := parsed(d, k, e.name, e.value, parseHost)
	if !ok {
		return
	}
	s.OptOut = host
	d.later(func() {
		if first, taken := d.hosts[host]; taken {
			d.wrong(e.value.at, fmt.Sprintf("`optout`: %s is a site already, in %s on line %d", host, first.owner, first.line), "delete one of them, or name another host: the page is a site of its own")
			return
		}
		d.hosts[host] = claim{"[sweep]", e.at.Line}
	})
}

// setTimeout reads `timeout`: one time for every phase, or a table of them.
func setTimeout(d *decoder, s *Sweep, k Key, e entry) {
	if e.value.kind == kindTable {
		fill(d, &s.Timeout, e.value.table, "[sweep.timeout]", timeoutFields())
		return
	}
	all, ok := parsed(d, Key{Name: k.Name, Type: "duration", Example: k.Example}, e.name, e.value, between(minPhase, maxPhase))
	if ok {
		s.Timeout = Timeouts{DNS: all, Connect: all, TLS: all, FirstByte: all, Total: all}
	}
}

// setPorts reads `ports`.
func setPorts(d *decoder, s *Sweep, k Key, e entry) {
	t, ok := d.asTable(k, e)
	if !ok {
		return
	}
	if len(t.entries) == 0 {
		d.wrong(e.value.at, "`ports`: the table is empty", "for example: "+k.Example)
	}
	s.Ports = make(map[uint16]uint16)
	for _, pair := range t.entries {
		from, f := parsePort(pair.name)
		if f != nil {
			d.wrong(pair.at, "`ports`: "+f.what, f.hint)
			continue
		}
		if pair.value.kind != kindInteger {
			d.mismatch(pair.name, "a port", pair.value, "for example: "+k.Example)
			continue
		}
		to, f := parsePort(strings.ReplaceAll(pair.value.text, "_", ""))
		if f != nil {
			d.wrong(pair.value.at, "`ports`: "+f.what, f.hint)
			continue
		}
		s.Ports[from] = to
	}
}

// parsePort returns a port.
func parsePort(s string) (uint16, *flaw) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, &flaw{quote(s) + " is not a port", "write a number from 1 to 65535"}
	}
	return uint16(n), nil
}

// rate sets a number of requests a time.
func rate[T any](at func(*T) **float64) setter[T] {
	return func(d *decoder, into *T, k Key, e entry) {
		switch {
		case e.value.kind == kindInteger && e.value.text == "0":
			*at(into) = new(float64)
		case e.value.kind == kindInteger || e.value.kind == kindFloat:
			d.mismatch(e.name, "a rate in quotes", e.value, fmt.Sprintf("write %q if so many a second are meant", shorten(e.value.text)+"/s"))
		default:
			if r, ok := parsed(d, k, e.name, e.value, parseRate); ok {
				*at(into) = &r
			}
		}
	}
}

// parseRate returns how many a second "2/s", "600/m" or "7200/h" are. "0" is no
// limit.
func parseRate(s string) (float64, *flaw) {
	number, unit, found := strings.Cut(s, "/")
	per, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseFloat(number, 64)
	plain := strings.Trim(number, "0123456789.") == "" // no exponents, no NaN
	if s == "0" {
		return 0, nil
	}
	if err != nil || !plain || !found || !known {
		return 0, &flaw{quote(s) + " is not a rate", `write something like "2/s", "600/m" or "7200/h", or "0" for no limit`}
	}
	if n /= per; n > maxRate {
		return 0, &flaw{quote(s) + " is too much", `write "0" for no limit`}
	}
	return n, nil
}

// parseBody returns a number of bytes, such as "64k".
func parseBody(s string) (int, *flaw) {
	number := strings.TrimRight(s, "kKmM")
	scale, known := map[string]uint64{"": 1, "k": 1 << 10, "m": 1 << 20}[strings.ToLower(s[len(number):])]
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !known {
		return 0, &flaw{quote(s) + " is not a size", `write something like "65536", "64k" or "1M"`}
	}
	if n == 0 || n*scale > maxBody {
		return 0, &flaw{quote(s) + " is out of range", `write a size from "1" to "64M"`}
	}
	return int(n * scale), nil
}

// parseResolver returns the address of a resolver, with port 53 where there is
// none.
func parseResolver(s string) (netip.AddrPort, *flaw) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		host, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
		if err != nil {
			return netip.AddrPort{}, &flaw{quote(s) + " is not an address", `write something like "127.0.0.1" or "[::1]:5300"`}
		}
		addr = netip.AddrPortFrom(host, 53)
	}
	if addr.Port() == 0 || addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() {
		return netip.AddrPort{}, &flaw{quote(s) + " is no address to ask", `write something like "127.0.0.1" or "[::1]:5300"`}
	}
	return addr, nil
}

// parseControl returns s, a URL that is known to answer.
func parseControl(s string) (string, *flaw) {
	_, f := parseWeb(s, "http", "https")
	return s, f
}

// parseListen returns s, an address to listen on.
func parseListen(s string) (string, *flaw) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", &flaw{quote(s) + " is not an address with a port", `write something like "127.0.0.1:9100"`}
	}
	if _, f := parsePort(port); f != nil {
		return "", f
	}
	if host != "" && !isAddress(host) && nameFlaw(strings.ToLower(host)) != "" {
		return "", &flaw{quote(host) + " is neither an address nor a host name", `write something like "127.0.0.1:9100"`}
	}
	return s, nil
}

// parseAgent returns s, which goes into a header.
func parseAgent(s string) (string, *flaw) {
	if strings.TrimSpace(s) == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", &flaw{quote(s) + " cannot be sent in a header", "write printable ASCII"}
	}
	return s, nil
}

// oneOf returns a parser of some words.
func oneOf(words ...string) func(string) (string, *flaw) {
	last := len(words) - 1
	listed := strings.Join(words[:last], ", ") + " or " + words[last]
	if last == 0 {
		listed = words[0] + ", or leave the key out"
	}
	return func(s string) (string, *flaw) {
		if slices.Contains(words, s) {
			return s, nil
		}
		return "", &flaw{quote(s) + " is not possible here", didYouMean(s, words, "write "+listed)}
	}
}

// optional sets what a pointer points to, so that nothing and zero differ.
func optional[T, V any](at func(*T) **V, set func(func(*T) *V) setter[T]) setter[T] {
	return set(func(into *T) *V {
		v := new(V)
		*at(into) = v
		return v
	})
}
