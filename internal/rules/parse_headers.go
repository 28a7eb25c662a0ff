package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// ParseHeaders reads a _headers file. file is its name in messages. The error,
// if there is one, carries a mistake.List with every mistake.
func ParseHeaders(file string, src []byte, d Dialect) (*Headers, error) {
	p := headerParser{reader: reader{file: file}, dialect: d}
	for number, text := range p.lines(src) {
		if p.parseLine(place{&p.reader, number}, text); p.over {
			break
		}
	}
	p.endBlock()
	if err := p.mistakes.Err(); err != nil {
		return nil, err
	}
	return newHeaders(file, d, p.blocks), nil
}

type headerParser struct {
	reader
	dialect Dialect
	blocks  []block
	state   headerState
	set     map[string]bool // the fields that the last block sets
	tried   bool            // there are lines below its path, right or wrong
	over    bool            // there are too many blocks to go on
}

type headerState uint8

const (
	beforeBlocks headerState = iota // no path yet
	inBlock                         // the last block takes fields
	inBadBlock                      // its path was wrong; its fields are checked and forgotten
)

func (p *headerParser) parseLine(at place, text string) {
	column := 1 + len(text) - len(strings.TrimLeftFunc(text, unicode.IsSpace))
	text = strings.TrimSpace(text)
	switch name, value, colon := strings.Cut(text, ":"); {
	case text[0] == '/' || isURL(text):
		p.endBlock()
		p.parsePath(at, word{text, column})
		p.tried = false
		return
	case text == "!" || strings.HasPrefix(text, "! ") || strings.HasPrefix(text, "!\t"):
		rest := strings.TrimLeftFunc(text[1:], unicode.IsSpace)
		p.parseRemoval(at, word{rest, column + len(text) - len(rest)})
	case colon:
		p.parseField(at, word{name, column}, value)
	default:
		p.notAField(at, word{text, column})
	}
	p.tried = true
}

// isURL reports whether a line is a URL rather than a field such as "http://":
// it has no space before the slashes.
func isURL(text string) bool {
	i := strings.Index(text, "://")
	return i > 0 && !strings.ContainsAny(text[:i], " \t:")
}

func (p *headerParser) notAField(at place, w word) {
	hint := "write Name: value"
	switch {
	case w.text[0] == '!':
		hint = "write ! " + w.text[1:] + " to remove a field"
	case p.state == beforeBlocks:
		hint = "begin with a path such as /" + strings.TrimLeft(w.text, "/")
	case strings.Contains(w.text, "="):
		name, value, _ := strings.Cut(w.text, "=")
		hint = "write " + strings.TrimSpace(name) + ": " + strings.TrimSpace(value)
	}
	at.mistake(w.column, fmt.Sprintf(`expected a path that begins with "/", or a field as Name: value, found %q`, w.text), hint)
}

// endBlock puts removals first, as Cloudflare does, and notes a block without a
// line below its path.
func (p *headerParser) endBlock() {
	if p.state != inBlock {
		return
	}
	b := &p.blocks[len(p.blocks)-1]
	slices.SortStableFunc(b.fields, func(x, y field) int { return cmp.Compare(x.rank(), y.rank()) })
	if !p.tried {
		p.add(b.line, 1, fmt.Sprintf("expected fields below %q", b.text),
			"write them as Name: value; each path needs its own")
	}
}

func (p *headerParser) parsePath(at place, w word) {
	before := len(p.mistakes)
	p.state = inBadBlock
	if p.over = len(p.blocks) == MaxRules; p.over {
		at.mistake(w.column, fmt.Sprintf("more than %d blocks", MaxRules), "use splats and placeholders to say more with fewer lines")
		return
	}
	b := block{line: at.line, text: w.text}
	_, host, path, absolute := cutURL(w.text)
	column := w.column + max(0, len(w.text)-len(path))
	if i := strings.IndexFunc(path, unicode.IsSpace); i >= 0 && strings.Contains(path[i:], ":") {
		at.mistake(column+i, "expected the end of the line after a path", "write each field on a line of its own below it")
		return
	}
	if absolute || isURL(w.text) {
		p.parseHost(at, w, host, &b)
	}
	path = at.cutSuffixes(path, column, p.dialect)
	var problem *problem
	if p.dialect == Netlify {
		b.path, problem = compileNetlify(path, true)
	} else {
		b.path, problem = compileCloudflare(path, '/')
	}
	at.report(problem, column)
	at.count(&b.path, column)
	if b.host != nil && p.dialect == Cloudflare {
		at.report(shared(b.host.names, b.path.names), column)
	}
	if len(p.mistakes) == before {
		p.blocks, p.state, p.set = append(p.blocks, b), inBlock, map[string]bool{}
	}
}

