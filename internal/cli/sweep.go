package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/sweep"
	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/internal/sweep/target"
)

// rate is a flag for a number of requests a time: 2/s, 600/m, or 0 for no limit.
type rate float64

// Set reads a rate.
func (r *rate) Set(text string) error {
	number, unit, found := strings.Cut(text, "/")
	per, ok := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if !found {
		per, ok = 1, true
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !ok || !(n >= 0 && n <= 1e9) {
		return fmt.Errorf("%q is not a rate such as 2/s or 600/m", text)
	}
	*r = rate(n / per)
	return nil
}

// String writes the rate.
func (r *rate) String() string {
	if *r == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*r), 'g', 6, 64) + "/s"
}

// Type names the flag's value in help.
func (r *rate) Type() string { return "rate" }

// portMap is a flag for ports that are asked instead of others: 80=18080,443=18443.
type portMap map[uint16]uint16

// Set reads pairs of ports.
func (p *portMap) Set(text string) error {
	for pair := range strings.SplitSeq(text, ",") {
		from, to, found := strings.Cut(strings.TrimSpace(pair), "=")
		a, errFrom := strconv.ParseUint(from, 10, 16)
		b, errTo := strconv.ParseUint(to, 10, 16)
		if !found || errFrom != nil || errTo != nil || a == 0 || b == 0 {
			return fmt.Errorf("%q is not a pair of ports such as 80=18080", pair)
		}
		if *p == nil {
			*p = portMap{}
		}
		(*p)[uint16(a)] = uint16(b)
	}
	return nil
}

// String writes the pairs.
func (p *portMap) String() string {
	var pairs []string
	for from, to := range *p {
		pairs = append(pairs, fmt.Sprintf("%d=%d", from, to))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// Type names the flag's value in help.
func (p *portMap) Type() string { return "pairs" }

// phases is a flag for timeouts: one for all, or by phase.
type phases struct {
	s     *sweep.Settings
	typed map[string]bool // names of phases
}

func (p *phases) fields() map[string]*time.Duration {
	return map[string]*time.Duration{
		"dns": &p.s.DNSTimeout, "connect": &p.s.ConnectTimeout, "tls": &p.s.TLSTimeout, "first-byte": &p.s.FirstByteTimeout, "total": &p.s.TotalTimeout,
	}
}

// Set reads timeouts: 5s, or connect=5s,total=20s.
func (p *phases) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(strings.TrimSpace(part), "=")
		if !found {
			name, value = "", name
		}
		d, err := time.ParseDuration(value)
		if err != nil || d < 10*time.Millisecond || d > 10*time.Minute {
			return fmt.Errorf("%q is not a time from 10ms to 10m, such as 5s", value)
		}
		field, known := p.fields()[name]
		switch {
		case known:
			*field = d
			p.note(name)
		case found:
			return fmt.Errorf("there is no phase %q; there are dns, connect, tls, first-byte and total", name)
		default:
			for name, field := range p.fields() {
				*field = d
				p.note(name)
			}
		}
	}
	return nil
}

func (p *phases) note(phase string) {
	if p.typed == nil {
		p.typed = map[string]bool{}
	}
	p.typed[phase] = true
}

// String writes the timeouts.
func (p *phases) String() string {
	if p.s == nil {
		return ""
	}
	return fmt.Sprintf("dns=%v,connect=%v,tls=%v,first-byte=%v,total=%v", p.s.DNSTimeout, p.s.ConnectTimeout, p.s.TLSTimeout, p.s.FirstByteTimeout, p.s.TotalTimeout)
}

// Type names the flag's value in help.
func (p *phases) Type() string { return "times" }

// resolvers is a flag for resolvers, which may come several times.
type resolvers []netip.AddrPort

// Set reads addresses, with port 53 where there is none.
func (r *resolvers) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		addr, err := netip.ParseAddrPort(part)
		if err != nil {
			only, alone := netip.ParseAddr(strings.Trim(part, "[]"))
			if alone != nil {
				return fmt.Errorf("%q is not an address such as 127.0.0.1 or [::1]:5300", part)
			}
			addr = netip.AddrPortFrom(only, 53)
		}
		*r = append(*r, addr)
	}
	return nil
}

