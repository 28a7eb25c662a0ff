package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"pennyfarthing/internal/mistake"
)

// A Key describes a key of the fleet file.
type Key struct {
	Table    string // as in a header, without brackets: "pops.NAME"; "" is the top
	Name     string
	Type     string // "string", "list of strings", "duration", "integer", "true or false", "table", "duration or table"
	Default  string // "" if there is none
	Doc      string // one sentence
	Example  string // a line of TOML
	Required bool
}

// A field is a key and how it gets into a T.
type field[T any] struct {
	Key
	set setter[T]
}

// A setter puts the value of e, whose key is k, where it belongs in into, or
// reports what is wrong with it.
type setter[T any] func(d *decoder, into *T, k Key, e entry)

// A decoder turns a document into a fleet. Beside the mistakes it keeps what
// must be unique or refers to something else.
type decoder struct {
	doc      *document
	mistakes mistake.List
	after    []func() // checks that need the whole file
	full     bool     // there are enough mistakes

	pops      []string // names, in the order of the file
	addresses map[netip.Addr]claim
	hosts     map[string]claim
	fallback  *claim // the default POP
}

// A claim is who has something that only one can have, and since which line.
type claim struct {
	owner string
	line  int
}

// maxMistakes is how many mistakes are reported at once.
const maxMistakes = 100

func newDecoder(doc *document) *decoder {
	d := &decoder{doc: doc, addresses: make(map[netip.Addr]claim), hosts: make(map[string]claim)}
	for _, m := range doc.wrong {
		d.wrong(m.at, m.what, m.hint)
	}
	return d
}

// decode fills f.
func (d *decoder) decode(f *Fleet) {
	fill(d, f, d.doc.root, "", topFields())
	for _, check := range d.after {
		check()
	}
}

// report returns the mistakes in the file of that name.
func (d *decoder) report(file string) error {
	for _, m := range d.mistakes {
		m.File = file
	}
	return d.mistakes.Err()
}

func (d *decoder) wrong(at Position, what, hint string) {
	if d.full {
		return
	}
	if d.full = len(d.mistakes) == maxMistakes; d.full {
		what, hint = "there are more mistakes than are worth showing", "mend these first"
	}
	d.mistakes.Add(&mistake.Error{Line: at.Line, Column: at.Column, What: what, Hint: hint})
}

// later puts off a check until the whole file is read.
func (d *decoder) later(check func()) { d.after = append(d.after, check) }

// fill sets the fields of into from t, whose name in brackets is where.
func fill[T any](d *decoder, into *T, t *table, where string, fields []field[T]) {
	for _, e := range t.entries {
		if d.full {
			return
		}
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.Name == e.name })
		if i < 0 {
			d.unknown(t, e, where, describe("", fields))
			continue
		}
		fields[i].set(d, into, fields[i].Key, e)
	}
	for _, f := range fields {
		if f.Required && !t.mentions(f.Name) && !d.doc.broken {
			d.wrong(t.at, fmt.Sprintf("%s is missing %s", keyName(f.Name), inside(where)), "add a line such as "+f.Example)
		}
	}
}

// describe returns the keys of fields, which are those of a table.
func describe[T any](table string, fields []field[T]) []Key {
	keys := make([]Key, len(fields))
	for i, f := range fields {
		keys[i] = f.Key
		keys[i].Table = table
	}
	return keys
}

// unknown reports a key of t that such a table does not have.
func (d *decoder) unknown(t *table, e entry, where string, known []Key) {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.Name
	}
	what := fmt.Sprintf("unknown key %s %s", keyName(e.name), inside(where))
	if where == "" && e.value.kind == kindTable {
		what = "unknown table " + tableName(e.name)
	}
	if near, ok := nearest(e.name, names); ok {
		t.meant = append(t.meant, near)
	}
	d.wrong(e.at, what, didYouMean(e.name, names, elsewhere(e.name, names)))
}

// elsewhere returns the hint for a key that is unknown in a table of the known
// ones: the tables that do have it, or else what the table has.
func elsewhere(name string, known []string) string {
	var tables []string
	for _, k := range Keys() {
		switch {
		case k.Name != name:
		case k.Table == "" && k.Type == "table":
			tables = append(tables, "in a header of its own, ["+name+"]")
		case k.Table == "":
			tables = append(tables, "at the top, before the first [table]")
		default:
			tables = append(tables, "in ["+k.Table+"]")
		}
	}
	if len(tables) > 0 {
		return keyName(name) + " belongs " + strings.Join(tables, " or ")
	}
	return "known here: " + strings.Join(known, ", ")
}

