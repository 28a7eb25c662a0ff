package release

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
)

func blocksOf(t testing.TB, content, base []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := writeBlocks(&out, bytes.NewReader(content), int64(len(content)), bytes.NewReader(base), int64(len(base))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func fromBlocks(instructions, base []byte, size int) ([]byte, error) {
	return io.ReadAll(newBlocksReader(bytes.NewReader(instructions), bytes.NewReader(base), int64(size)))
}

func TestBlocksMakeTheFileAgainAndAreShortWhereItIsTheBase(t *testing.T) {
	text := randomText(1, 3<<20+17)
	noise := noise(1 << 20)
	edit := func(at, remove int, insert string) []byte {
		return slices.Concat(text[:at], []byte(insert), text[at+remove:])
	}
	for what, tt := range map[string]struct {
		content, base []byte
		most          int // bytes of instructions
	}{
		"the same":                    {text, text, 16},
		"one byte changed":            {edit(1_000_000, 1, "!"), text, 64},
		"one byte more at the front":  {edit(0, 0, "!"), text, 64},
		"one byte less at the front":  {edit(0, 1, ""), text, 64},
		"one byte more at the end":    {append(bytes.Clone(text), '!'), text, 64},
		"a cut end":                   {text[:1_234_567], text, 16},
		"a part out of the middle":    {text[1_000_001:2_000_003], text, 64},
		"a paragraph more":            {edit(500_000, 0, string(noise[:1000])), text, 1100},
		"halves the other way around": {slices.Concat(text[1_500_000:], text[:1_500_000]), text, 64},
		"twice":                       {slices.Concat(text, text), text, 32},
		"nothing of the base":         {noise, text, len(noise) + 1000},
		"new content in the middle":   {slices.Concat(text[:1000], noise, noise, text[1000:]), text, 2*len(noise) + 100},
		"no base":                     {text, nil, len(text) + 100},
		"a base shorter than a block": {text, text[:minCopy-1], len(text) + 100},
		"a base of one block":         {text, text[:minCopy], len(text) + 100},
		"nothing":                     {nil, text, 0},
		"less than a block":           {text[:5], text, 10},
		"zeros of zeros":              {make([]byte, 3_000_001), make([]byte, 2_000_003), 1000},
	} {
		t.Run(what, func(t *testing.T) {
			instructions := blocksOf(t, tt.content, tt.base)
			got, err := fromBlocks(instructions, tt.base, len(tt.content))
			if err != nil || !bytes.Equal(got, tt.content) {
				t.Fatalf("of %d bytes came %d, %v", len(tt.content), len(got), err)
			}
			if len(instructions) > tt.most {
				t.Errorf("%d bytes of instructions, want at most %d", len(instructions), tt.most)
			}
		})
	}
}

func TestALargeBaseHasLargerBlocks(t *testing.T) {
	base := noise(minCopy * (maxIndexed + 1))
	content := slices.Concat(base[:7_000_000], []byte("something new"), base[7_000_001:])
	instructions := blocksOf(t, content, base)
	if got, err := fromBlocks(instructions, base, len(content)); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("of %d bytes came %d, %v", len(content), len(got), err)
	}
	if len(instructions) > 256 {
		t.Errorf("%d bytes of instructions", len(instructions))
	}
	b := &blocksWriter{base: pages{r: bytes.NewReader(base), size: int64(len(base))}}
	if err := b.index(int64(len(base))); err != nil || b.block != 2*minCopy {
		t.Errorf("the blocks have %d bytes, %v", b.block, err)
	}
}

func TestInstructionsThatCannotBeAreTheContentsFault(t *testing.T) {
	base := randomText(1, 1000)
	for what, instructions := range map[string][]byte{
		"none":                              {},
		"fewer than the size":               {3, 'a', 'b', 'c', 0},
		"literals that are cut":             {100, 'a'},
		"literals of more than the size":    {101},
		"a copy of more than the size":      binary.AppendVarint([]byte{0, 101}, 0),
		"a copy after all is there":         binary.AppendVarint(append(append([]byte{100}, base[:100]...), 20), 0),
		"a copy without a place":            {0, 100},
		"a copy from before the beginning":  binary.AppendVarint([]byte{0, 100}, -1),
		"a copy from behind the end":        binary.AppendVarint([]byte{0, 100}, 1000),
		"a copy over the end":               binary.AppendVarint([]byte{0, 100}, 950),
		"a copy from where no number goes":  binary.AppendVarint([]byte{0, 100}, -1<<63),
		"a copy that is too short":          binary.AppendVarint([]byte{0, minCopy - 1}, 0),
		"a number that does not end":        bytes.Repeat([]byte{0xff}, 20),
		"more behind the end":               append(binary.AppendVarint([]byte{0, 100}, 0), 0),
		"an instruction that makes nothing": append([]byte{0, 0}, binary.AppendVarint([]byte{0, 100}, 0)...),
	} {
		t.Run(what, func(t *testing.T) {
			if got, err := fromBlocks(instructions, base, 100); !errors.Is(err, errContent) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	copied := binary.AppendVarint([]byte{0, 100}, 0)
	if _, err := io.ReadAll(newBlocksReader(bytes.NewReader(copied), nil, 100)); !errors.Is(err, errContent) {
		t.Errorf("a copy without a base: %v", err)
	}
	broken := errors.New("broken disk")
	if _, err := io.ReadAll(newBlocksReader(bytes.NewReader(copied), readerAtFunc(func([]byte, int64) (int, error) { return 0, broken }), 100)); !errors.Is(err, broken) || errors.Is(err, errContent) {
		t.Errorf("a base that cannot be read: %v", err)
	}
}

type readerAtFunc func([]byte, int64) (int, error)

func (f readerAtFunc) ReadAt(p []byte, at int64) (int, error) { return f(p, at) }

func FuzzBlocksReader(f *testing.F) {
	base := randomText(1, 1000)
	f.Add(blocksOf(f, base[100:600], base))
	f.Add(blocksOf(f, append([]byte("new"), base...), base))
	f.Add([]byte{5, 'h', 'e', 'l', 'l', 'o', 0})
	f.Fuzz(func(t *testing.T, instructions []byte) {
		const size = 500
		got, err := fromBlocks(instructions, base, size)
		if err == nil && len(got) != size || len(got) > size {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if err != nil && !errors.Is(err, errContent) {
			t.Fatal(err)
		}
	})
}

func FuzzBlocks(f *testing.F) {
	f.Add([]byte("a file that was changed, in the middle"), []byte("a file that was not changed, in the middle"))
	f.Add(bytes.Repeat([]byte("ab"), 100), bytes.Repeat([]byte("ab"), 50))
	f.Fuzz(func(t *testing.T, content, base []byte) {
		var out bytes.Buffer
		// A reader that gives a byte at a time must change nothing.
		if err := writeBlocks(&out, bufio.NewReaderSize(bytes.NewReader(content), 16), int64(len(content)), bytes.NewReader(base), int64(len(base))); err != nil {
			t.Fatal(err)
		}
		if got, err := fromBlocks(out.Bytes(), base, len(content)); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("of %q over %q came %q, %v", content, base, got, err)
		}
	})
}

func BenchmarkBlocks(b *testing.B) {
	base := randomText(1, 20<<20)
	content := bytes.Clone(base)
	content[len(content)/2] ^= 1
	b.Run("OneByteChanged", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			blocksOf(b, content, base)
		}
	})
	other := randomText(7, 20<<20)
	b.Run("AllNew", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			blocksOf(b, other, base)
		}
	})
}
