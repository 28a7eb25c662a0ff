package report

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/target"
	"pennyfarthing/internal/verdict"
)

// A Judge puts a definition to a row: what it calls the row is one of few words.
type Judge struct {
	Name  string
	Class func(*evidence.Row) string
}

// limits of what a [Summary] keeps, beside those of [Frequent].
const (
	maxTries     = 16 // a target that took more is counted with those that took as many
	maxClasses   = 32 // of a definition; what comes later is "other"
	maxSoonest   = 20 // certificates
	maxName      = 80 // characters of a name of a stranger
	soon         = 30 * 24 * time.Hour
	otherClass   = "other"
	otherVerdict = "?"
)

// A Summary is what many rows come to. [NewSummary] makes one; it belongs to one
// goroutine. Its JSON form can be read back, merged and shown, but a summary that was
// read back has no judges.
type Summary struct {
	Targets      int64            `json:"targets"`
	Answered     int64            `json:"answered"` // with a status
	Suspect      int64            `json:"suspect"`
	Tries        int64            `json:"tries"`
	First        time.Time        `json:"first,omitzero"` // observation
	Last         time.Time        `json:"last,omitzero"`
	Verdicts     map[string]int64 `json:"verdicts"`       // by code
	Classes      map[string]int64 `json:"classes"`        // by who said no
	Statuses     map[int32]int64  `json:"statuses"`       // of the last answer; those that are no status are 0
	TriesATarget map[int32]int64  `json:"tries_a_target"` // the last stands for more too
	Phases       Phases           `json:"phases"`
	Servers      Frequent         `json:"servers"`       // without versions
	Networks     Frequent         `json:"networks"`      // /24 and /48
	ContentTypes Frequent         `json:"content_types"` // without parameters
	TLSVersions  map[string]int64 `json:"tls_versions"`
	Certificates Certificates     `json:"certificates"`
	Redirects    Redirects        `json:"redirects"`
	Definitions  []Definition     `json:"definitions,omitempty"`

	judges []Judge
}

// Phases are the times of the tries that the rows are from. What took no time
// because it did not happen, or came from the cache, is not in them.
type Phases struct {
	DNS       Histogram `json:"dns"`
	Connect   Histogram `json:"connect"`
	TLS       Histogram `json:"tls"`
	FirstByte Histogram `json:"first_byte"`
	Total     Histogram `json:"total"`
}

// Certificates count what is left of the time of certificates, when they were seen.
type Certificates struct {
	Seen    int64 `json:"seen"`
	Expired int64 `json:"expired"`
	Soon    int64 `json:"within_30_days"`
	// Soonest are some of those that expire within 30 days, the next ones first.
	Soonest []Certificate `json:"soonest,omitempty"`
}

// A Certificate is one that expires soon.
type Certificate struct {
	Target   string    `json:"target"`
	NotAfter time.Time `json:"not_after"`
}

// Redirects count the chains with a redirect that was followed. A chain may be in
// several of the others.
type Redirects struct {
	Followed int64 `json:"followed"`
	ToHTTPS  int64 `json:"to_https"` // began with http and ended with https
	ToHTTP   int64 `json:"to_http"`  // the other way round
	ToWWW    int64 `json:"to_www"`   // ended at www. before the name
	FromWWW  int64 `json:"from_www"`
	OffSite  int64 `json:"off_site"` // ended at a name that somebody else may have registered
	SameSite int64 `json:"same_site"`
}

// A Definition is what the rows come to under a definition.
type Definition struct {
	Name    string           `json:"name"`
	Classes map[string]int64 `json:"classes"`
}

// NewSummary is an empty summary that puts these definitions to the rows.
func NewSummary(judges ...Judge) *Summary {
	s := &Summary{
		Verdicts: map[string]int64{}, Classes: map[string]int64{}, Statuses: map[int32]int64{}, TriesATarget: map[int32]int64{}, TLSVersions: map[string]int64{},
		judges: judges,
	}
	for _, j := range judges {
		s.Definitions = append(s.Definitions, Definition{j.Name, map[string]int64{}})
	}
	return s
}

