package target

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// split cuts a text into records and fields as a Lister does. It reports whether all
// records are good ones.
func split(r io.Reader, delimiter byte) (rows [][]string, good bool) {
	l := newLineReader(r)
	for good = true; ; {
		rec, err := l.next(delimiter)
		if err != nil {
			return rows, good && errors.Is(err, io.EOF)
		}
		good = good && rec.bad == ""
		if len(rec.text) > 0 {
			rows = append(rows, cells(rec.text, delimiter))
		}
	}
}

// FuzzFieldsAreThoseOfEncodingCSV compares with the library, which is strict: what it
// reads must be read in the same way.
func FuzzFieldsAreThoseOfEncodingCSV(f *testing.F) {
	f.Add("a,b\n\"c\nd\",\"\"\"\"\r\n,\n", uint8(0))
	f.Add("\"\"\n\"a\"\"b\",c", uint8(1))
	f.Add("a\t\"b\t\"\r\n\r\n\"\r\n\"", uint8(2))
	f.Fuzz(func(t *testing.T, text string, pick uint8) {
		delimiter := delimiters[int(pick)%len(delimiters)]
		if len(text) > maxLine/2 || strings.Count(text, "\n") >= maxRecordLines {
			return
		}
		strict := csv.NewReader(strings.NewReader(text))
		strict.Comma, strict.FieldsPerRecord = rune(delimiter), -1
		want, err := strict.ReadAll()
		got, good := split(strings.NewReader(text), delimiter)
		bytewise, goodToo := split(iotest.OneByteReader(strings.NewReader(text)), delimiter)
		if diff := cmp.Diff(got, bytewise); diff != "" || good != goodToo {
			t.Errorf("in pieces it is read as something else: %s", diff)
		}
		if err != nil || len(want) > 0 && len(want[0]) > maxColumns {
			return
		}
		for _, row := range got {
			for i := range row {
				row[i] = strings.ReplaceAll(row[i], "\r\n", "\n") // as the library does
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || !good {
			t.Errorf("%q, all good: %v; -encoding/csv +ours:\n%s", text, good, diff)
		}
	})
}

// BenchmarkLister reads a list of a million names as DomCop writes it.
func BenchmarkLister(b *testing.B) {
	const n = 1_000_000
	list := []byte("\"Rank\",\"Domain\",\"Open Page Rank\"\n")
	for i := range n {
		list = append(list, '"')
		list = strconv.AppendInt(list, int64(i+1), 10)
		list = append(list, `","www.name-`...)
		list = strconv.AppendInt(list, int64(i), 10)
		list = append(list, ".example\",\"4.56\"\n"...)
	}
	b.SetBytes(int64(len(list)))
	b.ReportAllocs()
	for b.Loop() {
		l, err := Open([]string{"-"}, Options{Stdin: bytes.NewReader(list)})
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = l.Next(b.Context())
		}
		if l.Stats().Targets != n {
			b.Fatal(l.Stats(), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/target")
}
