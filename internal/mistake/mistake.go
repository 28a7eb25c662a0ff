// Package mistake carries what is wrong in a user's input to the person who
// can mend it: where it stands, what is wrong, and what to type instead.
//
// Parsers of files that people write (penny.toml, _redirects, _headers) collect
// every mistake of a file in a [List] and return it through [List.Err], so that
// one run shows all of them. The command line prints a mistake as one line,
// followed by its hint.
package mistake

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Error is one mistake at one place of one file. File is as the user named
// it; Line and Column count from 1, in bytes, and 0 means that they are not
// known. What is lower case and has no full stop; Hint, which may be empty, says
// what to do.
type Error struct {
	File   string
	Line   int
	Column int
	What   string
	Hint   string
}

// Error returns "file:line:column: what", leaving out what is not known. The
// hint is not part of it.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
			if e.Column > 0 {
				fmt.Fprintf(&b, ":%d", e.Column)
			}
		}
		b.WriteString(": ")
	}
	b.WriteString(e.What)
	return b.String()
}

// A List holds the mistakes of one input. The zero value is an empty list.
type List []*Error

// Add appends a mistake.
func (l *List) Add(e *Error) { *l = append(*l, e) }

// Sorted returns the list by file, line and column.
func (l List) Sorted() List {
	return slices.SortedStableFunc(slices.Values(l), func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Err returns the sorted list as an error, or nil if it is empty.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l.Sorted()
}

// Error returns one line a mistake.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes the single mistakes visible to errors.Is and errors.As.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// Of returns the mistakes that err carries, or nil if it carries none.
func Of(err error) List {
	if list, ok := errors.AsType[List](err); ok {
		return list
	}
	if one, ok := errors.AsType[*Error](err); ok {
		return List{one}
	}
	return nil
}
