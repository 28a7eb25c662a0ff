package release

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pennyfarthing/internal/encode"
)

func source(t testing.TB, content []byte) Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return Source{Hash: HashOf(content), Size: int64(len(content)), Open: func() (Content, error) { return os.Open(path) }}
}

// noise returns bytes that nothing makes smaller.
func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // it never fails
	return b
}

// deliver sends prepared objects to a store, which must take them all.
func deliver(t testing.TB, st *Store, objects ...*Prepared) {
	t.Helper()
	var buf bytes.Buffer
	w := NewPackWriter(&buf)
	for _, o := range objects {
		if err := w.Send(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := receive(t, st, buf.Bytes())
	if err != nil || len(got.Bad) > 0 || got.Stored+got.Had != len(objects) {
		t.Fatalf("ReadPack: %+v, %v", got, err)
	}
}

func TestAnObjectTravelsInTheFormThatIsShortest(t *testing.T) {
	page := randomText(1, 50_000)
	edited := slices.Concat(page[:20_000], []byte("something that was not there"), page[20_100:])
	noise := noise(100_000)
	st := openStore(t)
	// Words of the base in another order: no long run is as it was.
	var shuffled []byte
	for i := 0; i+12 <= len(noise); i += 12 {
		shuffled = append(shuffled, noise[i*7919/12%(len(noise)/12)*12:][:12]...)
	}
	for what, tt := range map[string]struct {
		content   []byte
		mediaType string
		base      []byte
		want      Coding
		most      int64
	}{
		"a page":                          {page, "text/html", nil, Brotli, int64(len(page)) / 2},
		"a picture":                       {noise, "image/png", nil, Identity, int64(len(noise))},
		"noise that calls itself text":    {noise, "text/plain", nil, Identity, int64(len(noise))},
		"a few words":                     {page[:60], "text/html", page, Identity, 60},
		"nothing":                         {nil, "text/html", page, Identity, 0},
		"a page that was edited":          {edited, "text/html", page, Blocks, 100},
		"a picture that was edited":       {slices.Concat(noise[:5000], noise[5001:]), "image/png", noise, Blocks, 100},
		"a page with a base of nothing":   {page, "text/html", []byte{}, Brotli, int64(len(page)) / 2},
		"a page with a base that differs": {page, "text/html", noise, Zstd, int64(len(page)) / 2},
		"a page whose base is cut":        {edited, "text/html", page[:100], Brotli, int64(len(page)) / 2},
		"noise of short pieces of it":     {shuffled, "text/plain", noise, Zstd, int64(len(shuffled)) / 2},
		"another picture":                 {noise[50_000:], "image/png", noise[:50_000], Identity, 50_000},
		"a text too large for a coding":   {randomText(4, MaxCoded+1), "text/html", nil, Zstd, MaxCoded / 2},
	} {
		t.Run(what, func(t *testing.T) {
			var base *Source
			if tt.base != nil {
				base = new(source(t, tt.base))
				put(t, st, string(tt.base))
				if what == "a page whose base is cut" {
					base.Size++
				}
			}
			p := &Packer{}
			o, err := p.Prepare(t.Context(), source(t, tt.content), tt.mediaType, base)
			if err != nil {
				t.Fatal(err)
			}
			if o.Coding != tt.want || o.Length > tt.most {
				t.Errorf("it travels as %s of %d bytes, want %s of at most %d", o.Coding, o.Length, tt.want, tt.most)
			}
			deliver(t, st, o, o)
			wantObject(t, st, string(tt.content))
			if err := o.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnObjectTooLargeForMemoryTravelsInBlocksThatAreSpooled(t *testing.T) {
	base := noise(MaxDictionary + 100)
	text := bytes.Repeat(randomText(3, 1<<20), MaxDictionary>>20+1)
	edited := slices.Concat(base[:10_000_000], []byte("new"), base[10_000_005:])
	st, spool := openStore(t), t.TempDir()
	put(t, st, string(base))
	p := &Packer{Spool: spool}
	for what, tt := range map[string]struct {
		content   []byte
		mediaType string
		base      *Source
		want      Coding
		most      int64
	}{
		"edited":                   {edited, "video/mp4", new(source(t, base)), Blocks, 200},
		"new text":                 {text, "text/csv", nil, Blocks, MaxDictionary / 2},
		"a film":                   {edited[1:], "video/mp4", nil, Identity, int64(len(edited))},
		"with a base that is gone": {text[2:], "video/mp4", &Source{Hash: Hash{1}, Size: 5, Open: func() (Content, error) { return nil, fs.ErrNotExist }}, Blocks, MaxDictionary / 2},
	} {
		t.Run(what, func(t *testing.T) {
			o, err := p.Prepare(t.Context(), source(t, tt.content), tt.mediaType, tt.base)
			if err != nil {
				t.Fatal(err)
			}
			if o.Coding != tt.want || o.Length > tt.most {
				t.Errorf("it travels as %s of %d bytes, want %s of at most %d", o.Coding, o.Length, tt.want, tt.most)
			}
			deliver(t, st, o)
			if err := st.Verify(t.Context(), HashOf(tt.content)); err != nil {
				t.Error(err)
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			if left := filesBelow(t, spool); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

func TestAFileThatChangedMeanwhileIsNotPrepared(t *testing.T) {
	for _, size := range []int{1000, MaxDictionary + 1} {
		content := make([]byte, size)
		o := source(t, content)
		o.Hash = HashOf([]byte("what it was"))
		spool := t.TempDir()
		if _, err := (&Packer{Spool: spool}).Prepare(t.Context(), o, "text/html", nil); !errors.Is(err, ErrChanged) {
			t.Errorf("of %d bytes: %v", size, err)
		}
		if left := filesBelow(t, spool); len(left) > 0 {
			t.Errorf("%q is left", left)
		}
	}
}

func TestTheBestFormIsSentBehindAndKept(t *testing.T) {
	page := randomText(1, 50_000)
	cache, err := encode.OpenCache(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	p := &Packer{Cache: cache}
	st, src := openStore(t), source(t, page)
	quick, err := p.Prepare(t.Context(), src, "text/html", nil)
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, st, quick)
	best, err := p.Best(src, "text/html")
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, st, best)
	if data, level, ok := st.Coded(src.Hash, encode.Brotli); !ok || level != encode.Best || !bytes.Equal(data, best.data) {
		t.Errorf("the store has %s, %v", level, ok)
	}
	src.Open = func() (Content, error) { return nil, errors.New("read again") }
	if again, err := p.Best(src, "text/html"); err != nil || !bytes.Equal(again.data, best.data) {
		t.Errorf("the cache does not have it: %v", err)
	}
	for what, o := range map[string]struct {
		src       Source
		mediaType string
	}{
		"a picture":       {src, "image/png"},
		"too large":       {Source{Size: MaxCoded + 1}, "text/html"},
		"hardly anything": {Source{Size: 5}, "text/html"},
	} {
		if got, err := p.Best(o.src, o.mediaType); got != nil || err != nil {
			t.Errorf("%s has the best form %+v, %v", what, got, err)
		}
	}
}

func TestABaseThatIsDamagedWhereItIsNeededIsFoundOut(t *testing.T) {
	base := randomText(1, 50_000)
	content := slices.Concat(base[:20_000], []byte("new"), base[20_000:])
	st := openStore(t)
	h := put(t, st, string(base))
	o, err := (&Packer{}).Prepare(t.Context(), source(t, content), "text/html", new(source(t, base)))
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(base)
	damaged[100] ^= 1
	if err := os.WriteFile(st.objectPath(h), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := NewPackWriter(&buf)
	if err := errors.Join(w.Send(o), w.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := receive(t, st, buf.Bytes())
	if err != nil || len(got.Bad) != 1 || got.Bad[0].Hash != HashOf(content) {
		t.Fatalf("ReadPack: %+v, %v", got, err)
	}
	if missing := st.Missing([]Hash{h, HashOf(content)}); len(missing) != 2 {
		t.Errorf("Missing: %v, want the base as well", missing)
	}
}

func TestABaseMayComeInTheSamePack(t *testing.T) {
	base := randomText(1, 5000)
	content := append([]byte("new "), base...)
	o, err := (&Packer{}).Prepare(t.Context(), source(t, content), "text/html", new(source(t, base)))
	if err != nil || o.Coding != Blocks {
		t.Fatalf("%+v, %v", o, err)
	}
	whole, err := (&Packer{}).Prepare(t.Context(), source(t, base), "text/html", nil)
	if err != nil {
		t.Fatal(err)
	}
	st := openStore(t)
	deliver(t, st, whole, o)
	wantObject(t, st, string(content))
}

func TestABombAgainstABaseIsOneBadObject(t *testing.T) {
	base := randomText(1, 50_000)
	zeros := make([]byte, 16<<20)
	bomb, err := encodeAgainst(zeros, base)
	if err != nil {
		t.Fatal(err)
	}
	nested, err := encode.Encode(nil, blocksOf(t, bytes.Repeat(base, 200), base), encode.Zstd, encode.Quick)
	if err != nil {
		t.Fatal(err)
	}
	long, err := encode.Encode(nil, zeros, encode.Zstd, encode.Quick) // instructions that are nothing but zeros
	if err != nil {
		t.Fatal(err)
	}
	// RFC 8878 §3.1.1: a frame with a window of 2 GiB, and one block of a byte,
	// repeated 100 times.
	hugeWindow := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0x23, 0x03, 0x00, 'x'}
	st := openStore(t)
	h := put(t, st, string(base))
	for what, s := range map[string]sent{
		"zstd":                      {Header{Hash: HashOf(zeros), Size: 100, Coding: Zstd, Base: &h}, bomb},
		"zstd of another object":    {Header{Hash: Hash{1}, Size: 16 << 20, Coding: Zstd, Base: &h}, bomb},
		"blocks":                    {Header{Hash: Hash{1}, Size: 100_000, Coding: Blocks, Base: &h}, nested},
		"blocks that make nothing":  {Header{Hash: Hash{1}, Size: 100_000, Coding: Blocks, Base: &h}, long},
		"blocks of another object":  {Header{Hash: Hash{1}, Size: int64(len(base)) * 200, Coding: Blocks, Base: &h}, nested},
		"zstd with a base too many": {Header{Hash: HashOf(zeros), Size: 16 << 20, Coding: Zstd}, bomb},
		"zstd of a huge window":     {Header{Hash: Hash{1}, Size: 16 << 20, Coding: Zstd}, hugeWindow},
		"blocks of a huge window":   {Header{Hash: Hash{1}, Size: 16 << 20, Coding: Blocks}, hugeWindow},
		"zstd that is cut":          {Header{Hash: HashOf(zeros), Size: 16 << 20, Coding: Zstd, Base: &h}, bomb[:len(bomb)-4]},
	} {
		t.Run(what, func(t *testing.T) {
			s.header.Length = int64(len(s.body))
			got, err := receive(t, st, pack(t, s, identity("after")))
			if err != nil || got.Stored+got.Had != 1 || len(got.Bad) != 1 {
				t.Errorf("ReadPack: %+v, %v", got, err)
			}
		})
	}
}
