package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/encode"
)

// A sent is an object as a test puts it into a pack.
type sent struct {
	header Header
	body   []byte
}

func identity(content string) sent {
	return sent{Header{Hash: HashOf([]byte(content)), Size: int64(len(content)), Coding: Identity, Length: int64(len(content))}, []byte(content)}
}

func brotliOf(t testing.TB, content []byte, level encode.Level) sent {
	t.Helper()
	body, err := encode.Encode(nil, content, encode.Brotli, level)
	if err != nil {
		t.Fatal(err)
	}
	return sent{Header{Hash: HashOf(content), Size: int64(len(content)), Coding: Brotli, Level: level.String(), Length: int64(len(body))}, body}
}

func pack(t testing.TB, objects ...sent) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewPackWriter(&buf)
	for _, s := range objects {
		if err := w.Add(s.header, bytes.NewReader(s.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// rawPack writes what a PackWriter would not.
func rawPack(lines ...string) []byte {
	return []byte(packHead + "\n" + strings.Join(lines, ""))
}

func receive(t testing.TB, st *Store, stream []byte) (PackResult, error) {
	t.Helper()
	return ReadPack(t.Context(), bytes.NewReader(stream), st, PackOptions{})
}

func sendBrotli(t testing.TB, st *Store, content []byte, level encode.Level) (Hash, encode.Level) {
	t.Helper()
	s := brotliOf(t, content, level)
	if got, err := receive(t, st, pack(t, s)); err != nil || len(got.Bad) > 0 {
		t.Fatalf("ReadPack: %+v, %v", got, err)
	}
	return s.header.Hash, level
}

func wantObject(t testing.TB, st *Store, content string) {
	t.Helper()
	if got, err := st.Read(HashOf([]byte(content)), MaxDictionary); err != nil || string(got) != content {
		t.Errorf("the store has %.40q for %.40q: %v", got, content, err)
	}
}

func TestWhatIsPackedArrives(t *testing.T) {
	st := openStore(t)
	page := strings.Repeat("<p>hello</p>\n", 200)
	big := randomText(1, 3<<20)
	stream := pack(t, identity("one"), identity(""), brotliOf(t, []byte(page), encode.Quick), identity(string(big)), identity("two"))
	got, err := receive(t, st, stream)
	want := PackResult{Stored: 5, Bytes: int64(len(stream))}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("ReadPack: %v (-want +got):\n%s", err, diff)
	}
	for _, content := range []string{"one", "", page, string(big), "two"} {
		wantObject(t, st, content)
	}
	coded, level, ok := st.Coded(HashOf([]byte(page)), encode.Brotli)
	if plain, err := encode.Decode(nil, coded, encode.Brotli, 1<<20); !ok || level != encode.Quick || err != nil || string(plain) != page {
		t.Errorf("the coded form: %s, %v, %v", level, ok, err)
	}
	got, err = receive(t, st, stream)
	if diff := cmp.Diff(PackResult{Had: 5, Bytes: int64(len(stream))}, got); err != nil || diff != "" {
		t.Errorf("the same again: %v (-want +got):\n%s", err, diff)
	}
}

func randomText(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	words := strings.Fields("the wheel is small and the other one is large both of them turn and nobody asks why <p> </p> <a href= > class id div")
	var b bytes.Buffer
	for b.Len() < size {
		b.WriteString(words[r.IntN(len(words))])
		fmt.Fprintf(&b, " %x ", r.Uint32N(1<<16))
	}
	return b.Bytes()[:size]
}

func TestABetterCodingTakesThePlaceOfAQuickOne(t *testing.T) {
	st := openStore(t)
	page := randomText(1, 10_000)
	h, _ := sendBrotli(t, st, page, encode.Quick)
	sendBrotli(t, st, page, encode.Best)
	if _, level, ok := st.Coded(h, encode.Brotli); !ok || level != encode.Best {
		t.Errorf("Coded returns %s, %v", level, ok)
	}
	if _, err := os.Lstat(st.codedPath(h, encode.Brotli, encode.Quick)); !os.IsNotExist(err) {
		t.Errorf("the quick form is still there: %v", err)
	}
	if got, err := receive(t, st, pack(t, brotliOf(t, page, encode.Quick))); err != nil || got.Had != 1 {
		t.Errorf("a quick form where there is a better one: %+v, %v", got, err)
	}
}

func TestABadObjectIsNamedAndTheRestArrives(t *testing.T) {
	text := strings.Repeat("hello ", 1000)
	coded := brotliOf(t, []byte(text), encode.Quick)
	change := func(s sent, f func(*sent)) sent {
		s.body = bytes.Clone(s.body)
		f(&s)
		return s
	}
	other := HashOf([]byte("other"))
	st := openStore(t)
	for what, bad := range map[string]sent{
		"another hash":                        change(identity("bad"), func(s *sent) { s.header.Hash = other }),
		"a coded form of another object":      change(coded, func(s *sent) { s.header.Hash = other }),
		"a coded form that is cut":            change(coded, func(s *sent) { s.body = s.body[:len(s.body)-3]; s.header.Length -= 3 }),
		"a coded form that is noise":          change(coded, func(s *sent) { s.body = []byte("\xff\xff\xff\xff"); s.header.Length = 4 }),
		"a coded form of nothing":             change(coded, func(s *sent) { s.body = nil; s.header.Length = 0 }),
		"a coded form that is too short":      change(coded, func(s *sent) { s.header.Size++ }),
		"a bomb":                              change(brotliOf(t, make([]byte, 8<<20), encode.Quick), func(s *sent) { s.header.Size = 100 }),
		"a bomb that says what it is":         change(brotliOf(t, make([]byte, 8<<20), encode.Quick), func(s *sent) { s.header.Hash = other }),
		"a coded form with rubbish behind it": change(coded, func(s *sent) { s.body = append(s.body, text...); s.header.Length += int64(len(text)) }),
	} {
		t.Run(what, func(t *testing.T) {
			got, err := receive(t, st, pack(t, identity("before"), bad, identity("after")))
			if err != nil || got.Stored+got.Had != 2 || len(got.Bad) != 1 || got.Bad[0].Hash != bad.header.Hash || got.Bad[0].Reason == "" {
				t.Errorf("ReadPack: %+v, %v", got, err)
			}
			wantObject(t, st, "before")
			wantObject(t, st, "after")
			if files := filesBelow(t, st.dir); len(files) != 2 {
				t.Errorf("the store has %q", files)
			}
		})
	}
}

func TestAHeaderThatCannotBeIsOneBadObject(t *testing.T) {
	h := HashOf([]byte("bad")).String()
	st := openStore(t)
	for what, header := range map[string]string{
		"an unknown coding":             `{"sha256":"` + h + `","size":3,"coding":"lzma","length":3}`,
		"identity of another length":    `{"sha256":"` + h + `","size":4,"coding":"identity","length":3}`,
		"identity with a base":          `{"sha256":"` + h + `","size":3,"coding":"identity","base":"` + h + `","length":3}`,
		"a negative size":               `{"sha256":"` + h + `","size":-1,"coding":"br","level":"best","length":3}`,
		"br without a level":            `{"sha256":"` + h + `","size":3,"coding":"br","length":3}`,
		"br that is too large":          `{"sha256":"` + h + `","size":99999999999,"coding":"br","level":"best","length":3}`,
		"zstd that is too large":        `{"sha256":"` + h + `","size":99999999999,"coding":"zstd","length":3}`,
		"a base that is not there":      `{"sha256":"` + h + `","size":3,"coding":"zstd","base":"` + HashOf(nil).String() + `","length":3}`,
		"a base of blocks not there":    `{"sha256":"` + h + `","size":3,"coding":"blocks","base":"` + HashOf(nil).String() + `","length":3}`,
		"a form longer than its object": `{"sha256":"` + h + `","size":0,"coding":"zstd","length":3000}`,
	} {
		t.Run(what, func(t *testing.T) {
			body := "bad"
			if strings.Contains(header, `"length":3000`) {
				body = strings.Repeat("bad", 1000)
			}
			got, err := receive(t, st, rawPack(header+"\n", body,
				`{"sha256":"`+HashOf([]byte("x")).String()+`","size":1,"coding":"identity","length":1}`+"\n", "x", `{"end":2}`+"\n"))
			if err != nil || got.Stored+got.Had != 1 || len(got.Bad) != 1 || got.Bad[0].Hash.String() != h {
				t.Errorf("ReadPack: %+v, %v", got, err)
			}
		})
	}
}

func TestADamagedStreamIsSaidToBeAndWhatWasWholeIsStored(t *testing.T) {
	st := openStore(t)
	put(t, st, "x") // once, because a disk may take its time
	x := `{"sha256":"` + HashOf([]byte("x")).String() + `","size":1,"coding":"identity","length":1}` + "\nx"
	for what, tt := range map[string]struct {
		stream []byte
		stored int
	}{
		"nothing":                          {nil, 0},
		"another file":                     {[]byte("PACK\x00\x00\n"), 0},
		"another version":                  {[]byte(`{"penny":"pack","version":2}` + "\n"), 0},
		"no end":                           {rawPack(x), 1},
		"an end that is cut":               {rawPack(x, `{"end":1}`), 1},
		"an end that is early":             {rawPack(x, `{"end":2}`+"\n"), 1},
		"an end of something else":         {rawPack(x, `{"end":1,"more":2}`+"\n"), 1},
		"an end that is no number":         {rawPack(x, `{"end":null}`+"\n"), 1},
		"a header that is no JSON":         {rawPack(x, "{}}\n"), 1},
		"a header with an unknown key":     {rawPack(x, `{"sha256":"`+HashOf(nil).String()+`","size":0,"coding":"identity","length":0,"mode":1}`+"\n"), 1},
		"a header with a short hash":       {rawPack(x, `{"sha256":"00","size":0,"coding":"identity","length":0}`+"\n"), 1},
		"a header that does not end":       {rawPack(x, strings.Repeat(" ", 1<<20)), 1},
		"a header that is too long":        {rawPack(x, strings.Repeat(" ", maxHeaderLine)+"{}\n"), 1},
		"a negative length":                {rawPack(x, `{"sha256":"`+HashOf(nil).String()+`","size":0,"coding":"br","level":"best","length":-1}`+"\n"), 1},
		"a length that nobody can send":    {rawPack(x, `{"sha256":"`+HashOf(nil).String()+`","size":0,"coding":"br","level":"best","length":9000000000000000000}`+"\n"), 1},
		"an object that is cut":            {rawPack(x, `{"sha256":"`+HashOf([]byte("yy")).String()+`","size":2,"coding":"identity","length":2}`+"\ny"), 1},
		"a coded object that is cut":       {rawPack(x, `{"sha256":"`+HashOf([]byte("yy")).String()+`","size":2,"coding":"br","level":"best","length":2}`+"\ny"), 1},
		"a bad object that is cut":         {rawPack(x, `{"sha256":"`+HashOf([]byte("yy")).String()+`","size":2,"coding":"lzma","length":2}`+"\ny"), 1},
		"an object that we have, then cut": {rawPack(x, x[:len(x)-1]), 1},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := receive(t, st, tt.stream)
			if !errors.Is(err, ErrPack) || got.Stored+got.Had < tt.stored {
				t.Errorf("ReadPack: %+v, %v", got, err)
			}
			if files := filesBelow(t, st.dir); len(files) != 1 {
				t.Errorf("the store has %q", files)
			}
		})
	}
}

