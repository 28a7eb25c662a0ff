package rules

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"pennyfarthing/internal/mistake"
)

// Bounds on what is read, so that no file can hurt whoever reads it. Both
// platforms are stricter.
const (
	// MaxFile is the largest accepted file in bytes.
	MaxFile = 1 << 20
	// MaxLine is the longest accepted line in bytes; comments may be longer.
	MaxLine = 8 << 10
	// MaxRules is how many redirects, or blocks of header fields, a file may have.
	MaxRules = 10_000

	maxMistakes     = 1000 // more than a person reads, few enough to hold in memory
	maxWildcards    = 32   // splats, placeholders and query parameters of one source
	maxReplacements = 16   // uses of placeholders in one target or field value
	maxSearches     = 1000 // sources of a file that are no tidy patterns and cost more to match
)

// A reader walks over the lines of a file and collects what is wrong with it.
type reader struct {
	file     string
	mistakes mistake.List
	searches int
}

// lines yields number and text of each line that is neither empty nor a
// comment, and notes those that nobody should try to understand.
func (r *reader) lines(src []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		if len(src) > MaxFile {
			r.add(0, 0, fmt.Sprintf("the file has %d bytes, at most %d are read", len(src), MaxFile),
				"use splats and placeholders to say more with fewer lines")
			return
		}
		number := 0
		for line := range bytes.SplitSeq(bytes.TrimPrefix(src, []byte("\ufeff")), []byte("\n")) {
			number++
			text := strings.TrimSuffix(string(line), "\r")
			if trimmed := strings.TrimSpace(text); trimmed == "" || trimmed[0] == '#' {
				continue
			}
			if r.full(number) || r.legible(number, text) && !yield(number, text) {
				return
			}
		}
	}
}

// legible reports whether a line can be taken apart, or notes why not.
func (r *reader) legible(number int, text string) bool {
	if len(text) > MaxLine {
		r.add(number, MaxLine+1, fmt.Sprintf("the line has %d bytes, at most %d are read", len(text), MaxLine),
			"split the line, or use a splat or placeholders")
		return false
	}
	if !utf8.ValidString(text) {
		r.add(number, firstInvalid(text)+1, "the line is not valid UTF-8", "save the file as UTF-8")
		return false
	}
	if i := strings.IndexFunc(text, isForbidden); i >= 0 {
		c, _ := utf8.DecodeRuneInString(text[i:])
		r.add(number, i+1, fmt.Sprintf("control character %U", c), "delete it")
		return false
	}
	return true
}

// full ends the reading of a file that is not worth more of it.
func (r *reader) full(number int) bool {
	if len(r.mistakes) < maxMistakes {
		return false
	}
	r.add(number, 0, fmt.Sprintf("the file was read up to here: it has %d mistakes already", len(r.mistakes)),
		"is this the right file?")
	return true
}

func (r *reader) add(line, column int, what, hint string) {
	r.mistakes.Add(&mistake.Error{File: r.file, Line: line, Column: column, What: what, Hint: hint})
}

func firstInvalid(text string) int {
	for i, c := range text {
		if c == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
	}
	return len(text)
}

func isForbidden(c rune) bool { return c != '\t' && unicode.IsControl(c) }

// A place is a line of a file to which mistakes are pinned.
type place struct {
	*reader
	line int
}

func (p place) mistake(column int, what, hint string) { p.add(p.line, column, what, hint) }

// count notes a source that is one too many of those that are costly to match.
func (p place) count(source *pattern, column int) {
	if source.tidy {
		return
	}
	if p.searches++; p.searches == maxSearches+1 {
		p.mistake(column, fmt.Sprintf("more than %d sources with wildcards inside of segments or of the path", maxSearches),
			"use placeholders for whole segments, and splats at the end")
	}
}

// A word is a run of bytes without space; column is where it begins.
type word struct {
	text   string
	column int
}

// words takes a line apart.
func words(text string) []word {
	var out []word
	start := -1
	for i, c := range text + " " {
		switch {
		case !unicode.IsSpace(c) && start < 0:
			start = i
		case unicode.IsSpace(c) && start >= 0:
			out = append(out, word{text[start:i], start + 1})
			start = -1
		}
	}
	return out
}
