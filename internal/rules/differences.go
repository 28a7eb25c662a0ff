package rules

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Cloudflare's own bounds; it ignores what goes beyond them.
const (
	cloudflareLine    = 2000
	cloudflareStatic  = 2000
	cloudflareDynamic = 100
	cloudflareBlocks  = 100
)

// A Difference is a line that Netlify and Cloudflare understand differently.
type Difference struct {
	File string
	Line int
	What string // what either does, as a sentence
}

// Differences returns what the two dialects make differently of single lines, in
// order. It depends on the lines only; see Everywhere for what holds for all of
// them and Shadowed for what depends on the content of the site.
func (r *Redirects) Differences() []Difference {
	if r == nil {
		return nil
	}
	d := differences{file: r.file}
	var count cloudflareCount
	for i := range r.rules {
		rule := &r.rules[i]
		ignored := count.ignores(rule)
		for _, o := range rule.traits.objections {
			d.add(rule.line, o.netlify, "ignores the line: it "+o.cloudflare)
		}
		switch {
		case len(rule.traits.objections) > 0:
		case ignored != "":
			d.add(rule.line, "has no such limit", "ignores the line: "+ignored)
		default:
			d.rule(rule)
		}
	}
	return d.list
}

// Everywhere returns the differences that hold for every rule, whatever it says.
func (r *Redirects) Everywhere() []string {
	if r.Len() == 0 {
		return nil
	}
	return []string{
		`netlify lets content of the site come before a rule without "!"; cloudflare lets every rule come before content`,
		"netlify matches a path with and without a slash at its end; cloudflare matches it as it is written",
	}
}

// Shadowed returns the rules that depend on whether content of the site comes
// first: of all that have no "!", those that match one of paths, which are the
// paths at which the site has content.
func (r *Redirects) Shadowed(paths iter.Seq[string]) []Difference {
	if r.Len() == 0 {
		return nil
	}
	found := make([]string, len(r.rules))
	for path := range paths {
		a := attempt{Request: Request{Path: path}, trimmed: path}
		if r.dialect == Netlify {
			a.trimmed = trimSlash(path)
		}
		for i := range r.index.candidates(a.trimmed) {
			rule := &r.rules[i]
			if found[i] != "" || len(rule.traits.objections) > 0 {
				continue
			}
			if _, ok := rule.match(&a); ok {
				found[i] = path
			}
		}
	}
	d := differences{file: r.file}
	for i, path := range found {
		if path != "" {
			d.add(r.rules[i].line, fmt.Sprintf("sends the content that the site has at %s", path), "applies the rule")
		}
	}
	return d.list
}

// Differences returns what the two dialects make differently of single lines, in
// order.
func (h *Headers) Differences() []Difference {
	if h == nil {
		return nil
	}
	d := differences{file: h.file}
	setBy := make(map[string][]int)
	for i := range h.blocks {
		b := &h.blocks[i]
		d.block(b, i)
		for _, f := range b.fields {
			d.field(&f)
			if f.Op != Set {
				continue
			}
			if j := overlap(h.blocks, setBy[f.Name], b); j >= 0 {
				d.add(f.Line,
					fmt.Sprintf("sends this value of %s alone to what %q in line %d matches as well", f.Name, h.blocks[j].text, h.blocks[j].line),
					"adds it to the value from there")
			}
			setBy[f.Name] = append(setBy[f.Name], i)
		}
	}
	return d.sorted()
}

// Everywhere returns the differences that hold for every block, whatever it says.
func (h *Headers) Everywhere() []string {
	if h.Len() == 0 {
		return nil
	}
	return []string{"netlify matches a path with and without a slash at its end; cloudflare matches it as it is written"}
}

// overlap returns the first of the blocks with these numbers that may match what
// b matches, or -1.
func overlap(blocks []block, numbers []int, b *block) int {
	for _, i := range numbers {
		if mayOverlap(&blocks[i].path, &b.path) {
			return i
		}
	}
	return -1
}

// mayOverlap reports whether some path could match both patterns. It may say so
// wrongly if both have wildcards.
func mayOverlap(a, b *pattern) bool {
	if text, ok := a.fixed(); ok {
		_, both := b.match(text, nil)
		return both
	}
	if text, ok := b.fixed(); ok {
		_, both := a.match(text, nil)
		return both
	}
	return strings.HasPrefix(a.prefix(), b.prefix()) || strings.HasPrefix(b.prefix(), a.prefix())
}