// parseHost reads the host of a URL. Cloudflare, which alone has them, asks for
// https and then looks at neither scheme nor port.
func (p *headerParser) parseHost(at place, w word, host string, b *block) {
	rest, ok := strings.CutPrefix(w.text, "https://")
	if !ok {
		at.mistake(w.column, fmt.Sprintf(`expected a URL that begins with "https://", found %q`, w.text),
			"write https://; the rule holds for http as well")
		return
	}
	column := w.column + len(w.text) - len(rest)
	at.report(hostProblem(strings.ReplaceAll(host, "*", "x")), column)
	pattern, problem := compileCloudflare(lowerHost(host), '.')
	at.report(problem, column)
	b.host = &pattern
}

// lowerHost lower-cases what is no placeholder's name.
func lowerHost(host string) string {
	labels := strings.Split(host, ".")
	for i, label := range labels {
		if placeholderAt(label) == "" {
			labels[i] = strings.ToLower(label)
		}
	}
	return strings.Join(labels, ".")
}

func shared(a, b []string) *problem {
	for _, name := range a {
		if slices.Contains(b, name) {
			return &problem{0, fmt.Sprintf("the placeholder :%s stands twice in the source", name), "give each its own name"}
		}
	}
	return nil
}

func (p *headerParser) parseRemoval(at place, w word) {
	name, _, colon := strings.Cut(w.text, ":")
	switch {
	case name == "":
		at.mistake(w.column, "expected a field name after !", "write ! Name to remove a field")
		return
	case colon:
		at.mistake(w.column+len(name), "a field that is removed has no value",
			"write ! "+strings.TrimSpace(name)+", or drop the ! to set it")
		return
	}
	p.addField(at, w.column, name, field{Edit: Edit{Op: Remove, Line: at.line}})
}

func (p *headerParser) parseField(at place, name word, value string) {
	column := name.column + len(name.text) + 1
	column += len(value) - len(strings.TrimLeftFunc(value, unicode.IsSpace))
	value = strings.TrimSpace(value)
	name.text = strings.TrimSpace(name.text)
	if name.text == "" {
		at.mistake(name.column, "expected a field name before the colon", "write Name: value")
		return
	}
	if value == "" {
		at.mistake(name.column+len(name.text), fmt.Sprintf("expected a value for the field %s", name.text),
			"write Name: value, or ! Name to remove a field that the server sends")
		return
	}
	if i := strings.IndexByte(value, '\t'); i >= 0 {
		at.mistake(column+i, "control character U+0009 in a value", "write a space")
		return
	}
	f := field{Edit: Edit{Op: Set, Value: value, Line: at.line}}
	if p.state == inBlock {
		at.report(p.placeholders(&f), column)
	}
	p.addField(at, name.column, name.text, f)
}

// placeholders finds the placeholders of a value. Only Cloudflare replaces them.
func (p *headerParser) placeholders(f *field) *problem {
	b := &p.blocks[len(p.blocks)-1]
	var names []string
	if b.host != nil {
		names = append(names, b.host.names...)
	}
	names = append(names, b.path.names...)
	value, used, problem := readValue(f.Value, names)
	f.names = used
	if p.dialect == Cloudflare && len(used) > 0 {
		f.value = value
	}
	return problem
}

// readValue takes a field value apart.
func readValue(text string, names []string) (value template, used []string, problem *problem) {
	from := 0
	for i := range len(text) {
		name := placeholderAt(text[i:])
		capture := slices.Index(names, name)
		if name == "" || capture < 0 {
			continue
		}
		value = append(value, piece{text: text[from:i], capture: -1}, piece{capture: capture})
		from = i + 1 + len(name)
		used = append(used, name)
	}
	if len(used) > maxReplacements {
		problem = tooManyReplacements()
	}
	return append(value, piece{text: text[from:], capture: -1}), used, problem
}

func tooManyReplacements() *problem {
	return &problem{0, fmt.Sprintf("more than %d placeholders in one value", maxReplacements), "use each once"}
}

// addField adds a field to the last block.
func (p *headerParser) addField(at place, column int, name string, f field) {
	canonical, problem := checkName(name, f.Op == Remove)
	at.report(problem, column)
	if p.state == beforeBlocks {
		at.mistake(column, fmt.Sprintf("expected a path before the field %s", name), "begin with a path such as /*")
	}
	if p.state != inBlock || problem != nil {
		return
	}
	f.Name = canonical
	if f.Op == Set {
		if p.set[canonical] {
			f.Op = Append
		}
		p.set[canonical] = true
	}
	b := &p.blocks[len(p.blocks)-1]
	b.fields = append(b.fields, f)
}

func (f *field) rank() int {
	if f.Op == Remove {
		return 0
	}
	return 1
}
