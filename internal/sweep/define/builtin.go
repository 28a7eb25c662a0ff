package define

import (
	"strings"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/target"
)

// study is the definition of the study of 2024: a request to port 80 of the name as
// it stands in the list, whose answer is not followed.
func study(p Policy) *Definition {
	d := &Definition{
		name: "tonywang2024",
		text: "port 80 of the bare name, first answer: no address, no connection or no answer, 404 and 5xx are dead",
		judge: func(row *evidence.Row) (Class, error) {
			return judgeStudy(p, row), nil
		},
	}
	if p.HTTPS != HTTPSBoth && p.HTTPS != HTTPSNever {
		d.unasked = "this run never asked port 80 of names that answered over HTTPS"
		if p.HTTPS == HTTPSOnly {
			d.unasked = "this run never asked port 80"
		}
	}
	return d
}

func judgeStudy(p Policy, row *evidence.Row) Class {
	t, err := target.Parse(row.Target)
	if err != nil {
		return Skipped
	}
	port80 := t.Kind == target.Name || t.Kind == target.HostPort && t.Port == 80 ||
		t.Kind == target.URL && t.Scheme == "http" && t.Port == 0 && (t.Path == "" || t.Path == "/")
	if !port80 {
		if class, ok := silent(row); ok && class == Skipped {
			return Skipped
		}
		return Unasked
	}
	host := hostOf(t)
	req, ok := asked(requests(p, row), host)
	if !ok {
		if class, ok := silent(row); ok && !answered(row) {
			return class
		}
		return Unasked
	}
	switch status := req.status(); {
	case status == 404 || status/100 == 5:
		return Dead
	case status != 0:
		return Alive
	}
	switch last := req.tries[len(req.tries)-1].Verdict; {
	case strings.HasPrefix(last, classSkip):
		return Skipped
	case row.Suspect || strings.HasPrefix(last, classSelf):
		return Suspect
	}
	return Dead
}

// hostOf is the host as tries have it for port 80.
func hostOf(t target.Target) string {
	if t.IsIP && strings.Contains(t.Host, ":") {
		return "[" + t.Host + "]"
	}
	return t.Host
}

// asked finds the request for / on port 80 of a host, or a lookup of it that failed,
// for whichever scheme it was made: it is not made again for the other.
func asked(list []request, host string) (request, bool) {
	for _, r := range list {
		if r.scheme == "http" && sameHost(r.host, host) && r.path == "/" {
			return r, true
		}
	}
	for _, r := range list {
		if sameHost(r.host, host) && r.status() == 0 && strings.HasPrefix(r.tries[len(r.tries)-1].Verdict, classDNS) {
			return r, true
		}
	}
	return request{}, false
}

// sameHost forgives an IPv6 address its brackets, which tries without a port may lack.
func sameHost(a, b string) bool {
	return strings.Trim(a, "[]") == strings.Trim(b, "[]")
}

func strict(p Policy) *Definition {
	return &Definition{
		name:    "strict",
		text:    "nothing answered anywhere, over HTTP or HTTPS, with or without www, and a second opinion agreed",
		unasked: strictUnasked(p),
		judge:   func(row *evidence.Row) (Class, error) { return judgeStrict(p, row), nil },
	}
}

func revised(p Policy) *Definition {
	return &Definition{
		name:    "revised",
		text:    "as strict, and a final status of 401, 403, 429 or 520 to 529 is blocked, neither dead nor alive",
		unasked: strictUnasked(p),
		judge: func(row *evidence.Row) (Class, error) {
			class := judgeStrict(p, row)
			if s := row.Status; class == Alive && (s == 401 || s == 403 || s == 429 || s/10 == 52) {
				class = Blocked
			}
			return class, nil
		},
	}
}

