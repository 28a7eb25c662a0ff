package result

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/sweep/evidence"
)

// A csvEncoder writes a header and a line a row (RFC 4180). Cells are what they are:
// one that begins with = or + is not made harmless for spreadsheets, because then it
// would not be what a server has sent.
type csvEncoder struct {
	w    io.Writer
	buf  []byte
	cell []byte
}

func (e *csvEncoder) begin(w io.Writer) error {
	e.w, e.buf = w, e.buf[:0]
	for i := range columns {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = append(e.buf, columns[i].name...)
	}
	e.buf = append(e.buf, '\r', '\n')
	return nil
}

func (e *csvEncoder) write(rows []evidence.Row) error {
	for i := range rows {
		for c := range columns {
			if c > 0 {
				e.buf = append(e.buf, ',')
			}
			switch v := columns[c].field(&rows[i]).(type) {
			case *string:
				e.buf = appendCell(e.buf, *v)
			case *time.Time:
				if !v.IsZero() {
					e.buf = appendTime(e.buf, *v)
				}
			case *[]evidence.Try:
				e.cell = appendTries(e.cell[:0], *v)
				e.buf = appendCell(e.buf, e.cell)
			default:
				e.buf = appendValue(e.buf, v)
			}
		}
		e.buf = append(e.buf, '\r', '\n')
		if len(e.buf) >= textBytes {
			if err := e.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *csvEncoder) end() error {
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

// appendCell appends a cell, in quotes where it must be.
func appendCell[T string | []byte](b []byte, s T) []byte {
	from := 0 // what is not appended yet
	quoted := false
	for i := range len(s) {
		switch s[i] {
		case '"', ',', '\r', '\n':
			if !quoted {
				quoted = true
				b = append(b, '"')
			}
			if s[i] == '"' {
				b = append(b, s[from:i+1]...)
				from = i // it stands twice
			}
		}
	}
	b = append(b, s[from:]...)
	if quoted {
		b = append(b, '"')
	}
	return b
}

// A csvReader reads what csvEncoder writes, and what a spreadsheet makes of it: other
// orders of the columns, columns that are unknown or missing, lines that end in LF.
// encoding/csv would do but for one thing: it turns CR LF within a cell into LF.
type csvReader struct {
	r      *bufio.Reader
	record []byte // the current line's cells, unquoted, one after the other
	ends   []int  // where each ends
	known  []*column[evidence.Row]
}

var (
	errQuote  = errors.New(`a cell with a quotation mark in the wrong place`)
	errCell   = errors.New("the file ends within a cell")
	errLength = fmt.Errorf("a line of more than %d bytes", maxLine)
)

func newCSVReader(r io.Reader) (*csvReader, error) {
	c := &csvReader{r: bufio.NewReaderSize(r, textBytes)}
	if err := c.next(); err != nil {
		if err == io.EOF { //nolint:errorlint // next returns it bare
			return nil, errors.New("it has no header")
		}
		return nil, err
	}
	targets := false
	for i := range c.ends {
		name := strings.TrimPrefix(c.cell(i), "\uFEFF") // spreadsheets begin files with it
		c.known = append(c.known, nil)
		for k := range columns {
			if columns[k].name == name {
				c.known[i] = &columns[k]
				targets = targets || name == "target"
			}
		}
	}
	if !targets {
		return nil, errors.New("its header has no column target")
	}
	return c, nil
}

// next reads the cells of a line. At the end of the file it returns io.EOF.
func (c *csvReader) next() error {
	c.record, c.ends = c.record[:0], c.ends[:0]
	quoted := false // within quotation marks
	closed := false // after the second of them
	start := 0      // of the cell
	read := 0
	for ; ; read++ {
		if read > maxLine {
			return errLength
		}
		b, err := c.r.ReadByte()
		if err != nil && err != io.EOF {
			return err
		}
		switch {
		case err != nil && quoted:
			return errCell
		case err != nil && read == 0:
			return io.EOF
		case err != nil || b == '\n' && !quoted:
			if !closed && len(c.record) > start && c.record[len(c.record)-1] == '\r' {
				c.record = c.record[:len(c.record)-1]
			}
			c.ends = append(c.ends, len(c.record))
			return nil
		case quoted && b == '"':
			quoted, closed = false, true
		case quoted:
			c.record = append(c.record, b)
		case b == ',':
			c.ends = append(c.ends, len(c.record))
			start, closed = len(c.record), false
		case b == '"' && closed: // two of them are one
			c.record = append(c.record, b)
			quoted, closed = true, false
		case b == '"' && len(c.record) == start:
			quoted = true
		case closed && b == '\r': // a newline must follow
			if next, err := c.r.Peek(1); err == nil && next[0] != '\n' {
				return errQuote
			}
		case b == '"' || closed:
			return errQuote
		default:
			c.record = append(c.record, b)
		}
	}
}

func (c *csvReader) cell(i int) string {
	start := 0
	if i > 0 {
		start = c.ends[i-1]
	}
	return string(c.record[start:c.ends[i]])
}

// row reads the next row. At the end of the file it returns io.EOF.
func (c *csvReader) row() (*evidence.Row, error) {
	if err := c.next(); err != nil {
		return nil, err
	}
	if len(c.ends) != len(c.known) {
		return nil, fmt.Errorf("%d cells, where the header has %d", len(c.ends), len(c.known))
	}
	row := new(evidence.Row)
	for i, column := range c.known {
		if column == nil {
			continue
		}
		cell := c.cell(i)
		if err := parseCell(column.field(row), cell); err != nil {
			return nil, fmt.Errorf("column %s: %w", column.name, err)
		}
	}
	return row, nil
}

func parseCell(field any, cell string) (err error) {
	if s, ok := field.(*string); ok {
		*s = cell
		return nil
	}
	if cell == "" {
		return nil // zero
	}
	switch v := field.(type) {
	case *int64:
		*v, err = strconv.ParseInt(cell, 10, 64)
	case *int32:
		var n int64
		n, err = strconv.ParseInt(cell, 10, 32)
		*v = int32(n) //nolint:gosec // ParseInt has seen to it
	case *bool:
		*v, err = strconv.ParseBool(cell)
	case *time.Time:
		*v, err = time.Parse(time.RFC3339Nano, cell)
	case *[]evidence.Try:
		err = json.Unmarshal([]byte(cell), v)
	}
	return err
}
