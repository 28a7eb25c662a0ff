package hpack

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhpack "golang.org/x/net/http2/hpack"
)

var lengths = NewClassifier(func(name, value string) uint8 { return uint8(len(name) + len(value)) })

// decode returns copies of the fields of a block.
func decode(t testing.TB, d *Decoder, block []byte) ([]xhpack.HeaderField, error) {
	t.Helper()
	var fields []xhpack.HeaderField
	err := d.Decode(block, func(f *Field) bool {
		if f.Class != uint8(len(f.Name)+len(f.Value)) {
			t.Errorf("%s: %s has the class %d", f.Name, f.Value, f.Class)
		}
		fields = append(fields, field(strings.Clone(f.Name), strings.Clone(f.Value)))
		return true
	})
	return fields, err
}

func TestTheExamplesOfTheRFCAreDecoded(t *testing.T) {
	// RFC 7541 appendix C.3 and C.4: three requests on one connection, without
	// Huffman's code and with it.
	for _, blocks := range [][]string{
		{
			"\x82\x86\x84\x41\x0fwww.example.com",
			"\x82\x86\x84\xbe\x58\x08no-cache",
			"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
		},
		{
			"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
			"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
			"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
		},
	} {
		d := lengths.NewDecoder()
		common := []xhpack.HeaderField{field(":method", "GET"), field(":scheme", "http"), field(":path", "/"), field(":authority", "www.example.com")}
		for i, want := range [][]xhpack.HeaderField{
			common,
			append(common[:4:4], field("cache-control", "no-cache")),
			{field(":method", "GET"), field(":scheme", "https"), field(":path", "/index.html"), field(":authority", "www.example.com"), field("custom-key", "custom-value")},
		} {
			got, err := decode(t, d, []byte(blocks[i]))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("block %d (-want +got):\n%s", i, diff)
			}
		}
		if d.count != 3 || d.used != 164 {
			t.Errorf("the table has %d entries of %d bytes, want 3 of 164", d.count, d.used)
		}
	}
}

func TestWhatIsNoHeaderBlock(t *testing.T) {
	for name, block := range map[string]string{
		"the index 0":                         "\x80",
		"an index beyond the tables":          "\xbe",
		"a name's index beyond the tables":    "\x7f\x00\x01a",
		"an index that does not end":          "\xff\x80",
		"an index that is too large":          "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"a literal without a name":            "\x40",
		"a literal without a value":           "\x40\x01a",
		"a value that does not end":           "\x40\x01a\x02b",
		"a length that does not end":          "\x40\x01a\x7f",
		"a length of almost everything":       "\x40\x01a\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"padding of Huffman's code with 0":    "\x40\x01a\x81\x18",
		"Huffman's EOS":                       "\x40\x01a\x84\xff\xff\xff\xff",
		"a size that is larger than allowed":  "\x3f\xe2\x1f",
		"a size behind a field":               "\x82\x20",
		"a size that does not end":            "\x3f\x80",
		"an index of what was pushed out":     "\x40\x01a\x01b\x82", // and then, see below
		"never indexed, without anything":     "\x10",
		"an index between the static and one": "\x0f\x7f\x01a",
	} {
		t.Run(name, func(t *testing.T) {
			d := lengths.NewDecoder()
			if _, err := decode(t, d, []byte(block)); err != nil {
				return
			}
			if _, err := decode(t, d, []byte("\x20\xbe")); err == nil {
				t.Error("it was decoded")
			}
		})
	}
}

