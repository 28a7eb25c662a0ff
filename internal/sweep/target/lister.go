package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"strings"
	"unicode/utf8"

	"pennyfarthing/internal/mistake"
)

const (
	// DefaultShardSize is how many targets a shard has.
	DefaultShardSize = 2048
	// MaxShardSize is how many it may have.
	MaxShardSize = 1 << 16
	// maxShardText is how many bytes its targets may have before it is closed.
	maxShardText = 4 << 20

	maxBadLines = 20  // are sampled
	maxSample   = 100 // bytes of each
)

// Options say how lists are read.
type Options struct {
	// Column is the column of the targets: a title, or a number from 1. Empty: it is
	// found.
	Column string
	// ShardSize is how many targets a shard has; 0 is DefaultShardSize.
	ShardSize int
	// Stdin is what the list named - is read from.
	Stdin io.Reader
}

// An Item is a target of a shard.
type Item struct {
	Rank   int64  // what the list says, else the number of the line over all lists, from 1
	Target string // in its normal form
}

// A Shard is a piece of the list, and the unit of work. Shards are numbered from 0 in
// the order of the list. All have the same size, but the last one, those of very long
// URLs, and the one before an error.
type Shard struct {
	ID    uint32
	Items []Item
	End   Position // of the list, behind this shard
}

// A Position is how far a list has been read: at the end of a shard.
type Position struct {
	Shards  uint32 `json:"shards"`
	Lines   int64  `json:"lines"` // of all lists
	Targets int64  `json:"targets"`
	Check   uint64 `json:"check"` // a hash of the targets so far, in their order
}

// A Source is one of the lists, as far as it has been read.
type Source struct {
	Name   string   `json:"name"`
	Bytes  int64    `json:"bytes"`  // read of the file, compressed as it may be; of a zip only at its end
	SHA256 string   `json:"sha256"` // of the file; empty until it has been read to its end
	Format []string `json:"format"` // how it is written; of a zip, each of its files
	Lines  int64    `json:"lines"`
}

// A BadLine is a sample of what was no target.
type BadLine struct {
	File   string `json:"file"`
	Line   int64  `json:"line"`
	Column int    `json:"column,omitempty"` // of CSV, from 1
	Text   string `json:"text"`             // at most 100 bytes
	Reason string `json:"reason"`
}

// Stats count what was read so far, what Skip read included.
type Stats struct {
	Sources    []Source  `json:"sources"`
	Lines      int64     `json:"lines"`
	Targets    int64     `json:"targets"` // different ones
	Names      int64     `json:"names"`   // of them, names alone, which are resolved each
	Duplicates int64     `json:"duplicates"`
	Bad        int64     `json:"bad"` // records that were no targets
	BadLines   []BadLine `json:"bad_lines,omitempty"`
}

// A Lister reads lists, one after the other, and cuts them into shards. It belongs to
// one goroutine, and never reads ahead of what it returns by more than its buffers.
type Lister struct {
	names   []string // of what was not yet opened
	options Options

	in          *input
	member      int // of in, that is being read or comes next
	text        io.ReadCloser
	lines       *lineReader
	format      format
	sample      []record // taken to tell the format
	memberName  string
	memberLines int64

	seen  set
	stats Stats
	at    Position
	err   error // what Next returns from now on

	buf   []byte // the targets of the shard that is being filled
	ends  []int
	ranks []int64
}

// Open prepares lists for reading. All that can be known to be wrong without reading
// further than the beginning of each file is said at once. Where a list is named -,
// it is Options.Stdin.
func Open(names []string, options Options) (*Lister, error) {
	if options.ShardSize == 0 {
		options.ShardSize = DefaultShardSize
	}
	if options.ShardSize < 0 || options.ShardSize > MaxShardSize {
		return nil, fmt.Errorf("shards of %d targets: between 1 and %d are possible", options.ShardSize, MaxShardSize)
	}
	if len(names) == 0 {
		return nil, &mistake.Error{What: "no list is named", Hint: "penny sweep LIST, or - for what comes from a pipe"}
	}
	if err := checkAll(names, options); err != nil {
		return nil, err
	}
	return &Lister{names: names, options: options}, nil
}