// String writes the addresses.
func (r *resolvers) String() string {
	var list []string
	for _, addr := range *r {
		list = append(list, addr.String())
	}
	return strings.Join(list, ",")
}

// Type names the flag's value in help.
func (r *resolvers) Type() string { return "addresses" }

type sweepOptions struct {
	*globals
	settings  sweep.Settings
	dir       string
	noPacing  bool
	rate      rate
	address   rate
	network   rate
	domain    rate
	resolver  rate
	ports     portMap
	resolvers resolvers
	phases    phases
	body      size
	queue     string
	metrics   string
	roots     string
	file      string

	fleetControls bool // the controls are the sites of the fleet
	prices        string
	noReport      bool
	dnsOnly       bool
	simnet        int
	internet      simnetOptions
}

func newSweep(g *globals, env Env) *cobra.Command {
	o := &sweepOptions{globals: g, settings: sweep.Defaults()}
	cmd := &cobra.Command{
		Use:   "sweep LIST…",
		Short: "Ask every target of a list, and keep one row of evidence for each",
		Long: `Resolves every name of a list, asks it over HTTPS and HTTP, and writes one row of
evidence a target, with every try. LIST is a file, several, or - for standard
input: lines, CSV or TSV, also in .gz, .zst or .zip.

The rates are polite unless you say otherwise. A run that was interrupted goes on
when the same command is typed again, or with penny sweep resume.

Without a list, --simnet N sweeps a simulated internet on this machine.

What no flag says is taken from [sweep] of penny.toml, if it is there. The lists of
who opted out are always honoured: see penny sweep optout.`,
		Example: "  penny sweep --simnet 100000\n  penny sweep domains.csv --contact mailto:me@example.org\n  zcat names.gz | penny sweep - -o names.run --resolver 127.0.0.1",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSweep(cmd.Context(), o, cmd.Flags(), args, env)
		},
	}
	o.add(cmd.Flags())
	cmd.AddCommand(newSweepResume(g, env), newSweepReport(g, env), newSweepStatus(g, env), newSweepDiff(g, env), newSweepTrace(g, env), newSweepOptout(g, env))
	return cmd
}

