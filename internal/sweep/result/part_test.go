package result_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/result"
)

// names are the files in a run's parts/.
func names(t testing.TB, run string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(run, "parts"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func samples(from, to int) []*evidence.Row {
	var rows []*evidence.Row
	for i := from; i < to; i++ {
		rows = append(rows, sample(i))
	}
	return rows
}

func TestACommitSaysWhatItHasWritten(t *testing.T) {
	for _, format := range formats {
		run, parts := open(t, format)
		info := commit(t, parts, 123, samples(0, 10))
		text, err := os.ReadFile(filepath.Join(run, "parts", info.File))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		want := result.Info{File: "part-000123." + format.String(), Rows: 10, Bytes: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
		if diff := cmp.Diff(want, info); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAPartThatIsCommittedAgainReplacesTheFirst(t *testing.T) {
	for _, format := range formats {
		run, parts := open(t, format)
		commit(t, parts, 0, samples(0, 100))
		want := samples(5, 8)
		commit(t, parts, 0, want)
		if diff := cmp.Diff(want, read(t, run), sameRow); diff != "" {
			t.Error(diff)
		}
		if got := names(t, run); len(got) != 1 {
			t.Errorf("there are %q", got)
		}
	}
}

func TestPartsHoldManyMoreRowsThanTheyKeepInMemory(t *testing.T) {
	run, parts := open(t, result.JSONL)
	rows := samples(0, 3000)
	rows[17].Title = strings.Repeat("long ", 40_000)
	rows[18].Title = strings.Repeat("longer ", 400_000) // too much to be read back in one go
	commit(t, parts, 0, rows)
	if diff := cmp.Diff(rows, read(t, run), sameRow); diff != "" {
		t.Error(diff)
	}
	if got := names(t, run); len(got) != 1 {
		t.Errorf("there are %q", got)
	}
}

func TestManyPartsAreOpenAtOnce(t *testing.T) {
	run, parts := open(t, result.Parquet)
	var open []*result.Part
	for shard := range 20 {
		part, err := parts.Create(shard, 100)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, part)
	}
	for i := range 2000 {
		if err := open[i%20].Add(i/20, sample(i)); err != nil {
			t.Fatal(err)
		}
	}
	errs := make(chan error)
	for _, part := range open {
		go func() { _, err := part.Commit(); errs <- err }()
	}
	for range open {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	var want []*evidence.Row
	for shard := range 20 {
		for i := range 100 {
			want = append(want, sample(i*20+shard))
		}
	}
	if diff := cmp.Diff(want, read(t, run), sameRow); diff != "" {
		t.Error(diff)
	}
}

func TestEachTargetHasOneRow(t *testing.T) {
	_, parts := open(t, result.JSONL)
	part, err := parts.Create(7, 2)
	if err != nil {
		t.Fatal(err)
	}
	row := &evidence.Row{Target: "a.example"}
	for _, test := range []struct {
		index int
		want  string
	}{
		{-1, "add the row of a.example to part 7: it has no target -1"},
		{2, "add the row of a.example to part 7: it has no target 2"},
		{1, ""},
		{1, "add the row of a.example to part 7: target 1 has a row"},
	} {
		if err := part.Add(test.index, row); fmt.Sprint(err) != test.want && (err != nil || test.want != "") {
			t.Errorf("index %d: %v, want %q", test.index, err, test.want)
		}
	}
	if _, err := part.Commit(); fmt.Sprint(err) != "commit part 7: 1 of 2 targets have no row" || part.Missing() != 1 {
		t.Errorf("a commit with a row missing: %v", err)
	}
	if err := part.Add(0, row); err != nil {
		t.Fatal(err)
	}
	if _, err := part.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := part.Commit(); fmt.Sprint(err) != "commit part 7: it is closed" {
		t.Errorf("a second commit: %v", err)
	}
	if err := part.Add(0, row); fmt.Sprint(err) != "add the row of a.example to part 7: it is closed" {
		t.Errorf("a row after the commit: %v", err)
	}
}

func TestAPartThatIsDiscardedLeavesNothing(t *testing.T) {
	run, parts := open(t, result.Parquet)
	part, err := parts.Create(0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 999 {
		if err := part.Add(i, sample(i)); err != nil {
			t.Fatal(err)
		}
	}
	part.Discard()
	part.Discard()
	if got := names(t, run); len(got) != 0 {
		t.Errorf("there are %q", got)
	}
}

func TestRowsThatCannotBeKeptAreRefused(t *testing.T) {
	_, parts := open(t, result.JSONL)
	if _, err := parts.Create(0, 1<<21); err == nil {
		t.Error("a shard of two million targets was begun")
	}
	part, err := parts.Create(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []*evidence.Row{
		{Target: "long.example", Title: strings.Repeat("x", 1<<24)},
		{Target: "late.example", CertNotAfter: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Target: "early.example", Tries: []evidence.Try{{At: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}}},
	} {
		if err := part.Add(0, row); err == nil || !strings.Contains(err.Error(), row.Target) {
			t.Errorf("%s: %v", row.Target, err)
		}
	}
	if err := part.Add(0, sample(0)); err != nil {
		t.Errorf("after rows that were refused: %v", err)
	}
}

func TestCleanRemovesWhatIsUnfinishedAndNothingElse(t *testing.T) {
	run, parts := open(t, result.CSV)
	commit(t, parts, 0, samples(0, 1))
	for _, name := range []string{".part-000001.csv.ABCDEF.tmp", ".part-000001.parquet.tmp", "notes.txt", "part-7.csv", "part-000001.csv.bak"} {
		if err := os.WriteFile(filepath.Join(run, "parts", name), []byte("?"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, run); len(got) != 1 {
		t.Errorf("%d rows beside what is not a part", len(got))
	}
	if err := result.Clean(run); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"notes.txt", "part-000000.csv", "part-000001.csv.bak", "part-7.csv"}, names(t, run)); diff != "" {
		t.Error(diff)
	}
	if err := result.Clean(t.TempDir()); err != nil {
		t.Errorf("a run without parts: %v", err)
	}
}

func TestADirectoryThatIsNotThereSaysSo(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := result.Open(missing, result.CSV, result.Meta{}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("open: %v", err)
	}
	for _, err := range result.Rows(missing) {
		if err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("rows: %v", err)
		}
	}
}

func TestTheSamePartInTwoFormatsIsAMistake(t *testing.T) {
	run, parts := open(t, result.CSV)
	commit(t, parts, 3, samples(0, 1))
	again, err := result.Open(run, result.JSONL, result.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, again, 3, samples(0, 1))
	for row, err := range result.Rows(run) {
		if row != nil || len(mistake.Of(err)) != 1 || !strings.Contains(err.Error(), "the same targets are in part-000003.jsonl") {
			t.Errorf("got %v, %v", row, err)
		}
	}
}

// TestAPartThatIsDamagedIsNamed cuts parts off and changes bytes of them. Text may
// still be text then; but no row before the damage is lost, nothing panics, and what
// is an error says which file, and how to have it again.
func TestAPartThatIsDamagedIsNamed(t *testing.T) {
	for _, format := range formats {
		run, parts := open(t, format)
		commit(t, parts, 0, samples(0, 50))
		info := commit(t, parts, 1, samples(50, 100))
		path := filepath.Join(run, "parts", info.File)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damages := map[string][]byte{"empty of everything": {}, "cut": whole[:len(whole)-7], "cut in the middle": whole[:len(whole)/2]}
		for i := 0; i < len(whole); i += max(1, len(whole)/50) {
			changed := append([]byte(nil), whole...)
			changed[i] ^= 0x55
			damages[fmt.Sprintf("changed at %d of %d", i, len(whole))] = changed
		}
		for name, text := range damages {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			rows, damaged := 0, false
			var last *evidence.Row
			for row, err := range result.Rows(run) {
				if err == nil && row != nil {
					rows++
					last = row
					continue
				}
				damaged = true
				list := mistake.Of(err)
				if len(list) != 1 || list[0].File != path || !strings.Contains(list[0].Hint, "rm "+path+" && penny sweep resume "+run) {
					t.Errorf("%s, %s: %v", format, name, err)
				}
			}
			if rows < 50 {
				t.Errorf("%s, %s: %d rows, and the first part has 50", format, name, rows)
			}
			if format == result.Parquet && !damaged && (rows != 100 || !cmp.Equal(sample(99), last, sameRow)) {
				t.Errorf("%s, %s: nobody noticed", format, name)
			}
			if !damaged && (strings.HasPrefix(name, "cut") || format != result.JSONL && len(text) == 0) {
				t.Errorf("%s, %s: nobody noticed", format, name)
			}
		}
	}
}

func TestReadingStopsWhenNobodyListens(t *testing.T) {
	for _, format := range formats {
		run, parts := open(t, format)
		commit(t, parts, 0, samples(0, 200))
		commit(t, parts, 1, samples(0, 200))
		n := 0
		for _, err := range result.Rows(run) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 70 {
				break
			}
		}
	}
}

func TestAFullDiskIsNamedAndNothingIsLeft(t *testing.T) {
	run, parts := open(t, result.CSV)
	part, err := parts.Create(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := part.Add(0, sample(0)); err != nil {
		t.Fatal(err)
	}
	// A directory that is gone stands for a disk that cannot be written to.
	if err := os.Remove(filepath.Join(run, "parts")); err != nil {
		t.Fatal(err)
	}
	if _, err := part.Commit(); err == nil || !strings.HasPrefix(err.Error(), "commit part 0: open "+run) {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(filepath.Join(run, "parts"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := part.Commit(); err != nil {
		t.Errorf("once the disk is there again: %v", err)
	}
}

func TestFormatsHaveNames(t *testing.T) {
	for _, format := range formats {
		if got, err := result.ParseFormat(format.String()); got != format || err != nil {
			t.Errorf("%s: %v, %v", format, got, err)
		}
	}
	if _, err := result.ParseFormat("xml"); err == nil || err.Error() != `"xml" is no format of rows; there are parquet, jsonl, csv` {
		t.Errorf("xml: %v", err)
	}
}
