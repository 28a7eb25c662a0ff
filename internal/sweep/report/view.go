package report

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/cost"
	"pennyfarthing/internal/verdict"
)

// topNames is how many servers, networks and types of content are shown.
const topNames = 10

// A line is a line of a table that both forms show: what, how many, and of how many.
type line struct {
	Name  string
	Text  string // for people; may be empty
	Class string // of verdict, for colours; may be empty
	N     int64
	Of    int64
}

func (l line) Count() string { return number(l.N) }
func (l line) Share() string { return share(l.N, l.Of) }

// classText says for people who said no.
func classText(c verdict.Class) string {
	switch c {
	case verdict.Answered:
		return "whole, with TLS in order"
	case verdict.HTTP:
		return "no HTTP, or cut short"
	case verdict.TLS:
		return "TLS failed or in doubt"
	case verdict.TCP:
		return "no connection"
	case verdict.DNS:
		return "no address"
	case verdict.Skip:
		return "not asked"
	case verdict.Self:
		return "our own fault"
	case verdict.Unknown:
		return "unknown"
	}
	return c.String()
}

// allClasses are in the order in which they are shown.
func allClasses() []verdict.Class {
	return []verdict.Class{verdict.Answered, verdict.HTTP, verdict.TLS, verdict.TCP, verdict.DNS, verdict.Skip, verdict.Self, verdict.Unknown}
}

func (r *Report) classes() []line {
	var all []line
	for _, c := range allClasses() {
		if n := r.Summary.Classes[c.String()]; n > 0 {
			all = append(all, line{c.String(), classText(c), c.String(), n, r.Summary.Targets})
		}
	}
	return all
}

// more says how many of the classes that are no answers have given one all the same; it
// is empty where none has.
func (r *Report) more() string {
	s := r.Summary
	n := s.Answered - s.Classes[verdict.Answered.String()]
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf("%s of the others gave an HTTP answer too, with its TLS in doubt or its body cut short: %s, or %s, did in all.", number(n), number(s.Answered), share(s.Answered, s.Targets))
}

