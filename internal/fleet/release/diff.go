package release

import "strings"

// A Change is a file whose content, type or time differs between two releases.
type Change struct{ Old, New File }

// Content reports whether the bytes differ.
func (c Change) Content() bool { return c.Old.Hash != c.New.Hash }

// Changes are the differences between two releases of a site, each in the order
// of the paths.
type Changes struct {
	Added   []File
	Changed []Change
	Removed []File
	Same    int   // files that are alike in everything
	Bytes   int64 // of the content that is new, identity form, counting each object once
}

// None reports whether the releases list the same files.
func (c Changes) None() bool { return len(c.Added)+len(c.Changed)+len(c.Removed) == 0 }

// Diff compares two manifests. An old one that is nil is that of an empty site.
func Diff(from, to *Manifest) Changes {
	if from == nil {
		from = &Manifest{}
	}
	var c Changes
	old, files := from.Files, to.Files
	for len(old) > 0 && len(files) > 0 {
		switch strings.Compare(old[0].Path, files[0].Path) {
		case -1:
			c.Removed, old = append(c.Removed, old[0]), old[1:]
		case 1:
			c.Added, files = append(c.Added, files[0]), files[1:]
		default:
			if old[0] == files[0] {
				c.Same++
			} else {
				c.Changed = append(c.Changed, Change{Old: old[0], New: files[0]})
			}
			old, files = old[1:], files[1:]
		}
	}
	c.Removed, c.Added = append(c.Removed, old...), append(c.Added, files...)
	c.countBytes(from)
	return c
}

func (c *Changes) countBytes(from *Manifest) {
	if len(c.Added)+len(c.Changed) == 0 {
		return // nothing changed is the common case, and should cost nothing
	}
	fresh := make(map[Hash]int64) // of what has changed, which is less than there was
	for _, f := range c.Added {
		fresh[f.Hash] = f.Size
	}
	for _, change := range c.Changed {
		if change.Content() {
			fresh[change.New.Hash] = change.New.Size
		}
	}
	for i := range from.Files {
		delete(fresh, from.Files[i].Hash)
	}
	for _, size := range fresh {
		c.Bytes += size
	}
}