func (o *sweepOptions) add(flags *pflag.FlagSet) {
	s := &o.settings
	o.address, o.network, o.resolver = rate(s.AddressRate), rate(s.NetworkRate), rate(s.ResolverRate)
	flags.StringVarP(&o.dir, "output", "o", "", "`directory` of the run (default runs/NAME-TIME)")
	flags.StringVar(&s.Format, "format", s.Format, "`format` of the rows: parquet, jsonl or csv")
	flags.StringVar(&s.Column, "column", "", "`column` of the targets, by its name or number")
	flags.StringVar(&s.HTTPS, "https", s.HTTPS, "`mode`: first, only, never or both")
	flags.BoolVar(&s.WWW, "www", s.WWW, "try the name with www., or without it, before it is called dead")
	flags.IntVar(&s.Follow, "follow", s.Follow, "follow up to `N` redirects")
	flags.IntVar(&s.Retries, "retries", s.Retries, "ask again `N` times what may pass")
	flags.StringVar(&s.Method, "method", s.Method, "`method`: GET or HEAD")
	flags.Var(&o.body, "body", "keep the hash of a sample of bodies (default what a title needs)")
	flags.BoolVar(&s.Robots, "robots", s.Robots, "ask for robots.txt first, and obey it")
	flags.StringVar(&s.Contact, "contact", "", "mail or URL for the owners of targets, in every request")
	flags.StringVar(&s.Agent, "user-agent", "", "`text` instead of penny's own, before the contact")
	flags.IntVar(&s.Concurrency, "concurrency", s.Concurrency, "at most `N` targets under way")
	flags.Var(&o.rate, "rate", "at most so many requests in all (default no limit)")
	flags.Var(&o.address, "per-address", "at most so many to one address")
	flags.Var(&o.network, "per-network", "at most so many to one /24 or /48")
	flags.Var(&o.domain, "per-domain", "at most so many to one registrable domain (default no limit)")
	flags.BoolVar(&o.noPacing, "no-pacing", false, "no limits to addresses, networks and domains; for private or simulated targets only")
	o.phases.s = s
	flags.Var(&o.phases, "timeout", "one for all phases, or by phase")
	flags.Var(&o.resolvers, "resolver", "resolvers (default the system's)")
	flags.Var(&o.resolver, "per-resolver", "at most so many questions to one resolver")
	flags.IntVar(&s.DNSConcurrency, "dns-concurrency", s.DNSConcurrency, "at most `N` questions under way")
	flags.StringArrayVar(&s.Block, "block", nil, "`file` of networks and names that are not asked")
	flags.StringArrayVar(&s.Optout, "optout", nil, "`file` of names whose owners have opted out")
	flags.BoolVar(&s.AllowPrivate, "allow-private", false, "ask private, loopback and link-local addresses too")
	flags.Var(&o.ports, "ports", "ask other ports: 80=18080,443=18443")
	flags.StringArrayVar(&s.Controls, "control", nil, "known-good `URL` that tells whether our own line is well")
	flags.StringArrayVar(&s.Definitions, "definition", nil, "what dead means: tonywang2024, strict, revised, or an `expression`")
	flags.StringVar(&o.queue, "queue", "local", "where the shards wait: local")
	flags.StringVar(&o.metrics, "metrics", "", "`address` for Prometheus' metrics")
	flags.StringVar(&s.Engine, "engine", s.Engine, "`engine`: fast (epoll) or plain (goroutines)")
	flags.StringVar(&o.roots, "roots", "", "`file` of certificates that are trusted beside the system's")
	flags.StringVar(&s.Vantage, "vantage", "", "`name` of where this machine is (default its host name)")
	flags.StringVarP(&o.file, "file", "f", "", "fleet `file` with the defaults of [sweep] (default penny.toml if it is there)")
	flags.StringVar(&o.prices, "prices", "", "`file` of prices for the bill")
	flags.IntVar(&o.simnet, "simnet", 0, "sweep `N` targets of a simulated internet on this machine")
	flags.StringVar(&o.internet.profile, "profile", "quick", "the simulated internet's `profile`: tonywang2024, quick or hostile")
	flags.Uint64Var(&o.internet.seed, "seed", 1, "the simulated internet's `seed`")
	flags.StringVar(&o.internet.latency, "latency", "", "the simulated internet's latency: real, none or a `factor` (default real, and none for quick)")
	flags.Float64Var(&o.internet.loss, "loss", 0, "`percent` of the DNS packets that the simulated internet loses")
	flags.BoolVar(&o.dnsOnly, "dns-only", false, "resolve the names, and ask nobody")
	flags.BoolVar(&o.noReport, "no-report", false, "write the rows, and no report")
	flags.SortFlags = true
}