// checkAll says everything that is wrong with lists before any of them is read.
func checkAll(names []string, options Options) error {
	var mistakes mistake.List
	var others []error
	pipes := 0
	for _, name := range names {
		err := check(name)
		if err == nil {
			err = look(name, options)
		}
		if one, ok := errors.AsType[*mistake.Error](err); ok {
			mistakes.Add(one)
		} else if err != nil {
			others = append(others, err)
		}
		if name == "-" {
			pipes++
		}
	}
	if pipes > 1 {
		mistakes.Add(&mistake.Error{File: "-", What: "the pipe is named more than once", Hint: "its lines come only once: name it once"})
	}
	if pipes > 0 && options.Stdin == nil {
		others = append(others, errors.New("read stdin: there is none"))
	}
	return errors.Join(append(others, mistakes.Err())...)
}

// look says what is wrong with a list as far as its beginning tells. What comes from a
// pipe comes only once, and is not looked at.
func look(name string, options Options) error {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // check has said what it is
	}
	l := &Lister{names: []string{name}, options: options}
	defer l.Close()
	for l.err == nil && l.lines == nil {
		l.step(false) // the file is opened, and then the first text in it
	}
	return l.err
}

// Close closes what is open. It does not close Options.Stdin.
func (l *Lister) Close() {
	if l.text != nil {
		l.text.Close()
		l.text = nil
	}
	if l.in != nil {
		l.in.close()
		l.in = nil
	}
}

// Stats are the counts so far.
func (l *Lister) Stats() Stats {
	s := l.stats
	s.Lines, s.Targets = l.at.Lines, l.at.Targets
	s.Sources = append([]Source(nil), s.Sources...)
	s.BadLines = append([]BadLine(nil), s.BadLines...)
	if l.in != nil && len(s.Sources) > 0 {
		s.Sources[len(s.Sources)-1].Bytes = l.in.raw.bytes
	}
	return s
}

// Next returns the next shard. Behind the last one it returns io.EOF; when the lists
// cannot be read on, first a shard of what there was and then the error; where they
// hold no target at all, an error that says so. It waits for as many lines as make a
// shard. Every error is final.
func (l *Lister) Next(ctx context.Context) (*Shard, error) {
	l.buf, l.ends, l.ranks = l.buf[:0], l.ends[:0], l.ranks[:0]
	for len(l.ends) < l.options.ShardSize && len(l.buf) < maxShardText && l.err == nil {
		if ctx.Err() != nil {
			l.err = context.Cause(ctx) // for good: what was read of this shard is lost
			return nil, l.err
		}
		l.step(true)
	}
	if len(l.ends) == 0 {
		return nil, l.err
	}
	shard := &Shard{ID: l.at.Shards, Items: make([]Item, len(l.ends))}
	text, from := string(l.buf), 0
	for i, end := range l.ends {
		shard.Items[i] = Item{l.ranks[i], text[from:end]}
		from = end
	}
	l.at.Shards++
	shard.End = l.at
	return shard, nil
}

// Skip reads up to a position, so that Next goes on behind it without repeating a
// target of before. It is called first, and fails where the lists are not what they
// were.
func (l *Lister) Skip(ctx context.Context, to Position) error {
	for l.at.Lines < to.Lines && l.err == nil {
		if ctx.Err() != nil {
			l.err = context.Cause(ctx)
			return l.err
		}
		l.step(false)
	}
	l.at.Shards = to.Shards
	if l.at == to {
		return nil
	}
	if l.err != nil && !errors.Is(l.err, io.EOF) {
		return l.err
	}
	return &mistake.Error{
		File: strings.Join(l.listNames(), ", "),
		What: fmt.Sprintf("the list has changed since the run began: its first %d lines are others", to.Lines),
		Hint: "put the list back as it was, or begin another run with -o DIR",
	}
}

