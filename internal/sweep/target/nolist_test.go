package target_test

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/target"
)

func TestWhatIsNoListSaysWhatItIs(t *testing.T) {
	dir := t.TempDir()
	gz := compressGzip(t, strings.Repeat("example.com\n", 1000))
	zst := compressZstd(t, numbered(100_000))
	archive := archiveOf(t, map[string]string{"x.csv": "example.com\n"})
	for _, test := range []struct{ about, name, data, column, want, hint string }{
		{"no file", filepath.Join(dir, "none"), "", "", "there is no such list", "a list is a file"},
		{"a target", "example.com", "", "", "there is no such list", "echo example.com | penny sweep -"},
		{"a directory", dir, "", "", "this is a directory", "name its files"},
		{"an empty file", "", "", "", "the list is empty", ""},
		{"nothing but comments", "", "# a\n\n# b\n", "", "the list is empty", ""},
		{"nothing but a header", "x.csv", "rank,domain\n", "", "the list is empty", ""},
		{"nothing but bad lines", "", "foo\nbar\n", "", "none of the 2 lines is a target", "--column"},
		{"ELF", "", "\x7fELF\x02\x01\x01\x00", "", "(ELF)", "a list is text"},
		{"PNG", "", "\x89PNG\r\n\x1a\n\x00", "", "(PNG)", "a list is text"},
		{"SQLite", "", "SQLite format 3\x00\x10\x00", "", "(SQLite)", "sqlite3"},
		{"Parquet", "", "PAR1\x15\x04\x15\x00", "", "(Parquet)", "duckdb"},
		{"xz", "", "\xfd7zXZ\x00\x00", "", "xz", "xz -dc"},
		{"bzip2", "", "BZh91AY&SY\x00", "", "bzip2", "bzip2 -dc"},
		{"UTF-16", "", "\xff\xfee\x00x\x00", "", "UTF-16", "iconv"},
		{"anything else", "", "abc\x00\x01\x02", "", "binary", "a list is text"},
		{"a workbook", "", archiveOf(t, map[string]string{"[Content_Types].xml": "<x/>", "xl/workbook.xml": ""}), "", "office", "CSV"},
		{"a Java archive", "", archiveOf(t, map[string]string{"META-INF/MANIFEST.MF": ""}), "", "Java", "a list is text"},
		{"an encrypted archive", "", rawArchive(t, zip.FileHeader{Name: "a.csv", Flags: 1}), "", "a.csv in it is encrypted", "unpack"},
		{"an archive of LZMA", "", rawArchive(t, zip.FileHeader{Name: "a.csv", Method: 14}), "", "method 14", "unpack"},
		{"an empty archive", "", archiveOf(t, nil), "", "no file in it", ""},
		{"gzip within gzip", "", compressGzip(t, gz), "", "compressed twice", ""},
		{"tar", "", compressGzip(t, "list.csv"+strings.Repeat("\x00", 249)+"ustar\x0000"), "", "tar archive", "tar -xOf"},
		{"gzip cut short", "", gz[:len(gz)-9], "", "ends early", "fetch the list again"},
		{"gzip cut in its head", "", gz[:8], "", "ends early", "fetch the list again"},
		{"zstd cut short", "", zst[:len(zst)/2], "", "ends early", "fetch the list again"},
		{"gzip damaged", "", gz[:len(gz)-6] + "xxxxxx", "", "damaged", "fetch the list again"},
		{"a zip cut short", "", archive[:len(archive)-10], "", "ends early", "fetch the list again"},
		{"no column of that name", "x.csv", "rank,domain\n1,example.com\n", "host", `1 "rank", 2 "domain"`, "--column takes"},
		{"no column of that number", "x.csv", "rank,domain\n1,example.com\n", "3", `1 "rank", 2 "domain"`, "from 1 to 2"},
		{"no column of targets", "x.csv", "a,b\n1,2\n", "", `1 "a", 2 "b"`, "--column"},
	} {
		t.Run(test.about, func(t *testing.T) {
			name := test.name
			if test.data != "" || name == "" || name == "x.csv" {
				name = write(t, filepath.Base("list"+test.name), test.data)
			}
			_, _, err := read(t, target.Options{Column: test.column}, name)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want an error about %q", err, test.want)
			}
			list := mistake.Of(err)
			if len(list) != 1 || !strings.Contains(list[0].Hint, test.hint) || list[0].Hint == "" {
				t.Errorf("%v has no hint about %q: %+v", err, test.hint, list)
			}
			if !strings.HasPrefix(err.Error(), name) {
				t.Errorf("%v does not begin with %s", err, name)
			}
		})
	}
}

