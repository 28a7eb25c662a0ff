package release

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
)

// patched applies a patch and returns what parsing the result would say.
func patched(base *Manifest, patch []byte) (*Manifest, error) {
	return Apply(base.ID(), base, patch)
}

func TestAPatchMakesOneManifestOfAnother(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 3))
		tree := func() *Manifest {
			files := make(map[string]File)
			for range random.IntN(12) {
				path := fmt.Sprintf("%c/%d\"é.txt", 'a'+rune(random.IntN(3)), random.IntN(4))
				f := file(path, fmt.Sprint(random.IntN(3)))
				f.Modified += int64(random.IntN(2))
				f.Type = []string{"text/html", "image/png"}[random.IntN(2)]
				files[path] = f
			}
			m := manifest()
			for _, path := range slices.Sorted(maps.Keys(files)) {
				m.Files = append(m.Files, files[path])
			}
			return m
		}
		from, to := tree(), tree()
		to.Dialect = []string{"netlify", "cloudflare"}[random.IntN(2)]
		before := string(from.Encode())
		got, err := patched(from, Patch(from.ID(), from, to))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := cmp.Diff(string(to.Encode()), string(got.Encode())); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		if string(from.Encode()) != before {
			t.Fatalf("seed %d: the base has been changed", seed)
		}
	}
}

func TestAPatchIsAsLargeAsWhatHasChanged(t *testing.T) {
	var files []File
	for i := range 2000 {
		files = append(files, file(fmt.Sprintf("d/%05d", i), fmt.Sprint(i)))
	}
	from := manifest(files...)
	to := manifest(slices.Clone(files)...)
	to.Files[777] = file("d/00777", "seven")
	if patch := Patch(from.ID(), from, to); len(patch) > 600 {
		t.Errorf("one of %d files changed, and the patch has %d bytes", len(files), len(patch))
	}
	if patch := Patch(from.ID(), from, from); strings.Count(string(patch), "\n") != 2 {
		t.Errorf("nothing changed, and the patch is %q", patch)
	}
}

func TestAPatchThatIsNotWellFormedIsRefusedWithTheLine(t *testing.T) {
	from := manifest(file("a", "one"), file("c", "two"), file("e/f", "three"))
	to := manifest(file("a", "four"), file("b", "five"), file("e/f", "three"))
	good := string(Patch(from.ID(), from, to))
	if got, err := patched(from, []byte(good)); err != nil || got.ID() != to.ID() {
		t.Fatalf("what is well formed is refused: %v", err)
	}
	lines := strings.SplitAfter(good, "\n") // the two heads, a, b, and c that is gone
	line := func(f File) string { return string(f.append(nil)) }
	head := func(files, bytes int) string {
		return fmt.Sprintf(`{"penny":"release","version":1,"site":"example.org","dialect":"netlify","files":%d,"bytes":%d}`+"\n", files, bytes)
	}
	long := file("d", "x")
	long.Size = MaxFileBytes + 1
	for what, test := range map[string]struct {
		patch string
		want  string // the beginning of the error
	}{
		"nothing":                         {"", "patch:1:"},
		"a manifest":                      {string(to.Encode()), "patch:1:"},
		"against another release":         {strings.Replace(good, from.ID().String(), to.ID().String(), 1), "patch:1: it is against release"},
		"another version":                 {strings.Replace(good, `"patch","version":1`, `"patch","version":2`, 1), "patch:1:"},
		"without a head of the manifest":  {lines[0], "patch:2:"},
		"another version of the manifest": {strings.Replace(good, `"release","version":1`, `"release","version":2`, 1), "patch:2: version 2"},
		"cut":                             {good[:len(good)-1], "patch:5: there is no end of line"},
		"cut in a line":                   {good[:len(good)-9] + "\n", "patch:5:"},
		"files in another order":          {lines[0] + lines[1] + lines[3] + lines[2] + lines[4], `patch:4: the path "a" must stand before "b"`},
		"a file twice":                    {lines[0] + lines[1] + lines[2] + lines[2], "patch:4:"},
		"what is not there is removed":    {lines[0] + lines[1] + `{"removed":"b"}` + "\n", `patch:3: "b" is to be removed`},
		"a path that climbs out":          {lines[0] + head(4, 12) + line(file("../x", "x")), "patch:3:"},
		"a size out of bounds":            {lines[0] + head(4, 12) + line(long), "patch:3:"},
		"fewer files than the head says":  {lines[0] + head(4, 14) + strings.Join(lines[2:], ""), "patch:2: it says 4 files"},
		"other bytes than the head says":  {lines[0] + head(3, 14) + strings.Join(lines[2:], ""), "patch:2: it says 3 files of 14"},
		"a name that differs by case":     {lines[0] + head(4, 12) + line(file("C", "x")), "manifest:"},
		"a file that is a directory":      {lines[0] + head(4, 12) + line(file("e", "x")), "manifest:"},
		"a file below a file":             {lines[0] + head(4, 12) + line(file("c/x", "x")), "manifest:"},
	} {
		t.Run(what, func(t *testing.T) {
			m, err := patched(from, []byte(test.patch))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || len(mistake.Of(err)) != 1 {
				t.Errorf("got %+v, %v; want an error that begins with %q", m, err, test.want)
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	from := manifest(file("a", "one"), file("c/d", "two"), file("e", "three"))
	f.Add(Patch(from.ID(), from, manifest(file("a", "four"), file("b", "five"))))
	f.Add(Patch(from.ID(), from, manifest()))
	f.Add([]byte(strings.Replace(string(Patch(from.ID(), from, manifest(file("A", "x"), file("c/d", "two")))), "A", "C", 1)))
	f.Fuzz(func(t *testing.T, patch []byte) {
		m, err := patched(from, patch)
		if err != nil {
			if len(mistake.Of(err)) != 1 {
				t.Fatalf("an error without a line: %v", err)
			}
			return
		}
		parsed, err := ParseManifest(m.Encode())
		if err != nil {
			t.Fatalf("what comes of it is no manifest: %v", err)
		}
		again, err := patched(from, Patch(from.ID(), from, parsed))
		if err != nil || again.ID() != m.ID() {
			t.Fatalf("its own patch makes another of it: %v", err)
		}
	})
}
