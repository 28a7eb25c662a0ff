package result

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pennyfarthing/internal/sweep/evidence"
)

// random fills whatever v points to, with much that is empty or alike, as in rows.
func random(rng *rand.Rand, text string, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		switch rng.IntN(4) {
		case 0:
			*p = time.Time{}
		case 1:
			*p = time.Date(rng.IntN(10000), 1, 1+rng.IntN(365), 0, 0, 0, 0, time.UTC)
		default:
			*p = time.UnixMicro(1_795_923_255_000_000 + rng.Int64N(1e9)).UTC()
		}
		return
	case *string:
		from := rng.IntN(len(text) + 1)
		*p = []string{"", "https", "example.com", strings.Repeat("0123456789abcdef", 4), text, text[from:], text[:from]}[rng.IntN(7)]
		*p = strings.ToValidUTF8(*p, "\uFFFD")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			random(rng, text, field)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
		for i := range v.Len() {
			random(rng, text, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int32:
		v.SetInt(int64(int32(rng.Uint32()) >> rng.IntN(32)))
	case reflect.Int64:
		v.SetInt(int64(rng.Uint64()) >> rng.IntN(64))
	default:
		panic(v.Kind())
	}
}

func randomRow(seed uint64, text string) *evidence.Row {
	row := new(evidence.Row)
	random(rand.New(rand.NewPCG(seed, 0)), text, reflect.ValueOf(row).Elem())
	return row
}

func FuzzARecordIsTheRowAgain(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, "a title\r\nof \"two\" lines, \u2028 \x00 \U0001F6B2")
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		row := randomRow(seed, text)
		record := appendRecord(nil, row)
		got := &evidence.Row{Tries: make([]evidence.Try, 2)}
		if err := readRecord(string(record), got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
		for cut := range record {
			if err := readRecord(string(record[:cut]), got); err == nil {
				t.Fatalf("%d of %d bytes are a record", cut, len(record))
			}
		}
	})
}

func FuzzNoRecordIsTooBadToBeRead(f *testing.F) {
	for seed := range uint64(5) {
		f.Add(appendRecord(nil, randomRow(seed, "text")))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		row := new(evidence.Row)
		if readRecord(string(record), row) != nil || checkTimes(row) != nil {
			return
		}
		again := new(evidence.Row)
		if err := readRecord(string(appendRecord(nil, row)), again); err != nil {
			t.Fatal(err)
		}
		valid := true
		for i := range columns {
			if s, ok := columns[i].field(row).(*string); ok {
				valid = valid && utf8.ValidString(*s)
			}
		}
		for i := range row.Tries {
			for k := range tryColumns {
				if s, ok := tryColumns[k].field(&row.Tries[i]).(*string); ok {
					valid = valid && utf8.ValidString(*s)
				}
			}
		}
		if diff := cmp.Diff(row, again, cmpopts.EquateEmpty()); valid && diff != "" {
			t.Error(diff)
		}
	})
}

// plainJSON is what encoding/json writes, with null for what has no time.
func plainJSON(t *testing.T, row *evidence.Row) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(row); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, column := range []string{"cert_not_after", "observed_at", "at"} {
		text = strings.ReplaceAll(text, `"`+column+`":"0001-01-01T00:00:00Z"`, `"`+column+`":null`)
	}
	return text
}

func FuzzJSONIsThatOfTheStandardLibrary(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, "<a title>\r\n\b\f\tof \"two\" lines\\, \u2028\u2029 \x00\x1f\x7f \U0001F6B2")
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		row := randomRow(seed, text)
		row.Error = text // and what is not UTF-8
		var b bytes.Buffer
		e := &jsonEncoder{}
		if err := write(e, &b, *row); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plainJSON(t, row), b.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func write(e encoder, w io.Writer, rows ...evidence.Row) error {
	if err := e.begin(w); err != nil {
		return err
	}
	if err := e.write(rows); err != nil {
		return err
	}
	return e.end()
}

