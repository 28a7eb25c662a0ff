package report

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/cost"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/target"
	"pennyfarthing/internal/verdict"
)

// A Query is whom somebody asks about. [ParseQuery] makes one.
type Query struct {
	text   string
	prefix netip.Prefix // of an address or a network
	host   string       // of a name or a URL
	port   uint16       // 0: any
	url    string       // of a URL
}

// ParseQuery reads an address, a network such as 192.0.2.0/24, a name, which stands
// for the names below it too, either with a port, or a URL. A name with a port, and a
// URL, stand for themselves alone.
func ParseQuery(text string) (Query, error) {
	text = strings.TrimSpace(text)
	q := Query{text: text}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		least := 16
		if prefix.Addr().Is6() {
			least = 32
		}
		if prefix.Bits() < least {
			return q, &mistake.Error{What: fmt.Sprintf("cannot trace %s: it is a very large network", plain(text, 60)), Hint: fmt.Sprintf("name one of /%d or smaller", least)}
		}
		q.prefix = prefix.Masked()
		return q, nil
	}
	t, err := target.Parse(text)
	if err != nil {
		return q, &mistake.Error{
			What: fmt.Sprintf("cannot trace %q: %v", plain(text, 60), err),
			Hint: "name an address (192.0.2.1), a network (192.0.2.0/24), a name (example.com) or a URL",
		}
	}
	q.text = t.String()
	switch {
	case t.Kind == target.URL:
		u, err := url.Parse(t.String())
		if err != nil {
			return q, &mistake.Error{What: fmt.Sprintf("cannot trace %q: it is no URL", plain(text, 60)), Hint: "name the host alone"}
		}
		q.host, q.port, q.url = t.Host, portOf(u), canonical(u)
	case t.IsIP:
		addr, err := netip.ParseAddr(t.Host)
		if err != nil {
			return q, &mistake.Error{What: fmt.Sprintf("cannot trace %q: it is no address", plain(text, 60)), Hint: "name an address such as 192.0.2.1"}
		}
		addr = addr.Unmap()
		q.prefix, q.port = netip.PrefixFrom(addr, addr.BitLen()), t.Port
	default:
		q.host, q.port = t.Host, t.Port
	}
	return q, nil
}

// String is the query in its normal form.
func (q Query) String() string { return q.text }

// TraceOptions are for [Trace].
type TraceOptions struct {
	// At and Window: only what began at most Window before or after At counts. A zero
	// At is any time.
	At     time.Time
	Window time.Duration
	// Limit is how many matches are kept; the others are counted.
	Limit int
	// Facts are those of the run: what asked, and from where.
	Facts Facts
}

// A Match is a try that reached, or tried to reach, who was asked about.
type Match struct {
	At      time.Time `json:"at"`
	Address string    `json:"address"`
	URL     string    `json:"url"`
	Status  int32     `json:"status,omitempty"`
	Verdict string    `json:"verdict"`
	Target  string    `json:"target"` // of the list
	Rank    int64     `json:"rank"`
	Vantage string    `json:"vantage,omitempty"`
	// Redirected says that the target is another one, which redirected there.
	Redirected bool `json:"redirected,omitempty"`
}

// An Answer says whether a run asked somebody.
type Answer struct {
	Schema int       `json:"schema"`
	Query  string    `json:"query"`
	At     time.Time `json:"at,omitzero"`
	Window string    `json:"window,omitempty"`
	// Yes: there is a match in the time that was asked about.
	Yes     bool      `json:"yes"`
	Tries   int64     `json:"tries"` // matches
	Targets int64     `json:"targets"`
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
	// Lookups are questions to our resolvers about the name that led to no connection.
	Lookups int64 `json:"lookups"`
	// Withheld are tries that would have matched, but for which no packet was sent:
	// blocked, opted out, forbidden by robots.txt.
	Withheld int64 `json:"withheld"`
	// OtherTimes are tries that match, but for their time.
	OtherTimes int64   `json:"at_other_times"`
	Matches    []Match `json:"matches"` // the first ones in the order of the rows
	Run        Facts   `json:"run"`
}

// Trace looks for everything in a run that could have been seen by who is asked
// about: every try to that address or network, or to that name or URL, whether the
// list had it or another site redirected there.
func Trace(rows Rows, q Query, o TraceOptions) (*Answer, error) {
	a := &Answer{Schema: Schema, Query: q.String(), At: o.At, Matches: []Match{}, Run: o.Facts}
	if !o.At.IsZero() {
		a.Window = cost.Time(o.Window)
	}
	for row, err := range rows {
		if err != nil {
			return nil, fmt.Errorf("trace %s: %w", q, err)
		}
		a.row(row, q, o)
	}
	a.Yes = a.Tries > 0
	return a, nil
}