// verdicts are in the order of the classes, the more frequent first within one.
func (r *Report) verdicts() []line {
	var all []line
	order := map[string]int{}
	for i, c := range allClasses() {
		order[c.String()] = i
	}
	for name, n := range r.Summary.Verdicts {
		l := line{Name: plain(name, 30), Class: verdict.Unknown.String(), N: n, Of: r.Summary.Targets}
		if code, err := verdict.Parse(name); err == nil {
			l.Text, l.Class = code.Text(), code.Class().String()
		} else {
			l.Text = "not a verdict that this penny knows"
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b line) int {
		return cmp.Or(cmp.Compare(order[a.Class], order[b.Class]), cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func (r *Report) statuses() []line {
	var all []line
	for s, n := range r.Summary.Statuses {
		l := line{Name: strconv.Itoa(int(s)), Text: http.StatusText(int(s)), N: n, Of: r.Summary.Answered}
		if s == 0 {
			l.Name, l.Text = "other", "not from 100 to 999"
		}
		all = append(all, l)
	}
	return most(all, 15)
}

// most are the n lines with the highest counts, and one for the rest.
func most(all []line, n int) []line {
	slices.SortFunc(all, func(a, b line) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	if len(all) <= n {
		return all
	}
	rest := line{Name: "others", Text: fmt.Sprintf("%s more", number(int64(len(all)-n))), Of: all[0].Of}
	for _, l := range all[n:] {
		rest.N += l.N
	}
	return append(all[:n:n], rest)
}

func names(f *Frequent, n int) []line {
	all := make([]line, 0, n)
	for _, c := range f.Top(n) {
		all = append(all, line{Name: plain(c.Name, 50), N: c.Count, Of: f.Total()})
	}
	return all
}

// doubt says by how much the counts of names may be too low; empty where they are
// exact.
func doubt(f *Frequent) string {
	if f.Error() == 0 {
		return ""
	}
	return fmt.Sprintf("There were more different ones than are kept: each count may be too low by %s at most.", number(f.Error()))
}

func (r *Report) tlsVersions() []line {
	var all []line
	sum := int64(0)
	for _, n := range r.Summary.TLSVersions {
		sum += n
	}
	for _, v := range slices.Sorted(maps.Keys(r.Summary.TLSVersions)) {
		all = append(all, line{Name: "TLS " + plain(v, 10), N: r.Summary.TLSVersions[v], Of: sum})
	}
	return all
}

func (r *Report) certificates() []line {
	c := r.Summary.Certificates
	if c.Seen == 0 {
		return nil
	}
	return []line{
		{Name: "seen", N: c.Seen, Of: c.Seen},
		{Name: "out of date", N: c.Expired, Of: c.Seen},
		{Name: "within 30 days", Text: "expire soon", N: c.Soon, Of: c.Seen},
	}
}

func (r *Report) redirects() []line {
	q := r.Summary.Redirects
	if q.Followed == 0 {
		return nil
	}
	var all []line
	for _, l := range []line{
		{Name: "followed", Text: "a redirect or more", N: q.Followed, Of: r.Summary.Targets},
		{Name: "to https", Text: "began with http", N: q.ToHTTPS, Of: q.Followed},
		{Name: "to http", Text: "began with https", N: q.ToHTTP, Of: q.Followed},
		{Name: "to www", Text: "www. before the name", N: q.ToWWW, Of: q.Followed},
		{Name: "from www", Text: "www. taken away", N: q.FromWWW, Of: q.Followed},
		{Name: "off-site", Text: "to a name of another owner", N: q.OffSite, Of: q.Followed},
	} {
		if l.N > 0 {
			all = append(all, l)
		}
	}
	return all
}

func (r *Report) triesATarget() []line {
	var all []line
	for _, n := range slices.Sorted(maps.Keys(r.Summary.TriesATarget)) {
		l := line{Name: strconv.Itoa(int(n)), N: r.Summary.TriesATarget[n], Of: r.Summary.Targets}
		if n == maxTries {
			l.Name += " or more"
		}
		all = append(all, l)
	}
	return all
}

// A phase is a histogram and its name.
type phase struct {
	Name string
	H    *Histogram
}

func (p phase) N() string   { return number(p.H.N()) }
func (p phase) P50() string { return short(p.H.Quantile(.5)) }
func (p phase) P95() string { return short(p.H.Quantile(.95)) }
func (p phase) P99() string { return short(p.H.Quantile(.99)) }

func (r *Report) phases() []phase {
	p := &r.Summary.Phases
	var all []phase
	for _, one := range []phase{{"DNS", &p.DNS}, {"connect", &p.Connect}, {"TLS", &p.TLS}, {"first byte", &p.FirstByte}, {"whole try", &p.Total}} {
		if one.H.N() > 0 {
			all = append(all, one)
		}
	}
	return all
}

// A definitionView is a definition and its classes, the more frequent first.
type definitionView struct {
	Name  string
	Lines []line
}

func (r *Report) definitions() []definitionView {
	var all []definitionView
	for _, d := range r.Summary.Definitions {
		v := definitionView{Name: plain(d.Name, 60)}
		for class, n := range d.Classes {
			v.Lines = append(v.Lines, line{Name: plain(class, 30), N: n, Of: r.Summary.Targets})
		}
		v.Lines = most(v.Lines, maxClasses)
		all = append(all, v)
	}
	return all
}

// A fact is a name and what is known.
type fact struct{ Name, Value string }

// key are the numbers that come first.
func (r *Report) key() []fact {
	f := &r.Facts
	all := []fact{
		{"targets", number(r.Summary.Targets)},
		{"any HTTP answer", share(r.Summary.Answered, r.Summary.Targets)},
	}
	if f.Wall > 0 {
		all = append(all, fact{"time", short(f.Wall)}, fact{"targets a second", strings.TrimSuffix(rate(r.perSecond(r.Summary.Targets)), "/s")})
	}
	if cpu := f.User + f.System; cpu > 0 {
		all = append(all, fact{"CPU s a million", number(int64(r.perMillion(cpu.Seconds()) + .5))})
	}
	if f.Received > 0 {
		all = append(all, fact{"received a million", size(r.perMillion(float64(f.Received)))})
	}
	return all
}

// identity is which run this was.
func (r *Report) identity() []fact {
	f := &r.Facts
	var all []fact
	add := func(name, value string) {
		if value != "" {
			all = append(all, fact{name, plain(value, 120)})
		}
	}
	add("run", f.ID)
	if f.Simnet {
		add("internet", "simulated on this machine")
	} else {
		add("list", strings.Join(f.Lists, ", "))
	}
	if !f.Started.IsZero() {
		when := moment(f.Started)
		switch {
		case f.Finished.IsZero():
			when += ", not finished"
		case f.Finished.UTC().Format(time.DateOnly) == f.Started.UTC().Format(time.DateOnly):
			when += " to " + f.Finished.UTC().Format(time.TimeOnly)
		default:
			when += " to " + moment(f.Finished)
		}
		add("when", when)
	}
	add("from", strings.TrimSpace(f.Vantage+" "+f.Address))
	add("user agent", f.Agent)
	add("penny", f.Version)
	return all
}

// moment is a time as reports have it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// running is how the run went.
func (r *Report) running() []fact {
	f, s := &r.Facts, r.Summary
	var all []fact
	add := func(name, value string) { all = append(all, fact{name, value}) }
	if f.Wall > 0 {
		add("time", short(f.Wall)+sessions(f.Sessions))
		add("targets", rate(r.perSecond(s.Targets)))
		if f.Tries > 0 {
			add("tries", fmt.Sprintf("%s, %s", number(f.Tries), rate(r.perSecond(f.Tries))))
		}
		if f.Queries > 0 {
			add("queries of the DNS", fmt.Sprintf("%s, %s", number(f.Queries), rate(r.perSecond(f.Queries))))
		}
	}
	if f.Paced {
		add("limit for all", limit(f.Rate))
		add("limit for an address", limit(f.AddressRate))
		add("limit for a network", limit(f.NetworkRate)+" (/24, /48)")
		if f.DomainRate > 0 {
			add("limit for a domain", limit(f.DomainRate))
		}
		add("limit for a resolver", limit(f.ResolverRate))
	} else {
		add("pacing", "none")
	}
	if f.Concurrency > 0 {
		add("in flight", "at most "+number(int64(f.Concurrency)))
	}
	if cpu := f.User + f.System; cpu > 0 {
		add("CPU", fmt.Sprintf("%s (user %s, system %s)", short(cpu), short(f.User), short(f.System)))
		add("CPU a million targets", fmt.Sprintf("%s s", number(int64(r.perMillion(cpu.Seconds())+.5))))
	}
	if f.Sent+f.Received > 0 {
		add("sent", fmt.Sprintf("%s, %s a million targets", size(float64(f.Sent)), size(r.perMillion(float64(f.Sent)))))
		add("received", fmt.Sprintf("%s, %s a million targets", size(float64(f.Received)), size(r.perMillion(float64(f.Received)))))
	}
	if f.PeakRSS > 0 {
		add("memory", size(float64(f.PeakRSS))+" at most")
	}
	return all
}

func sessions(n int) string {
	if n <= 1 {
		return ""
	}
	return fmt.Sprintf(" in %d sessions", n)
}

// trust is what speaks for and against the rows.
func (r *Report) trust() []fact {
	f := &r.Facts
	controls := "none were asked"
	if f.Controls > 0 {
		controls = fmt.Sprintf("%s of %s failed", number(f.ControlsFailed), number(f.Controls))
	}
	all := []fact{
		{"suspect rows", fmt.Sprintf("%s, %s", number(r.Summary.Suspect), share(r.Summary.Suspect, r.Summary.Targets))},
		{"controls", controls},
		{"own illness", short(time.Duration(f.IllSeconds) * time.Second)},
	}
	if f.IllSeconds == 0 {
		all[2].Value = "none"
	}
	if f.Lines > 0 || f.Listed > 0 {
		all = append(all,
			fact{"lines of the list", fmt.Sprintf("%s: %s targets, %s twice, %s bad", number(f.Lines), number(f.Listed), number(f.Duplicates), number(f.Bad))})
		if f.Finished.IsZero() && f.Listed > r.Summary.Targets {
			all = append(all, fact{"rows missing", number(f.Listed - r.Summary.Targets)})
		}
	}
	return all
}

// A billLine is a bill as a table has it.
type billLine struct {
	cost.Bill
	Machine, Time, Terms string
}

func (r *Report) bills() []billLine {
	var all []billLine
	for _, b := range r.Bills {
		l := billLine{Bill: b, Machine: plain(b.Name, 40), Time: cost.Time(b.Billed)}
		if b.Machines != 1 {
			l.Machine = fmt.Sprintf("%d × %s", b.Machines, l.Machine)
		}
		l.Terms = fmt.Sprintf("%s an hour on %s, billed by the %s", b.Hourly, plain(b.Date, 10), plain(b.Unit, 10))
		if len(b.Missing) > 0 {
			l.Terms += "; not in the table: " + plain(strings.Join(b.Missing, ", "), 40)
		}
		if len(b.Unverified) > 0 {
			l.Terms += "; unverified: " + plain(strings.Join(b.Unverified, ", "), 120)
		}
		if b.Stretched {
			l.Terms += "; the run would take " + short(b.Running) + " there"
		}
		all = append(all, l)
	}
	return all
}

// badLine is a sample of a bad line as one text.
func (r *Report) badLines() []fact {
	var all []fact
	for _, b := range r.Facts.BadLines[:min(len(r.Facts.BadLines), topNames)] {
		all = append(all, fact{fmt.Sprintf("%s:%d", plain(b.File, 40), b.Line), plain(b.Text, 60) + " – " + plain(b.Reason, 80)})
	}
	return all
}
