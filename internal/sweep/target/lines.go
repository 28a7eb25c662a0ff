package target

import (
	"bytes"
	"errors"
	"io"
)

const (
	// maxLine is the longest line, and the longest record of CSV, in bytes.
	maxLine = 64 << 10
	// maxRecordLines is how many lines a record of CSV may span.
	maxRecordLines = 100
	// bufferSize is that of a reader of lines; more than two lines, so that data is
	// moved rarely.
	bufferSize = 256 << 10
)

// A record is one line of a plain list, or one record of CSV, without its end.
type record struct {
	text  []byte // valid until the next one is read; of a bad one, the beginning
	lines int64  // that it spans
	bad   refusal
}

const (
	refusedLongLine  refusal = "the line is longer than 64 KiB"
	refusedOpenQuote refusal = "a quoted field does not end"
)

// A lineReader cuts a stream into records. It never holds more than its buffer,
// however long a line is.
type lineReader struct {
	r          io.Reader
	buf        []byte
	start, end int   // of what was read and not yet taken
	err        error // of r, after what is in buf
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: r, buf: make([]byte, bufferSize)}
}

// fill reads more, and reports whether there is more.
func (l *lineReader) fill() bool {
	if l.err != nil {
		return false
	}
	if len(l.buf)-l.end < maxLine {
		copy(l.buf, l.buf[l.start:l.end])
		l.start, l.end = 0, l.end-l.start
	}
	// A reader may return nothing a few times (io.Reader); one that does so for ever is
	// broken.
	for range 100 {
		n, err := l.r.Read(l.buf[l.end:])
		l.end += n
		l.err = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	l.err = io.ErrNoProgress
	return false
}

// line finds the end of the line that begins at an offset from start. length is that
// of the line with what ends it. Without an end within maxLine bytes of start, or
// before the stream's error, ok is false.
func (l *lineReader) line(from int) (length int, ok bool) {
	searched := from
	for {
		data := l.buf[l.start:l.end]
		if i := bytes.IndexByte(data[searched:], '\n'); i >= 0 {
			length = searched + i + 1 - from
			return length, searched+i <= maxLine+1 // the one more is for a CR
		}
		searched = len(data)
		if searched > maxLine+1 {
			return 0, false
		}
		if !l.fill() {
			// A last line needs no end, but one that was cut short by an error is no line.
			return searched - from, errors.Is(l.err, io.EOF) && searched > from
		}
	}
}

// next takes a record. delimiter is CSV's, whose quoted fields may span lines, or 0
// for plain lines. At the end, and where the stream fails, it returns its error.
func (l *lineReader) next(delimiter byte) (record, error) {
	length, ok := l.line(0)
	if !ok {
		return l.tooLong()
	}
	text := trimEnd(l.buf[l.start : l.start+length])
	rec := record{text: text, lines: 1}
	if delimiter != 0 && bytes.IndexByte(text, '"') >= 0 && opensQuote(text, delimiter, false) {
		if total, lines := l.closing(length, delimiter); lines > 0 {
			length = total
			rec.text, rec.lines = trimEnd(l.buf[l.start:l.start+total]), lines
		} else {
			rec.text, rec.bad = trimEnd(l.buf[l.start:l.start+length]), refusedOpenQuote
		}
	}
	if len(rec.text) > maxLine {
		rec.bad = refusedLongLine
	}
	l.start += length
	return rec, nil
}

// closing looks for the end of a record whose first line, of so many bytes, ends
// within quotes. It returns no lines when there is none near: then a quote was
// forgotten, and the lines that follow are records of their own.
func (l *lineReader) closing(length int, delimiter byte) (total int, lines int64) {
	total, lines = length, 1
	for lines < maxRecordLines {
		more, ok := l.line(total)
		if !ok {
			return 0, 0
		}
		text := trimEnd(l.buf[l.start+total : l.start+total+more])
		total += more
		lines++
		if !opensQuote(text, delimiter, true) {
			return total, lines
		}
	}
	return 0, 0
}

// tooLong takes a line that does not end within the limit, and drops it as it comes.
func (l *lineReader) tooLong() (record, error) {
	if l.end-l.start <= maxLine {
		if l.err == nil {
			l.err = io.ErrNoProgress // not reached: line returns only at a limit or an error
		}
		return record{}, l.err
	}
	rec := record{text: bytes.Clone(l.buf[l.start : l.start+maxSample]), lines: 1, bad: refusedLongLine}
	for {
		if i := bytes.IndexByte(l.buf[l.start:l.end], '\n'); i >= 0 {
			l.start += i + 1
			return rec, nil
		}
		l.start, l.end = 0, 0
		if !l.fill() {
			return rec, nil // the next call returns the error
		}
	}
}

// peek returns the next line without taking it, or nil where there is none.
func (l *lineReader) peek() []byte {
	length, ok := l.line(0)
	if !ok {
		return nil
	}
	return trimEnd(l.buf[l.start : l.start+length])
}

// head waits for a line, or as much as n bytes, and returns what there is, n bytes at
// most, without taking it.
func (l *lineReader) head(n int) []byte {
	for l.end-l.start < n && bytes.IndexByte(l.buf[l.start:l.end], '\n') < 0 && l.fill() {
	}
	return l.buf[l.start:min(l.end, l.start+n)]
}

// skip takes n bytes that head or peek have shown.
func (l *lineReader) skip(n int) { l.start += n }

// trimEnd cuts what ends a line: LF, or CR and LF.
func trimEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

// opensQuote reports whether a line ends within a quoted field (RFC 4180 §2), when it
// began within one or not. A quote that is not at the beginning of a field, or that
// neither ends it nor is doubled, is taken for a letter.
func opensQuote(line []byte, delimiter byte, quoted bool) bool {
	begins := true // of a field
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case !quoted:
			quoted = c == '"' && begins
			begins = c == delimiter
		case c != '"':
		case i+1 == len(line) || line[i+1] == delimiter:
			quoted, begins = false, false
		case line[i+1] == '"':
			i++
		}
	}
	return quoted
}

// cell cuts the field off that begins a record; rest is nil after the last one. A
// quoted field comes without its quotes.
func cell(rec []byte, delimiter byte) (field, rest []byte) {
	if len(rec) == 0 || rec[0] != '"' {
		i := bytes.IndexByte(rec, delimiter)
		if i < 0 {
			return rec, nil
		}
		return rec[:i], rec[i+1:]
	}
	doubled := false
	for i := 1; i < len(rec); i++ {
		switch {
		case rec[i] != '"':
		case i+1 < len(rec) && rec[i+1] == '"':
			doubled = true
			i++
		case i+1 == len(rec) || rec[i+1] == delimiter:
			field = rec[1:i]
			if doubled {
				field = bytes.ReplaceAll(field, []byte(`""`), []byte(`"`))
			}
			if i+1 < len(rec) {
				rest = rec[i+2:]
			}
			return field, rest
		}
	}
	return rec[1:], nil // it does not end: next has said so
}

// cells are all fields of a record.
func cells(rec []byte, delimiter byte) []string {
	var all []string
	for rest := rec; ; {
		var field []byte
		field, rest = cell(rest, delimiter)
		all = append(all, string(field))
		if rest == nil || len(all) == maxColumns {
			return all
		}
	}
}
