package release

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// lines is the canonical form of a large manifest, of which every so manieth file is
// another.
func lines(files, every int) []byte {
	m := &Manifest{Site: "example.org", Dialect: "netlify"}
	for i := range files {
		f := File{Path: fmt.Sprintf("part-%02d/section-%03d/page-%06d.html", i/2000, i/100, i), Size: int64(i * 37 % 5000), Modified: 1_700_000_000 + int64(i), Type: "text/html; charset=utf-8"}
		f.Hash = HashOf(fmt.Append(nil, i))
		if every > 0 && i%every == 3 {
			f.Hash, f.Size, f.Modified = HashOf(fmt.Append(nil, -i)), f.Size+1, 1_800_000_000
		}
		m.Files = append(m.Files, f)
	}
	return m.Encode()
}

func TestOfAManifestOnlyWhatIsDifferentTravels(t *testing.T) {
	base := lines(20_000, 0)
	for _, tt := range []struct {
		what    string
		content []byte
		most    int
	}{
		{"the same", base, 100},
		{"one file in a thousand", lines(20_000, 1000), 20 * 80},
		{"one file in a hundred", lines(20_000, 100), 200 * 80},
		{"all of it", lines(5_000, 1), 5_000 * 80},
		{"half of the files gone", lines(10_000, 0), 1000},
		{"nothing", nil, 100},
	} {
		data, err := Delta(tt.content, base)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > tt.most {
			t.Errorf("%s: %d bytes of %d, want at most %d", tt.what, len(data), len(tt.content), tt.most)
		}
		got, err := Undelta(bytes.NewReader(data), base, MaxManifest)
		if err != nil || !bytes.Equal(got, tt.content) {
			t.Errorf("%s: read back are %d bytes, %v", tt.what, len(got), err)
		}
	}
}

func TestWhatIsNoDifferenceIsRefused(t *testing.T) {
	base := lines(100, 0)
	data, err := Delta(lines(100, 7), base)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(data) {
		if _, err := Undelta(bytes.NewReader(data[:cut]), base, MaxManifest); err == nil {
			t.Errorf("cut after %d of %d bytes it is taken", cut, len(data))
		}
	}
	if _, err := Undelta(bytes.NewReader(data), base, 100); !errors.Is(err, ErrTooLong) {
		t.Errorf("over the limit: %v", err)
	}
	bomb := append(binary.AppendUvarint(nil, 1<<20), zstdOf(t, binary.AppendUvarint(nil, 1<<30))...)
	if _, err := Undelta(bytes.NewReader(bomb), base, MaxManifest); err == nil {
		t.Error("more than is announced is taken")
	}
	if got, err := Undelta(bytes.NewReader(data), base[:50], MaxManifest); err == nil {
		t.Errorf("against another base %d bytes are made", len(got))
	}
}

func FuzzUndelta(f *testing.F) {
	base := lines(20, 0)
	data, err := Delta(lines(20, 7), base)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 20
		if got, err := Undelta(bytes.NewReader(data), base, limit); err == nil && len(got) > limit {
			t.Errorf("%d bytes are made", len(got))
		}
	})
}
