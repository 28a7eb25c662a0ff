package ask

import (
	"net/url"
	"slices"

	"pennyfarthing/internal/sweep/fetch"
	"pennyfarthing/internal/sweep/target"
	"pennyfarthing/internal/verdict"
)

// requestAnswered takes an answer into the row, if it is the row's, and follows
// redirects.
func (t *Task) requestAnswered() {
	x := &t.exchange.Exchange
	if t.hop == 0 {
		t.answered = true
		if t.summary < 0 {
			t.summary = t.chain - 1
			t.row().FirstStatus = int32(x.Status) //nolint:gosec // three digits
		}
	}
	if !t.about() {
		t.nextChain()
		return
	}
	t.take(x)
	if verdict.OfStatus(x.Status) != verdict.HTTPRedirect {
		t.nextChain()
		return
	}
	to, v := t.redirect(x.Location)
	if v != verdict.None {
		t.row().Verdict = v.String()
		t.nextChain()
		return
	}
	t.hop++
	t.row().Redirects++
	t.request(to)
}

// redirect is where a Location leads, or why it is not followed.
func (t *Task) redirect(location string) (place, verdict.Code) {
	if t.a.policy.Follow == 0 {
		return place{}, verdict.HTTPRedirect
	}
	to, ok := t.follow(location)
	switch {
	case !ok:
		return to, verdict.HTTPRedirectBad
	case slices.Contains(t.seen, to):
		return to, verdict.HTTPRedirectLoop
	case t.hop == t.a.policy.Follow:
		return to, verdict.HTTPRedirectLimit
	}
	return to, verdict.None
}

// follow resolves a Location against where the task is.
func (t *Task) follow(location string) (place, bool) {
	if location == "" {
		return place{}, false
	}
	base, err := url.Parse(t.here.url())
	if err != nil {
		return place{}, false
	}
	to, err := base.Parse(location)
	if err != nil {
		return place{}, false
	}
	if to.User != nil || to.Scheme != "http" && to.Scheme != "https" {
		return place{}, false
	}
	to.Fragment, to.RawFragment = "", ""
	parsed, err := target.Parse(to.String())
	if err != nil || parsed.Kind != target.URL {
		return place{}, false
	}
	p := place{parsed.Scheme == "https", parsed.Host, parsed.Port, parsed.Path, parsed.IsIP}
	if p.port == 0 {
		p.port = defaultPort(p.secure)
	}
	if p.path == "" {
		p.path = "/"
	}
	return p, true
}

// take takes an answer into the row.
func (t *Task) take(x *fetch.Exchange) {
	r := t.row()
	try := &t.tries[len(t.tries)-1]
	r.Verdict, r.Status, r.Error = try.Verdict, try.Status, x.Err
	r.Scheme, r.FinalURL, r.Address = try.Scheme, t.here.url(), try.Address
	r.DNSUS, r.ConnectUS, r.TLSUS, r.FirstByteUS, r.TotalUS = try.DNSUS, try.ConnectUS, try.TLSUS, try.FirstByteUS, try.TotalUS
	r.TLSVersion, r.CertNotAfter = tlsVersion(x.TLSVersion), x.NotAfter
	r.Server, r.ContentType, r.ContentLength = x.Server, x.ContentType, x.ContentLength
	r.ObservedAt = try.At
	r.Title, r.BodySHA256, r.BodyBytes = "", "", 0
	if len(x.Sample) > 0 {
		r.Title = fetch.Title(x.Sample, x.ContentType)
		if !t.a.policy.Title {
			r.BodySHA256 = hash(x.Sample)
			r.BodyBytes = int64(len(x.Sample))
		}
	}
}
