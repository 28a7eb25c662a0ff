package hpack

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhpack "golang.org/x/net/http2/hpack"
)

func field(name, value string) xhpack.HeaderField {
	return xhpack.HeaderField{Name: name, Value: value}
}

func block(common bool, fields ...xhpack.HeaderField) *Block {
	var all []Field
	for _, f := range fields {
		all = append(all, Field{Name: f.Name, Value: f.Value})
	}
	return NewBlock(common, all...)
}

// A peer decodes what a table writes.
type peer struct {
	t       testing.TB
	table   *Table
	decoder *xhpack.Decoder
}

func newPeer(t testing.TB) *peer {
	return &peer{t, NewTable(), xhpack.NewDecoder(tableSize, nil)}
}

// limit is what happens when SETTINGS_HEADER_TABLE_SIZE has come and was acknowledged.
func (p *peer) limit(n uint32) {
	p.table.SetLimit(n)
	p.decoder.SetAllowedMaxDynamicTableSize(n)
}

// section writes a section of blocks and returns how long it is.
func (p *peer) section(blocks ...*Block) int {
	p.t.Helper()
	out := p.table.Begin(nil)
	var want []xhpack.HeaderField
	for _, b := range blocks {
		before := len(out)
		if out = p.table.Append(out, b); len(out)-before > b.Size() {
			p.t.Errorf("a block took %d bytes, more than its size %d", len(out)-before, b.Size())
		}
		want = append(want, fieldsOf(p.t, b)...)
	}
	p.decode(out, want)
	return len(out)
}

// fields writes a section of single fields and returns how long it is.
func (p *peer) fields(fields ...xhpack.HeaderField) int {
	p.t.Helper()
	out := p.table.Begin(nil)
	for _, f := range fields {
		out = p.table.AppendField(out, f.Name, f.Value)
	}
	p.decode(out, fields)
	return len(out)
}

func (p *peer) decode(out []byte, want []xhpack.HeaderField) {
	p.t.Helper()
	got, err := p.decoder.DecodeFull(out)
	if err != nil {
		p.t.Fatalf("decode %x: %v", out, err)
	}
	for i := range got {
		got[i].Sensitive = false
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Fatalf("the peer has other fields (-want +got):\n%s", diff)
	}
}

// fieldsOf decodes a block by itself.
func fieldsOf(t testing.TB, b *Block) []xhpack.HeaderField {
	t.Helper()
	fields, err := xhpack.NewDecoder(0, nil).DecodeFull(b.appendPlain(nil))
	if err != nil {
		t.Fatalf("a plain block: %v", err)
	}
	return fields
}

func TestWhatComesAgainIsShort(t *testing.T) {
	p := newPeer(t)
	common := block(true, field("cache-control", "public, max-age=0, must-revalidate"), field("referrer-policy", "strict-origin-when-cross-origin"))
	own := block(false, field("etag", `"0123456789abcdef"`), field("content-length", "1024"), field("x-empty", ""))
	both := len(common.text) + len(own.appendPlain(nil))
	for i, want := range []int{both, 2 + len(own.text), 2 + 3, 2 + 3} {
		if got := p.section(common, own); got != want {
			t.Errorf("section %d takes %d bytes, want %d", i, got, want)
		}
	}
	for i, want := range []int{3, 3} {
		if got := p.section(own); got != want {
			t.Errorf("own alone, time %d, takes %d bytes, want %d", i, got, want)
		}
	}
}

func TestWhatWasPushedOutIsEnteredAgain(t *testing.T) {
	p := newPeer(t)
	first := block(true, field("x-first", "value"))
	p.section(first)
	for i := range mostKnown - 2 { // few enough for first to be remembered
		p.section(block(true, field("x-other", strings.Repeat(string(rune('a'+i)), 400))))
	}
	if got := p.section(first); got != len(first.text) {
		t.Errorf("what was pushed out takes %d bytes, want the whole block of %d", got, len(first.text))
	}
	if got := p.section(first); got != 1 {
		t.Errorf("then it takes %d bytes, want 1", got)
	}
}

func TestALargeBlockIsNotEntered(t *testing.T) {
	p := newPeer(t)
	small, large := block(true, field("x-small", "1")), block(true, field("x-large", strings.Repeat("x", tableSize/2)))
	p.section(small)
	for range 3 {
		p.section(large)
	}
	if got := p.section(small); got != 1 {
		t.Errorf("the small block takes %d bytes, want it to have stayed in the table", got)
	}
}

