package rules

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A template is text with captured values in it.
type template []piece

type piece struct {
	text    string
	capture int // index of the captured value; -1 for text
}

// append writes the template with its values, escaped so that only bytes that
// keep holds stand for themselves.
func (t template) append(b *strings.Builder, values []string, keep func(byte) bool) {
	for _, p := range t {
		if p.capture < 0 {
			b.WriteString(p.text)
		} else {
			escape(b, values[p.capture], keep)
		}
	}
}

func (t template) fixed() bool {
	return !slices.ContainsFunc(t, func(p piece) bool { return p.capture >= 0 })
}

// A target is where a redirect leads or what a rewrite serves.
type target struct {
	scheme, host          string   // host with its port; "" for a path of the site
	path, query, fragment template // escaped, for a Location
	local                 template // the path once more, not escaped
}

// location returns the URL to which the target leads. asked is the query to
// pass on, escaped, which gives way to one that the target has.
func (t *target) location(values []string, asked string) string {
	var b strings.Builder
	t.path.append(&b, values, inPath)
	to := b.String()
	b.Reset()
	if t.host != "" {
		b.WriteString(t.scheme + "://" + t.host)
	} else {
		// What a visitor typed must not turn a path into the name of a host:
		// "//evil.example" leaves the site.
		to = "/" + strings.TrimLeft(to, "/")
	}
	b.WriteString(to)
	if query := t.search(values, asked); query != "" {
		b.WriteString("?" + query)
	}
	if len(t.fragment) > 0 {
		b.WriteByte('#')
		t.fragment.append(&b, values, inValue)
	}
	return b.String()
}

// search returns the query of the target: its own, else the one asked.
func (t *target) search(values []string, asked string) string {
	if len(t.query) == 0 {
		return asked
	}
	var b strings.Builder
	t.query.append(&b, values, inValue)
	return b.String()
}

// file returns the path of the site that the target names.
func (t *target) file(values []string) string {
	var b strings.Builder
	t.local.append(&b, values, func(byte) bool { return true })
	return cleanPath(b.String())
}

// cleanPath makes p a path that begins with one slash and has neither empty nor
// dot segments; a slash at its end stays.
func cleanPath(p string) string {
	clean := path.Clean("/" + p)
	if clean != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		clean += "/"
	}
	return clean
}

// shape returns the path in the form of pattern.shape.
func (t *target) shape(names []string, name func(string) string) string {
	var b strings.Builder
	for _, p := range t.local {
		if p.capture < 0 {
			b.WriteString(p.text)
		} else {
			b.WriteString(name(names[p.capture]))
		}
	}
	return b.String()
}

// parseTarget reads the target of a rule whose source captures names.
func parseTarget(text string, names []string) (target, *problem) {
	var t target
	rest := text
	if scheme, host, p, ok := cutURL(text); ok {
		rest = p
		if problem := targetHostProblem(host); problem != nil {
			problem.offset += len(scheme) + len("://")
			return t, problem
		}
		t.scheme, t.host = scheme, trimDefaultPort(scheme, strings.ToLower(host))
	} else if strings.HasPrefix(text, "//") {
		return t, &problem{
			0, "a target that begins with // leads to another host",
			"write https://… for another host, or one slash for a path of the site",
		}
	}
	// A host alone gets the slash that it lacks, which moves what follows.
	shift := len(text) - len(rest)
	before, fragment, _ := strings.Cut(rest, "#")
	p, query, _ := strings.Cut(before, "?")
	r := templateReader{names: names}
	t.path = r.read(p, shift, inPath)
	t.local = r.read(p, shift, nil)
	t.query = r.read(query, shift+len(p)+1, inQuery)
	t.fragment = r.read(fragment, shift+len(before)+1, inFragment)
	return t, r.problem
}

// A templateReader reads templates, and remembers the first problem.
type templateReader struct {
	names   []string
	problem *problem
}

// read takes text apart. Its own bytes are escaped where keep wants it; without
// keep they are unescaped.
func (r *templateReader) read(text string, offset int, keep func(byte) bool) template {
	var t template
	from, used := 0, 0
	flush := func(to int) {
		if from < to {
			t = append(t, piece{text: prepare(text[from:to], keep), capture: -1})
		}
	}
	for i := 0; i < len(text); i++ {
		name := placeholderAt(text[i:])
		if name == "" {
			continue
		}
		capture := slices.Index(r.names, name)
		if capture < 0 {
			r.unknown(text, i, offset, name)
			continue
		}
		flush(i)
		t = append(t, piece{capture: capture})
		from = i + 1 + len(name)
		if used++; used > maxReplacements && r.problem == nil {
			r.problem = &problem{offset + i, fmt.Sprintf("more than %d placeholders in one target", maxReplacements), "use each once"}
		}
	}
	flush(len(text))
	return t
}

// unknown complains of a placeholder that the source does not have, if it looks
// like one: a colon inside of a segment is often just a colon.
func (r *templateReader) unknown(text string, i, offset int, name string) {
	if r.problem != nil || i > 0 && !strings.ContainsRune("/=", rune(text[i-1])) {
		return
	}
	hint := "the source has no placeholder; write %3A for a colon"
	if len(r.names) > 0 {
		hint = "the source has :" + strings.Join(r.names, ", :") + "; write %3A for a colon"
	}
	r.problem = &problem{offset + i, fmt.Sprintf("the placeholder :%s is not in the source", name), hint}
}

func prepare(text string, keep func(byte) bool) string {
	if keep == nil {
		return unescape(text)
	}
	var b strings.Builder
	escapeAgain(&b, text, keep)
	return b.String()
}

// targetHostProblem says what is wrong with the host of a target, which may have
// a port. Captured values have no place in it: they would let the visitor
// choose where the site leads.
func targetHostProblem(host string) *problem {
	for i := range len(host) {
		if placeholderAt(host[i:]) != "" || host[i] == '*' {
			return &problem{i, "a placeholder in the host of a target", "write one rule for each host"}
		}
	}
	if strings.Contains(host, "@") {
		return &problem{0, "a user name in a target", "delete what stands before the @"}
	}
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
	}
	if strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return &problem{len(name) + 1, fmt.Sprintf("expected a port, found %q", port), "write a number"}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok && strings.Trim(inner, "0123456789abcdefABCDEF:.") == "]" {
		return nil
	}
	return hostProblem(name)
}

func trimDefaultPort(scheme, host string) string {
	host = strings.TrimSuffix(host, ":")
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}