func TestEverythingThatIsWrongWithTheNamesIsSaidAtOnce(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	_, err := target.Open([]string{dir, write(t, "x", "example.com\n"), none, "-", "-"}, target.Options{Stdin: strings.NewReader("")})
	var got []string
	for _, m := range mistake.Of(err) {
		got = append(got, m.File+": "+m.What)
	}
	if diff := cmp.Diff([]string{"-: the pipe is named more than once", dir + ": this is a directory, not a list", none + ": there is no such list"}, got); diff != "" {
		t.Error(diff)
	}
	for name, o := range map[string]target.Options{"stdin": {}, "shards": {ShardSize: -1, Stdin: strings.NewReader("")}} {
		if _, err := target.Open([]string{"-"}, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := target.Open(nil, target.Options{}); len(mistake.Of(err)) != 1 {
		t.Errorf("no list: %v", err)
	}
}

func TestAZipFromAPipeSaysWhatToDo(t *testing.T) {
	_, _, err := read(t, target.Options{Stdin: strings.NewReader(archiveOf(t, map[string]string{"x": "example.com\n"}))}, "-")
	if list := mistake.Of(err); len(list) != 1 || !strings.Contains(list[0].Hint, "unzip -p") {
		t.Errorf("%v", err)
	}
}

// What can be told by the beginning of a file is told before any of another is read:
// who begins with the first of two lists finds out early that the second is none.
func TestTheBeginningsOfAllFilesAreLookedAtBeforeAnyIsRead(t *testing.T) {
	good, binary := write(t, "good.txt", "example.com\n"), write(t, "binary", "\x7fELF\x02\x01\x01\x00")
	damaged, column := write(t, "x.gz", compressGzip(t, "example.com\n")[:8]), write(t, "x.csv", "a,b\n1,2\n")
	_, err := target.Open([]string{good, binary, damaged, column}, target.Options{})
	var got []string
	for _, m := range mistake.Of(err) {
		got = append(got, m.File)
	}
	if diff := cmp.Diff([]string{binary, column, damaged}, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if l, err := target.Open([]string{good}, target.Options{}); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}

func TestNamesAloneAreCountedApart(t *testing.T) {
	_, stats, err := read(t, target.Options{}, write(t, "list.txt", "example.com\nexample.com:8080\nbücher.example\n192.0.2.1\n[2001:db8::1]:80\n2001:db8::a\nhttps://example.org/a\nnot a target\nexample.com\n"))
	if err != nil || stats.Targets != 7 || stats.Names != 2 {
		t.Errorf("%d names of %d targets, want 2 of 7; %v", stats.Names, stats.Targets, err)
	}
}

func TestAListThatCannotBeOpenedSaysSo(t *testing.T) {
	name := filepath.Join(t.TempDir(), "itself.txt")
	if err := os.Symlink(name, name); err != nil {
		t.Fatal(err)
	}
	_, err := target.Open([]string{name}, target.Options{})
	if list := mistake.Of(err); len(list) != 1 || list[0].File != name || !strings.HasPrefix(list[0].What, "cannot be read: ") || list[0].Hint == "" {
		t.Errorf("%v", err)
	}
}