func (a *Answer) row(row *evidence.Row, q Query, o TraceOptions) {
	matched := false
	urls := tryURLs{target: row.Target}
	for i := range row.Tries {
		t := &row.Tries[i]
		u := urls.next(t)
		if !q.matches(t, u) {
			continue
		}
		code, _ := verdict.Parse(t.Verdict) // what is no verdict counts as a try
		inTime := o.At.IsZero() || t.At.Sub(o.At).Abs() <= o.Window
		switch {
		case code.Class() == verdict.Skip:
			a.Withheld++
			continue
		case t.Address == "":
			a.Lookups++
			continue
		case !inTime:
			a.OtherTimes++
			continue
		}
		a.Tries++
		if !matched {
			matched = true
			a.Targets++
		}
		if a.First.IsZero() || t.At.Before(a.First) {
			a.First = t.At
		}
		if t.At.After(a.Last) {
			a.Last = t.At
		}
		if len(a.Matches) < o.Limit {
			a.Matches = append(a.Matches, Match{
				At: t.At, Address: strings.Clone(t.Address), URL: u.String(), Status: t.Status, Verdict: strings.Clone(t.Verdict),
				Target: strings.Clone(row.Target), Rank: row.Rank, Vantage: strings.Clone(t.Vantage), Redirected: urls.redirected,
			})
		}
	}
}

// tryURLs tells which URL each try of a row asked for. Rows have no column for it: it
// is the target's, or what the Location of the answer before leads to.
type tryURLs struct {
	target     string
	last       *url.URL
	lead       *url.URL // of the redirect before
	redirected bool
}

func (s *tryURLs) next(t *evidence.Try) *url.URL {
	u := &url.URL{Scheme: t.Scheme, Host: t.Host, Path: "/"}
	switch {
	case s.lead != nil && s.lead.Scheme == u.Scheme && sameHost(s.lead, u):
		u, s.redirected = s.lead, true
	case s.last != nil && s.redirected && s.last.Scheme == u.Scheme && sameHost(s.last, u):
		u = s.last // once more, or another address
	default: // a chain begins
		s.redirected, s.lead = false, nil
		if first, err := target.Parse(s.target); err == nil && first.Kind == target.URL {
			if parsed, err := url.Parse(first.String()); err == nil {
				u.Path, u.RawPath, u.RawQuery = parsed.Path, parsed.RawPath, parsed.RawQuery
			}
		}
	}
	s.last = u
	if t.Status >= 300 && t.Status < 400 && t.Location != "" && len(t.Location) <= 16<<10 {
		s.lead = nil
		if ref, err := url.Parse(t.Location); err == nil {
			s.lead = u.ResolveReference(ref)
			s.lead.Fragment, s.lead.RawFragment = "", ""
			if s.lead.Path == "" {
				s.lead.Path = "/"
			}
		}
	}
	return u
}

func sameHost(a, b *url.URL) bool {
	return strings.EqualFold(strings.TrimSuffix(a.Hostname(), "."), strings.TrimSuffix(b.Hostname(), ".")) && portOf(a) == portOf(b)
}

// portOf is a URL's port, or that of its scheme.
func portOf(u *url.URL) uint16 {
	switch p := u.Port(); {
	case p != "":
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return 0
		}
		return uint16(n)
	case u.Scheme == "http":
		return 80
	}
	return 443
}

// canonical is a URL in one form: with its port, and with a path.
func canonical(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return fmt.Sprintf("%s://%s:%d%s", u.Scheme, strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), portOf(u), path)
}

// matches reports whether a try is about who is asked about.
func (q Query) matches(t *evidence.Try, u *url.URL) bool {
	if q.port != 0 && q.port != portOf(u) {
		return false
	}
	if q.prefix.IsValid() {
		addr, err := netip.ParseAddr(t.Address)
		if err != nil {
			return false
		}
		return q.prefix.Contains(addr.Unmap().WithZone(""))
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch {
	case q.url != "":
		return canonical(u) == q.url
	case host == q.host:
		return true
	}
	return q.port == 0 && strings.HasSuffix(host, "."+q.host)
}
