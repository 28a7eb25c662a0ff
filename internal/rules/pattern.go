package rules

import (
	"slices"
	"strings"
)

// A pattern is what a path or a host is compared with: a sequence of tokens that
// together must cover all of it.
type pattern struct {
	tokens []token
	names  []string // what the tokens that are no literals capture, in order
	tidy   bool     // every wildcard's end is plain to see; no search is needed
	open   bool     // ends with a splat
}

type token struct {
	kind tokenKind
	text string // of a literal: what to find; else the name of what is captured
	stop byte   // of a segment: the byte at which it ends
}

type tokenKind uint8

const (
	literal tokenKind = iota
	segment           // one byte or more, up to the next stop
	splat             // anything, also nothing
	tail              // nothing, or a slash and anything: Netlify's "/*"
)

func newPattern(tokens []token) pattern {
	p := pattern{tokens: tokens, tidy: true}
	for i, t := range tokens {
		last := i == len(tokens)-1
		if t.kind != literal {
			p.names = append(p.names, t.text)
		}
		switch t.kind {
		case literal:
		case segment:
			p.tidy = p.tidy && (last || tokens[i+1].beginsWith(t.stop))
		case splat, tail:
			p.tidy = p.tidy && last
			p.open = last
		}
	}
	return p
}

func (t token) beginsWith(b byte) bool {
	return t.kind == tail && b == '/' || t.kind == literal && t.text != "" && t.text[0] == b
}

// fixed returns the one string that the pattern matches, if there is only one.
func (p *pattern) fixed() (string, bool) {
	switch {
	case len(p.tokens) == 0:
		return "", true
	case len(p.tokens) == 1 && p.tokens[0].kind == literal:
		return p.tokens[0].text, true
	}
	return "", false
}

// prefix returns what everything that the pattern matches begins with.
func (p *pattern) prefix() string {
	if len(p.tokens) > 0 && p.tokens[0].kind == literal {
		return p.tokens[0].text
	}
	return ""
}

// shape returns the pattern in a form in which patterns, and targets, can be
// compared. name says how a wildcard is to be written.
func (p *pattern) shape(name func(string) string) string {
	var b strings.Builder
	for _, t := range p.tokens {
		switch t.kind {
		case literal:
			b.WriteString(t.text)
		case segment, splat:
			b.WriteString(name(t.text))
		case tail:
			b.WriteString("/" + name(t.text))
		}
	}
	return b.String()
}

// match appends what the wildcards of p capture in s to values, and reports
// whether p matches s. Where there is a choice, an earlier wildcard takes as
// much as it can.
func (p *pattern) match(s string, values []string) ([]string, bool) {
	if !strings.HasPrefix(s, p.prefix()) {
		return nil, false
	}
	if p.tidy {
		return p.matchTidy(s, values)
	}
	return p.matchAny(s, values)
}

// matchTidy walks once over s and never looks back.
func (p *pattern) matchTidy(s string, values []string) ([]string, bool) {
	for _, t := range p.tokens {
		switch t.kind {
		case literal:
			rest, ok := strings.CutPrefix(s, t.text)
			if !ok {
				return nil, false
			}
			s = rest
		case segment:
			end := segmentEnd(s, 0, t.stop)
			if end == 0 {
				return nil, false
			}
			values, s = append(values, s[:end]), s[end:]
		case splat:
			return append(values, s), true
		case tail:
			rest, ok := strings.CutPrefix(s, "/")
			return append(values, rest), ok || s == ""
		}
	}
	return values, s == ""
}

// matchAny works for every pattern in time proportional to tokens times bytes,
// which a search that tries and goes back would not. It first finds from which
// offsets of s each rest of the tokens can match, then walks forwards.
func (p *pattern) matchAny(s string, values []string) ([]string, bool) {
	width := len(s) + 1
	reach := make([]bool, (len(p.tokens)+1)*width)
	reach[len(reach)-1] = true
	for i, t := range slices.Backward(p.tokens) {
		t.reach(s, reach[i*width:(i+1)*width], reach[(i+1)*width:(i+2)*width])
	}
	if !reach[0] {
		return nil, false
	}
	at := 0
	for i, t := range p.tokens {
		from, to := t.longest(s, at, reach[(i+1)*width:(i+2)*width])
		if t.kind != literal {
			values = append(values, s[from:to])
		}
		at = to
	}
	return values, true
}

// reach sets here[j] for each offset j of s at which t can begin, given the
// offsets next at which what follows t can.
func (t token) reach(s string, here, next []bool) {
	ahead := false // what follows t can begin at a later offset that t could reach
	for j := len(s); j >= 0; j-- {
		switch t.kind {
		case literal:
			here[j] = strings.HasPrefix(s[j:], t.text) && next[j+len(t.text)]
		case segment:
			here[j] = ahead && s[j] != t.stop
			ahead = next[j] || here[j]
		case splat:
			ahead = ahead || next[j]
			here[j] = ahead
		case tail:
			here[j] = next[j] || ahead && s[j] == '/'
			ahead = ahead || next[j]
		}
	}
}

// longest returns which bytes of s t takes if it begins at offset at.
func (t token) longest(s string, at int, next []bool) (from, to int) {
	switch t.kind {
	case literal:
		return at, at + len(t.text)
	case segment:
		return at, lastTrue(next, segmentEnd(s, at, t.stop))
	case splat:
		return at, lastTrue(next, len(s))
	case tail:
		if end := lastTrue(next, len(s)); end > at && s[at] == '/' {
			return at + 1, end
		}
	}
	return at, at
}

func lastTrue(set []bool, from int) int {
	for !set[from] {
		from--
	}
	return from
}

func segmentEnd(s string, from int, stop byte) int {
	if i := strings.IndexByte(s[from:], stop); i >= 0 {
		return from + i
	}
	return len(s)
}
