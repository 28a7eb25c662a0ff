package target

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pennyfarthing/internal/mistake"
)

const (
	// sampleRecords is how many records a format is told by.
	sampleRecords = 20
	// maxColumns is how many columns are looked at.
	maxColumns = 1000
)

// A format is how a list is written.
type format struct {
	delimiter byte // 0: plain lines
	header    bool
	target    int    // the column of the targets, from 0
	rank      int    // that of the ranks, or -1
	title     string // the target column's name, if there is a header
}

// String says it for the report: "csv, column 2 (Domain), rank in column 1".
func (f format) String() string {
	if f.delimiter == 0 {
		return "plain"
	}
	s := "csv"
	switch f.delimiter {
	case '\t':
		s = "tsv"
	case ',':
	default:
		s = fmt.Sprintf("csv with %q", f.delimiter)
	}
	s += fmt.Sprintf(", column %d", f.target+1)
	if f.title != "" {
		s += " (" + f.title + ")"
	}
	if f.rank >= 0 {
		s += fmt.Sprintf(", rank in column %d", f.rank+1)
	}
	return s
}

// targetTitles are what columns of targets are called, the likeliest first. They are
// compared without case, spaces and what else is no letter.
//
//nolint:gochecknoglobals // tables
var (
	targetTitles = []string{"domain", "hostname", "host", "fqdn", "domainname", "origin", "url", "uri", "target", "website", "site", "name", "domains", "hosts", "urls"}
	rankTitles   = []string{"rank", "globalrank", "position", "pos", "trancorank", "no"}
	delimiters   = []byte{'\t', ',', ';', '|'}
)

// plainTitle is a title as it is compared.
func plainTitle(title string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, title)
}

// detect tells the format of a list from its first records, and returns those that
// it took. name is the list's, column what the user said about the column: a name, a
// number from 1, or nothing.
func detect(l *lineReader, name, column string) (format, []record, error) {
	first := l.peek()
	plain := format{rank: -1}
	delimiter, forced := guessDelimiter(first, name)
	if delimiter == 0 {
		if column == "" || first == nil {
			plain.header = isTitle(string(first))
			return plain, nil, nil
		}
		delimiter, forced = ',', true // one column
	}
	_, err := Parse(string(cutComment(first)))
	lineIsTarget := err == nil
	sample, err := takeSample(l, delimiter)
	if err != nil {
		return plain, sample, err
	}
	if !forced && column == "" && lineIsTarget && !sameWidth(sample, delimiter) {
		return plain, sample, nil // the delimiters are within URLs
	}
	f, err := columns(sample, delimiter, name, column)
	return f, sample, err
}

// guessDelimiter is what separates the columns of a list with such a first line, or 0
// if nothing does. It is forced where the name says that there are columns.
func guessDelimiter(first []byte, name string) (delimiter byte, forced bool) {
	ext := strings.ToLower(path.Ext(name))
	switch ext {
	case ".gz", ".zst", ".zip":
		ext = strings.ToLower(path.Ext(strings.TrimSuffix(strings.ToLower(name), ext)))
	}
	most := 0
	if text := cutComment(first); len(text) < len(first) {
		first = bytes.TrimSpace(text)
	}
	for _, d := range delimiters {
		if n := len(cells(first, d)) - 1; n > most {
			most, delimiter = n, d
		}
	}
	switch {
	case delimiter != 0:
		return delimiter, ext == ".csv" || ext == ".tsv"
	case ext == ".csv":
		return ',', true
	case ext == ".tsv":
		return '\t', true
	}
	return 0, false
}

func isTitle(text string) bool {
	return !strings.Contains(text, ".") && slices.Contains(targetTitles, plainTitle(strings.Trim(text, `"`)))
}

// takeSample reads some records and keeps them. An error of the stream counts only
// if it comes first: otherwise those that follow the sample meet it again.
func takeSample(l *lineReader, delimiter byte) ([]record, error) {
	var sample []record
	for len(sample) < sampleRecords {
		rec, err := l.next(delimiter)
		if err != nil {
			if len(sample) == 0 {
				return nil, err
			}
			break
		}
		rec.text = bytes.Clone(rec.text)
		sample = append(sample, rec)
	}
	return sample, nil
}

// sameWidth reports whether records have the same number of columns.
func sameWidth(sample []record, delimiter byte) bool {
	width := -1
	for _, rec := range sample {
		if rec.bad != "" || len(rec.text) == 0 {
			continue
		}
		n := len(cells(rec.text, delimiter))
		if width >= 0 && n != width {
			return false
		}
		width = n
	}
	return true
}

