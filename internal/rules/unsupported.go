package rules

import (
	"fmt"
	"strings"

	"pennyfarthing/internal/mistake"
)

// condition is the name of a condition that Netlify knows and penny does not
// support, with what to do instead.
type condition struct{ name, hint string }

const hintWhere = "penny answers every visitor of a URL alike: delete the line, and link to the versions of the page or choose one by a script in it"

func conditions() []condition {
	return []condition{
		{"Country", hintWhere},
		{"Language", hintWhere},
		{"Role", "who may see what is for an app or an origin to decide: serve these paths from one"},
		{"Cookie", "what depends on a cookie is for an app or an origin to decide: serve these paths from one"},
		{"Agent", hintWhere},
		{"Sign", "signed proxying is not supported: serve these paths from an origin"},
		{"Signed", "signed proxying is not supported: serve these paths from an origin"},
	}
}

// parseConditions notes every condition: none is supported.
func (s *statement) parseConditions() {
	for _, w := range s.conditions {
		name, _, ok := strings.Cut(w.text, "=")
		if !ok {
			s.mistake(w.column, fmt.Sprintf("expected the end of the line after the status, found %q", w.text),
				"put # before a comment")
			continue
		}
		s.refuseCondition(w, name)
	}
}

func (s *statement) refuseCondition(w word, name string) {
	var known []string
	for _, c := range conditions() {
		if strings.EqualFold(c.name, name) {
			s.mistake(w.column, fmt.Sprintf("the condition %s is not supported", c.name), c.hint)
			return
		}
		known = append(known, c.name)
	}
	hint := "a query parameter stands before the target"
	if near, ok := mistake.Nearest(name, known); ok {
		hint = fmt.Sprintf("did you mean %s? It is not supported", near)
	}
	s.mistake(w.column, fmt.Sprintf("%q is no condition", w.text), hint)
}

// unsupportedTarget notes a target that only the platform itself, or a proxy,
// could serve.
func (s *statement) unsupportedTarget(r *rule) bool {
	text, column := s.target.text, s.target.column
	_, host, path, absolute := cutURL(text)
	if name, ok := strings.CutPrefix(path, "/.netlify/"); ok && !absolute {
		s.mistake(column, "the target "+netlifyService(name)+" is not supported",
			"run the program as an app or an origin of a site of its own, and redirect to its URL")
		return true
	}
	if !absolute || isRedirect(r.status) || r.status == 0 {
		return false
	}
	if r.status == 200 {
		s.mistake(column, fmt.Sprintf("proxying to %s (status 200 and a URL) is not supported yet", host),
			fmt.Sprintf("make it a site of its own with origin = %q in penny.toml, or redirect with 302", schemeAndHost(text)))
		return true
	}
	s.mistake(column, fmt.Sprintf("status %d needs a path of the site, found %q", r.status, text), "write a target that begins with /")
	return true
}

func schemeAndHost(url string) string {
	scheme, host, _, _ := cutURL(url)
	return scheme + "://" + host
}

// netlifyService names what stands behind a path below /.netlify/.
func netlifyService(path string) string {
	service, _, _ := strings.Cut(path, "/")
	service, _, _ = strings.Cut(service, "?")
	switch service {
	case "functions", "builders":
		return "/.netlify/" + service + " (a Netlify function)"
	case "edge-functions":
		return "/.netlify/" + service + " (a Netlify edge function)"
	case "images":
		return "/.netlify/" + service + " (the Netlify image CDN)"
	case "identity":
		return "/.netlify/" + service + " (Netlify Identity)"
	}
	return "/.netlify/" + service + " (a service of Netlify)"
}

// An objection is a reason for which Cloudflare does not take a line that
// Netlify takes.
type objection struct {
	column              int
	netlify, cloudflare string // what they do; without their names
	hint                string // for those who chose Cloudflare's dialect
}

func (s *statement) objections(r *rule) []objection {
	const dialect = `delete the line, or choose dialect = "netlify"`
	var out []objection
	add := func(w word, netlify, cloudflare, hint string) {
		out = append(out, objection{w.column, netlify, cloudflare, hint})
	}
	if r.host != "" {
		add(s.source, "applies the rule to "+r.scheme+"://"+r.host+" only", "does not take a source with a host", dialect)
	}
	if len(s.query) > 0 {
		add(s.query[0], "applies the rule to requests with these query parameters only", "does not look at query parameters", dialect)
	}
	if s.short {
		add(s.status, "takes the target from the source", "expects a target before the status",
			"write: "+s.source.text+" "+s.target.text+" "+s.status.text)
	}
	if r.force {
		add(s.status, "applies the rule also where the site has content", `does not know "!" after a status`,
			fmt.Sprintf("write %d: with cloudflare a rule always comes before content", r.status))
	}
	if r.status == 404 || r.status == 410 {
		add(s.status, fmt.Sprintf("sends the target with status %d", r.status), fmt.Sprintf("does not take status %d", r.status), dialect)
	}
	if loopsAtCloudflare(r.traits.path, s.target.text) {
		add(s.target, "applies the rule", "takes the rule for an infinite loop", dialect)
	}
	return out
}

// loopsAtCloudflare repeats Cloudflare's own check: it leaves "index.html" away
// from URLs, and a rule that adds it again to every path, or to a directory,
// would go round in circles.
func loopsAtCloudflare(source, target string) bool {
	if !strings.HasPrefix(target, "/") || !strings.HasSuffix(source, "/*") && !strings.HasSuffix(source, "/") {
		return false
	}
	return strings.HasSuffix(strings.TrimSuffix(target, ".html"), "/index")
}