func FuzzCSVIsReadByTheStandardLibraryAndByUs(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, "=a title\r\nof \"two\" lines,\r\r\n\n \x00 \U0001F6B2\"")
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		rows := []evidence.Row{*randomRow(seed, text), *randomRow(seed+1, text)}
		var b bytes.Buffer
		if err := write(&csvEncoder{}, &b, rows...); err != nil {
			t.Fatal(err)
		}
		theirs, err := csv.NewReader(bytes.NewReader(b.Bytes())).ReadAll()
		if err != nil || len(theirs) != 3 || len(theirs[2]) != len(columns) {
			t.Fatalf("%d lines, %v", len(theirs), err)
		}
		if got, want := theirs[1][1], strings.ReplaceAll(rows[0].Target, "\r\n", "\n"); got != want {
			t.Errorf("they read %q, and it was %q", got, want)
		}
		r, err := newCSVReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			got, err := r.row()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&rows[i], got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		}
		if _, err := r.row(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last row: %v", err)
		}
	})
}

func FuzzNoCSVIsTooBadToBeRead(f *testing.F) {
	for _, text := range []string{"target\na.example\n", "target,rank\r\n\"a\"\"b\",7\r\n", "target\n\"", "target\n\"a\"b", "\uFEFFtarget,x\n\n", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := newCSVReader(strings.NewReader(text))
		for i := 0; err == nil; i++ {
			if _, err = r.row(); i > len(text) {
				t.Fatal("more rows than bytes")
			}
		}
		theirs := csv.NewReader(strings.NewReader(text))
		theirs.FieldsPerRecord = -1
		if all, e := theirs.ReadAll(); e != nil && errors.Is(err, io.EOF) && !strings.Contains(text, "\r") {
			t.Errorf("encoding/csv says %v after %d lines, and we nothing", e, len(all))
		}
	})
}

func TestCSVMayComeBackFromASpreadsheet(t *testing.T) {
	const text = "\uFEFFstatus,mine,target,cert_not_after,tries\n404,x,\"a,b\",,\n200,,c.example,2026-11-29T00:00:00Z,\"[{\"\"host\"\":\"\"c.example\"\"}]\"\n"
	r, err := newCSVReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []*evidence.Row
	for {
		row, err := r.row()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row)
	}
	want := []*evidence.Row{
		{Status: 404, Target: "a,b"},
		{Status: 200, Target: "c.example", CertNotAfter: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC), Tries: []evidence.Try{{Host: "c.example"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadCSVSaysWhatIsBad(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "it has no header",
		"rank\n1\n":                      "its header has no column target",
		"target,rank\na,1,2\n":           "3 cells, where the header has 2",
		"target,rank\na,x\n":             `column rank: strconv.ParseInt: parsing "x": invalid syntax`,
		"target\n\"a":                    "the file ends within a cell",
		"target\n\"a\"b\n":               "a cell with a quotation mark in the wrong place",
		"target\na\"b\n":                 "a cell with a quotation mark in the wrong place",
		"target,status\na,99999999999\n": `column status: strconv.ParseInt: parsing "99999999999": value out of range`,
	} {
		r, err := newCSVReader(strings.NewReader(text))
		if err == nil {
			_, err = r.row()
		}
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestColumnsAreThoseOfTheEvidence sees to it that a column is added everywhere.
func TestColumnsAreThoseOfTheEvidence(t *testing.T) {
	var want, wantTries, parquetRows, parquetTries []string
	tags := func(v any, tag string) (names []string) {
		for f := range reflect.TypeOf(v).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
			names = append(names, name)
		}
		return names
	}
	want, wantTries = tags(evidence.Row{}, "json"), tags(evidence.Try{}, "json")
	parquetRows, parquetTries = tags(parquetRow{}, "parquet"), tags(parquetTry{}, "parquet")
	var got, gotTries []string
	for _, c := range columns {
		got = append(got, c.name)
	}
	for _, c := range tryColumns {
		gotTries = append(gotTries, c.name)
	}
	for name, pair := range map[string][2][]string{
		"text": {want, got}, "tries as text": {wantTries, gotTries}, "Parquet": {want, parquetRows}, "tries in Parquet": {wantTries, parquetTries},
		"expressions": {want, tags(evidence.Row{}, "expr")}, "tries in expressions": {wantTries, tags(evidence.Try{}, "expr")},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
