package release

import (
	"fmt"
	"hash/maphash"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wrongPath says why a path cannot be a file's, or nothing. What passes can be
// joined to a directory without leaving it, on every system, and stands in JSON
// as it is but for quotation marks.
func wrongPath(path string) string {
	switch {
	case path == "":
		return "a path is empty"
	case len(path) > MaxPathBytes:
		return fmt.Sprintf("the path %.80q… is longer than %d bytes", path, MaxPathBytes)
	case path[0] == '/':
		return fmt.Sprintf("the path %q is absolute", path)
	case !utf8.ValidString(path):
		return fmt.Sprintf("the path %q is not UTF-8", path)
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return fmt.Sprintf("the path %q has a backslash or a control character", path)
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Sprintf("the path %q has the segment %q", path, segment)
		}
	}
	return ""
}

// onlyByCase ends what is said of two paths that are one file on some systems.
const onlyByCase = "differ only by case"

// A treeCheck holds that sorted files make a tree that a disk can hold, also one
// on which names that differ by case are one.
type treeCheck struct {
	files []File
	seed  maphash.Seed
	index map[uint64]int32 // the hash of a folded path, or what follows it when that is taken, to the file
	fold  []byte           // scratch
}

func newTreeCheck(files []File) *treeCheck {
	return &treeCheck{files: files, seed: maphash.MakeSeed(), index: make(map[uint64]int32, len(files))}
}

// add says what is wrong with files[i], given those before it, or nothing.
func (t *treeCheck) add(i int) string {
	path := t.files[i].Path
	if i > 0 {
		switch before := t.files[i-1].Path; {
		case before == path:
			return fmt.Sprintf("the path %q is there twice", path)
		case before > path:
			return fmt.Sprintf("the path %q must stand before %q", path, before)
		}
	}
	key, other := t.find(path)
	if other >= 0 {
		return fmt.Sprintf("the paths %q and %q %s", t.files[other].Path, path, onlyByCase)
	}
	t.index[key] = int32(i)
	return ""
}

// find returns the file whose path is, but for case, this one, or -1 and the key
// to put it under.
func (t *treeCheck) find(path string) (key uint64, file int32) {
	t.fold = appendFolded(t.fold[:0], path)
	for key = maphash.Bytes(t.seed, t.fold); ; key++ {
		file, ok := t.index[key]
		if !ok {
			return key, -1
		}
		if strings.EqualFold(t.files[file].Path, path) {
			return key, file
		}
	}
}

// wrongDirectory says which file has the name of a directory, and the line of a
// file in that directory.
func (t *treeCheck) wrongDirectory() (string, int) {
	before := ""
	for i := range t.files {
		path := t.files[i].Path
		for at := sharedDirectories(before, path); ; {
			next := strings.IndexByte(path[at:], '/')
			if next < 0 {
				break
			}
			at += next + 1
			if _, file := t.find(path[:at-1]); file >= 0 {
				return fmt.Sprintf("%q is a file, and %q needs a directory of that name", t.files[file].Path, path), i
			}
		}
		before = path
	}
	return "", 0
}

// sharedDirectories returns how many bytes of path are directories that before
// lies in as well, slashes included.
func sharedDirectories(before, path string) int {
	shared := 0
	for i := 0; i < len(before) && i < len(path) && before[i] == path[i]; i++ {
		if path[i] == '/' {
			shared = i + 1
		}
	}
	return shared
}

// appendFolded appends path with each letter replaced by the first of those that
// differ from it only by case, as strings.EqualFold has it.
func appendFolded(b []byte, path string) []byte {
	for i := 0; i < len(path); {
		c := path[i]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			b = append(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(path[i:])
		first := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			first = min(first, next)
		}
		b = utf8.AppendRune(b, first)
		i += size
	}
	return b
}