// mismatch reports a value that is not of the expected type.
func (d *decoder) mismatch(name, expected string, v *value, hint string) {
	d.wrong(v.at, fmt.Sprintf("%s: expected %s, found %s", keyName(name), expected, v), hint)
}

// asText returns the value of the string v, which belongs to a key of a name.
func (d *decoder) asText(k Key, name string, v *value) (string, bool) {
	if v.kind == kindString {
		return v.text, true
	}
	expected, hint := "a string", "for example: "+k.Example
	if k.Type == "duration" {
		expected = "a duration in quotes"
	}
	if v.kind == kindInteger && k.Type == "duration" {
		hint = fmt.Sprintf("write %q if seconds are meant", v.text+"s")
	}
	d.mismatch(name, expected, v, hint)
	return "", false
}

// asTable returns the table that e is.
func (d *decoder) asTable(k Key, e entry) (*table, bool) {
	if e.value.kind == kindTable {
		return e.value.table, true
	}
	d.mismatch(e.name, "a table", e.value, "for example: "+k.Example)
	return nil, false
}

// text sets a string that parse understands.
func text[T, V any](at func(*T) *V, parse func(string) (V, *flaw)) setter[T] {
	return func(d *decoder, into *T, k Key, e entry) {
		if v, ok := parsed(d, k, e.name, e.value, parse); ok {
			*at(into) = v
		}
	}
}

// parsed returns what parse makes of the string v.
func parsed[V any](d *decoder, k Key, name string, v *value, parse func(string) (V, *flaw)) (V, bool) {
	var none V
	s, ok := d.asText(k, name, v)
	if !ok {
		return none, false
	}
	result, f := parse(s)
	if f != nil {
		d.wrong(v.at, keyName(name)+": "+f.what, f.hint)
		return none, false
	}
	return result, true
}

// texts sets a list of strings that parse understands.
func texts[T, V any](at func(*T) *[]V, parse func(string) (V, *flaw)) setter[T] {
	return eachText(parse, func(_ *decoder, into *T, v V, _ Position) {
		*at(into) = append(*at(into), v)
	})
}

// eachText hands every string of a list that parse understands to add.
func eachText[T, V any](parse func(string) (V, *flaw), add func(*decoder, *T, V, Position)) setter[T] {
	return func(d *decoder, into *T, k Key, e entry) {
		if e.value.kind != kindList {
			hint := "for example: " + k.Example
			if e.value.kind == kindString {
				hint = "put it in brackets: [" + quote(e.value.text) + "]"
			}
			d.mismatch(e.name, "a list of strings", e.value, hint)
			return
		}
		if len(e.value.items) == 0 {
			d.wrong(e.value.at, keyName(e.name)+": the list is empty", "for example: "+k.Example)
		}
		for _, item := range e.value.items {
			if d.full {
				return
			}
			if v, ok := parsed(d, k, e.name, item, parse); ok {
				add(d, into, v, item.at)
			}
		}
	}
}

// truth sets true or false.
func truth[T any](at func(*T) *bool) setter[T] {
	return func(d *decoder, into *T, _ Key, e entry) {
		if e.value.kind != kindBool {
			d.mismatch(e.name, "true or false", e.value, "write true or false, without quotes")
			return
		}
		*at(into) = e.value.text == "true"
	}
}

// count sets an integer from low to high.
func count[T any](at func(*T) *int, low, high int) setter[T] {
	return func(d *decoder, into *T, k Key, e entry) {
		if e.value.kind != kindInteger {
			d.mismatch(e.name, "an integer", e.value, "for example: "+k.Example)
			return
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(e.value.text, "_", ""), 0, 64)
		if err != nil || n < int64(low) || n > int64(high) {
			d.wrong(e.value.at, fmt.Sprintf("%s: %s is out of range", keyName(e.name), shorten(e.value.text)), fmt.Sprintf("write a number from %d to %d, or leave the key out", low, high))
			return
		}
		*at(into) = int(n)
	}
}

// section sets a table with fields.
func section[T, V any](at func(*T) *V, where string, fields func() []field[V]) setter[T] {
	return func(d *decoder, into *T, k Key, e entry) {
		if t, ok := d.asTable(k, e); ok {
			fill(d, at(into), t, where, fields())
		}
	}
}