func (l *Lister) listNames() []string {
	var names []string
	for _, s := range l.stats.Sources {
		names = append(names, s.Name)
	}
	return names
}

// step takes one record, or opens what is next, or sets err.
func (l *Lister) step(keep bool) {
	switch {
	case l.lines != nil:
		l.take(keep)
	case l.in != nil && l.member < len(l.in.members):
		l.err = l.openMember()
	case l.in != nil:
		l.err = l.closeInput()
	case len(l.names) > 0:
		l.in, l.err = openInput(l.names[0], l.options.Stdin)
		l.names, l.member = l.names[1:], 0
		if l.err == nil {
			l.stats.Sources = append(l.stats.Sources, Source{Name: l.in.name})
		}
	default:
		l.err = l.end()
	}
}

// end is what Next returns at the end of all lists.
func (l *Lister) end() error {
	if l.at.Targets > 0 {
		return io.EOF
	}
	names := strings.Join(l.listNames(), ", ")
	if l.stats.Bad == 0 {
		return &mistake.Error{File: names, What: "the list is empty", Hint: "a list is text, with a target a line, or CSV"}
	}
	first := l.stats.BadLines[0]
	return &mistake.Error{
		File: names,
		What: fmt.Sprintf("none of the %d lines is a target; the first, at %s:%d, is %q: %s", l.stats.Bad, first.File, first.Line, first.Text, first.Reason),
		Hint: "a target is a name (example.com), an address, one of them with a port, or a URL; for CSV, --column NAME says where they are",
	}
}

// openMember begins a text: what it looks like, and how it is written.
func (l *Lister) openMember() error {
	m := l.in.members[l.member]
	l.member++
	text, err := m.open()
	if err != nil {
		return err
	}
	l.text, l.lines = text, newLineReader(text)
	l.memberName, l.memberLines = m.name, 0
	head := l.lines.head(headSize)
	if err := checkText(head, m.name); err != nil {
		return err
	}
	l.lines.skip(len(head) - len(bytes.TrimPrefix(head, []byte("\ufeff"))))
	for l.opening() {
	}
	l.format, l.sample, err = detect(l.lines, m.name, l.options.Column)
	if errors.Is(err, io.EOF) {
		err = nil // it is empty, and take finds out
	}
	if err != nil {
		return err
	}
	how := l.format.String()
	if len(l.in.members) > 1 {
		how = m.name + ": " + how
	}
	source := l.source()
	source.Format = append(source.Format, how)
	if l.format.header {
		rec, err := l.record()
		if err != nil {
			return l.failed(err)
		}
		l.count(rec)
	}
	return nil
}

// opening takes a blank line or a comment from before what tells the format, and
// reports whether there was one.
func (l *Lister) opening() bool {
	line := l.lines.peek()
	if line == nil {
		return false
	}
	text := bytes.TrimSpace(line)
	comment := len(text) > 0 && text[0] == '#' && (len(text) == 1 || bytes.IndexByte(delimiters, text[1]) < 0)
	if len(text) > 0 && !comment {
		return false
	}
	rec, err := l.lines.next(0)
	if err != nil {
		return false
	}
	l.count(rec)
	return true
}

// source is the list that is being read.
func (l *Lister) source() *Source { return &l.stats.Sources[len(l.stats.Sources)-1] }

func (l *Lister) count(rec record) {
	l.at.Lines += rec.lines
	l.memberLines += rec.lines
	l.source().Lines += rec.lines
}

// record is the next one, from the sample first.
func (l *Lister) record() (record, error) {
	if len(l.sample) > 0 {
		rec := l.sample[0]
		l.sample = l.sample[1:]
		return rec, nil
	}
	return l.lines.next(l.format.delimiter)
}