// strictUnasked says what a run would have had to ask of a plain name.
func strictUnasked(p Policy) string {
	var never []string
	if p.HTTPS == HTTPSNever {
		never = append(never, "HTTPS")
	}
	if p.HTTPS == HTTPSOnly {
		never = append(never, "HTTP")
	}
	if !p.WWW {
		never = append(never, "the name with or without www")
	}
	if p.Resolvers < 2 && p.Retries < 1 {
		never = append(never, "a second time")
	}
	if never == nil {
		return ""
	}
	return "this run never asked " + strings.Join(never, ", nor ")
}

func judgeStrict(p Policy, row *evidence.Row) Class {
	if answered(row) {
		return Alive
	}
	if class, ok := silent(row); ok {
		return class
	}
	t, err := target.Parse(row.Target)
	if err != nil {
		return Skipped
	}
	if len(row.Tries) == 0 || !askedAll(p, t) || !secondOpinion(p, row) {
		return Unasked
	}
	return Dead
}

// askedAll reports whether the policy leaves nothing of a target unasked that does
// not answer. A URL is asked for itself alone, and so is a port.
func askedAll(p Policy, t target.Target) bool {
	switch {
	case t.Kind == target.URL:
		return true
	case t.Port == 80:
		return true
	case t.Port == 443:
		return true
	case p.HTTPS == HTTPSOnly || p.HTTPS == HTTPSNever:
		return false
	}
	return p.WWW || t.IsIP || t.Kind == target.HostPort
}

// secondOpinion reports whether every failure was seen twice, or a run with this
// policy would have looked twice where that may change something.
func secondOpinion(p Policy, row *evidence.Row) bool {
	if p.Resolvers >= 2 || p.Retries >= 1 {
		return true
	}
	for i := range row.Tries {
		times := 0
		for k := range row.Tries {
			if row.Tries[k].Host == row.Tries[i].Host && row.Tries[k].Scheme == row.Tries[i].Scheme {
				times++
			}
		}
		if times < 2 {
			return false
		}
	}
	return true
}

// A request is the tries of one URL.
type request struct {
	scheme string
	host   string // with the port where it is not the scheme's
	path   string // and query
	tries  []evidence.Try
}

// status is that of the answer, or 0.
func (r request) status() int32 {
	for i := range r.tries {
		if s := r.tries[i].Status; s != 0 {
			return s
		}
	}
	return 0
}

// requests finds out again which tries were made for which URL: a try has the host,
// and the path follows from the redirect that led to it (docs/sweep-policy.md).
//
// One case stays open. A redirect to the next chain's scheme and host that is not
// answered looks like that chain's first request. What is wrong with a connection is
// wrong for any path, so both are one request here, for /, if the policy has it.
func requests(p Policy, row *evidence.Row) []request {
	var list []request
	var hops int
	var next *place // where an answer has sent us
	seen := map[place]bool{}
	for i := range row.Tries {
		t := &row.Tries[i]
		var r *request
		if len(list) > 0 {
			r = &list[len(list)-1]
		}
		switch {
		case next != nil && next.scheme == t.Scheme && next.host == t.Host:
			list = append(list, request{scheme: t.Scheme, host: t.Host, path: next.path, tries: row.Tries[i : i+1]})
			hops++
		case r != nil && r.scheme == t.Scheme && r.host == t.Host && r.status() == 0:
			r.tries = r.tries[:len(r.tries)+1]
		default:
			list = append(list, request{scheme: t.Scheme, host: t.Host, path: firstPath(row.Target), tries: row.Tries[i : i+1]})
			hops = 0
			clear(seen)
		}
		next = nil
		r = &list[len(list)-1]
		here := place{r.scheme, r.host, r.path}
		seen[here] = true
		if to, ok := here.follow(t); ok && hops < p.Follow && !seen[to] {
			next = &to
		}
	}
	for i := range list {
		if r := &list[i]; p.HTTPS == HTTPSBoth && r.status() == 0 && r.scheme == "http" {
			r.path = "/"
		}
	}
	return list
}

// firstPath is what a chain begins with.
func firstPath(text string) string {
	t, err := target.Parse(text)
	if err != nil || t.Path == "" {
		return "/"
	}
	return t.Path
}
