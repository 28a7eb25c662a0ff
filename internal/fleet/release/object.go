package release

import "fmt"

// An Object is what a manifest says of an object.
type Object struct {
	Hash Hash
	Size int64 // of the identity form, in bytes
}

// Objects returns the objects of a release, each once, in the order of the files
// that have them first. An object's place in that order is its number, by which
// packs and agents name it in a few bits: the first one is 0.
func (m *Manifest) Objects() []Object {
	objects := make([]Object, 0, len(m.Files))
	known := make(map[Hash]bool, len(m.Files))
	for i := range m.Files {
		if f := &m.Files[i]; !known[f.Hash] {
			known[f.Hash] = true
			objects = append(objects, Object{Hash: f.Hash, Size: f.Size})
		}
	}
	return objects
}

// A Run is some objects of a release that follow each other: the number of the
// first one, and how many there are.
type Run [2]int

// Runs returns those of the objects of a release for which is holds.
func Runs(objects []Object, is func(Hash) bool) []Run {
	runs := []Run{}
	end := -1 // of the last run
	for i, o := range objects {
		switch {
		case !is(o.Hash):
		case i == end:
			runs[len(runs)-1][1]++
			end++
		default:
			runs = append(runs, Run{i, 1})
			end = i + 1
		}
	}
	return runs
}

// Pick returns the objects of a release that runs name, which go forward and lie
// within it.
func Pick(objects []Object, runs []Run) ([]Object, error) {
	var picked []Object
	next := 0
	for _, r := range runs {
		if r[0] < next || r[1] < 1 || r[1] > len(objects)-r[0] {
			return nil, fmt.Errorf("%d objects from %d on are not in a release of %d objects", r[1], r[0], len(objects))
		}
		next = r[0] + r[1]
		picked = append(picked, objects[r[0]:next]...)
	}
	return picked, nil
}

// A Numbering is how a pack names the objects of a release.
type Numbering struct {
	Release Hash
	Objects []Object
	numbers map[Hash]int
}

// NewNumbering numbers the objects of the release that is called id.
func NewNumbering(id Hash, objects []Object) *Numbering {
	n := &Numbering{Release: id, Objects: objects, numbers: make(map[Hash]int, len(objects))}
	for i, o := range objects {
		n.numbers[o.Hash] = i
	}
	return n
}
