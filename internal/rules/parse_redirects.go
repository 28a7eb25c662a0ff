package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseRedirects reads a _redirects file. file is its name in messages. The
// error, if there is one, carries a mistake.List with every mistake.
func ParseRedirects(file string, src []byte, d Dialect) (*Redirects, error) {
	p := redirectParser{reader: reader{file: file}, dialect: d}
	for number, text := range p.lines(src) {
		if len(p.rules) == MaxRules {
			p.add(number, 1, fmt.Sprintf("more than %d rules", MaxRules), "use splats and placeholders to say more with fewer lines")
			break
		}
		p.parseLine(number, text)
	}
	if err := p.mistakes.Err(); err != nil {
		return nil, err
	}
	return newRedirects(file, d, p.rules), nil
}

type redirectParser struct {
	reader
	dialect Dialect
	rules   []rule
}

// A statement is a line taken apart:
//
//	source [key=value…] target [status[!]] [Name=value…]
type statement struct {
	place
	source     word
	query      []word
	target     word // made up if short
	short      bool // "/a/* 200" stands for "/a/* /a/:splat 200"
	status     word // empty text if there is none
	conditions []word
}

func (p *redirectParser) parseLine(number int, text string) {
	before := len(p.mistakes)
	s := statement{place: place{&p.reader, number}}
	if !s.split(text) {
		return
	}
	r := rule{line: number, traits: traits{source: s.source.text, long: len(text) > cloudflareLine}}
	s.parseStatus(&r, p.dialect)
	s.parseSource(&r, p.dialect)
	s.parseQuery(&r)
	s.parseTarget(&r)
	s.parseConditions()
	if len(p.mistakes) > before {
		return
	}
	s.refuseLoop(&r, p.dialect)
	r.traits.objections = s.objections(&r)
	if p.dialect == Cloudflare {
		for _, o := range r.traits.objections {
			s.mistake(o.column, "cloudflare "+o.cloudflare, o.hint)
		}
	}
	if len(p.mistakes) == before {
		p.rules = append(p.rules, r)
	}
}

// split finds out which word is what.
func (s *statement) split(text string) bool {
	ws := words(text)
	for i, w := range ws {
		if w.text[0] == '#' {
			ws = ws[:i]
			break
		}
	}
	s.source = ws[0]
	rest := ws[1:]
	if !s.checkSource() {
		return false
	}
	if len(rest) == 0 {
		s.mistake(s.source.column+len(s.source.text), "expected a target after the source",
			"write: "+s.source.text+" /new-path 301")
		return false
	}
	if _, _, ok := cutStatus(rest[0].text); ok {
		s.short, s.target = true, word{shortTarget(s.source.text), s.source.column}
		return s.splitEnd(rest) && s.checkShort()
	}
	for i, w := range rest {
		if isTarget(w.text) {
			s.query, s.target = rest[:i], w
			return s.splitEnd(rest[i+1:])
		}
	}
	s.missingTarget(rest)
	return false
}

// splitEnd takes what follows the target apart.
func (s *statement) splitEnd(rest []word) bool {
	if len(rest) > 0 && !strings.Contains(rest[0].text, "=") {
		s.status, rest = rest[0], rest[1:]
	}
	s.conditions = rest
	return true
}

func (s *statement) checkSource() bool {
	text := s.source.text
	if isTarget(text) {
		return true
	}
	hint := "write /" + strings.TrimLeft(text, "/")
	if host, _, ok := strings.Cut(text, "/"); ok && strings.Contains(host, ".") {
		hint += ", or https://" + text + " for that host alone"
	}
	if strings.HasSuffix(text, ":") {
		s.mistake(s.source.column, fmt.Sprintf("%q is a header field, not a redirect", text), "move it to _headers")
	} else {
		s.mistake(s.source.column, fmt.Sprintf(`expected a source that begins with "/", "http://" or "https://", found %q`, text), hint)
	}
	return false
}

func (s *statement) checkShort() bool {
	if strings.HasSuffix(s.source.text, "/*") && strings.HasPrefix(s.status.text, "2") {
		return true
	}
	s.mistake(s.status.column, fmt.Sprintf("expected a target before the status %s", s.status.text),
		"write: "+s.source.text+" /new-path "+s.status.text)
	return false
}

func (s *statement) missingTarget(rest []word) {
	first := rest[0]
	hint := "write /" + first.text
	if strings.Contains(first.text, "=") {
		hint = "write: " + s.source.text + " " + first.text + " /new-path 301"
	}
	s.mistake(first.column, fmt.Sprintf(`expected a target that begins with "/", "http://" or "https://", found %q`, first.text), hint)
}

