package result

import (
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"pennyfarthing/internal/sweep/evidence"
)

// textBytes is how much text is gathered before it is written.
const textBytes = 32 << 10

// A jsonEncoder writes a JSON object a line, with the columns in their order.
type jsonEncoder struct {
	w   io.Writer
	buf []byte
}

func (e *jsonEncoder) begin(w io.Writer) error {
	e.w, e.buf = w, e.buf[:0]
	return nil
}

func (e *jsonEncoder) write(rows []evidence.Row) error {
	for i := range rows {
		e.buf = append(appendObject(e.buf, columns[:], &rows[i]), '\n')
		if len(e.buf) >= textBytes {
			if err := e.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *jsonEncoder) end() error {
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

// AppendJSON appends the row as parts in JSON lines have it, without the newline.
func AppendJSON(b []byte, row *evidence.Row) []byte { return appendObject(b, columns[:], row) }

func appendObject[T any](b []byte, columns []column[T], v *T) []byte {
	separator := byte('{')
	for i := range columns {
		b = append(b, separator, '"')
		b = append(b, columns[i].name...)
		b = append(b, '"', ':')
		b = appendValue(b, columns[i].field(v))
		separator = ','
	}
	return append(b, '}')
}

func appendValue(b []byte, field any) []byte {
	switch v := field.(type) {
	case *string:
		return appendString(b, *v)
	case *int64:
		return strconv.AppendInt(b, *v, 10)
	case *int32:
		return strconv.AppendInt(b, int64(*v), 10)
	case *bool:
		return strconv.AppendBool(b, *v)
	case *time.Time:
		if v.IsZero() {
			return append(b, "null"...)
		}
		b = append(b, '"')
		b = appendTime(b, *v)
		return append(b, '"')
	case *[]evidence.Try:
		return appendTries(b, *v)
	}
	panic("a column of a type that no format knows")
}

func appendTries(b []byte, tries []evidence.Try) []byte {
	b = append(b, '[')
	for i := range tries {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendObject(b, tryColumns[:], &tries[i])
	}
	return append(b, ']')
}

// appendString writes a JSON string (RFC 8259, section 7), byte for byte as
// encoding/json does when it is not to think of HTML.
func appendString(b []byte, s string) []byte {
	const hexadecimal = "0123456789abcdef"
	b = append(b, '"')
	done := 0 // what is before is written
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				b = append(append(b, s[done:i]...), `\ufffd`...)
			case r == '\u2028' || r == '\u2029': // ends of lines to JavaScript
				b = append(append(b, s[done:i]...), `\u202`...)
				b = append(b, hexadecimal[r&0xf])
			default:
				i += size
				continue
			}
			i += size
			done = i
			continue
		}
		b = append(b, s[done:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexadecimal[c>>4], hexadecimal[c&0xf])
		}
		i++
		done = i
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}
