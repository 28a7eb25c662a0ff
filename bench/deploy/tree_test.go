//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testTree(t *testing.T, kind treeKind, files int) *tree {
	t.Helper()
	c, err := readCorpus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kind.files = files
	kind.large = min(kind.large, 1<<20)
	made, err := makeTree(t.Context(), kind, t.TempDir(), c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// read returns all files of a tree.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		all[filepath.ToSlash(relative)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestATreeIsTheSameEveryTime(t *testing.T) {
	one, other := testTree(t, filesTree(), 40), testTree(t, filesTree(), 40)
	if diff := cmp.Diff(read(t, one.dir), read(t, other.dir)); diff != "" {
		t.Error(diff)
	}
}

func TestTreesHaveTheirSizesAndNoFileTwice(t *testing.T) {
	for _, kind := range []treeKind{filesTree(), smallTree()} {
		tr := testTree(t, kind, 300)
		files := read(t, tr.dir)
		seen := make(map[string]string)
		pictures := 0
		for name, content := range files {
			if other := seen[content]; other != "" {
				t.Errorf("%s: %s and %s are the same", kind.name, name, other)
			}
			seen[content] = name
			if filepath.Ext(name) == ".jpg" {
				pictures++
			}
			// escaping makes a text longer, and a picture's size is not known before
			if name != largeFile && (len(content) < kind.least/2 || len(content) > kind.most*3/2) {
				t.Errorf("%s: %s has %d bytes, and should have %d to %d", kind.name, name, len(content), kind.least, kind.most)
			}
		}
		if share := float64(pictures) / 300; share < kind.pictures/2 || share > kind.pictures*2 {
			t.Errorf("%s: %.2f are pictures, want about %.2f", kind.name, share, kind.pictures)
		}
	}
}

func TestATreeCompressesLikeASiteAndNotToNothing(t *testing.T) {
	tr := testTree(t, filesTree(), 200)
	var texts, packed bytes.Buffer
	for name, content := range read(t, tr.dir) {
		if filepath.Ext(name) == ".html" {
			texts.WriteString(content)
		}
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(texts.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if share := float64(packed.Len()) / float64(texts.Len()); share < 0.15 || share > 0.5 {
		t.Errorf("gzip makes %.2f of the pages, and 0.2 to 0.4 is what pages have", share)
	}
}

func TestEditsChangeWhatTheySay(t *testing.T) {
	tr := testTree(t, filesTree(), 200)
	tests := []struct {
		name string
		edit func(int) ([]string, error)
		want int
	}{
		{"one file", tr.editOne, 1},
		{"one percent", tr.editPercent, 2},
		{"one byte", tr.editByte, 1},
	}
	for _, tt := range tests {
		for turn := range 2 {
			before := read(t, tr.dir)
			names, err := tt.edit(turn + 1)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			after := read(t, tr.dir)
			changed := make(map[string]bool)
			for name := range after {
				if before[name] != after[name] {
					changed[name] = true
				}
			}
			if len(names) != tt.want || len(changed) != tt.want || len(after) != len(before) {
				t.Errorf("%s: %d files named, %d changed, want %d", tt.name, len(names), len(changed), tt.want)
			}
			for _, name := range names {
				if !changed[name] {
					t.Errorf("%s: %s is named and is as it was", tt.name, name)
				}
			}
			if tt.name == "one byte" && len(before[largeFile]) != len(after[largeFile]) {
				t.Errorf("%s: the file has %d bytes after %d", tt.name, len(after[largeFile]), len(before[largeFile]))
			}
		}
	}
}
