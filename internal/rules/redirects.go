package rules

import (
	"slices"
	"strings"
)

// Redirects holds the rules of a _redirects file. A nil *Redirects has no rules.
type Redirects struct {
	file    string
	dialect Dialect
	rules   []rule
	index   index
}

// A Request is what a rule can look at.
type Request struct {
	Scheme string // "http" or "https"
	Host   string // lower case, without port
	Path   string // begins with "/"; percent-escapes are undone, once
	Query  string // as it came, without "?"
}

// An Action is what a rule asks for.
type Action struct {
	// Status is 301, 302, 303, 307 or 308 for a redirect, 200, 404 or 410 for
	// content of the site.
	Status int
	// Location is the value of the Location field of a redirect, escaped.
	Location string
	// Path names the content to send with Status at the URL that was asked for.
	// It is not escaped, begins with one slash and has no dot segments.
	Path string
	// Line is where the rule stands.
	Line int
}

// A Target is a path of the site whose content a rule sends.
type Target struct {
	Path   string
	Status int // 200, 404 or 410
	Line   int
}

// A rule is one line of a _redirects file.
type rule struct {
	line         int
	scheme, host string // of the source; "" for any
	source       pattern
	query        []param
	target       target
	names        []string // what source and query capture
	status       int
	force        bool
	traits       traits
}

// Traits are what a line had that matters to Differences only.
type traits struct {
	source     string // as written
	path       string // its path
	noStatus   bool
	objections []objection
	long       bool
}

func newRedirects(file string, d Dialect, rules []rule) *Redirects {
	r := &Redirects{file: file, dialect: d, rules: rules}
	for i := range rules {
		if path, ok := rules[i].source.fixed(); ok {
			r.index.addStatic(path, i)
		} else {
			r.index.addDynamic(i)
		}
	}
	return r
}

// Len returns the number of rules.
func (r *Redirects) Len() int {
	if r == nil {
		return 0
	}
	return len(r.rules)
}

// Targets returns the paths that rules rewrite to whatever the request, in the
// order of the lines, for whoever wants to know whether the site has them.
func (r *Redirects) Targets() []Target {
	var out []Target
	for i := range r.Len() {
		if rule := &r.rules[i]; !isRedirect(rule.status) && rule.target.local.fixed() {
			out = append(out, Target{Path: rule.target.file(nil), Status: rule.status, Line: rule.line})
		}
	}
	return out
}

// DependsOnHost reports whether a rule looks at the scheme or the host, so that
// answers cannot be prepared by path alone.
func (r *Redirects) DependsOnHost() bool {
	return r != nil && slices.ContainsFunc(r.rules, func(rule rule) bool { return rule.host != "" })
}

// Match returns what the first rule that applies asks for.
//
// A rule applies if it matches the request, unless it would redirect to the very
// URL that was asked for. In Netlify's dialect a rule without "!" does not apply
// where the site has content of its own at the path; shadowed, which may be nil,
// is asked whether it has, at most once.
func (r *Redirects) Match(req Request, shadowed func() bool) (Action, bool) {
	if r == nil {
		return Action{}, false
	}
	a := attempt{Request: req, trimmed: req.Path, shadowed: shadowed}
	if r.dialect == Netlify {
		a.trimmed = trimSlash(req.Path)
	}
	for i := range r.index.candidates(a.trimmed) {
		if action, ok := r.try(&r.rules[i], &a); ok {
			return action, true
		}
	}
	return Action{}, false
}

// An attempt is a request and what has been found out about it.
type attempt struct {
	Request
	trimmed  string // Path, without the slash at its end if that does not count
	shadowed func() bool
	asked    bool // shadowed was called
	shadow   bool // what it said
	values   [8]string
}

func (a *attempt) isShadowed() bool {
	if !a.asked && a.shadowed != nil {
		a.shadow = a.shadowed()
	}
	a.asked = true
	return a.shadow
}

func (r *Redirects) try(rule *rule, a *attempt) (Action, bool) {
	values, ok := rule.match(a)
	if !ok || r.dialect == Netlify && !rule.force && a.isShadowed() {
		return Action{}, false
	}
	action := Action{Status: rule.status, Line: rule.line}
	if !isRedirect(rule.status) {
		action.Path = rule.target.file(values)
		return action, true
	}
	query := ""
	if len(rule.query) == 0 { // else the rule has used the query up
		query = passOn(a.Query)
	}
	if rule.leadsBack(a, values, query) {
		return Action{}, false
	}
	action.Location = rule.target.location(values, query)
	return action, true
}

func (r *rule) match(a *attempt) ([]string, bool) {
	if r.host != "" && (r.host != a.Host || r.scheme != a.Scheme) {
		return nil, false
	}
	path := a.trimmed
	if r.source.open {
		path = a.Path
	}
	values, ok := r.source.match(path, a.values[:0])
	if ok && len(r.query) > 0 {
		return matchQuery(r.query, a.Query, values)
	}
	return values, ok
}

// leadsBack reports whether the redirect is to the URL that was asked for, which
// a browser would follow until it gives up.
func (r *rule) leadsBack(a *attempt, values []string, query string) bool {
	if t := &r.target; t.host != "" && (t.host != a.Host || t.scheme != a.Scheme) {
		return false
	}
	return r.target.search(values, query) == passOn(a.Query) && r.target.file(values) == cleanPath(a.Path)
}

func isRedirect(status int) bool { return 300 <= status && status < 400 }

func trimSlash(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}