func TestWhatIsNotWantedStillCountsForTheTable(t *testing.T) {
	d := lengths.NewDecoder()
	seen := 0
	if err := d.Decode([]byte("\x82\x40\x01a\x01b\x00\x01c\x01d\x40\x01e\x01f"), func(*Field) bool { seen++; return false }); err != nil {
		t.Fatal(err)
	}
	got, err := decode(t, d, []byte("\xbe\xbf"))
	if err != nil || seen != 1 {
		t.Fatal(seen, err)
	}
	if diff := cmp.Diff([]xhpack.HeaderField{field("e", "f"), field("a", "b")}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFieldThatIsLargerThanTheTableEmptiesIt(t *testing.T) {
	d := lengths.NewDecoder()
	var block bytes.Buffer
	encoder := xhpack.NewEncoder(&block)
	_ = encoder.WriteField(field("a", "b"))
	block.Write(appendLiteral(nil, 0x40, 6, "large", strings.Repeat("x", tableSize)))
	if got, err := decode(t, d, block.Bytes()); err != nil || len(got) != 2 || len(got[1].Value) != tableSize {
		t.Fatal(err)
	}
	if d.count != 0 || d.used != 0 {
		t.Errorf("%d entries of %d bytes are left", d.count, d.used)
	}
}

func TestDecodingWhatComesAgainAllocatesNothing(t *testing.T) {
	d := lengths.NewDecoder()
	path := appendLiteral([]byte{0x82, 0x87}, 0, 4, ":path", "/a/path/as/browsers/send/it.css")
	if _, err := decode(t, d, appendLiteral(path, 0x40, 6, "user-agent", "somebody")); err != nil {
		t.Fatal(err)
	}
	again := append(path, 0xbe)
	size := 0
	emit := func(f *Field) bool { size += len(f.Value); return true }
	if n := testing.AllocsPerRun(100, func() {
		if err := d.Decode(again, emit); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDecoder compares with the decoder of golang.org/x/net, block by block. An
// update of the table's size in the wrong place, which that one may let pass, ends
// the comparison.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x82\x86\x84\x41\x0fwww.example.com\x00\x82\x86\x84\xbe\x58\x08no-cache"), byte(20))
	f.Add([]byte("\x20\x3f\xe1\x1f\x40\x01a\x01b\xbe\xbe"), byte(2))
	f.Add([]byte("\x40\x8a\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"), byte(9))
	f.Fuzz(func(t *testing.T, data []byte, cut byte) {
		ours := lengths.NewDecoder()
		var want []xhpack.HeaderField
		theirs := xhpack.NewDecoder(tableSize, func(f xhpack.HeaderField) { want = append(want, field(f.Name, f.Value)) })
		theirs.SetAllowedMaxDynamicTableSize(tableSize)
		for len(data) > 0 {
			n := min(len(data), int(cut)+1)
			block := bytes.Clone(data[:n])
			data = data[n:]
			want = nil
			got, err := decode(t, ours, block)
			_, wantErr := theirs.Write(block)
			if wantErr == nil {
				wantErr = theirs.Close()
			}
			if err != nil {
				if wantErr == nil && !errors.Is(err, errUpdate) {
					t.Fatalf("%x: %v, and no error of x/net", block, err)
				}
				return
			}
			if wantErr != nil {
				t.Fatalf("%x: no error, and of x/net %v", block, wantErr)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%x (-x/net +ours):\n%s", block, diff)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	block := appendLiteral([]byte{0x82, 0x87}, 0, 4, ":path", "/a/path/as/browsers/send/it.css")
	for _, f := range []string{"user-agent", "accept", "accept-encoding", "accept-language"} {
		block = appendLiteral(block, 0x40, 6, f, "some value")
	}
	again := append(appendLiteral([]byte{0x82, 0x87}, 0, 4, ":path", "/a/path/as/browsers/send/it.css"), 0xbe, 0xbf, 0xc0, 0xc1)
	b.Run("ours", func(b *testing.B) {
		d, n := lengths.NewDecoder(), 0
		emit := func(f *Field) bool { n += len(f.Value); return true }
		_ = d.Decode(block, emit)
		b.ReportAllocs()
		for b.Loop() {
			_ = d.Decode(again, emit)
		}
	})
	b.Run("x-net", func(b *testing.B) {
		n := 0
		d := xhpack.NewDecoder(tableSize, func(f xhpack.HeaderField) { n += len(f.Value) })
		_, _ = d.Write(block)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = d.Write(again)
			_ = d.Close()
		}
	})
}