// A cloudflareCount counts rules as Cloudflare does: one without wildcards that
// stands behind one with wildcards counts as if it had them.
type cloudflareCount struct{ static, dynamic int }

func (c *cloudflareCount) ignores(r *rule) string {
	if r.traits.long {
		return fmt.Sprintf("it has more than %d characters", cloudflareLine)
	}
	if len(r.traits.objections) > 0 {
		return ""
	}
	if _, fixed := r.source.fixed(); fixed && c.dynamic == 0 {
		if c.static++; c.static > cloudflareStatic {
			return fmt.Sprintf("it takes %d rules without wildcards", cloudflareStatic)
		}
		return ""
	}
	if c.dynamic++; c.dynamic > cloudflareDynamic {
		return fmt.Sprintf("it takes %d rules from the first with wildcards on", cloudflareDynamic)
	}
	return ""
}

type differences struct {
	file string
	list []Difference
}

func (d *differences) add(line int, netlify, cloudflare string) {
	d.list = append(d.list, Difference{d.file, line, "netlify " + netlify + "; cloudflare " + cloudflare})
}

// rule looks at a rule that both take.
func (d *differences) rule(r *rule) {
	path := r.traits.path
	if r.traits.noStatus {
		d.add(r.line, "redirects with 301 where no status is given", "with 302")
	}
	if strings.ContainsAny(r.traits.source, "?#") {
		d.add(r.line, "never matches a source with a query or a fragment", "matches "+path)
	}
	d.wildcards(r.line, path, false)
	if isRedirect(r.status) && r.target.host == "" && !r.source.open {
		if to, ok := r.fixedTarget(); ok && to != path && trimSlash(to) == trimSlash(path) {
			d.add(r.line, "takes source and target for the same path", "redirects from one to the other")
		}
	}
}

func (r *rule) fixedTarget() (string, bool) {
	if !r.target.local.fixed() || len(r.target.query) > 0 {
		return "", false
	}
	return r.target.file(nil), true
}

// wildcards compares how the two read the wildcards of a path.
func (d *differences) wildcards(line int, path string, anywhere bool) {
	netlify, problem := compileNetlify(path, anywhere)
	if problem != nil {
		d.add(line, "does not take this source: "+problem.what, "does")
		return
	}
	cloudflare, problem := compileCloudflare(path, '/')
	if problem != nil {
		d.add(line, "takes this source", "ignores the line: "+problem.what)
		return
	}
	if base, ok := strings.CutSuffix(path, "/*"); ok && base != "" {
		d.add(line, "matches "+base+" as well", "only what begins with "+base+"/")
	}
	if len(netlify.names) < len(cloudflare.names) {
		d.add(line, "takes a colon inside of a segment for a colon", "for the beginning of a placeholder")
	}
}

// block looks at the path of a block; i is its number.
func (d *differences) block(b *block, i int) {
	_, _, path, _ := cutURL(b.text)
	if b.host != nil {
		d.add(b.line, "takes the line for a field named https", "applies the block to that host only")
	}
	if i >= cloudflareBlocks {
		d.add(b.line, "has no such limit", fmt.Sprintf("ignores the block: it takes %d", cloudflareBlocks))
	}
	if cut := strings.IndexAny(path, "?#"); cut >= 0 {
		path = path[:cut]
		d.add(b.line, "never matches a path with a query or a fragment", "matches "+path)
	}
	d.wildcards(b.line, path, true)
}

func (d *differences) field(f *field) {
	if f.Op == Remove {
		d.add(f.Line, "ignores the line", "removes the field "+f.Name)
	}
	if len(f.names) > 0 {
		d.add(f.Line, "sends :"+f.names[0]+" as it is written", "sends what the path has in its place")
	}
}

// sorted returns the list by lines: the removals of a block have been looked at
// first.
func (d *differences) sorted() []Difference {
	slices.SortStableFunc(d.list, func(a, b Difference) int { return cmp.Compare(a.Line, b.Line) })
	return d.list
}