// Add counts a row. It keeps nothing of it but copies of short texts.
func (s *Summary) Add(row *evidence.Row) {
	s.Targets++
	if row.Suspect {
		s.Suspect++
	}
	s.observed(row.ObservedAt, row.ObservedAt)
	name, class := otherVerdict, verdict.Unknown
	if code, err := verdict.Parse(row.Verdict); err == nil {
		name, class = code.String(), code.Class()
	}
	s.Verdicts[name]++
	s.Classes[class.String()]++
	if row.Status != 0 {
		s.Answered++
		s.Statuses[status(row.Status)]++
	}
	s.Tries += int64(row.Attempts)
	s.TriesATarget[min(max(row.Attempts, 0), maxTries)]++
	for _, p := range []struct {
		h  *Histogram
		us int64
	}{
		{&s.Phases.DNS, row.DNSUS},
		{&s.Phases.Connect, row.ConnectUS},
		{&s.Phases.TLS, row.TLSUS},
		{&s.Phases.FirstByte, row.FirstByteUS},
		{&s.Phases.Total, row.TotalUS},
	} {
		if p.us > 0 {
			p.h.Add(p.us)
		}
	}
	s.Servers.Add(product(row.Server))
	s.Networks.Add(network(row.Address))
	s.ContentTypes.Add(mediaType(row.ContentType))
	if row.TLSVersion != "" {
		version := row.TLSVersion
		if len(version) != 3 || version[:2] != "1." {
			version = "other"
		}
		s.TLSVersions[version]++
	}
	s.certificate(row)
	s.redirect(row)
	for i, j := range s.judges {
		count(s.Definitions[i].Classes, j.Class(row), 1)
	}
}

// count counts a class of a definition.
func count(classes map[string]int64, class string, n int64) {
	if _, ok := classes[class]; !ok && len(classes) >= maxClasses {
		class = otherClass
	}
	classes[class] += n
}

func (s *Summary) observed(first, last time.Time) {
	if !first.IsZero() && (s.First.IsZero() || first.Before(s.First)) {
		s.First = first
	}
	if last.After(s.Last) {
		s.Last = last
	}
}

// status is what RFC 9110 §15 takes for a status, or 0.
func status(n int32) int32 {
	if n < 100 || n > 999 {
		return 0
	}
	return n
}

// product is what a server calls itself, without versions and comments: the first
// word of the field, up to a slash (RFC 9110 §10.2.4).
func product(server string) string {
	server = strings.TrimSpace(server)
	if i := strings.IndexAny(server, "/ (,;"); i > 0 {
		server = server[:i]
	}
	return strings.ToLower(plain(server, maxName))
}

// mediaType is a type of content without its parameters.
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(plain(strings.TrimSpace(s), maxName))
}

// network is the /24 or /48 of an address, which mostly is what one router serves.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	size := 48
	if addr.Is4() {
		size = 24
	}
	prefix, err := addr.Prefix(size)
	if err != nil {
		return ""
	}
	return prefix.String()
}

func (s *Summary) certificate(row *evidence.Row) {
	if row.CertNotAfter.IsZero() {
		return
	}
	c := &s.Certificates
	c.Seen++
	switch left := row.CertNotAfter.Sub(row.ObservedAt); {
	case left <= 0:
		c.Expired++
	case left <= soon:
		c.Soon++
		c.keep(Certificate{row.Target, row.CertNotAfter})
	}
}

// keep keeps a certificate that is one of the next to expire.
func (c *Certificates) keep(one Certificate) {
	i, _ := slices.BinarySearchFunc(c.Soonest, one, func(a, b Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Target, b.Target))
	})
	if i >= maxSoonest {
		return
	}
	one.Target = strings.Clone(one.Target)
	if c.Soonest = slices.Insert(c.Soonest, i, one); len(c.Soonest) > maxSoonest {
		c.Soonest = c.Soonest[:maxSoonest]
	}
}

