package qpack

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	other "github.com/quic-go/qpack"
	"golang.org/x/net/http2/hpack"
)

// decode returns the fields of a section.
func decode(section []byte) (fields []hpack.HeaderField, err error) {
	err = new(Decoder).Decode(section, func(f hpack.HeaderField) bool {
		fields = append(fields, hpack.HeaderField{Name: strings.Clone(f.Name), Value: strings.Clone(f.Value)})
		return true
	})
	return fields, err
}

func encode(fields []hpack.HeaderField) []byte {
	section := AppendPrefix(nil)
	for _, f := range fields {
		section = AppendField(section, f.Name, f.Value)
	}
	return section
}

func samples() [][]hpack.HeaderField {
	long := strings.Repeat("long ", 1000)
	return [][]hpack.HeaderField{
		nil,
		{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "a.example"}},
		{{Name: ":status", Value: "299"}, {Name: "x-frame-options", Value: "sameorigin"}, {Name: "x-own", Value: "\x00\xff \"{}"}},
		{{Name: "", Value: ""}, {Name: "x", Value: ""}, {Name: "x-" + strings.ToLower(long), Value: long}},
		{{Name: "strict-transport-security", Value: "max-age=31536000"}, {Name: "content-length", Value: "1"}},
	}
}

func TestWhatIsEncodedIsDecodedByEverybody(t *testing.T) {
	for _, fields := range samples() {
		section := encode(fields)
		got, err := decode(section)
		if diff := cmp.Diff(fields, got); err != nil || diff != "" {
			t.Errorf("%v; fields (-want +got):\n%s", err, diff)
		}
		theirs, err := decodeElsewhere(section)
		if diff := cmp.Diff(fields, theirs); err != nil || diff != "" {
			t.Errorf("elsewhere: %v; fields (-want +got):\n%s", err, diff)
		}
	}
}

func decodeElsewhere(section []byte) (fields []hpack.HeaderField, err error) {
	for next := other.NewDecoder().Decode(section); ; {
		f, err := next()
		if errors.Is(err, io.EOF) {
			return fields, nil
		}
		if err != nil {
			return fields, err
		}
		fields = append(fields, hpack.HeaderField{Name: f.Name, Value: f.Value})
	}
}

func TestTheStaticTableIsThatOfTheRFC(t *testing.T) {
	if n := len(staticTable); n != 99 {
		t.Fatalf("it has %d entries, want 99", n)
	}
	for i := range staticTable { // the other's is not exported, but its decoder tells
		got, err := decodeElsewhere(appendInt([]byte{0, 0}, patternIndexed|staticIndexed, indexBits, uint64(i)))
		if diff := cmp.Diff([]hpack.HeaderField{staticTable[i]}, got); err != nil || diff != "" {
			t.Errorf("entry %d: %v (-ours +theirs):\n%s", i, err, diff)
		}
	}
}

func TestDecodingStopsWhenNoMoreIsWanted(t *testing.T) {
	taken := 0
	section := append(encode(samples()[1]), 0x00) // what is malformed behind it is not looked at
	if err := new(Decoder).Decode(section, func(hpack.HeaderField) bool { taken++; return taken < 2 }); err != nil || taken != 2 {
		t.Errorf("%d fields were taken, %v; want 2", taken, err)
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	section := encode(samples()[2])
	var d Decoder
	take := func(hpack.HeaderField) bool { return true }
	if n := testing.AllocsPerRun(1000, func() {
		if err := d.Decode(section, take); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

// FuzzDecode compares with another decoder. Where that one is more generous, or
// less so, the difference is listed.
func FuzzDecode(f *testing.F) {
	for _, fields := range samples() {
		f.Add(encode(fields))
	}
	for _, bad := range [][]byte{
		{},
		{0},
		{2, 0},
		{0, 0x80},
		{0, 5, 0xc1},
		{0, 0, 0xff, 0x24},
		{0, 0, 0xff, 0xff, 0xff},
		{0, 0, 0x80},
		{0, 0, 0x10},
		{0, 0, 0x40, 0},
		{0, 0, 0, 0},
		{0, 0, 0x21, 'x'},
		{0, 0, 0x21, 'x', 5, 'y'},
		{0, 0, 0x21, 'x', 0x81, 0x18},
		{0, 0, 0x29, 0x18, 0},
		{0, 0, 0x31, 'x', 1, 'y'},
		{0, 0, 0x71, 1, 'y'},
		append([]byte{0, 0, 0x21, 'x', 0x7f}, bytes.Repeat([]byte{0xff}, 11)...),
	} {
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, section []byte) {
		fields, err := decode(section)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
		}
		theirs, theirErr := decodeElsewhere(section)
		lax := len(section) > 1 && section[1] != 0 // the other refuses a Base, and takes a negative one
		if (err == nil) != (theirErr == nil) && !lax {
			t.Fatalf("%v, elsewhere %v", err, theirErr)
		}
		if err != nil || theirErr != nil {
			return
		}
		if !slices.Equal(fields, theirs) {
			t.Fatalf("fields (-ours +theirs):\n%s", cmp.Diff(fields, theirs))
		}
		again, err := decode(encode(fields))
		if err != nil || !slices.Equal(again, fields) {
			t.Fatalf("encoded again: %v\n%s", err, cmp.Diff(fields, again))
		}
	})
}
