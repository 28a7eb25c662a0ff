package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/release"
)

// smallFiles writes files of a size each, some of which no coding makes smaller.
func smallFiles(t *testing.T, n, size int) (directory, []release.File) {
	t.Helper()
	dir := t.TempDir()
	var files []release.File
	for i := range n {
		f := release.File{Path: fmt.Sprintf("%05d.txt", i), Type: "text/plain", Size: int64(size)}
		if i%10 == 0 {
			f.Path, f.Type = fmt.Sprintf("%05d.png", i), "image/png"
		}
		content := fmt.Appendf(nil, "%*s", size, f.Path)
		f.Hash = release.HashOf(content)
		if err := os.WriteFile(filepath.Join(dir, f.Path), content, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return directory(dir), files
}

func openSpool(t *testing.T, from content, bases map[release.Hash]release.Source) *spool {
	t.Helper()
	s, err := newSpool(t.TempDir(), from, bases)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestObjectsGoTogetherByWhatTheyAreAndHowMuch(t *testing.T) {
	const n, size = 700, 64 << 10
	from, files := smallFiles(t, n, size)
	files = append(files, release.File{Path: "large", Hash: release.Hash{1}, Size: maxTogether + 1, Type: "text/plain"})
	based := files[5].Hash
	s := openSpool(t, from, map[release.Hash]release.Source{based: {}})
	s.expect(files)
	groups, alone := s.together(files, false)
	var names []string
	for _, f := range alone {
		names = append(names, f.Path)
	}
	if diff := cmp.Diff([]string{"00005.txt", "large"}, names); diff != "" {
		t.Errorf("alone (-want +got):\n%s", diff)
	}
	seen := 0
	for _, g := range groups {
		total := int64(0)
		for _, f := range g {
			total += f.Size
			if f.Type != g[0].Type {
				t.Errorf("%s goes with %s", f.Path, g[0].Path)
			}
		}
		seen += len(g)
		if total > groupBytes {
			t.Errorf("%d bytes go together", total)
		}
	}
	if seen != n-1 || len(groups) != 4 {
		t.Errorf("%d objects go together, in %d groups", seen, len(groups))
	}
	if _, alone := s.together(files, true); len(alone) != 1 {
		t.Errorf("%d go alone to who has no base", len(alone))
	}
	if groups, alone := s.together(files[:minTogether/size], false); len(groups) > 0 || len(alone) != minTogether/size {
		t.Errorf("of little %d groups go, and %d alone", len(groups), len(alone))
	}
}

func TestWhoLacksTheSameIsSentTheSame(t *testing.T) {
	from, files := smallFiles(t, 600, 64<<10)
	s := openSpool(t, from, nil)
	s.expect(files)
	first, _ := s.together(files, false)
	lacking := files[100:] // another POP has the first hundred
	second, _ := s.together(lacking, false)
	shared := 0
	for _, g := range first {
		a, err := s.group(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range second {
			if b, err := s.group(t.Context(), other); err != nil {
				t.Fatal(err)
			} else if a == b {
				shared++
			}
		}
	}
	if shared != 2 || len(first) != 4 || len(second) != 4 { // the second and the third of text
		t.Errorf("of %d groups and %d groups %d are the same", len(first), len(second), shared)
	}
	unexpected := openSpool(t, from, nil)
	groups, alone := unexpected.together(files, false)
	if len(groups) != len(first) || len(alone) > 0 {
		t.Errorf("what nobody expected goes in %d groups, and %d alone", len(groups), len(alone))
	}
}

func TestAGroupSaysWhichFileHasChanged(t *testing.T) {
	from, files := smallFiles(t, 20, 1000)
	s := openSpool(t, from, nil)
	if err := os.Truncate(filepath.Join(string(from), files[7].Path), 10); err != nil {
		t.Fatal(err)
	}
	_, err := s.group(t.Context(), files)
	if changed, ok := errors.AsType[*ChangedError](err); !ok || changed.Path != files[7].Path {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(string(from), files[7].Path), fmt.Appendf(nil, "%*s", 1000, files[7].Path), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.sendGroup(t.Context(), release.NewNumberedPack(new(bytes.Buffer), nil), files); err != nil {
		t.Errorf("once it is what it was: %v", err)
	}
}