func (s *Summary) redirect(row *evidence.Row) {
	if row.Redirects <= 0 {
		return
	}
	r := &s.Redirects
	r.Followed++
	final, err := url.Parse(row.FinalURL)
	if err != nil || final.Hostname() == "" {
		return
	}
	from, ok := began(row)
	if !ok {
		return
	}
	switch {
	case from.Scheme == "http" && final.Scheme == "https":
		r.ToHTTPS++
	case from.Scheme == "https" && final.Scheme == "http":
		r.ToHTTP++
	}
	a, b := strings.ToLower(from.Hostname()), strings.ToLower(final.Hostname())
	switch {
	case b == "www."+a:
		r.ToWWW++
	case a == "www."+b:
		r.FromWWW++
	}
	if target.Registrable(a) == target.Registrable(b) {
		r.SameSite++
	} else {
		r.OffSite++
	}
}

// began is where the chain began whose last answer the row is: as many redirects
// before the last answer as the row says were followed.
func began(row *evidence.Row) (*url.URL, bool) {
	left := row.Redirects
	last := -1
	for i := len(row.Tries) - 1; i >= 0; i-- {
		t := &row.Tries[i]
		if last < 0 {
			if t.Address == row.Address && t.Status == row.Status && t.Status != 0 {
				last = i
			}
			continue
		}
		if t.Status >= 300 && t.Status < 400 && t.Location != "" {
			if left--; left == 0 {
				return &url.URL{Scheme: t.Scheme, Host: t.Host}, true
			}
		}
	}
	return nil, false
}

// Merge adds all that another one has counted.
func (s *Summary) Merge(o *Summary) error {
	for _, d := range o.Definitions {
		if !slices.ContainsFunc(s.Definitions, func(e Definition) bool { return e.Name == d.Name }) && s.Targets > 0 {
			return fmt.Errorf("merge summaries: one knows the definition %s and the other does not", d.Name)
		}
	}
	for _, d := range s.Definitions {
		if !slices.ContainsFunc(o.Definitions, func(e Definition) bool { return e.Name == d.Name }) && o.Targets > 0 {
			return fmt.Errorf("merge summaries: one knows the definition %s and the other does not", d.Name)
		}
	}
	s.Targets += o.Targets
	s.Answered += o.Answered
	s.Suspect += o.Suspect
	s.Tries += o.Tries
	s.observed(o.First, o.Last)
	addAll(&s.Verdicts, o.Verdicts)
	addAll(&s.Classes, o.Classes)
	addAll(&s.Statuses, o.Statuses)
	addAll(&s.TriesATarget, o.TriesATarget)
	addAll(&s.TLSVersions, o.TLSVersions)
	s.Phases.DNS.Merge(&o.Phases.DNS)
	s.Phases.Connect.Merge(&o.Phases.Connect)
	s.Phases.TLS.Merge(&o.Phases.TLS)
	s.Phases.FirstByte.Merge(&o.Phases.FirstByte)
	s.Phases.Total.Merge(&o.Phases.Total)
	s.Servers.Merge(&o.Servers)
	s.Networks.Merge(&o.Networks)
	s.ContentTypes.Merge(&o.ContentTypes)
	s.Certificates.Seen += o.Certificates.Seen
	s.Certificates.Expired += o.Certificates.Expired
	s.Certificates.Soon += o.Certificates.Soon
	for _, c := range o.Certificates.Soonest {
		s.Certificates.keep(c)
	}
	r, q := &s.Redirects, &o.Redirects
	r.Followed += q.Followed
	r.ToHTTPS += q.ToHTTPS
	r.ToHTTP += q.ToHTTP
	r.ToWWW += q.ToWWW
	r.FromWWW += q.FromWWW
	r.OffSite += q.OffSite
	r.SameSite += q.SameSite
	for _, d := range o.Definitions {
		i := slices.IndexFunc(s.Definitions, func(e Definition) bool { return e.Name == d.Name })
		if i < 0 {
			s.Definitions = append(s.Definitions, Definition{d.Name, map[string]int64{}})
			i = len(s.Definitions) - 1
		}
		for _, class := range slices.Sorted(maps.Keys(d.Classes)) {
			count(s.Definitions[i].Classes, class, d.Classes[class])
		}
	}
	return nil
}

func addAll[K comparable](to *map[K]int64, from map[K]int64) {
	if *to == nil {
		*to = make(map[K]int64, len(from))
	}
	for k, n := range from {
		(*to)[k] += n
	}
}
