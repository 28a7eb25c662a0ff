package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/serve/site"
)

// recallRetained finds the fingerprinted files of all staged releases anew. The
// caller holds the site's changing, or is alone.
func (a *Agent) recallRetained(ctx context.Context, s *hostedSite) {
	s.mu.Lock()
	staged := slices.SortedFunc(maps.Keys(s.records), func(x, y release.Hash) int { return s.newestFirst(y, x) })
	staged = slices.DeleteFunc(staged, func(id release.Hash) bool { return s.records[id].Staged.IsZero() })
	s.mu.Unlock()
	s.retained, s.newest = nil, nil
	for _, id := range staged {
		m, err := a.store.Manifest(id)
		if err != nil { // its files are not reachable, and all others are
			a.log.LogAttrs(ctx, slog.LevelWarn, "manifest lost", slog.String("site", s.name), slog.String("release", id.Short()), slog.Any("err", err))
			continue
		}
		_ = s.retain(m) // whoever calls knows that they may have changed
	}
}

// retain adds the fingerprinted files of a release that is newer than those
// before, and reports whether there is one that was not there. A name with two
// contents is there twice: it is no fingerprint then.
func (s *hostedSite) retain(m *release.Manifest) (more bool) {
	before := s.newest
	s.newest = m
	if before != nil && !changesFingerprinted(before, m) {
		return false // all that it has are there
	}
	files := fingerprinted(m)
	known := make(map[site.SourceFile]bool, len(files))
	for _, f := range files {
		known[f] = true
	}
	had := 0
	for _, f := range s.retained {
		if known[f] {
			had++
		} else {
			files = append(files, f)
		}
	}
	s.retained = files
	return had < len(known)
}

// changesFingerprinted reports whether a release has a fingerprinted file that another
// does not have as it is.
func changesFingerprinted(from, to *release.Manifest) bool {
	changes := release.Diff(from, to)
	return slices.ContainsFunc(changes.Added, func(f release.File) bool { return site.Fingerprinted(f.Path) }) ||
		slices.ContainsFunc(changes.Changed, func(c release.Change) bool { return site.Fingerprinted(c.New.Path) })
}

// fingerprinted returns the files of a release whose names never mean other
// content: they stay reachable when the release is not served any more.
func fingerprinted(m *release.Manifest) []site.SourceFile {
	var files []site.SourceFile
	for _, f := range m.Files {
		if site.Fingerprinted(f.Path) {
			files = append(files, sourceFile(f))
		}
	}
	return files
}