func TestAPackThatIsCutAnywhereStoresOnlyWhatIsWholeAndCanBeSentAgain(t *testing.T) {
	page := string(randomText(3, 300))
	stream := pack(t, identity("one"), brotliOf(t, []byte(page), encode.Quick), identity("two"))
	st := openStore(t)
	for cut := range len(stream) {
		if _, err := receive(t, st, stream[:cut]); !errors.Is(err, ErrPack) {
			t.Fatalf("cut after %d of %d bytes: %v", cut, len(stream), err)
		}
	}
	for _, content := range []string{"one", page, "two"} { // all were whole before the end was cut
		wantObject(t, st, content)
	}
	for _, path := range filesBelow(t, st.tmp) {
		t.Errorf("%s is left", path)
	}
	if got, err := receive(t, st, stream); err != nil || got.Had != 3 {
		t.Errorf("the whole stream: %+v, %v", got, err)
	}
}

func TestABitThatFlipsNeverPutsAWrongObjectIntoTheStore(t *testing.T) {
	stream := pack(t, identity("one"), brotliOf(t, []byte("two, two, two, two"), encode.Quick), identity(""))
	st := openStore(t)
	for i := range stream {
		flipped := bytes.Clone(stream)
		flipped[i] ^= 1 << (i % 8)
		got, err := receive(t, st, flipped)
		if err == nil && len(got.Bad) == 0 && got.Stored+got.Had != 3 {
			t.Errorf("byte %d: an object is lost and nobody says so: %+v", i, got)
		}
		if err := verifyAndEmpty(t, st); err != nil {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

// verifyAndEmpty hashes all objects of a store and removes them.
func verifyAndEmpty(t testing.TB, st *Store) error {
	t.Helper()
	var wrong error
	if err := st.eachName(func(path string, h Hash, form string) {
		if form == "" {
			wrong = errors.Join(wrong, st.Verify(t.Context(), h))
		}
		if _, err := st.remove(path); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return wrong
}

func TestAnObjectThatIsNotWantedIsNotWritten(t *testing.T) {
	st := openStore(t)
	wanted := HashOf([]byte("wanted"))
	o := PackOptions{Accept: func(h Hash, size int64) error {
		if h != wanted || size != 6 {
			return errors.New("nobody asked for it")
		}
		return nil
	}}
	got, err := ReadPack(t.Context(), bytes.NewReader(pack(t, identity("other"), identity("wanted"))), st, o)
	want := []BadObject{{Hash: HashOf([]byte("other")), Reason: "nobody asked for it"}}
	if diff := cmp.Diff(want, got.Bad); err != nil || diff != "" || got.Stored != 1 {
		t.Errorf("ReadPack: %+v, %v (-want +got):\n%s", got, err, diff)
	}
	if st.Has(HashOf([]byte("other"))) {
		t.Error("it was written")
	}
}

func TestALongPackIsStoredInGroups(t *testing.T) {
	st := openStore(t)
	var objects []sent
	for i := range groupFiles + 2 {
		objects = append(objects, identity(fmt.Sprint(i)))
	}
	asked, early := 0, false
	o := PackOptions{Accept: func(Hash, int64) error {
		if asked++; asked == len(objects) {
			early = st.Has(objects[0].header.Hash)
		}
		return nil
	}}
	got, err := ReadPack(t.Context(), bytes.NewReader(pack(t, objects...)), st, o)
	if err != nil || got.Stored != len(objects) {
		t.Fatalf("ReadPack: %+v, %v", got, err)
	}
	if !early {
		t.Error("nothing is stored before the last object is read")
	}
	hashes := make([]Hash, len(objects))
	for i := range objects {
		hashes[i] = objects[i].header.Hash
	}
	if missing := st.Missing(hashes); missing != nil {
		t.Errorf("%d objects are missing", len(missing))
	}
}

func TestTooManyBadObjectsEndAPack(t *testing.T) {
	st := openStore(t)
	bad := identity("bad")
	bad.header.Hash = Hash{}
	objects := make([]sent, maxBad+1)
	for i := range objects {
		objects[i] = bad
	}
	got, err := receive(t, st, pack(t, objects...))
	if !errors.Is(err, ErrPack) || len(got.Bad) != maxBad {
		t.Errorf("ReadPack: %d bad, %v", len(got.Bad), err)
	}
}

func TestAPackThatIsCancelledSaysWhy(t *testing.T) {
	st := openStore(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	stream := pack(t, identity("one"), identity(string(randomText(1, 1<<20))))
	r := io.MultiReader(bytes.NewReader(stream[:len(stream)/2]), readerFunc(func([]byte) (int, error) {
		cancel(cause)
		return 0, cause
	}))
	got, err := ReadPack(ctx, r, st, PackOptions{})
	if !errors.Is(err, cause) || got.Stored != 1 {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAStoreThatCannotBeWrittenIsNotThePacksFault(t *testing.T) {
	st := openStore(t)
	if err := os.RemoveAll(st.tmp); err != nil {
		t.Fatal(err)
	}
	got, err := receive(t, st, pack(t, identity("one")))
	if err == nil || errors.Is(err, ErrPack) || got.Stored != 0 || len(got.Bad) > 0 {
		t.Errorf("ReadPack: %+v, %v", got, err)
	}
}

func TestAPackWriterSendsNoObjectThatIsShorterThanItsHeaderSays(t *testing.T) {
	w := NewPackWriter(io.Discard)
	s := identity("hello")
	if err := w.Add(s.header, strings.NewReader("hell")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Add: %v", err)
	}
	if err := w.Close(); err == nil {
		t.Error("a pack that was cut is ended")
	}
	w = NewPackWriter(io.Discard)
	s.header.Level = "best"
	if err := w.Add(s.header, strings.NewReader("hello")); err == nil {
		t.Error("a header that nobody takes is sent")
	}
}

func FuzzReadPack(f *testing.F) {
	page := randomText(3, 300)
	f.Add(pack(f, identity("one"), brotliOf(f, page, encode.Quick), identity("two")))
	f.Add(pack(f))
	f.Add(rawPack(`{"sha256":"` + HashOf(nil).String() + `","size":0,"coding":"identity","length":0}` + "\n" + `{"end":1}` + "\n"))
	st := openStore(f)
	f.Fuzz(func(t *testing.T, stream []byte) {
		if got, _ := receive(t, st, stream); got.Stored+got.Had > 0 {
			if err := verifyAndEmpty(t, st); err != nil {
				t.Error(err)
			}
		}
		for _, path := range filesBelow(t, st.tmp) {
			t.Errorf("%s is left", path)
		}
	})
}
