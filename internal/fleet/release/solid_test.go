package release

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/encode"
)

// A group is objects that a test puts into a pack together.
type group struct {
	objects []Object
	body    []byte
}

func objectOf(content []byte) Object {
	return Object{Hash: HashOf(content), Size: int64(len(content))}
}

// zstdOf returns content in a frame of its own.
func zstdOf(t testing.TB, content []byte, options ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, append(options, zstd.WithZeroFrames(true))...)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(content, nil)
}

func together(t testing.TB, contents ...string) group {
	t.Helper()
	var g group
	for _, c := range contents {
		g.objects = append(g.objects, objectOf([]byte(c)))
	}
	g.body = zstdOf(t, []byte(strings.Join(contents, "")))
	return g
}

// numbered numbers contents, and returns what finds them.
func numbered(contents ...string) (*Numbering, PackOptions) {
	var objects []Object
	for _, c := range contents {
		objects = append(objects, objectOf([]byte(c)))
	}
	id := HashOf([]byte(strings.Join(contents, "\n")))
	return NewNumbering(id, objects), PackOptions{Numbered: func(asked Hash) ([]Object, error) {
		if asked != id {
			return nil, errors.New("no such release")
		}
		return objects, nil
	}}
}

// binaryPack writes a pack of version 2. Each part is a sent, or a group.
func binaryPack(t testing.TB, n *Numbering, parts ...any) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewNumberedPack(&buf, n)
	for _, part := range parts {
		var err error
		switch p := part.(type) {
		case sent:
			err = w.Add(p.header, bytes.NewReader(p.body))
		case group:
			err = w.AddSolid(p.objects, int64(len(p.body)), bytes.NewReader(p.body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func receiveAs(t testing.TB, st *Store, stream []byte, o PackOptions) (PackResult, error) {
	t.Helper()
	return ReadPack(t.Context(), bytes.NewReader(stream), st, o)
}

func TestEveryFormArrivesInABinaryPack(t *testing.T) {
	page, noise := string(randomText(1, 50_000)), string(noise(3000))
	edited := page[:20_000] + "something else" + page[20_000:]
	shelf := source(t, []byte(page))
	var p Packer
	against, err := p.Prepare(t.Context(), source(t, []byte(edited)), "text/plain", &shelf)
	if err != nil || against.Coding != Blocks || against.Base == nil {
		t.Fatalf("prepared as %+v: %v", against, err)
	}
	change := sent{against.Header, against.data}
	alone := sent{Header{Hash: HashOf([]byte(page + "!")), Size: int64(len(page) + 1), Coding: Zstd}, zstdOf(t, []byte(page+"!"))}
	alone.header.Length = int64(len(alone.body))
	contents := []string{"one", "", page, noise, edited, page + "!", "a", "b", "c", "nobody numbered"}
	n, o := numbered(contents[:9]...)
	parts := []any{
		identity("one"), identity(""), brotliOf(t, []byte(page), encode.Best), identity(noise), change, alone,
		together(t, "c", "nobody numbered", "a", "b"),
	}
	for what, tt := range map[string]struct {
		n *Numbering
		o PackOptions
	}{"by number": {n, o}, "by hash": {nil, PackOptions{}}} {
		t.Run(what, func(t *testing.T) {
			st := openStore(t)
			stream := binaryPack(t, tt.n, parts...)
			got, err := receiveAs(t, st, stream, tt.o)
			if diff := cmp.Diff(PackResult{Stored: 10, Bytes: int64(len(stream))}, got); err != nil || diff != "" {
				t.Fatalf("ReadPack: %v (-want +got):\n%s", err, diff)
			}
			for _, content := range contents {
				wantObject(t, st, content)
			}
			if _, level, ok := st.Coded(HashOf([]byte(page)), encode.Brotli); !ok || level != encode.Best {
				t.Errorf("the coded form: %s, %v", level, ok)
			}
			got, err = receiveAs(t, st, stream, tt.o)
			if diff := cmp.Diff(PackResult{Had: 10, Bytes: int64(len(stream))}, got); err != nil || diff != "" {
				t.Errorf("the same again: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestNamesTakeOneByteInTheOrderOfTheRelease(t *testing.T) {
	var contents []string
	for i := range 1000 {
		contents = append(contents, fmt.Sprint(i))
	}
	n, o := numbered(contents...)
	g := together(t, contents...)
	stream := binaryPack(t, n, g)
	if over := len(stream) - len(g.body) - len(g.objects); over > 150 {
		t.Errorf("beside the frame and a byte for each name there are %d bytes", over)
	}
	if got, err := receiveAs(t, openStore(t), stream, o); err != nil || got.Stored != 1000 {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
}

func TestABadObjectOfAGroupIsNamedAndTheOthersArrive(t *testing.T) {
	whole := together(t, "before", strings.Repeat("hello ", 1000), "after")
	text := strings.Join([]string{"before", strings.Repeat("hello ", 1000), "after"}, "")
	with := func(body []byte, objects ...Object) group { return group{objects, body} }
	other := Object{Hash: HashOf([]byte("other")), Size: 6000}
	first, middle, last := whole.objects[0], whole.objects[1], whole.objects[2]
	for what, tt := range map[string]struct {
		group group
		bad   []Hash
	}{
		"another hash":                  {with(whole.body, first, other, last), []Hash{other.Hash}},
		"a frame that is noise":         {with([]byte("\xff\xff\xff\xff"), first, middle), []Hash{first.Hash, middle.Hash}},
		"no frame":                      {with(nil, first, middle), []Hash{first.Hash, middle.Hash}},
		"a frame that ends early":       {with(zstdOf(t, []byte(text[:3000])), first, middle, last), []Hash{middle.Hash, last.Hash}},
		"a frame of another dictionary": {with(zstdOf(t, []byte(text), zstd.WithEncoderDictRaw(7, []byte(text))), first, middle, last), []Hash{first.Hash, middle.Hash, last.Hash}},
	} {
		t.Run(what, func(t *testing.T) {
			st := openStore(t)
			got, err := receiveAs(t, st, binaryPack(t, nil, identity("x"), tt.group, identity("y")), PackOptions{})
			var bad []Hash
			for _, b := range got.Bad {
				bad = append(bad, b.Hash)
				if b.Reason == "" {
					t.Errorf("%s is bad without a reason", b.Hash.Short())
				}
			}
			if diff := cmp.Diff(tt.bad, bad); err != nil || diff != "" || got.Stored != 2+len(tt.group.objects)-len(tt.bad) {
				t.Errorf("ReadPack: %+v, %v (-want +got):\n%s", got, err, diff)
			}
			wantObject(t, st, "x")
			wantObject(t, st, "y")
			if err := verifyAndEmpty(t, st); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAWindowThatIsTooLargeIsRefusedAndNotAllocated(t *testing.T) {
	// The head of a frame whose window is 1 GiB (RFC 8878 §3.1.1.1.2), and an empty last block.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0x01, 0x00, 0x00}
	got, err := receiveAs(t, openStore(t), binaryPack(t, nil, group{[]Object{objectOf([]byte("x"))}, frame}), PackOptions{})
	if err != nil || len(got.Bad) != 1 {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
}

func TestAGroupThatSaysMoreThanItsObjectsIsReadNoFurther(t *testing.T) {
	bomb := group{[]Object{objectOf([]byte("x"))}, zstdOf(t, append([]byte("x"), make([]byte, 1<<30)...))}
	st := openStore(t)
	got, err := receiveAs(t, st, binaryPack(t, nil, bomb), PackOptions{})
	if !errors.Is(err, ErrPack) || got.Stored != 1 {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
	if size, err := st.Size(); err != nil || size != 1 {
		t.Errorf("the store has %d bytes, %v", size, err)
	}
}

func TestOfAGroupOnlyWhatIsWantedIsWritten(t *testing.T) {
	st := openStore(t)
	put(t, st, "had")
	o := PackOptions{Accept: func(h Hash, _ int64) error {
		if h == HashOf([]byte("other")) {
			return errors.New("nobody asked for it")
		}
		return nil
	}}
	got, err := receiveAs(t, st, binaryPack(t, nil, together(t, "other", "had", "wanted")), o)
	if err != nil || got.Stored != 1 || got.Had != 1 || len(got.Bad) != 1 || st.Has(HashOf([]byte("other"))) {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
	wantObject(t, st, "wanted")
}

func TestABinaryPackThatIsDamagedIsSaidToBeAndWhatWasWholeIsStored(t *testing.T) {
	n, o := numbered("x", "y")
	start := binaryPack(t, n)
	start = start[:bytes.IndexByte(start, '\n')+1]
	x := []byte{byte(kindIdentity), 1, 'x'}
	one := HashOf([]byte("one"))
	for what, rest := range map[string][]byte{
		"no end":                           x,
		"an end that is cut":               append(bytes.Clone(x), byte(kindEnd)),
		"an end that is early":             append(bytes.Clone(x), byte(kindEnd), 2),
		"something behind the end":         append(bytes.Clone(x), byte(kindEnd), 1, 1),
		"a kind that is not known":         append(bytes.Clone(x), 200, 1, 'x', byte(kindEnd), 2),
		"a number behind the last":         append(bytes.Clone(x), byte(kindIdentity), 3, 'x', byte(kindEnd), 2),
		"a number before the first":        append(bytes.Clone(x), byte(kindIdentity), 4, 'x', byte(kindEnd), 2),
		"a number that wraps":              append(bytes.Clone(x), slices.Concat([]byte{byte(kindIdentity)}, bytes.Repeat([]byte{0xff}, 9), []byte{1})...),
		"a varint without an end":          append(bytes.Clone(x), slices.Concat([]byte{byte(kindIdentity)}, bytes.Repeat([]byte{0xff}, 20))...),
		"a size that nobody has":           append(bytes.Clone(x), slices.Concat([]byte{byte(kindIdentity), 0}, one[:], bytes.Repeat([]byte{0xff}, 8), []byte{1})...),
		"a hash that is cut":               append(bytes.Clone(x), byte(kindIdentity), 0, 1, 2, 3),
		"a base that is cut":               append(bytes.Clone(x), byte(kindZstdBase), 1, 1, 2, 3),
		"a length that nobody can send":    append(bytes.Clone(x), slices.Concat([]byte{byte(kindZstd), 1}, bytes.Repeat([]byte{0xff}, 8), []byte{1})...),
		"a group of nothing":               append(bytes.Clone(x), byte(kindSolid), 0, 0, byte(kindEnd), 1),
		"a group of more than there may":   append(bytes.Clone(x), byte(kindSolid), 0xff, 0xff, 0xff, 0xff, 1),
		"a group that is too large":        append(bytes.Clone(x), slices.Concat([]byte{byte(kindSolid), 1, 0}, one[:], []byte{0xff, 0xff, 0xff, 0xff, 1})...),
		"a group whose names are cut":      append(bytes.Clone(x), byte(kindSolid), 2, 1),
		"a group whose frame is too large": append(bytes.Clone(x), byte(kindSolid), 1, 1, 0xff, 0xff, 0xff, 0xff, 1),
	} {
		t.Run(what, func(t *testing.T) {
			st := openStore(t)
			got, err := receiveAs(t, st, slices.Concat(start, rest), o)
			if !errors.Is(err, ErrPack) || got.Stored != 1 {
				t.Errorf("ReadPack: %+v, %v", got, err)
			}
			wantObject(t, st, "x")
		})
	}
}

func TestWhoDoesNotKnowTheReleaseRefusesItsNumbers(t *testing.T) {
	n, o := numbered("x")
	stream := binaryPack(t, n, identity("x"))
	if _, err := receiveAs(t, openStore(t), stream, PackOptions{}); !errors.Is(err, ErrPack) {
		t.Errorf("without releases: %v", err)
	}
	n.Release = Hash{}
	if _, err := receiveAs(t, openStore(t), binaryPack(t, n, identity("x")), o); err == nil || errors.Is(err, ErrPack) {
		t.Errorf("with another release: %v", err)
	}
}

func TestAGroupThatIsCutAnywhereStoresWhatIsWholeAndCanBeSentAgain(t *testing.T) {
	contents := []string{string(noise(200)), "two", string(randomText(3, 300)), "", "five"}
	n, o := numbered(contents...)
	stream := binaryPack(t, n, together(t, contents[:4]...), identity("five"))
	st := openStore(t)
	for cut := range len(stream) {
		got, err := receiveAs(t, st, stream[:cut], o)
		if !errors.Is(err, ErrPack) || len(got.Bad) > 0 {
			t.Fatalf("cut after %d of %d bytes: %+v, %v", cut, len(stream), got, err)
		}
	}
	for _, content := range contents {
		wantObject(t, st, content)
	}
	for _, path := range filesBelow(t, st.tmp) {
		t.Errorf("%s is left", path)
	}
	if got, err := receiveAs(t, st, stream, o); err != nil || got.Had != 5 {
		t.Errorf("the whole stream: %+v, %v", got, err)
	}
}

// What a decoder gives before a cut depends on its blocks: of a group of many that is
// cut in its middle some are stored.
func TestOfAGroupThatIsCutInItsMiddleTheFirstObjectsAreStored(t *testing.T) {
	var contents []string
	for i := range 100 {
		contents = append(contents, string(randomText(uint64(i), 20_000)))
	}
	stream := binaryPack(t, nil, together(t, contents...))
	st := openStore(t)
	got, err := receiveAs(t, st, stream[:len(stream)/2], PackOptions{})
	if !errors.Is(err, ErrPack) || got.Stored < 20 || got.Stored > 60 {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
	wantObject(t, st, contents[0])
}

func TestABitThatFlipsInABinaryPackNeverPutsAWrongObjectIntoTheStore(t *testing.T) {
	contents := []string{"one", "two, two, two, two", "", string(randomText(1, 100))}
	n, o := numbered(contents...)
	stream := binaryPack(t, n, identity("one"), brotliOf(t, []byte(contents[1]), encode.Quick), together(t, contents[2:]...))
	st := openStore(t)
	for i := range stream {
		flipped := bytes.Clone(stream)
		flipped[i] ^= 1 << (i % 8)
		got, err := receiveAs(t, st, flipped, o)
		if err == nil && len(got.Bad) == 0 && got.Stored+got.Had != 4 {
			t.Errorf("byte %d: an object is lost and nobody says so: %+v", i, got)
		}
		if err := verifyAndEmpty(t, st); err != nil {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

func TestSolidSaysWhichFileIsNoLongerWhatItWas(t *testing.T) {
	var p Packer
	sources := []Source{source(t, []byte("one")), source(t, []byte("two")), source(t, []byte("three"))}
	body, err := p.Solid(t.Context(), sources, true)
	if err != nil {
		t.Fatal(err)
	}
	st := openStore(t)
	g := group{[]Object{{sources[0].Hash, 3}, {sources[1].Hash, 3}, {sources[2].Hash, 5}}, body}
	if got, err := receiveAs(t, st, binaryPack(t, nil, g), PackOptions{}); err != nil || got.Stored != 3 {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
	sources[1].Size = 4
	_, err = p.Solid(t.Context(), sources, true)
	if at, ok := errors.AsType[*SourceError](err); !ok || at.Index != 1 || !errors.Is(err, ErrChanged) {
		t.Errorf("a file that is shorter: %v", err)
	}
	sources[1].Open = func() (Content, error) { return nil, ErrChanged }
	if _, err := p.Solid(t.Context(), sources, true); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestAPackOfVersion1HasNoGroups(t *testing.T) {
	g := together(t, "x")
	if err := NewPackWriter(io.Discard).AddSolid(g.objects, int64(len(g.body)), bytes.NewReader(g.body)); err == nil {
		t.Error("a group is written into a pack of version 1")
	}
}

func FuzzReadBinaryPack(f *testing.F) {
	page := string(randomText(3, 300))
	n, o := numbered("one", page, "two", "three")
	f.Add(binaryPack(f, n, identity("one"), brotliOf(f, []byte(page), encode.Quick), together(f, "three", "two")))
	f.Add(binaryPack(f, nil, together(f, "a", "", "b")))
	f.Add(binaryPack(f, n))
	st := openStore(f)
	f.Fuzz(func(t *testing.T, stream []byte) {
		if got, _ := receiveAs(t, st, stream, o); got.Stored+got.Had > 0 {
			if err := verifyAndEmpty(t, st); err != nil {
				t.Error(err)
			}
		}
		for _, path := range filesBelow(t, st.tmp) {
			t.Errorf("%s is left", path)
		}
	})
}