// failed is the error of a text: none at its end, where the next one begins.
func (l *Lister) failed(err error) error {
	if !errors.Is(err, io.EOF) {
		if _, ok := errors.AsType[*mistake.Error](err); ok {
			return err
		}
		return fmt.Errorf("read %s: %w", l.memberName, err)
	}
	l.text.Close()
	l.text, l.lines = nil, nil
	return nil
}

// closeInput finishes a list.
func (l *Lister) closeInput() error {
	sum, err := l.in.raw.sum()
	if err != nil {
		return fmt.Errorf("read %s: %w", l.in.name, err)
	}
	source := l.source()
	source.SHA256, source.Bytes = sum, l.in.raw.bytes
	l.in.close()
	l.in = nil
	return nil
}

// take reads one record, and keeps its target if it is a new one.
func (l *Lister) take(keep bool) {
	rec, err := l.record()
	if err != nil {
		l.err = l.failed(err)
		return
	}
	line := l.memberLines + 1
	l.count(rec)
	if rec.bad != "" {
		l.bad(line, 0, rec.text, rec.bad)
		return
	}
	text, rank, column := rec.text, l.at.Lines, 0
	if l.format.delimiter == 0 {
		text = bytes.TrimSpace(cutComment(text))
	} else if len(text) > 0 {
		var found bool
		column = l.format.target + 1
		if text, rank, found = l.format.cut(text, rank); !found {
			l.bad(line, column, rec.text, refusedNoColumn)
			return
		}
	}
	if len(text) == 0 && column == 0 {
		return // a blank line, or a comment
	}
	from := len(l.buf)
	normal, err := appendNormal(l.buf, text)
	if err != nil {
		l.bad(line, column, text, err)
		return
	}
	hash := hashOf(normal[from:])
	if !l.seen.Add(hash) {
		l.stats.Duplicates++
		return
	}
	l.at.Targets++
	if isNameAlone(normal[from:]) {
		l.stats.Names++
	}
	l.at.Check = bits.RotateLeft64(l.at.Check, 1) ^ hash
	if keep {
		l.buf = normal
		l.ends = append(l.ends, len(normal))
		l.ranks = append(l.ranks, rank)
	} else {
		l.buf = normal[:from]
	}
}

// isNameAlone reports whether a normal target is a name without a port: no top-level
// name ends with a digit, and addresses of IPv6 and ports have colons.
func isNameAlone(target []byte) bool {
	last := target[len(target)-1]
	return (last < '0' || last > '9') && bytes.IndexByte(target, ':') < 0
}

const refusedNoColumn refusal = "the line has too few columns"

// cut finds the target and the rank of a record.
func (f format) cut(text []byte, rank int64) (field []byte, _ int64, found bool) {
	rest := text
	for i := 0; i <= max(f.target, f.rank) && rest != nil; i++ {
		var c []byte
		c, rest = cell(rest, f.delimiter)
		switch i {
		case f.target:
			field, found = c, true
		case f.rank:
			if n, ok := parseRank(c); ok {
				rank = n
			}
		}
	}
	return field, rank, found
}

// bad counts a record that is no target, and keeps the first ones as samples.
func (l *Lister) bad(line int64, column int, text []byte, why error) {
	l.stats.Bad++
	if len(l.stats.BadLines) >= maxBadLines {
		return
	}
	l.stats.BadLines = append(l.stats.BadLines, BadLine{l.memberName, line, column, cut(string(text[:min(len(text), maxSample)]), maxSample), why.Error()})
}

// cut cuts a text to so many bytes, and not within a letter.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if utf8.RuneStart(text[len(text)-i]) {
			if !utf8.FullRuneInString(text[len(text)-i:]) {
				text = text[:len(text)-i]
			}
			break
		}
	}
	return strings.ToValidUTF8(text, "\ufffd")
}
