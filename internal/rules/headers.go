package rules

import (
	"slices"
	"strings"
)

// Headers holds the rules of a _headers file. A nil *Headers has no rules.
type Headers struct {
	file    string
	dialect Dialect
	blocks  []block
	index   index
	last    []Edit // of [Headers.Then]
}

// An Op is what an Edit does.
type Op uint8

const (
	// Set replaces the field, or adds it.
	Set Op = iota
	// Append adds a value to the field: after a comma, or, of Set-Cookie, as a
	// further field line.
	Append
	// Remove takes the field away.
	Remove
)

// String returns the name of o.
func (o Op) String() string {
	switch o {
	case Set:
		return "set"
	case Append:
		return "append"
	case Remove:
		return "remove"
	}
	return "unknown"
}

// An Edit is one change to the fields of an answer.
type Edit struct {
	Op    Op
	Name  string // as textproto.CanonicalMIMEHeaderKey has it
	Value string // empty if Op is Remove
	Line  int
}

// A block is a path or URL and the fields below it.
type block struct {
	line   int
	text   string // the path or URL as written
	host   *pattern
	path   pattern
	fields []field // removals first
}

// A field is an Edit whose value may have placeholders.
type field struct {
	Edit
	value template // nil if Edit.Value is all there is to it
	names []string // placeholders in the value that the block captures
}

func newHeaders(file string, d Dialect, blocks []block) *Headers {
	h := &Headers{file: file, dialect: d, blocks: blocks}
	for i := range blocks {
		if path, ok := blocks[i].path.fixed(); ok {
			h.index.addStatic(path, i)
		} else {
			h.index.addDynamic(i)
		}
	}
	return h
}

// Len returns the number of blocks.
func (h *Headers) Len() int {
	if h == nil {
		return 0
	}
	return len(h.blocks)
}

// DependsOnHost reports whether a block names a host, so that answers cannot be
// prepared by path alone.
func (h *Headers) DependsOnHost() bool {
	return h != nil && slices.ContainsFunc(h.blocks, func(b block) bool { return b.host != nil })
}

// Then returns the same rules with edits that come after those of every block, for
// every request: what holds whatever somebody has written. Of nil it returns these
// edits alone.
func (h *Headers) Then(edits ...Edit) *Headers {
	if h == nil {
		h = newHeaders("", Netlify, nil)
	}
	with := *h
	with.last = append(slices.Clip(h.last), edits...)
	return &with
}

// Match returns what the blocks that match the request do to the fields that the
// server would send, in order.
//
// If several blocks set the same field, then with Netlify the last one counts;
// with Cloudflare their values are joined.
func (h *Headers) Match(req Request) []Edit {
	if h == nil {
		return nil
	}
	trimmed := req.Path
	if h.dialect == Netlify {
		trimmed = trimSlash(req.Path)
	}
	var edits []Edit
	set := make(map[string]bool) // what an earlier block has set; Cloudflare adds to it
	for i := range h.index.candidates(trimmed) {
		b := &h.blocks[i]
		path := trimmed
		if b.path.open {
			path = req.Path
		}
		if values, ok := b.match(req.Host, path); ok {
			edits = h.add(edits, b, values, set)
		}
	}
	return append(edits, h.last...)
}

func (b *block) match(host, path string) ([]string, bool) {
	var buffer [8]string
	values := buffer[:0]
	if b.host != nil {
		var ok bool
		if values, ok = b.host.match(host, values); !ok {
			return nil, false
		}
	}
	return b.path.match(path, values)
}

// add appends the edits of one block that matches.
func (h *Headers) add(edits []Edit, b *block, values []string, set map[string]bool) []Edit {
	for _, f := range b.fields {
		edit := f.Edit
		if f.value != nil {
			var s strings.Builder
			f.value.append(&s, values, inPath)
			edit.Value = s.String()
		}
		if h.dialect == Cloudflare && edit.Op == Set {
			if set[edit.Name] {
				edit.Op = Append
			}
			set[edit.Name] = true
		}
		edits = append(edits, edit)
	}
	return edits
}