// settle checks the flags and makes settings of them.
func (o *sweepOptions) settle(ctx context.Context, flags *pflag.FlagSet, args []string, env Env) error {
	s := &o.settings
	if o.simnet != 0 && !flags.Changed("https") {
		s.HTTPS = "both" // the tour shows what each definition makes of the same rows
	}
	s.Lists = args
	s.Rate, s.AddressRate, s.NetworkRate, s.DomainRate, s.ResolverRate = float64(o.rate), float64(o.address), float64(o.network), float64(o.domain), float64(o.resolver)
	s.Pacing, s.Ports, s.Resolvers, s.Body = !o.noPacing, o.ports, o.resolvers, int(o.body)
	if err := o.configure(flags, env); err != nil {
		return err
	}
	if o.simnet != 0 {
		o.internet.dns = "127.0.0.1:0"
		world, err := o.internet.world()
		if err != nil {
			return err
		}
		c, err := o.internet.config(world)
		if err != nil {
			return err
		}
		s.Simnet = &sweep.Simnet{Targets: o.simnet, Profile: o.internet.profile, Seed: o.internet.seed, Latency: c.Latency, Loss: c.Loss}
		s.Pacing = false
	}
	s.Simulated = s.Simnet != nil || simnet.Is(ctx, s.Resolvers)
	switch {
	case len(args) == 0 && o.simnet == 0:
		return &usageError{what: "there is no list to sweep", hint: "penny sweep domains.csv, or penny sweep --simnet 100000 to try it on a simulated internet"}
	case len(args) > 0 && o.simnet != 0:
		return &usageError{what: "--simnet brings its own targets, and takes no list", hint: "leave out one of the two"}
	case o.simnet < 0 || o.simnet > 100_000_000:
		return &usageError{what: fmt.Sprintf("--simnet %d is not a number of targets from 1 to 100000000", o.simnet), hint: "write --simnet 100000"}
	case !slices.Contains([]string{"parquet", "jsonl", "csv"}, s.Format):
		return &usageError{what: fmt.Sprintf("--format: there is no format %q", s.Format), hint: "write parquet, jsonl or csv"}
	case !slices.Contains([]string{"first", "only", "never", "both"}, s.HTTPS):
		return &usageError{what: fmt.Sprintf("--https: %q is no way to ask", s.HTTPS), hint: "write first, only, never or both"}
	case s.Method != "GET" && s.Method != "HEAD":
		return &usageError{what: fmt.Sprintf("--method: a sweep does not send %q", s.Method), hint: "write GET or HEAD: others may change what they ask for"}
	case s.Engine != "fast" && s.Engine != "plain":
		return &usageError{what: fmt.Sprintf("--engine: there is no engine %q", s.Engine), hint: "write fast or plain"}
	case o.queue != "local":
		return &usageError{what: fmt.Sprintf("--queue: there is no queue %q yet", o.queue), hint: "write local, or leave it out"}
	case s.Follow < 0 || s.Follow > 20:
		return &usageError{what: fmt.Sprintf("--follow %d is not from 0 to 20", s.Follow), hint: "browsers give up after 20"}
	case s.Retries < 0 || s.Retries > 10:
		return &usageError{what: fmt.Sprintf("--retries %d is not from 0 to 10", s.Retries), hint: "write --retries 1"}
	case s.Concurrency < 1 || s.Concurrency > 1_000_000:
		return &usageError{what: fmt.Sprintf("--concurrency %d is not from 1 to 1000000", s.Concurrency), hint: "leave it out: it follows what the machine can do"}
	case !s.Pacing && !s.AllowPrivate && o.simnet == 0 && !s.Simulated:
		return &usageError{
			what: "--no-pacing is for private or simulated targets: others would be flooded",
			hint: "leave it out, or raise --per-address and --per-network; for your own machines add --allow-private",
		}
	}
	if s.Contact != "" {
		if err := checkContact(s.Contact); err != nil {
			return err
		}
	}
	if strings.ContainsFunc(s.Agent+s.Contact, func(r rune) bool { return r < ' ' || r > '~' }) {
		return &usageError{what: "--user-agent and --contact go into a header: printable ASCII only", hint: "write mailto:me@example.org or https://example.org/bot"}
	}
	if s.Vantage == "" {
		s.Vantage, _ = os.Hostname()
	}
	return o.check()
}

// mostBody is how much of each body may be kept for its hash, in bytes.
const mostBody = 64 << 20

