package rules

import (
	"fmt"
	"slices"
	"strings"
)

// A problem is a mistake whose place is an offset in the word being read.
type problem struct {
	offset     int
	what, hint string
}

// A tokenBuilder puts a pattern together. The first problem stays.
type tokenBuilder struct {
	tokens  []token
	names   []string
	problem *problem
}

func (b *tokenBuilder) fail(offset int, what, hint string) {
	if b.problem == nil {
		b.problem = &problem{offset, what, hint}
	}
}

// literal appends text, whose percent-escapes are undone as those of a request
// are.
func (b *tokenBuilder) literal(text string) {
	text = unescape(text)
	if n := len(b.tokens); n > 0 && b.tokens[n-1].kind == literal {
		b.tokens[n-1].text += text
	} else if text != "" {
		b.tokens = append(b.tokens, token{kind: literal, text: text})
	}
}

func (b *tokenBuilder) wildcard(offset int, t token) {
	switch {
	case slices.Contains(b.names, t.text):
		b.fail(offset, fmt.Sprintf("the placeholder :%s stands twice in the source", t.text), "give each its own name")
	case len(b.names) == maxWildcards:
		b.fail(offset, fmt.Sprintf("more than %d placeholders in one source", maxWildcards), "use a splat for the rest of the path")
	}
	b.names = append(b.names, t.text)
	b.tokens = append(b.tokens, t)
}

func (b *tokenBuilder) done() (pattern, *problem) { return newPattern(b.tokens), b.problem }

// compileNetlify reads a path that begins with a slash as Netlify does: segment
// by segment, a slash more or less being no matter. In _headers a splat may
// stand anywhere and any number of times; in _redirects only at the end.
func compileNetlify(path string, anywhere bool) (pattern, *problem) {
	var b tokenBuilder
	path = strings.TrimRight(path, "/")
	offset := 0
	for seg := range strings.SplitSeq(path, "/") {
		last := offset+len(seg) == len(path)
		if seg != "" {
			b.netlifySegment(seg, offset, last, anywhere)
		}
		offset += len(seg) + 1
	}
	if len(b.tokens) == 0 {
		b.literal("/")
	}
	return b.done()
}

func (b *tokenBuilder) netlifySegment(seg string, offset int, last, anywhere bool) {
	name := placeholderAt(seg)
	switch star := strings.IndexByte(seg, '*'); {
	case name != "" && name != seg[1:]:
		b.fail(offset, fmt.Sprintf("the placeholder :%s is only a part of %q", name, seg),
			fmt.Sprintf("a placeholder takes a whole segment of the path: write /:%s/", name))
	case name != "":
		b.literal("/")
		b.wildcard(offset, token{kind: segment, text: name, stop: '/'})
	case star < 0:
		b.literal("/" + seg)
	case anywhere:
		b.stars(seg, offset)
	case !last || star < len(seg)-1:
		b.fail(offset+star, "a splat stands at the end of the source only", "use a placeholder such as :name in its place")
	default:
		b.stars(seg, offset)
	}
}

// stars appends a segment that has splats in it; one that is nothing else may
// be left out with its slash.
func (b *tokenBuilder) stars(seg string, offset int) {
	if seg == "*" {
		b.splat(offset, tail)
		return
	}
	b.literal("/")
	for i, part := range strings.Split(seg, "*") {
		if i > 0 {
			b.splat(offset, splat)
		}
		b.literal(part)
		offset += len(part) + 1
	}
}

// splat appends a splat; further ones of the same source have no name.
func (b *tokenBuilder) splat(offset int, kind tokenKind) {
	name := "splat"
	if slices.Contains(b.names, name) {
		name = fmt.Sprintf("*%d", len(b.names))
	}
	b.wildcard(offset, token{kind: kind, text: name})
}

// compileCloudflare reads a path or a host as Cloudflare does: letter by letter,
// with one splat at most and placeholders anywhere, which end at stop.
func compileCloudflare(text string, stop byte) (pattern, *problem) {
	var b tokenBuilder
	from := 0
	for i := 0; i < len(text); {
		name := placeholderAt(text[i:])
		if text[i] != '*' && name == "" {
			i++
			continue
		}
		b.literal(text[from:i])
		if name != "" {
			b.wildcard(i, token{kind: segment, text: name, stop: stop})
			i += 1 + len(name)
		} else {
			b.oneSplat(i)
			i++
		}
		from = i
	}
	b.literal(text[from:])
	return b.done()
}

func (b *tokenBuilder) oneSplat(offset int) {
	if slices.Contains(b.names, "splat") {
		b.fail(offset, "a second splat", "cloudflare takes one splat a source: use placeholders such as :name for the others")
		return
	}
	b.wildcard(offset, token{kind: splat, text: "splat"})
}

// placeholderAt returns the name of the placeholder with which s begins, or "".
func placeholderAt(s string) string {
	if len(s) < 2 || s[0] != ':' || !isLetter(s[1]) {
		return ""
	}
	end := 2
	for end < len(s) && (isLetter(s[end]) || isDigit(s[end]) || s[end] == '_') {
		end++
	}
	return s[1:end]
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// cutURL takes an absolute http or https URL apart. A host without a path has
// the path "/".
func cutURL(text string) (scheme, host, path string, ok bool) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return "", "", text, false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, path = rest[:end], rest[end:]
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return scheme, host, path, true
}

// hostProblem says what is wrong with the host of a source, if anything is.
// Offsets count from the host.
func hostProblem(host string) *problem {
	const ascii = "write letters, digits, hyphens and dots; a name in another script as xn--…"
	for i := range len(host) {
		switch c := host[i]; {
		case c == ':' && placeholderAt(host[i:]) != "":
		case c == ':':
			return &problem{i, "a port in the source", "rules look at the host only: delete the port"}
		case !isHostByte(c):
			return &problem{i, fmt.Sprintf("unexpected %q in a host", host[i:]), ascii}
		}
	}
	if host == "" || host[0] == '.' || strings.Contains(host, "..") {
		return &problem{0, "expected a host after ://", ascii}
	}
	return nil
}

func isHostByte(c byte) bool { return isLetter(c) || isDigit(c) || c == '-' || c == '.' || c == '_' }