func TestTheLimitOfThePeerIsKept(t *testing.T) {
	b := block(true, field("x-name", strings.Repeat("v", 100)))
	again := []*Block{b, b}
	for _, test := range []struct {
		name   string
		limits []uint32
		want   int // of the second section after that, in which b comes twice
	}{
		{"as it is", nil, 2},
		{"larger", []uint32{1 << 16}, 2},
		{"enough", []uint32{1000}, 2},
		{"too small for more than one", []uint32{150}, 2 * len(b.text)},
		{"none", []uint32{0}, 2 * len(b.text)},
		{"none, then as before", []uint32{0, 4096}, 2},
		{"up and down", []uint32{500, 100, 2000, 300}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t)
			p.section(again...)
			for _, n := range test.limits {
				p.limit(n)
			}
			p.section(again...)
			if got := p.section(again...); got != test.want {
				t.Errorf("takes %d bytes, want %d", got, test.want)
			}
		})
	}
}

func TestSingleFieldsAreEnteredToo(t *testing.T) {
	p := newPeer(t)
	static, repeats := field(":status", "200"), field("x-powered-by", "penny")
	passes, secret := field("date", "Sat, 21 Nov 2026 18:00:00 GMT"), field("set-cookie", "session=1")
	p.fields(static, repeats, passes, secret)
	for _, test := range []struct {
		f    xhpack.HeaderField
		most int
	}{{static, 1}, {repeats, 1}, {passes, 40}, {secret, 40}} {
		got := p.fields(test.f)
		if got > test.most || test.most > 1 && got < len("session=1")/2 {
			t.Errorf("%v takes %d bytes", test.f, got)
		}
	}
	for i := range 10 * mostEntries { // the map of fields is bounded
		p.fields(field("x-n", fmt.Sprint(i)), repeats)
	}
	if len(p.table.loose) > 2*mostEntries {
		t.Errorf("%d fields are remembered", len(p.table.loose))
	}
}

func TestSlicesOfABlock(t *testing.T) {
	var all []xhpack.HeaderField
	for i := range 5 {
		all = append(all, field(fmt.Sprintf("x-%d", i), strings.Repeat("v", i*50)))
	}
	all = append(all, field("content-type", "text/html"), field("a", "b"))
	b := block(true, all...)
	for first := range len(all) + 1 {
		for last := first; last <= len(all); last++ {
			p := newPeer(t)
			part := b.Slice(first, last)
			for range 3 {
				if diff := cmp.Diff(len(all[first:last]), len(fieldsOf(t, part))); diff != "" {
					t.Fatal(diff)
				}
				p.section(part)
			}
			if got := p.section(part); got != last-first {
				t.Errorf("%d to %d takes %d bytes", first, last, got)
			}
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	table, out := NewTable(), make([]byte, 0, 4096)
	var blocks []*Block
	for i := range 40 {
		blocks = append(blocks, block(i%3 == 0, field("x-name", strings.Repeat("v", 10*i)), field("etag", fmt.Sprint(i))))
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		out = table.Append(table.Begin(out[:0]), blocks[i%len(blocks)])
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzTable writes any blocks in any order, under any limits.
func FuzzTable(f *testing.F) {
	f.Add(uint64(1), []byte{1, 2, 3, 1, 2, 3, 200, 1, 2, 255, 0, 1, 1})
	f.Add(uint64(2), []byte{255, 0, 1, 2, 255, 200, 1, 1, 1, 2, 2, 2, 254, 4, 254, 4})
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		random := rand.New(rand.NewPCG(seed, 0))
		var blocks []*Block
		for i := range 40 {
			fields := make([]xhpack.HeaderField, random.IntN(7))
			for j := range fields {
				name := []string{"etag", "content-type", "x-a", "date", "www-authenticate", "x-long-name-of-a-field"}[random.IntN(6)]
				fields[j] = field(name, strings.Repeat(string(rune(' '+1+random.IntN(90))), random.IntN(1<<random.IntN(12))))
			}
			blocks = append(blocks, block(i%2 == 0, fields...))
		}
		p := newPeer(t)
		for len(script) > 1 {
			n := int(script[1])
			switch script[0] {
			case 255:
				p.limit(uint32(n * n))
			case 254:
				p.fields(field("x-loose", fmt.Sprint(n)), field("etag", fmt.Sprint(n)), field("set-cookie", fmt.Sprint(n)))
			default:
				p.section(blocks[int(script[0])%len(blocks)], blocks[n%len(blocks)])
			}
			script = script[2:]
		}
	})
}