// check says early what would go wrong late.
func (o *sweepOptions) check() error {
	s := &o.settings
	switch {
	case o.body < 0 || o.body > mostBody:
		return &usageError{what: "--body: a sample has at most 64 MiB", hint: "write --body 1M"}
	case o.metrics != "" && !hasPort(o.metrics):
		return &usageError{what: fmt.Sprintf("--metrics %s is not an address with a port", o.metrics), hint: "write --metrics 127.0.0.1:9100"}
	}
	for _, text := range s.Controls {
		if _, err := target.Parse(text); err != nil {
			return &usageError{what: fmt.Sprintf("--control %s: not a target: %v", text, err), hint: "write --control https://www.example.org/"}
		}
	}
	_, err := definitions(&sweep.Manifest{Settings: *s}, nil)
	return err
}

func checkContact(contact string) error {
	if strings.HasPrefix(contact, "https://") || strings.HasPrefix(contact, "http://") || strings.Contains(contact, "@") {
		return nil
	}
	return &usageError{what: fmt.Sprintf("--contact: %q is neither a mail address nor a URL", contact), hint: "write mailto:me@example.org or https://example.org/bot"}
}

// progressLine says how far a run is, in one line.
func progressLine(p *sweep.Progress) string {
	var b strings.Builder
	total := thousands(p.Listed)
	if !p.AllListed {
		total += "+"
	}
	fmt.Fprintf(&b, "%s of %s targets", thousands(p.Asked+p.CommittedByEarlierRuns), total)
	if p.PerSecond > 0 {
		fmt.Fprintf(&b, ", %s/s", thousands(int64(p.PerSecond)))
	}
	if p.ETA > 0 {
		fmt.Fprintf(&b, ", %s left", roughly(p.ETA))
	}
	if n := p.Asked; n > 0 {
		var mix []string
		for _, class := range []string{"answered", "http", "tls", "tcp", "dns", "skip", "self"} {
			if c := p.Classes[class]; c > 0 {
				mix = append(mix, fmt.Sprintf("%s %s", class, percent(c, n)))
			}
		}
		fmt.Fprintf(&b, " | %s", strings.Join(mix, ", "))
	}
	fmt.Fprintf(&b, " | %s in flight", thousands(p.Active))
	if p.Parked > 0 {
		fmt.Fprintf(&b, ", %s waiting", thousands(p.Parked))
	}
	if p.Suspect > 0 {
		fmt.Fprintf(&b, ", %s suspect", thousands(p.Suspect))
	}
	if p.Ill {
		b.WriteString(" | our own line seems ill: waiting")
	}
	return b.String()
}

func percent(n, of int64) string {
	return strconv.FormatFloat(100*float64(n)/float64(of), 'f', 1, 64) + "%"
}

// thousands writes a number with commas.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// roughly writes a time that is to come.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()+1))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()+1))
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}

// A progressPrinter shows how far a run is: on a terminal in one line that changes,
// elsewhere a line now and then, as JSON with --json, and never with --quiet.
type progressPrinter struct {
	w        io.Writer
	terminal bool
	json     bool
	quiet    bool
	last     time.Time
	shown    bool
}

func newProgress(g *globals, env Env) *progressPrinter {
	return &progressPrinter{w: env.Stderr, terminal: isTerminal(env.Stderr), json: g.json, quiet: g.quiet}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progressPrinter) show(_ context.Context, now sweep.Progress) {
	const often, seldom = 500 * time.Millisecond, 10 * time.Second
	wait := seldom
	if p.terminal {
		wait = often
	}
	if p.quiet || now.At.Sub(p.last) < wait {
		return
	}
	first := p.last.IsZero()
	p.last = now.At
	switch {
	case p.json:
		_ = json.NewEncoder(p.w).Encode(map[string]any{"progress": now}) // nobody to tell
	case p.terminal:
		_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", cut(progressLine(&now), columns(p.w)-1))
		p.shown = true
	case !first:
		_, _ = fmt.Fprintln(p.w, progressLine(&now))
	}
}

// end leaves the line.
func (p *progressPrinter) end() {
	if p.shown {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// cut leaves at most n characters of a line.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(n-1, 0)]) + "…"
}

// columns is how wide a terminal is, 80 where it does not say.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n := terminalColumns(f); n > 1 {
			return n
		}
	}
	return 80
}
