package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A part is one name of a dotted key, and its place.
type part struct {
	name string
	at   Position
}

// A document is the tree of a TOML text and what was wrong with the text.
type document struct {
	src    []byte
	lines  []int  // offset of each line's first byte
	root   *table // nil if nothing could be read
	wrong  []misplaced
	broken bool // some lines could not be read, so what seems missing may be there

	parser unstable.Parser
	base   int    // offset of the parser's text in src
	here   *table // where the next key goes
	name   string // of here, in brackets; "" for the root
}

// A misplaced is a flaw and its place.
type misplaced struct {
	at Position
	flaw
}

// maxSyntaxErrors is after how many unreadable lines reading stops: the file is
// hardly TOML then.
const maxSyntaxErrors = 20

// readDocument reads TOML. After a line that cannot be read it goes on at the
// next one that looks like a beginning, so that one run finds every mistake.
func readDocument(src []byte) *document {
	d := &document{src: src, lines: []int{0}}
	for i, b := range src {
		if b == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	if i := firstInvalid(src); i >= 0 {
		d.add(d.position(i), "the file is not UTF-8 text", "save it as UTF-8")
		return d
	}
	start := len(src) - len(bytes.TrimPrefix(src, []byte("\ufeff")))
	if len(bytes.TrimSpace(src[start:])) == 0 {
		d.add(Position{1, 1}, "the file is empty", "`penny init` writes a first one")
		return d
	}
	d.root = &table{made: byHeader, at: Position{1, 1}}
	d.here = d.root
	for tries := 0; start < len(src) && tries < maxSyntaxErrors; tries++ {
		start = d.readFrom(start)
	}
	return d
}

// firstInvalid returns the offset of the first byte that is not UTF-8, or -1.
func firstInvalid(src []byte) int {
	if utf8.Valid(src) {
		return -1
	}
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

func (d *document) add(at Position, what, hint string) {
	d.wrong = append(d.wrong, misplaced{at, flaw{what, hint}})
}

// position returns the place of an offset in src.
func (d *document) position(offset int) Position {
	line, found := slices.BinarySearch(d.lines, offset)
	if found {
		line++
	}
	return Position{line, offset - d.lines[line-1] + 1}
}

// readFrom reads what begins at offset start and returns where to go on: the
// end, or behind an error.
func (d *document) readFrom(start int) int {
	d.base = start
	d.parser.Reset(d.src[start:])
	for d.parser.NextExpression() {
		switch e := d.parser.Expression(); e.Kind {
		case unstable.Table:
			d.header(d.parts(e.Key()))
		case unstable.ArrayTable:
			d.listHeader(d.parts(e.Key()))
		default:
			d.assign(d.here, d.name, e)
		}
	}
	perr, ok := errors.AsType[*unstable.ParserError](d.parser.Error())
	if !ok {
		return len(d.src)
	}
	d.broken = true
	// A highlight is a slice of the parser's text; what is left of the capacity
	// tells where it begins.
	offset := start + cap(d.parser.Data()) - cap(perr.Highlight)
	offset = min(max(offset, start), len(d.src)-1)
	d.add(d.syntaxError(offset, perr.Message))
	return d.resume(offset)
}

// parts returns the names of a key with their places.
func (d *document) parts(key unstable.Iterator) []part {
	var all []part
	for key.Next() {
		n := key.Node()
		all = append(all, part{string(n.Data), d.position(d.base + int(n.Raw.Offset))})
	}
	return all
}

// header opens the table of a [header]. A table that cannot be opened is read
// aside, so that its keys are not taken for those of another one.
func (d *document) header(key []part) {
	names := make([]string, len(key))
	for i, k := range key {
		names[i] = k.name
	}
	d.name = tableName(names...)
	d.here = &table{made: byHeader, at: key[0].at}

	t := d.root
	for _, k := range key[:len(key)-1] {
		e, ok := t.lookup(k.name)
		switch {
		case !ok:
			t = t.addTable(k, byMention)
		case e.value.kind != kindTable || e.value.table.made == byBraces:
			d.add(k.at, fmt.Sprintf("%s cannot be a table: %s was set on line %d", d.name, keyName(k.name), e.at.Line), "write all of it in one place")
			return
		default:
			t = e.value.table
		}
	}
	last := key[len(key)-1]
	e, ok := t.lookup(last.name)
	switch {
	case !ok:
		d.here = t.addTable(last, byHeader)
	case e.value.kind == kindTable && e.value.table.made == byMention:
		d.here = e.value.table
		d.here.made, d.here.at = byHeader, last.at
	case e.value.kind != kindTable || e.value.table.made != byHeader:
		d.add(last.at, fmt.Sprintf("%s was set on line %d already", d.name, e.at.Line), "write all of it in one place")
	default:
		d.add(last.at, fmt.Sprintf("%s is there twice; first on line %d", d.name, e.at.Line), "rename one of them, or write their keys below one header")
	}
}

// listHeader refuses a [[header]], which no table of a fleet file has.
func (d *document) listHeader(key []part) {
	d.here, d.name = &table{made: byHeader, at: key[0].at}, ""
	hint := "write " + tableName(key[0].name)
	if len(key) == 1 && (key[0].name == "pops" || key[0].name == "sites") {
		hint = "write [pops.NAME] or [sites.\"HOST\"], one for each"
	} else if len(key) > 1 {
		hint = "write single brackets"
	}
	d.add(key[0].at, "double brackets make a list of tables, and the fleet file has none", hint)
}

// assign puts the key-value expression e into t, whose name in brackets is
// where.
func (d *document) assign(t *table, where string, e *unstable.Node) {
	key := d.parts(e.Key())
	v := d.value(e.Value(), d.valuePosition(e))
	for _, k := range key[:len(key)-1] {
		old, ok := t.lookup(k.name)
		switch {
		case !ok:
			t = t.addTable(k, byDots)
		case old.value.kind == kindTable && old.value.table.made == byDots:
			t = old.value.table
		default:
			d.twice(k, where, old)
			return
		}
	}
	last := key[len(key)-1]
	if old, ok := t.lookup(last.name); ok {
		d.twice(last, where, old)
		return
	}
	t.add(entry{last.name, last.at, v})
}

func (d *document) twice(k part, where string, old entry) {
	d.add(k.at, fmt.Sprintf("%s is set twice %s; first on line %d", keyName(k.name), inside(where), old.at.Line), "delete one of them")
}

// valuePosition returns where the value of the key-value expression e begins:
// lists do not carry their place, so it is looked for behind the key.
func (d *document) valuePosition(e *unstable.Node) Position {
	end := 0
	for key := e.Key(); key.Next(); {
		end = d.base + int(key.Node().Raw.Offset+key.Node().Raw.Length)
	}
	return d.position(end + len(d.src[end:]) - len(bytes.TrimLeft(d.src[end:], " \t=")))
}

// value returns the value of a node that stands at at.
func (d *document) value(n *unstable.Node, at Position) *value {
	v := &value{kind: kindOf(n.Kind), at: at}
	switch v.kind {
	case kindList:
		for items := n.Children(); items.Next(); {
			item := items.Node()
			itemAt := at
			if item.Raw.Length > 0 {
				itemAt = d.position(d.base + int(item.Raw.Offset))
			}
			v.items = append(v.items, d.value(item, itemAt))
		}
	case kindTable:
		v.table = &table{made: byBraces, at: at}
		for pairs := n.Children(); pairs.Next(); {
			d.assign(v.table, "this table", pairs.Node())
		}
	default:
		v.text = string(n.Data)
	}
	return v
}

func kindOf(k unstable.Kind) kind {
	switch k {
	case unstable.String:
		return kindString
	case unstable.Integer:
		return kindInteger
	case unstable.Float:
		return kindFloat
	case unstable.Bool:
		return kindBool
	case unstable.Array:
		return kindList
	case unstable.InlineTable:
		return kindTable
	default:
		return kindDate
	}
}
