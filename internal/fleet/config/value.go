package config

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pennyfarthing/internal/mistake"
)

// A kind is the type of a TOML value.
type kind int

const (
	kindString kind = iota + 1
	kindInteger
	kindFloat
	kindBool
	kindDate // any of TOML's four kinds of dates and times
	kindList
	kindTable
)

// A value is a TOML value and its place.
type value struct {
	kind  kind
	at    Position
	text  string // what a string says; any other scalar as it is written
	items []*value
	table *table
}

// A table keeps its entries in the order of the file.
type table struct {
	made    origin
	at      Position
	entries []entry
	index   map[string]int // into entries
	meant   []string       // keys that unknown ones seem to be meant for
}

// An entry is a key, its place, and its value.
type entry struct {
	name  string
	at    Position
	value *value
}

// An origin is what brought a table into being. TOML lets tables grow by some
// ways only.
type origin int

const (
	byHeader  origin = iota + 1 // [a.b] makes b
	byMention                   // [a.b] makes a, whose own header may follow
	byDots                      // a.b = 1 makes a
	byBraces                    // a = { } makes a
)

// lookup returns the entry of a key.
func (t *table) lookup(name string) (entry, bool) {
	i, ok := t.index[name]
	if !ok {
		return entry{}, false
	}
	return t.entries[i], true
}

// mentions reports whether t has a key, or one that seems to be meant for it.
func (t *table) mentions(name string) bool {
	_, ok := t.index[name]
	return ok || slices.Contains(t.meant, name)
}

func (t *table) add(e entry) {
	if t.index == nil {
		t.index = make(map[string]int)
	}
	t.index[e.name] = len(t.entries)
	t.entries = append(t.entries, e)
}

// addTable adds an empty table under a key.
func (t *table) addTable(k part, made origin) *table {
	sub := &table{made: made, at: k.at}
	t.add(entry{k.name, k.at, &value{kind: kindTable, at: k.at, table: sub}})
	return sub
}

// String says what v is, as in "the integer 5".
func (v *value) String() string {
	switch v.kind {
	case kindString:
		return "the string " + quote(v.text)
	case kindInteger:
		return "the integer " + shorten(v.text)
	case kindFloat:
		return "the number " + shorten(v.text)
	case kindDate:
		return "the date or time " + shorten(v.text)
	case kindList:
		return "a list"
	case kindTable:
		return "a table"
	case kindBool:
	}
	return v.text
}

// maxQuoted is how many bytes of a user's text are repeated in a message.
const maxQuoted = 80

// shorten cuts s to what fits in a message.
func shorten(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	cut := maxQuoted
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// quote returns s in double quotes, on one line, cut to what fits in a message.
func quote(s string) string { return strconv.Quote(shorten(s)) }

// keyName returns a key as messages name it.
func keyName(name string) string { return "`" + tomlKey(name) + "`" }

// tableName returns the header of a table: [sites."example.org"]. Of one that is
// deeper than any table of a fleet file it returns the beginning.
func tableName(names ...string) string {
	const deepest = 6
	var keys []string
	for _, n := range names[:min(len(names), deepest)] {
		keys = append(keys, tomlKey(n))
	}
	if len(names) > deepest {
		keys = append(keys, "…")
	}
	return "[" + strings.Join(keys, ".") + "]"
}

// tomlKey returns name as TOML wants it, in quotes unless it needs none.
func tomlKey(name string) string {
	bare := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
	}
	if name != "" && strings.IndexFunc(name, func(r rune) bool { return !bare(r) }) < 0 {
		return shorten(name)
	}
	return quote(name)
}

// inside says where a key stands: "in [pops.au]".
func inside(where string) string {
	if where == "" {
		return "at the top of the file"
	}
	return "in " + where
}

// nearest returns the known word that word seems to be meant for.
func nearest(word string, known []string) (string, bool) {
	if len(word) > maxQuoted {
		return "", false
	}
	return mistake.Nearest(word, known)
}

// didYouMean returns the hint for a word that is not known, or otherwise if no
// known one is near.
func didYouMean(word string, known []string, otherwise string) string {
	if near, ok := nearest(word, known); ok {
		return "did you mean `" + near + "`?"
	}
	return otherwise
}