// columns finds the columns of targets and ranks.
func columns(sample []record, delimiter byte, name, column string) (format, error) {
	f := format{delimiter: delimiter, target: -1, rank: -1}
	var rows [][]string
	for _, rec := range sample {
		if rec.bad == "" && len(rec.text) > 0 {
			rows = append(rows, cells(rec.text, delimiter))
		}
	}
	if len(rows) == 0 {
		f.target = 0
		return f, nil // every line is bad, or will be
	}
	hits := make([]int, len(rows[0])) // targets in each column, below the first row
	for _, row := range rows[1:] {
		for i := range min(len(row), len(hits)) {
			if isTarget(row[i]) {
				hits[i]++
			}
		}
	}
	first := rows[0]
	if err := f.findTarget(first, hits, len(rows)-1, name, column); err != nil {
		return f, err
	}
	if f.target < len(first) && !isTarget(first[f.target]) && (f.title != "" || hits[f.target] > 0) {
		f.header = true
		f.title = strings.TrimSpace(first[f.target])
	} else {
		f.title = ""
	}
	f.findRank(first, rows)
	return f, nil
}

func isTarget(text string) bool {
	_, err := Parse(text)
	return err == nil
}

// findTarget chooses the column of the targets: as the user said, else by a title
// below which targets are, else by where most targets are. title is what a header
// says, or would.
func (f *format) findTarget(first []string, hits []int, below int, name, column string) error {
	if column != "" {
		return f.findNamed(first, name, column)
	}
	best, titled := -1, -1
	for _, title := range targetTitles {
		for i, text := range first {
			if plainTitle(text) != title || isTarget(text) {
				continue
			}
			// Under "name" there may be people.
			if hits[i] > 0 || below == 0 {
				f.target, f.title = i, strings.TrimSpace(text)
				return nil
			}
			if titled < 0 {
				titled = i
			}
		}
	}
	for i := range hits {
		if isTarget(first[i]) {
			hits[i]++
		}
		if hits[i] > 0 && (best < 0 || hits[i] > hits[best]) {
			best = i
		}
	}
	if best < 0 && titled >= 0 {
		f.target, f.title = titled, strings.TrimSpace(first[titled]) // the sample was bad: others may be better
		return nil
	}
	if best < 0 {
		return &mistake.Error{
			File: name,
			What: fmt.Sprintf("no column looks like names, addresses or URLs; there are %s", listed(first)),
			Hint: "say which one it is: --column 2, or --column NAME",
		}
	}
	if isTarget(first[best]) {
		hits[best]--
	}
	f.target = best
	return nil
}

// findNamed finds the column that the user named.
func (f *format) findNamed(first []string, name, column string) error {
	for i, text := range first {
		if strings.EqualFold(strings.TrimSpace(text), column) {
			f.target, f.title = i, strings.TrimSpace(text)
			return nil
		}
	}
	n, err := strconv.Atoi(column)
	if err != nil || n < 1 || n > len(first) {
		return &mistake.Error{
			File: name,
			Line: 1,
			What: fmt.Sprintf("there is no column %q; there are %s", column, listed(first)),
			Hint: fmt.Sprintf("--column takes a name of the first line, or a number from 1 to %d", len(first)),
		}
	}
	f.target = n - 1
	return nil
}

// listed names columns for people: the first twenty, each cut.
func listed(first []string) string {
	const most, longest = 20, 40
	var names []string
	for i, text := range first[:min(len(first), most)] {
		names = append(names, fmt.Sprintf("%d %q", i+1, cut(text, longest)))
	}
	if len(first) > most {
		names = append(names, fmt.Sprintf("and %d more", len(first)-most))
	}
	return strings.Join(names, ", ")
}

// findRank finds the column of the ranks: by its title, or, without a header, a first
// column of numbers that grow.
func (f *format) findRank(first []string, rows [][]string) {
	if f.header {
		for _, title := range rankTitles {
			for i, text := range first {
				if i != f.target && plainTitle(text) == title {
					f.rank = i
					return
				}
			}
		}
		return
	}
	if f.target == 0 {
		return
	}
	last := int64(0)
	for _, row := range rows {
		n, ok := parseRank([]byte(row[0]))
		if !ok || n < last {
			return
		}
		last = n
	}
	f.rank = 0
}

// parseRank reads a rank: a number from 1.
func parseRank(text []byte) (int64, bool) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || len(text) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, n > 0
}

// cutComment cuts a comment off a line of a plain list: # at its beginning, or behind
// space. Without space it belongs to a URL.
func cutComment(line []byte) []byte {
	for from := 0; ; {
		i := bytes.IndexByte(line[from:], '#')
		if i < 0 {
			return line
		}
		i += from
		if i == 0 || line[i-1] == ' ' || line[i-1] == '\t' {
			return line[:i]
		}
		from = i + 1
	}
}
