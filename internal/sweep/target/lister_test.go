package target_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/target"
)

// write writes a list, and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// read reads lists to their end, and returns what is in them.
func read(t *testing.T, o target.Options, names ...string) ([]target.Item, target.Stats, error) {
	t.Helper()
	l, err := target.Open(names, o)
	if err != nil {
		return nil, target.Stats{}, err
	}
	defer l.Close()
	var items []target.Item
	for id := uint32(0); ; id++ {
		shard, err := l.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return items, l.Stats(), nil
		}
		if err != nil {
			return items, l.Stats(), err
		}
		if shard.ID != id {
			t.Errorf("shard %d came when %d was due", shard.ID, id)
		}
		items = append(items, shard.Items...)
	}
}

// text is items as lines "rank target".
func text(items []target.Item) string {
	var b strings.Builder
	for _, item := range items {
		fmt.Fprintf(&b, "%d %s\n", item.Rank, item.Target)
	}
	return b.String()
}

func TestListsAreReadAsTheyComeFromTheirMakers(t *testing.T) {
	for _, test := range []struct{ about, name, list, column, format, want string }{
		{
			"plain lines with comments, a BOM and CRLF", "list.txt",
			"\ufeff# mine\r\n\r\nexample.com\r\n  Example.org  # a friend\r\nhttps://example.net/#x\r\n#end", "", "plain",
			"3 example.com\n4 example.org\n5 https://example.net/\n",
		},
		{
			"DomCop", "top10milliondomains.csv",
			"\"Rank\",\"Domain\",\"Open Page Rank\"\n\"1\",\"fonts.example\",\"10.00\"\n\"2\",\"Example.com\",\"10.00\"\n", "", "csv, column 2 (Domain), rank in column 1",
			"1 fonts.example\n2 example.com\n",
		},
		{
			"Tranco and Umbrella", "top-1m.csv",
			"1,example.com\r\n2,example.org\r\n7,example.net\r\n", "", "csv, column 2, rank in column 1",
			"1 example.com\n2 example.org\n7 example.net\n",
		},
		{
			"Majestic", "majestic_million.csv",
			"GlobalRank,TldRank,Domain,TLD,RefSubNets,RefIPs,IDN_Domain,IDN_TLD,PrevGlobalRank,PrevTldRank,PrevRefSubNets,PrevRefIPs\n" +
				"5,1,example.com,com,494,229,example.com,com,1,1,4,2\n", "", "csv, column 3 (Domain), rank in column 1",
			"5 example.com\n",
		},
		{
			"CrUX", "current.csv",
			"origin,rank\nhttps://example.com,1000\nhttp://example.org,5000\n", "", "csv, column 1 (origin), rank in column 2",
			"1000 https://example.com/\n5000 http://example.org/\n",
		},
		{
			"TSV with a column of people's names", "x.tsv",
			"id\tname\tweb site\tupdated\n1\tJ. Doe\tn/a\t2024-01-01\n2\tA\texample.com\t2024-01-01\n3\tB\texample.org\t2024-01-01\n", "", "tsv, column 3 (web site)",
			"3 example.com\n4 example.org\n",
		},
		{
			"a column that the user names", "x.csv",
			"domain,redirects to\nexample.com,www.example.com\n", "Redirects To", "csv, column 2 (redirects to)",
			"2 www.example.com\n",
		},
		{
			"a column that the user numbers, without a header", "x.csv",
			"example.com,www.example.com\nexample.org,www.example.org\n", "2", "csv, column 2",
			"1 www.example.com\n2 www.example.org\n",
		},
		{
			"one column with a title", "list.txt", "Domain\nexample.com\n", "", "plain", "2 example.com\n",
		},
		{
			"one quoted column with a title", "list.csv", "\"Domain\"\n\"example.com\"\n", "", "csv, column 1 (Domain)", "2 example.com\n",
		},
		{
			"quoted fields with delimiters, quotes and line ends", "x.csv",
			"title,domain\n\"a, \"\"b\"\"\nc\",example.com\n\"x\",\"example.org\"\n", "", "csv, column 2 (domain)",
			"3 example.com\n4 example.org\n",
		},
		{
			"semicolons", "x.csv", "host;owner\nexample.com;me, myself\n", "", "csv with ';', column 1 (host)", "2 example.com\n",
		},
		{
			"URLs with commas are not columns", "-",
			"https://example.com/a,b\nhttps://example.com/c\nhttps://example.com/d,e,f\n", "", "plain",
			"1 https://example.com/a,b\n2 https://example.com/c\n3 https://example.com/d,e,f\n",
		},
		{
			"a pipe of CSV without a name", "-", "rank,domain\n3,example.com\n4,example.org\n", "", "csv, column 2 (domain), rank in column 1",
			"3 example.com\n4 example.org\n",
		},
		{
			"rows that are too short keep the rest", "x.csv", "rank,domain\n1,example.com\n2\n3,example.org,more\n", "", "csv, column 2 (domain), rank in column 1",
			"1 example.com\n3 example.org\n",
		},
		{
			"no line end at the end", "list.txt", "example.com\nexample.org", "", "plain", "1 example.com\n2 example.org\n",
		},
		{
			"the same target in several ways", "list.txt", "example.com\nEXAMPLE.com.\nbücher.example\nxn--bcher-kva.example\n", "", "plain",
			"1 example.com\n3 xn--bcher-kva.example\n",
		},
	} {
		t.Run(test.about, func(t *testing.T) {
			o := target.Options{Column: test.column}
			name := test.name
			if name == "-" {
				o.Stdin = strings.NewReader(test.list)
			} else {
				name = write(t, name, test.list)
			}
			items, stats, err := read(t, o, name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, text(items)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := stats.Sources[0].Format; len(got) != 1 || got[0] != test.format {
				t.Errorf("the format is %q, want %q", got, test.format)
			}
		})
	}
}

func TestCompressedListsAreReadDirectly(t *testing.T) {
	const list = "1,example.com\n2,example.org\n"
	const want = "1 example.com\n2 example.org\n"
	gz := compressGzip(t, list)
	zst := compressZstd(t, list)
	archive := archiveOf(t, map[string]string{"top-1m.csv": list, "__MACOSX/._top-1m.csv": "\x00\x05", "dir/": ""})
	for name, data := range map[string]string{"a.csv.gz": gz, "a.csv.zst": zst, "a.zip": archive, "no extension": gz, "two members.gz": gz + compressGzip(t, "2,example.org\n"), "two frames": zst + zst} {
		t.Run(name, func(t *testing.T) {
			items, stats, err := read(t, target.Options{}, write(t, name, data))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, text(items)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := stats.Sources[0]; got.Bytes != int64(len(data)) || got.SHA256 != sha256Of(data) {
				t.Errorf("%+v, want %d bytes with the hash %s", got, len(data), sha256Of(data))
			}
		})
	}
	for name, data := range map[string]string{"gzip": gz, "zstd": zst} {
		t.Run(name+" from a pipe", func(t *testing.T) {
			items, _, err := read(t, target.Options{Stdin: strings.NewReader(data)}, "-")
			if err != nil || text(items) != want {
				t.Errorf("%q, %v", text(items), err)
			}
		})
	}
	t.Run("all files of a zip", func(t *testing.T) {
		path := write(t, "x.zip", archiveOf(t, map[string]string{"a.csv": "rank,domain\n5,example.com\n", "b.txt": "example.com\nexample.net\n"}))
		items, stats, err := read(t, target.Options{}, path)
		if err != nil || text(items) != "5 example.com\n4 example.net\n" {
			t.Errorf("%q, %v", text(items), err)
		}
		want := []string{path + ":a.csv: csv, column 2 (domain), rank in column 1", path + ":b.txt: plain"}
		if diff := cmp.Diff(want, stats.Sources[0].Format); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSeveralListsAreOne(t *testing.T) {
	a, b := write(t, "a", "example.com\nexample.org\n"), write(t, "b", "example.org\nexample.net\n")
	items, stats, err := read(t, target.Options{Stdin: strings.NewReader("example.edu\n")}, a, b, "-")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(items), "1 example.com\n2 example.org\n4 example.net\n5 example.edu\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if stats.Targets != 4 || stats.Duplicates != 1 || stats.Lines != 5 || len(stats.Sources) != 3 || stats.Sources[2].Name != "stdin" {
		t.Errorf("%+v", stats)
	}
}

func TestBadLinesAreCountedAndTheFirstOnesShown(t *testing.T) {
	list := "example.com\nno\n" + strings.Repeat("*.example.com\n", 30) + strings.Repeat("ü", 80) + "\nexample.org\n"
	path := write(t, "x", list)
	items, stats, err := read(t, target.Options{}, path)
	if err != nil || len(items) != 2 {
		t.Fatalf("%v, %v", items, err)
	}
	if stats.Bad != 32 || len(stats.BadLines) != 20 {
		t.Errorf("%d bad lines and %d samples", stats.Bad, len(stats.BadLines))
	}
	if diff := cmp.Diff(target.BadLine{File: path, Line: 2, Text: "no", Reason: "it is a name without a dot"}, stats.BadLines[0]); diff != "" {
		t.Error(diff)
	}
	path = write(t, "x.csv", "rank,domain\n1,example.com\n2,"+strings.Repeat("ü", 80)+"\n3\n4,\n5,\"open,\n6,example.org\n")
	_, stats, err = read(t, target.Options{}, path)
	if err != nil {
		t.Fatal(err)
	}
	want := []target.BadLine{
		{path, 3, 2, strings.Repeat("ü", 50), "it has a label of more than 63 bytes"},
		{path, 4, 2, "3", "the line has too few columns"},
		{path, 5, 2, "", "nothing is there"},
		{path, 6, 0, "5,\"open,", "a quoted field does not end"},
	}
	if diff := cmp.Diff(want, stats.BadLines); diff != "" {
		t.Error(diff)
	}
	if stats.Targets != 2 {
		t.Errorf("%d targets: the line after an open quote is lost", stats.Targets)
	}
}

// endless yields a line of so many bytes, and then another.
type endless struct {
	left int64
	then *strings.Reader
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return e.then.Read(p)
	}
	n := int(min(e.left, int64(len(p))))
	for i := range p[:n] {
		p[i] = 'a'
	}
	e.left -= int64(n)
	return n, nil
}

func TestALineOfAGigabyteCostsNeitherMemoryNorTheRun(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	items, stats, err := read(t, target.Options{Stdin: &endless{1 << 30, strings.NewReader("\nexample.com\n")}}, "-")
	runtime.ReadMemStats(&after)
	if err != nil || len(items) != 1 {
		t.Fatalf("%v, %v", items, err)
	}
	if stats.Bad != 1 || stats.BadLines[0].Text != strings.Repeat("a", 100) || stats.BadLines[0].Reason != "the line is longer than 64 KiB" {
		t.Errorf("%+v", stats)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

func TestLinesUpToTheLimitAreRead(t *testing.T) {
	const limit = 64 << 10
	comment := func(n int) string { return "example.com #" + strings.Repeat("x", n-len("example.com #")) }
	for _, test := range []struct {
		text string
		bad  int64
	}{{comment(limit), 0}, {comment(limit) + "\r", 0}, {comment(limit + 1), 1}, {comment(limit + 2), 1}, {comment(limit + 3), 1}, {comment(4 * limit), 1}, {comment(5*limit + 7), 1}} {
		for _, end := range []string{"", "\n", "\nexample.org\n"} {
			_, stats, err := read(t, target.Options{Stdin: strings.NewReader("example.net\n" + test.text + end)}, "-")
			if err != nil || stats.Bad != test.bad {
				t.Errorf("a line of %d bytes: %d are bad, want %d; %v", len(test.text), stats.Bad, test.bad, err)
			}
			if want := int64(len(strings.Fields("example.net"+end))) + 1 - test.bad; stats.Targets != want {
				t.Errorf("a line of %d bytes before %q: %d targets, want %d", len(test.text), end, stats.Targets, want)
			}
		}
	}
}

func TestWhatWasReadOfAFileCutShortIsKept(t *testing.T) {
	whole := compressZstd(t, numbered(100_000))
	path := write(t, "x.zst", whole[:len(whole)*2/3])
	items, stats, err := read(t, target.Options{}, path)
	if err == nil || len(items) < 10_000 || stats.Targets != int64(len(items)) {
		t.Fatalf("%d targets, %v", len(items), err)
	}
	if got, want := text(items[len(items)-1:]), fmt.Sprintf("%d n%d.example\n", len(items), len(items)-1); got != want {
		t.Errorf("the last target is %q, want %q: half a line is none", got, want)
	}
}

func TestOneLineAtATimeIsNotWaitedForLongerThanAShard(t *testing.T) {
	r, w := io.Pipe()
	l, err := target.Open([]string{"-"}, target.Options{Stdin: r, ShardSize: 3})
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error)
	go func() {
		_, err := io.WriteString(w, "a.example\nb.example\nc.example\n")
		written <- err
	}()
	shard, err := l.Next(t.Context()) // the pipe stays open, so this would wait for ever
	if err != nil || len(shard.Items) != 3 {
		t.Errorf("%v, %v", shard, err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	w.Close()
	if _, err := l.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestListingGoesOnBehindAnyShard(t *testing.T) {
	a := write(t, "a.csv", "rank,domain,note\n"+"1,a.example,\"x\ny\"\n2,b.example,\n2,bad,\n3,a.example,\n4,c.example,\n5,d.example,\n")
	b := write(t, "b", "# more\nd.example\nbad\ne.example\nf.example\n\nbad\n")
	names := []string{a, b}
	o := target.Options{ShardSize: 2}
	var all []*target.Shard
	l, err := target.Open(names, o)
	if err != nil {
		t.Fatal(err)
	}
	for {
		shard, err := l.Next(t.Context())
		if err != nil {
			break
		}
		all = append(all, shard)
	}
	whole := l.Stats()
	if len(all) != 3 {
		t.Fatalf("%d shards", len(all))
	}
	for i, from := range all {
		l, err := target.Open(names, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Skip(t.Context(), from.End); err != nil {
			t.Fatal(err)
		}
		for _, want := range all[i+1:] {
			got, err := l.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("behind shard %d: -want +got:\n%s", i, diff)
			}
		}
		if _, err := l.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if diff := cmp.Diff(whole, l.Stats()); diff != "" {
			t.Errorf("the counts differ: %s", diff)
		}
	}
}

func TestAListThatHasChangedIsNoticed(t *testing.T) {
	const list = "a.example\nb.example\nc.example\n"
	l, err := target.Open([]string{write(t, "a", list)}, target.Options{ShardSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	shard, err := l.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"b.example\na.example\nc.example\n", "a.example\n", "a.example\nx.example\nc.example\n", "a.example\n\nb.example\n"} {
		l, err := target.Open([]string{write(t, "a", other)}, target.Options{ShardSize: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Skip(t.Context(), shard.End); err == nil || !strings.Contains(err.Error(), "has changed") {
			t.Errorf("%q instead of %q: %v", other, list, err)
		}
	}
}

func TestListingStopsWhenItIsToldTo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	l, err := target.Open([]string{"-"}, target.Options{Stdin: &endless{0, strings.NewReader("a.example\n")}})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	cancel(stop)
	if _, err := l.Next(ctx); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestShardsOfVeryLongURLsAreSmaller(t *testing.T) {
	var list strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&list, "https://example.com/%d/%s\n", i, strings.Repeat("x", 7000))
	}
	l, err := target.Open([]string{"-"}, target.Options{Stdin: strings.NewReader(list.String())})
	if err != nil {
		t.Fatal(err)
	}
	codec, err := target.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		shard, err := l.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		items, err := codec.Decode(codec.Encode(shard.Items))
		if err != nil || !slices.Equal(items, shard.Items) {
			t.Errorf("a shard of long URLs is not read back: %v", err)
		}
		n += len(items)
	}
	if n != 2000 {
		t.Errorf("%d targets, want 2000", n)
	}
}
