package release

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// patchHead begins a patch; the hash of the manifest that it is against follows.
const patchHead = `{"penny":"patch","version":1,"base":"`

// Patch returns how to make one manifest of another one, whose name is base: of a
// release in which little has changed it is little.
func Patch(base Hash, from, to *Manifest) []byte {
	b := append([]byte(patchHead), hex.AppendEncode(nil, base[:])...)
	b = to.appendHead(append(b, "\"}\n"...))
	changes := Diff(from, to)
	added, changed, removed := changes.Added, changes.Changed, changes.Removed
	for len(added)+len(changed)+len(removed) > 0 {
		switch next := firstPath(added, changed, removed); {
		case len(removed) > 0 && removed[0].Path == next:
			b = append(b, `{"removed":"`...)
			b = append(appendQuoted(b, next), "\"}\n"...)
			removed = removed[1:]
		case len(added) > 0 && added[0].Path == next:
			b, added = added[0].append(b), added[1:]
		default:
			b, changed = changed[0].New.append(b), changed[1:]
		}
	}
	return b
}

// firstPath returns the first of the paths that the lists begin with.
func firstPath(added []File, changed []Change, removed []File) string {
	var first []string
	if len(added) > 0 {
		first = append(first, added[0].Path)
	}
	if len(changed) > 0 {
		first = append(first, changed[0].New.Path)
	}
	if len(removed) > 0 {
		first = append(first, removed[0].Path)
	}
	return slices.Min(first)
}

// Apply makes a manifest of the one that a patch is against, whose name is base. What it
// returns is as good as what [ParseManifest] returns; the error is a *[mistake.Error]
// with the line of the patch, or of the manifest where that is wrong as a whole.
func Apply(base Hash, from *Manifest, patch []byte) (*Manifest, error) {
	line, rest, _ := bytes.Cut(patch, []byte("\n"))
	c := cursor{rest: line}
	c.literal(patchHead)
	of := c.hash()
	c.literal(`"}`)
	switch {
	case !c.done():
		return nil, wrongPatch(1, "it is not the head of a patch of this version")
	case of != base:
		return nil, wrongPatch(1, fmt.Sprintf("it is against release %s, not against %s", of.Short(), base.Short()))
	}
	line, rest, ok := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return nil, wrongPatch(2, "there is no end of line")
	}
	m, files, size, what := parseHead(line)
	if what != "" {
		return nil, wrongPatch(2, what)
	}
	p := patcher{from: from.Files, types: make(map[string]string)}
	for n := 3; len(rest) > 0; n++ {
		if line, rest, ok = bytes.Cut(rest, []byte("\n")); !ok {
			return nil, wrongPatch(n, "there is no end of line")
		}
		if what := p.line(line); what != "" {
			return nil, wrongPatch(n, what)
		}
	}
	m.Files = append(p.files, p.from...)
	if p.added { // or else the paths are some of those that have been checked
		if err := m.Check(); err != nil {
			return nil, err
		}
	}
	if int64(len(m.Files)) != files || m.Bytes() != size {
		return nil, wrongPatch(2, fmt.Sprintf("it says %d files of %d bytes, and there are %d of %d", files, size, len(m.Files), m.Bytes()))
	}
	if what := m.wrongHead(); what != "" { // with so many files
		return nil, wrongPatch(2, what)
	}
	return m, nil
}

func wrongPatch(line int, what string) error {
	err := wrongAt(line, what)
	err.File = "patch"
	return err
}

// A patcher applies one line after the other.
type patcher struct {
	from  []File // what is left of the base
	files []File
	types map[string]string
	last  string // the path of the last line
	added bool
}

// line applies a line, and says what is wrong with it, or nothing.
func (p *patcher) line(text []byte) string {
	c := cursor{rest: text}
	var f File
	removes := bytes.HasPrefix(text, []byte(`{"removed":`))
	if removes {
		c.literal(`{"removed":"`)
		f.Path = c.text()
		c.literal(`"}`)
		if !c.done() {
			return "it does not say well what is removed"
		}
	} else {
		var ok bool
		if f, ok = parseFile(text, p.types); !ok {
			return "it is not the canonical form of a file"
		}
		if what := f.wrong(); what != "" {
			return what
		}
	}
	if f.Path <= p.last {
		return fmt.Sprintf("the path %q must stand before %q", f.Path, p.last)
	}
	p.last = f.Path
	at, there := slices.BinarySearchFunc(p.from, f.Path, func(f File, path string) int { return strings.Compare(f.Path, path) })
	p.files = append(slices.Grow(p.files, len(p.from)), p.from[:at]...)
	if p.from = p.from[at:]; there {
		f.Path = p.from[0].Path // one string for both
		p.from = p.from[1:]
	}
	switch {
	case removes && !there:
		return fmt.Sprintf("%q is to be removed, and not there", f.Path)
	case removes:
		return ""
	}
	p.added = p.added || !there
	p.files = append(p.files, f)
	return ""
}
