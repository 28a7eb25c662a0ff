package release

import (
	"sync"
	"weak"
)

// readManifests are manifests that somebody has in memory: to read, hash and check one
// of a large site takes a tenth of a second.
type readManifests struct {
	mu    sync.Mutex // guards known
	known map[Hash]readManifest
}

// A readManifest is a manifest with what its file was when it was read.
type readManifest struct {
	stat     fileStat
	manifest weak.Pointer[Manifest]
}

// fewRead is how many entries there may be before those are looked for that stand for
// nothing any more.
const fewRead = 64

func (r *readManifests) remember(id Hash, stat fileStat, m *Manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[Hash]readManifest)
	}
	if len(r.known) >= fewRead {
		for other, entry := range r.known {
			if entry.manifest.Value() == nil {
				delete(r.known, other)
			}
		}
	}
	r.known[id] = readManifest{stat, weak.Make(m)}
}

// recall returns the manifest that was read from a file that is still what it was, or nil.
func (r *readManifests) recall(id Hash, stat fileStat) *Manifest {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry, ok := r.known[id]
	if !ok || entry.stat != stat {
		return nil
	}
	return entry.manifest.Value()
}
