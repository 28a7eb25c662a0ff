package release

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
)

func file(path, content string) File {
	return File{
		Path: path, Hash: HashOf([]byte(content)), Size: int64(len(content)),
		Modified: 1_732_800_000, Type: "text/html; charset=utf-8",
	}
}

func manifest(files ...File) *Manifest {
	return &Manifest{Site: "example.org", Dialect: "netlify", Files: files}
}

const exampleManifest = `{"penny":"release","version":1,"site":"example.org","dialect":"netlify","files":3,"bytes":13}
{"path":"a \"b\".html","sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5,"modified":1732800000,"type":"text/html; charset=utf-8"}
{"path":"a/é.html","sha256":"486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7","size":5,"modified":1732800000,"type":"text/html; charset=utf-8"}
{"path":"z","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,"modified":1732800000,"type":"text/html; charset=utf-8"}
`

func TestAManifestHasOneForm(t *testing.T) {
	m := manifest(file(`a "b".html`, "hello"), file("a/é.html", "world"), file("z", "abc"))
	if diff := cmp.Diff(exampleManifest, string(m.Encode())); diff != "" {
		t.Errorf("the form is another (-want +got):\n%s", diff)
	}
	if got := m.ID(); got != HashOf([]byte(exampleManifest)) {
		t.Errorf("ID is %s, which is not the hash of the form", got)
	}
	parsed, err := ParseManifest([]byte(exampleManifest))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, parsed); diff != "" {
		t.Errorf("what is parsed is another (-want +got):\n%s", diff)
	}
}