func isTarget(text string) bool {
	return strings.HasPrefix(text, "/") || strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// shortTarget returns the path of the source with ":splat" for its splat.
func shortTarget(source string) string {
	_, _, path, _ := cutURL(source)
	return strings.TrimSuffix(path, "*") + ":splat"
}

// cutStatus reads a status with or without "!". It does not look whether there
// is such a status.
func cutStatus(text string) (status int, force, ok bool) {
	digits, force := strings.CutSuffix(text, "!")
	if len(digits) != 3 || strings.Trim(digits, "0123456789") != "" {
		return 0, false, false
	}
	status, err := strconv.Atoi(digits)
	return status, force, err == nil
}

func (s *statement) parseStatus(r *rule, d Dialect) {
	if s.status.text == "" {
		r.traits.noStatus = true
		r.status = defaultStatus(d)
		return
	}
	status, force, ok := cutStatus(s.status.text)
	r.status, r.force = status, force
	switch status {
	case 200, 301, 302, 303, 307, 308, 404, 410:
		return
	}
	hint := "write 301, 302, 303, 307 or 308 to redirect, 200, 404 or 410 to send content of the site"
	if !ok {
		s.mistake(s.status.column, fmt.Sprintf("expected a status after the target, found %q", s.status.text), hint)
		return
	}
	s.mistake(s.status.column, fmt.Sprintf("status %d is not one that a rule can have", status), hint)
}

func defaultStatus(d Dialect) int {
	if d == Cloudflare {
		return 302
	}
	return 301
}

func (s *statement) parseSource(r *rule, d Dialect) {
	scheme, host, path, absolute := cutURL(s.source.text)
	column := s.source.column + max(0, len(s.source.text)-len(path))
	if absolute {
		r.scheme, r.host = scheme, strings.ToLower(host)
		if problem := sourceHostProblem(host); problem != nil {
			s.report(problem, s.source.column+len(scheme)+len("://"))
			return
		}
	}
	path = s.cutSuffixes(path, column, d)
	r.traits.path = path
	if strings.HasPrefix(path, "/.netlify") {
		s.mistake(column, "a source below /.netlify", "the platform keeps these paths to itself: delete the line")
		return
	}
	var problem *problem
	if d == Netlify {
		r.source, problem = compileNetlify(path, false)
	} else {
		r.source, problem = compileCloudflare(path, '/')
	}
	s.report(problem, column)
	s.count(&r.source, column)
	r.names = r.source.names
}

func sourceHostProblem(host string) *problem {
	for i := range len(host) {
		if placeholderAt(host[i:]) != "" || host[i] == '*' {
			return &problem{i, "a placeholder in the host of a source", "write one rule for each host"}
		}
	}
	return hostProblem(host)
}

// cutSuffixes removes a query and a fragment from a source. Cloudflare does not
// look at them, with Netlify such a rule never matches.
func (p place) cutSuffixes(path string, column int, d Dialect) string {
	i := strings.IndexAny(path, "?#")
	if i < 0 {
		return path
	}
	if d == Cloudflare {
		return path[:i]
	}
	if path[i] == '#' {
		p.mistake(column+i, "a fragment in the source", "browsers keep it to themselves: delete it")
	} else {
		query, _, _ := strings.Cut(path[i+1:], "#")
		p.mistake(column+i, "a query in the source",
			"write it behind a space: "+path[:i]+" "+strings.ReplaceAll(query, "&", " "))
	}
	return path[:i]
}

func (s *statement) parseQuery(r *rule) {
	for _, w := range s.query {
		if len(r.query) == maxWildcards {
			s.mistake(w.column, fmt.Sprintf("more than %d query parameters", maxWildcards), "ask for fewer")
			return
		}
		param, names, problem := parseParam(w.text, r.names)
		s.report(problem, w.column)
		r.query, r.names = append(r.query, param), names
	}
}

func (s *statement) parseTarget(r *rule) {
	text := s.target.text
	if s.unsupportedTarget(r) {
		return
	}
	if i := strings.IndexByte(text, '*'); i >= 0 && len(r.names) > 0 && strings.Contains(s.source.text, "*") {
		s.mistake(s.target.column+i, "a splat in the target", "write :splat for what the * of the source took, or %2A for an asterisk")
		return
	}
	target, problem := parseTarget(text, r.names)
	s.report(problem, s.target.column)
	r.target = target
}

func (p place) report(problem *problem, column int) {
	if problem != nil {
		p.mistake(column+problem.offset, problem.what, problem.hint)
	}
}

// refuseLoop notes a rule that leads back to itself for every request.
func (s *statement) refuseLoop(r *rule, d Dialect) {
	if !isRedirect(r.status) || len(r.query) > 0 || len(r.target.query) > 0 {
		return
	}
	if t := &r.target; t.host != "" && (t.host != r.host || t.scheme != r.scheme) {
		return
	}
	mark := func(name string) string { return "\x00" + name }
	if trimSlash(r.source.shape(mark)) != trimSlash(r.target.shape(r.names, mark)) {
		return
	}
	const what, hint = "the rule redirects to where it comes from", "delete it"
	if strings.HasSuffix(r.traits.path, "/") == strings.HasSuffix(s.target.text, "/") {
		s.mistake(s.target.column, what, hint)
	} else if d == Netlify && r.force {
		s.mistake(s.target.column, what+": a slash at the end of a path does not count",
			hint+`, or choose dialect = "cloudflare", to which it counts`)
	}
}
