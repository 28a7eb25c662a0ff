package release

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/encode"
)

// TestAStoreKnowsWhichBestCodingsItLacks, looking for each object and reading whole
// directories.
func TestAStoreKnowsWhichBestCodingsItLacks(t *testing.T) {
	for name, many := range map[string]int{"few": 0, "many": manyHashes} {
		t.Run(name, func(t *testing.T) {
			st, err := OpenStore(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			var pack bytes.Buffer
			w := NewPackWriter(&pack)
			m := &Manifest{Site: "example.org", Dialect: "netlify"}
			var want []Hash
			add := func(path, mediaType, content string, level encode.Level, coded bool) {
				t.Helper()
				f := File{Path: path, Hash: HashOf([]byte(content)), Size: int64(len(content)), Type: mediaType}
				m.Files = append(m.Files, f)
				data, header := []byte(content), Header{Hash: f.Hash, Size: f.Size, Coding: Identity}
				if coded {
					if data, err = encode.Encode(nil, data, encode.Brotli, level); err != nil {
						t.Fatal(err)
					}
					header.Coding, header.Level = Brotli, level.String()
				}
				header.Length = int64(len(data))
				if err := w.Add(header, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
			}
			page := func(what string) string { return strings.Repeat(what+" ", 100) }
			add("a.html", "text/html", page("best"), encode.Best, true)
			add("b.html", "text/html", page("quick"), encode.Quick, true)
			add("c.html", "text/html", page("plain"), encode.Quick, false)
			m.Files = append(m.Files, File{Path: "d.html", Hash: m.Files[2].Hash, Size: m.Files[2].Size, Type: "text/html"})
			add("e.png", "image/png", page("picture"), encode.Quick, false)
			add("f.txt", "text/plain", "short", encode.Quick, false)
			want = []Hash{m.Files[1].Hash, m.Files[2].Hash}
			for i := range many {
				m.Files = append(m.Files, File{Path: fmt.Sprintf("g/%05d.png", i), Hash: HashOf(fmt.Append(nil, i)), Size: 1, Type: "image/png"})
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err := ReadPack(t.Context(), &pack, st, PackOptions{}); err != nil || len(r.Bad) > 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			got, err := st.LacksBest(m)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			for range 2 { // it may be repeated
				if err := st.Remove(m.Files[0].Hash); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, ok := st.Coded(m.Files[0].Hash, encode.Brotli); ok || st.Has(m.Files[0].Hash) {
				t.Error("something of an object is left that was removed")
			}
			if _, err := st.Open(m.Files[0].Hash); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is opened: %v", err)
			}
			if got, err := st.LacksBest(m); err != nil || len(got) != 3 || got[0] != m.Files[0].Hash {
				t.Errorf("after one was removed it lacks %v, %v", got, err)
			}
		})
	}
}
