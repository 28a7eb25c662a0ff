package sweep_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/sweep/result"
	"pennyfarthing/internal/sweep/simnet"
)

// Lists are what people have: with ranks, compressed, in pieces, or from a pipe.
func TestListsOfEveryKindAreSwept(t *testing.T) {
	t.Parallel()
	const names = 20
	i := startInternet(t, names, simnet.ChildConfig{Profile: simnet.Quick})
	var lines, table, first, second strings.Builder
	fmt.Fprintln(&table, "GlobalRank;Domain")
	for n := range names {
		name := i.world.Name(n)
		fmt.Fprintln(&lines, name)
		fmt.Fprintf(&table, "%d;%s\n", 1000+n, name)
		if n < names/2 {
			fmt.Fprintln(&first, name)
		} else {
			fmt.Fprintln(&second, strings.ToUpper(name))
		}
	}
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	member, err := z.Create("top.csv")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.Write([]byte(table.String())); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	if _, err := g.Write([]byte(lines.String())); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	zst, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"table.csv": table.String(), "names.gz": gz.String(), "names.zst": string(zst.EncodeAll([]byte(lines.String()), nil)), "top.zip": archive.String(),
		"first.txt": first.String(), "second.txt": second.String(), "repeated.txt": lines.String() + "not a name\n" + lines.String(),
	} {
		i.write(t, name, text)
	}
	for _, test := range []struct {
		about string
		lists []string
		stdin string
		rank  int64 // of the first
	}{
		{"a table with ranks", []string{"table.csv"}, "", 1000},
		{"gzip", []string{"names.gz"}, "", 1},
		{"zstd", []string{"names.zst"}, "", 1},
		{"zip", []string{"top.zip"}, "", 1000},
		{"two files", []string{"first.txt", "second.txt"}, "", 1},
		{"bad lines and repetitions", []string{"repeated.txt"}, "", 1},
		{"a pipe", []string{"-"}, lines.String(), 1},
	} {
		for _, format := range []string{"jsonl", "csv", "parquet"} {
			t.Run(test.about+" to "+format, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "run")
				args := i.sweep("-o", dir, "--quiet", "--format", format)
				var lists []string
				for _, name := range test.lists {
					if name != "-" {
						name = i.path(name)
					}
					lists = append(lists, name)
				}
				args = append(append([]string{"sweep"}, lists...), args[2:]...)
				cmd := exec.CommandContext(t.Context(), penny, args...)
				cmd.Stdin = strings.NewReader(test.stdin)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				i.mustBeTrue(t, dir, simnet.DefaultPolicy())
				for row, err := range result.Rows(dir) {
					if err != nil {
						t.Fatal(err)
					}
					if row.Target == i.world.Name(0) && row.Rank != test.rank {
						t.Errorf("%s has rank %d, want %d", row.Target, row.Rank, test.rank)
					}
				}
			})
		}
	}
}
