package site

import (
	"maps"
	"slices"

	"pennyfarthing/internal/serve/body"
)

// A Summary is what there is to say about a site.
type Summary struct {
	Files   int   // files of the directory
	Bytes   int64 // their size
	Memory  int64 // bytes of bodies in memory, all codings
	OnDisk  int   // files that are served from disk
	Coded   int   // files that have at least one content coding
	Best    int   // files that have all codings they will get, at their best
	Codable int   // files of a type that is worth coding
	Skipped []string

	admitted int64 // as Memory, but what several files have counts for each, as it does for the budget
}

// Summary returns what there is to say about the site.
func (s *Site) Summary() Summary { return s.summary }

// with returns the site with some assets replaced, their error documents too.
func (s *Site) with(better map[int]*asset) *Site {
	twin := *s
	twin.assets = slices.Clone(s.assets)
	names := make(map[string]*asset, len(better))
	for i, a := range better {
		twin.assets[i] = a
		names[a.name] = a
		twin.summary.exchange(s.assets[i], a)
	}
	for _, i := range slices.Sorted(maps.Values(s.notFounds)) {
		if page := names[s.assets[i].name]; page != nil {
			document := page.asDocument()
			document.shared = s.assets[i].shared
			twin.assets[i] = document
		}
	}
	if s.twins || s.makesTwins(better) {
		twin.summarise()
	}
	return &twin
}

// makesTwins reports whether assets that take the place of others have the content of
// yet other ones, whose bodies are then theirs too.
func (s *Site) makesTwins(better map[int]*asset) bool {
	come := make(map[body.Key]bool)
	for i, a := range better {
		if a.hash == s.assets[i].hash {
			continue
		}
		if come[a.hash] {
			return true
		}
		come[a.hash] = true
	}
	if len(come) == 0 {
		return false
	}
	for i, a := range s.assets {
		if come[a.hash] && better[i] == nil && !a.document && a.inMemory() > 0 {
			return true
		}
	}
	return false
}

// summarise counts. A body that several files have counts once.
func (s *Site) summarise() {
	s.summary, s.twins = Summary{Skipped: s.summary.Skipped}, false
	first := make(map[body.Key]*asset, len(s.assets)) // by content
	others := make(map[*body.Body]bool)               // of files that are not the first with their content
	for _, a := range s.assets {
		s.summary.count(a, 1)
		twin := first[a.hash]
		switch {
		case a.document || a.inMemory() == 0: // its bodies are its page's, or it has none
		case twin == nil:
			first[a.hash] = a
			s.summary.Memory += a.inMemory()
		default:
			s.twins = true
			for coding, f := range a.forms {
				if f == nil || f.mem == nil || others[f.mem] || twin.forms[coding] != nil && twin.forms[coding].mem == f.mem {
					continue
				}
				others[f.mem] = true
				s.summary.Memory += int64(f.mem.Len())
			}
		}
	}
}

// exchange counts one asset in the place of another. It is right where no two files
// have the same content.
func (sum *Summary) exchange(old, a *asset) {
	sum.count(old, -1)
	sum.count(a, 1)
	if !a.document {
		sum.Memory += a.inMemory() - old.inMemory()
	}
}

// count adds an asset n times, but for its bodies.
func (sum *Summary) count(a *asset, n int) {
	if a.document || a.retained {
		return
	}
	sum.admitted += int64(n) * a.inMemory()
	sum.Files += n
	sum.Bytes += int64(n) * a.size()
	if a.identity().disk != nil {
		sum.OnDisk += n
	}
	if !a.codable {
		return
	}
	sum.Codable += n
	if a.coded() {
		sum.Coded += n
	}
	if a.done {
		sum.Best += n
	}
}

// inMemory returns how many bytes of bodies an asset has in memory.
func (a *asset) inMemory() int64 {
	var sum int64
	for _, f := range a.forms {
		if f != nil && f.mem != nil {
			sum += int64(f.mem.Len())
		}
	}
	return sum
}