func TestALineOfAManifestIsWhatJSONSaysItIs(t *testing.T) {
	want := file(`a "b"/é`+"\u2028"+`<&>.html`, "x")
	text := string(manifest(want).Encode())
	var got struct {
		Path, SHA256, Type string
		Size, Modified     int64
	}
	if err := json.Unmarshal([]byte(strings.Split(text, "\n")[1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Path != want.Path || got.SHA256 != want.Hash.String() || got.Type != want.Type || got.Size != want.Size || got.Modified != want.Modified {
		t.Errorf("JSON reads %+v, want %+v", got, want)
	}
}

func TestAManifestWithBadFilesIsRefusedWithTheLine(t *testing.T) {
	withPath := func(path string) *Manifest { return manifest(file("%", "x"), file(path, "x")) }
	with := func(change func(*File)) *Manifest {
		f := file("b", "x")
		change(&f)
		return manifest(file("a", "x"), f)
	}
	for what, tt := range map[string]struct {
		m    *Manifest
		want string
	}{
		"an empty path":                        {manifest(file("", "x")), `manifest:2: a path is empty`},
		"an absolute path":                     {withPath("/etc/passwd"), `manifest:3: the path "/etc/passwd" is absolute`},
		"a path that climbs out":               {withPath("a/../../etc"), `manifest:3: the path "a/../../etc" has the segment ".."`},
		"a path that is the directory above":   {withPath(".."), `manifest:3: the path ".." has the segment ".."`},
		"a path with a dot":                    {withPath("a/./b"), `manifest:3: the path "a/./b" has the segment "."`},
		"a path with two slashes":              {withPath("a//b"), `manifest:3: the path "a//b" has the segment ""`},
		"a path that ends in a slash":          {withPath("a/"), `manifest:3: the path "a/" has the segment ""`},
		"a path with a backslash":              {withPath(`..\a`), `manifest:3: the path "..\\a" has a backslash or a control character`},
		"a path with a NUL":                    {withPath("a\x00b"), `manifest:3: the path "a\x00b" has a backslash or a control character`},
		"a path with an end of line":           {withPath("a\nb"), `manifest:3: the path "a\nb" has a backslash or a control character`},
		"a path that is not UTF-8":             {withPath("a\xff"), `manifest:3: the path "a\xff" is not UTF-8`},
		"a path that is too long":              {withPath(strings.Repeat("a", MaxPathBytes+1)), `manifest:3: the path "` + strings.Repeat("a", 80) + `"… is longer than 4096 bytes`},
		"a path that is there twice":           {manifest(file("a", "x"), file("a", "y")), `manifest:3: the path "a" is there twice`},
		"paths in another order":               {manifest(file("b", "x"), file("a", "y")), `manifest:3: the path "a" must stand before "b"`},
		"paths that differ by case":            {manifest(file("A/b", "x"), file("README", "x"), file("a/B", "y")), `manifest:4: the paths "A/b" and "a/B" differ only by case`},
		"paths that differ by case, not ASCII": {manifest(file("k", "x"), file("\u212a", "x")), "manifest:3: the paths \"k\" and \"\u212a\" differ only by case"},
		"a file that is a directory":           {manifest(file("a", "x"), file("a-b", "x"), file("a/b/c", "x")), `manifest:4: "a" is a file, and "a/b/c" needs a directory of that name`},
		"a file that is a directory below":     {manifest(file("a/b", "x"), file("a/b/c", "x")), `manifest:3: "a/b" is a file, and "a/b/c" needs a directory of that name`},
		"a file that is, but for case, one":    {manifest(file("B/c", "x"), file("b", "x")), `manifest:2: "b" is a file, and "B/c" needs a directory of that name`},
		"a negative size":                      {with(func(f *File) { f.Size = -1 }), `manifest:3: the size of "b" is not between 0 and 1099511627776 bytes`},
		"a size out of bounds":                 {with(func(f *File) { f.Size = MaxFileBytes + 1 }), `manifest:3: the size of "b" is not between 0 and 1099511627776 bytes`},
		"a time before 1970":                   {with(func(f *File) { f.Modified = -1 }), `manifest:3: the time of "b" is not between the years 1970 and 9999`},
		"a type that ends its field":           {with(func(f *File) { f.Type = "text/html\r\nSet-Cookie: a=b" }), `manifest:3: "text/html\r\nSet-Cookie: a=b" cannot be the type of "b"`},
		"a type with a quotation mark":         {with(func(f *File) { f.Type = `text/html; charset="utf-8"` }), `manifest:3: "text/html; charset=\"utf-8\"" cannot be the type of "b"`},
		"no type":                              {with(func(f *File) { f.Type = "" }), `manifest:3: "" cannot be the type of "b"`},
		"a site that is a path":                {&Manifest{Site: "../x", Dialect: "netlify"}, `manifest:1: "../x" cannot be the name of a site`},
		"no dialect":                           {&Manifest{Site: "x"}, `manifest:1: "" cannot be a dialect`},
	} {
		t.Run(what, func(t *testing.T) {
			err := tt.m.Check()
			if err == nil || err.Error() != tt.want {
				t.Errorf("Check: %v, want %s", err, tt.want)
			}
			if _, err := ParseManifest(tt.m.Encode()); err == nil {
				t.Error("ParseManifest takes it")
			}
		})
	}
}

func TestAnythingButTheCanonicalFormIsRefusedWithTheLine(t *testing.T) {
	lines := strings.SplitAfter(exampleManifest, "\n")
	replace := func(line int, from, to string) string {
		changed := strings.Replace(lines[line-1], from, to, 1)
		if changed == lines[line-1] {
			t.Fatalf("%q does not stand in line %d", from, line)
		}
		return strings.Join(lines[:line-1], "") + changed + strings.Join(lines[line:], "")
	}
	for what, tt := range map[string]struct {
		text string
		line int
	}{
		"nothing":                          {"", 1},
		"no end of the first line":         {strings.TrimSuffix(lines[0], "\n"), 1},
		"no end of the last line":          {strings.TrimSuffix(exampleManifest, "\n"), 4},
		"a line that is cut":               {exampleManifest[:len(exampleManifest)-5] + "\n", 4},
		"an empty line":                    {exampleManifest + "\n", 5},
		"CR LF":                            {replace(2, "\n", "\r\n"), 2},
		"a blank":                          {replace(2, `,"size"`, `, "size"`), 2},
		"keys in another order":            {replace(1, `"site":"example.org","dialect":"netlify"`, `"dialect":"netlify","site":"example.org"`), 1},
		"a key more":                       {replace(2, `,"size":5`, `,"size":5,"mode":420`), 2},
		"upper case in a hash":             {replace(2, "2cf24dba", "2CF24DBA"), 2},
		"a hash that is short":             {replace(2, "2cf24dba", "2cf24db"), 2},
		"a leading zero":                   {replace(2, `"size":5`, `"size":05`), 2},
		"a sign":                           {replace(2, `"size":5`, `"size":+5`), 2},
		"a fraction":                       {replace(2, `"size":5`, `"size":5.0`), 2},
		"a number that overflows":          {replace(2, `"size":5`, `"size":18446744073709551621`), 2},
		"an escape that need not be":       {replace(4, `"path":"z"`, `"path":"\u007a"`), 4},
		"an escaped slash":                 {replace(3, `a/é`, `a\/é`), 3},
		"another kind of file":             {replace(1, `"release"`, `"pack"`), 1},
		"another version":                  {replace(1, `"version":1`, `"version":2`), 1},
		"fewer files than the head says":   {replace(1, `"files":3`, `"files":4`), 1},
		"more files than the head says":    {replace(1, `"files":3`, `"files":2`), 4},
		"another sum than the head says":   {replace(1, `"bytes":13`, `"bytes":14`), 1},
		"more files than there may be":     {replace(1, `"files":3`, `"files":1000001`), 1},
		"a head without files that it has": {replace(1, `"files":3`, `"files":999999`)[:len(lines[0])+5], 1},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := ParseManifest([]byte(tt.text))
			list := mistake.Of(err)
			if len(list) != 1 || list[0].Line != tt.line {
				t.Errorf("the error is %v, want one at line %d", err, tt.line)
			}
		})
	}
}

func TestAPathAsLongAsAllowedAndManyFilesAreTaken(t *testing.T) {
	files := []File{file(strings.Repeat("0", MaxPathBytes), "x")}
	for i := range 50_000 {
		files = append(files, file(fmt.Sprintf("d%03d/f%05d", i/100, i), "x"))
	}
	m := manifest(files...)
	parsed, err := ParseManifest(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if parsed.ID() != m.ID() {
		t.Error("what was parsed has another name")
	}
	if f, ok := parsed.File("d123/f12345"); !ok || f != m.Files[12346] {
		t.Errorf("File finds %+v, %v", f, ok)
	}
	if _, ok := parsed.File("d123"); ok {
		t.Error("File finds a directory")
	}
}

func TestADiffNamesWhatWasAddedChangedAndRemoved(t *testing.T) {
	touched := file("d", "same")
	touched.Modified++
	from := manifest(file("a", "one"), file("b", "two"), file("d", "same"), file("e", "gone"))
	to := manifest(file("a", "one"), file("b", "three"), file("c", "gone"), touched, file("f", "three"), file("g", "four"))
	got := Diff(from, to)
	want := Changes{
		Added:   []File{file("c", "gone"), file("f", "three"), file("g", "four")},
		Changed: []Change{{Old: file("b", "two"), New: file("b", "three")}, {Old: file("d", "same"), New: touched}},
		Removed: []File{file("e", "gone")},
		Same:    1,
		Bytes:   int64(len("three") + len("four")), // "gone" is known, and "three" counts once
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Diff (-want +got):\n%s", diff)
	}
	if got.None() || !got.Changed[0].Content() || got.Changed[1].Content() {
		t.Error("a time that changed is a change, and none of content")
	}
	if got := Diff(to, to); !got.None() || got.Same != 6 || got.Bytes != 0 {
		t.Errorf("Diff of a release and itself: %+v", got)
	}
	if got := Diff(nil, from); len(got.Added) != 4 || got.Bytes != from.Bytes() {
		t.Errorf("Diff of nothing and a release: %+v", got)
	}
}

func TestAHashHasOneSpelling(t *testing.T) {
	h := HashOf([]byte("hello"))
	text, err := h.MarshalText()
	if err != nil || string(text) != h.String() || h.Short() != h.String()[:8] {
		t.Errorf("MarshalText %q, %v; Short %q", text, err, h.Short())
	}
	if got, err := ParseHash(h.String()); err != nil || got != h {
		t.Errorf("ParseHash = %s, %v", got, err)
	}
	for _, bad := range []string{"", strings.ToUpper(h.String()), h.String()[1:], h.String() + "0", "g" + h.String()[1:]} {
		if err := new(Hash).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a hash", bad)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(exampleManifest))
	f.Add(manifest().Encode())
	f.Add([]byte(strings.Replace(exampleManifest, `"z"`, `"../z"`, 1)))
	f.Add([]byte(strings.Replace(exampleManifest, `"z"`, `"A \"B\".HTML"`, 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			if len(mistake.Of(err)) != 1 {
				t.Fatalf("an error without a line: %v", err)
			}
			return
		}
		if got := m.Encode(); string(got) != string(text) {
			t.Fatalf("it encodes to %q", got)
		}
		if m.ID() != HashOf(text) {
			t.Fatal("its name is not its hash")
		}
		for line := range strings.Lines(string(text)) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("the line %q is no JSON", line)
			}
		}
	})
}

func TestTheManifestInTheDocumentationIsOne(t *testing.T) {
	text, err := os.ReadFile("../../../docs/release-format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "```json\n")
	if !ok {
		t.Fatal("there is no example")
	}
	example, _, _ := strings.Cut(after, "```")
	m, err := ParseManifest([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 2 || m.Files[0].Hash != HashOf([]byte("hello")) {
		t.Errorf("it lists %+v", m.Files)
	}
}
