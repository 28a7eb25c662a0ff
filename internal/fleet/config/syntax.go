package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// lineShape is the hint for a line that is nothing known.
const lineShape = "a line is `key = value`, `[table]` or `# comment`"

// syntaxErrors says some of the parser's messages in words for people who do
// not know TOML. The first one that is part of a message wins.
var syntaxErrors = []struct {
	message string
	flaw
}{
	{"expected '=' after key", flaw{"expected `=` after the key", lineShape}},
	{"expected key but reached end", flaw{"the key is missing", lineShape}},
	{"cannot have new lines", flaw{"a string does not end on its line", "add the closing quote"}},
	{"unterminated", flaw{"a string does not end on its line", "add the closing quote"}},
	{"not terminated by", flaw{"a string over several lines does not end", "add the three closing quotes"}},
	{"array is incomplete", flaw{"a list does not end", "add the closing `]`"}},
	{"after array value", flaw{"expected `,` or `]` after an item of a list", "put a comma between items"}},
	{"inline table is incomplete", flaw{"a table in braces does not end", "add the closing `}`"}},
	{"after inline table", flaw{"expected `,` or `}` after a key of a table in braces", "put a comma between keys"}},
	{"to close", flaw{"expected `]` after the name of a table", "put names with dots or spaces in quotes, as in [sites.\"example.org\"]"}},
	{"invalid escape", flaw{"a backslash in a string begins an escape, and this is none", `write \\ for a backslash, or put the string in single quotes`}},
	{"expected newline", flaw{"expected the end of the line", "put text with spaces in quotes, and write one key a line"}},
}

// syntaxError returns what is wrong at an offset where the parser stopped with
// a message.
func (d *document) syntaxError(offset int, message string) (at Position, what, hint string) {
	for _, part := range []string{"at start of value", "expected value", "expected keyword", "must be quoted", "expected digit", "expected number"} {
		if strings.Contains(message, part) {
			return d.noValue(offset)
		}
	}
	at = d.position(offset)
	if strings.Contains(message, "start of key") {
		r, _ := utf8.DecodeRune(d.src[offset:])
		return at, fmt.Sprintf("a key cannot begin with %q", r), lineShape
	}
	for _, e := range syntaxErrors {
		if strings.Contains(message, e.message) {
			return at, e.what, e.hint
		}
	}
	return at, message, ""
}

// noValue explains something that stands where a value should and is none: most
// often text without quotes.
func (d *document) noValue(offset int) (at Position, what, hint string) {
	const ends = " \t\r\n,=[]{}#"
	start := bytes.LastIndexAny(d.src[:offset], ends) + 1
	word := d.src[start:]
	if i := bytes.IndexAny(word, ends); i >= 0 {
		word = word[:i]
	}
	at = d.position(start)
	text := string(word)
	lower := strings.ToLower(text)
	switch {
	case text == "":
		return d.position(offset), "the value is missing", "write a value, or delete the key"
	case lower == "true" || lower == "false":
		return at, fmt.Sprintf("%s is not a value", quote(text)), "write " + lower
	case strings.ContainsAny(text, "“”„‘’«»"):
		return at, fmt.Sprintf("%s has typographic quotes", quote(text)), `write straight quotes: "`
	}
	return at, fmt.Sprintf("%s is not a value", quote(text)), "put text in quotes: " + quote(text)
}

// resume returns where to go on reading after an error at offset: the next line
// that looks like the beginning of something, or the end.
func (d *document) resume(offset int) int {
	line := d.position(offset).Line
	if bytes.HasPrefix(bytes.TrimLeft(d.src[d.lines[line-1]:], " \t"), []byte("[")) {
		// The header of an unknown table: its keys are not those of the last one.
		d.here, d.name = &table{made: byHeader, at: d.position(offset)}, "this table"
	}
	for ; line < len(d.lines); line++ {
		end := len(d.src)
		if line+1 < len(d.lines) {
			end = d.lines[line+1]
		}
		if begins(d.src[d.lines[line]:end]) {
			return d.lines[line]
		}
	}
	return len(d.src)
}

// begins reports whether a line looks like the beginning of a table or of a
// key with its value, not like the inside of a list.
func begins(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	if len(line) == 0 {
		return false
	}
	if line[0] == '[' {
		return len(line) > 1 && isLetter(line[1])
	}
	key, _, ok := bytes.Cut(line, []byte("="))
	return ok && isLetter(line[0]) && len(bytes.Fields(key)) == 1
}

func isLetter(b byte) bool { return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' }
