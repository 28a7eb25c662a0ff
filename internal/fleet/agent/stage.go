package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
)

// missingListed is how many missing objects an error names.
const missingListed = 10_000

// releaseID reads the release in the path.
func (c *call) releaseID() (release.Hash, error) {
	id, err := release.ParseHash(c.values["release"])
	if err != nil {
		return release.Hash{}, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: err.Error(), Hint: "the whole hash of the manifest names a release here"}
	}
	return id, nil
}

// putManifest takes the manifest of a release, with the statement that signs it,
// and answers what is missing. It may be repeated at any time.
func (a *Agent) putManifest(c *call) error {
	id, err := c.releaseID()
	if err != nil {
		return err
	}
	st, raw, err := c.headerStatement()
	if err != nil {
		return err
	}
	about, err := a.readRelease(st, c.site(), id)
	if err != nil {
		return err
	}
	if err := a.manifests.take(c.r.Context()); err != nil {
		return err
	}
	defer a.manifests.give()
	base, err := a.base(c)
	if err != nil {
		return err
	}
	m, text, err := c.manifest(id, about, base)
	if err != nil {
		return err
	}
	s, err := a.siteToDeploy(c.r.Context(), c.site())
	if err != nil {
		return err
	}
	a.collecting.RLock()
	defer a.collecting.RUnlock()
	s.changing.Lock()
	defer s.changing.Unlock()
	missing, need := a.missing(s, m)
	if err := a.disk.check(bytesOf(need)); err != nil {
		return err
	}
	if err := a.store.PutEncoded(id, m, text, raw); err != nil {
		return err
	}
	rec, known := s.record(id)
	if !known {
		rec = record{Here: a.o.Now().UTC().Round(0)}
	}
	rec.Files, rec.Bytes, rec.Time, rec.Key = len(m.Files), m.Bytes(), about.Time, st.Key
	if len(missing) > 0 {
		rec.Staged = time.Time{} // what was here has been damaged
	}
	if err := a.saveRecord(s, id, rec); err != nil {
		return err
	}
	s.offer(m, need)
	if c.version == 1 {
		return c.answer(api.ManifestResult{Missing: names(missing), Bytes: bytesOf(need), Staged: !rec.Staged.IsZero()})
	}
	return c.answer(api.ManifestRuns{Missing: runs(m, missing), Bytes: bytesOf(need), Staged: !rec.Staged.IsZero()})
}

// runs names objects of a release by their numbers.
func runs(m *release.Manifest, missing []release.Hash) [][2]int {
	wanted := make(map[release.Hash]bool, len(missing))
	for _, h := range missing {
		wanted[h] = true
	}
	all := make([][2]int, 0, 1)
	for _, r := range release.Runs(m.Objects(), func(h release.Hash) bool { return wanted[h] }) {
		all = append(all, r)
	}
	return all
}

// readRelease returns what a statement says of a release, if who signed it may.
func (a *Agent) readRelease(st *keys.Statement, site string, id release.Hash) (*api.Release, error) {
	payload, err := st.Verify(a.enrolment.Fleet, api.KindRelease)
	if err != nil {
		return nil, invalid(err)
	}
	about := new(api.Release)
	if err := json.Unmarshal(payload, about); err != nil {
		return nil, invalid(fmt.Errorf("read the statement about release %s: %w", id.Short(), err))
	}
	if about.Site != site || about.Release != id.String() {
		return nil, invalid(fmt.Errorf("the statement is about release %.8s of %.260s, not about %s of %s", about.Release, about.Site, id.Short(), site))
	}
	return about, a.maySign(st.Key, site, "release")
}

// offer keeps a release at hand, and what it lacks.
func (s *hostedSite) offer(m *release.Manifest, lacking map[release.Hash]int64) {
	s.offered = m
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lacking = lacking
}

// missing returns the objects of a manifest that the store lacks, each once, and
// what sizes they have. Those of the release that was last found to be whole are there.
// The caller holds the site's changing.
func (a *Agent) missing(s *hostedSite, m *release.Manifest) (missing []release.Hash, sizes map[release.Hash]int64) {
	removed := a.store.Removed()
	sizes = make(map[release.Hash]int64)
	var hashes []release.Hash
	look := func(f *release.File) {
		if _, known := sizes[f.Hash]; !known {
			sizes[f.Hash] = f.Size
			hashes = append(hashes, f.Hash)
		}
	}
	if s.whole != nil && s.removed == removed {
		changes := release.Diff(s.whole, m)
		for i := range changes.Added {
			look(&changes.Added[i])
		}
		for i := range changes.Changed {
			look(&changes.Changed[i].New)
		}
	} else {
		for i := range m.Files {
			look(&m.Files[i])
		}
	}
	missing = a.store.Missing(hashes)
	if len(missing) == 0 {
		s.whole, s.removed = m, removed
		return nil, nil
	}
	lacking := make(map[release.Hash]int64, len(missing))
	for _, h := range missing {
		lacking[h] = sizes[h]
	}
	return missing, lacking
}

func bytesOf(objects map[release.Hash]int64) (sum int64) {
	for _, size := range objects {
		sum += size
	}
	return sum
}

func names(hashes []release.Hash) []string {
	all := make([]string, len(hashes))
	for i, h := range hashes {
		all[i] = h.String()
	}
	return all
}

// postStage makes sure that a release is whole and can be served. From then on its
// fingerprinted files are reachable. It may be repeated at any time.
func (a *Agent) postStage(c *call) error {
	id, err := c.releaseID()
	if err != nil {
		return err
	}
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	a.collecting.RLock()
	defer a.collecting.RUnlock()
	s.changing.Lock()
	defer s.changing.Unlock()
	rec, ok := s.record(id)
	if !ok {
		return noRelease(s.name, id)
	}
	m, err := a.store.Manifest(id)
	if err != nil {
		return a.lostManifest(c, s, id, err)
	}
	if c.r.URL.Query().Get("verify") == "1" {
		if err := a.verify(c.r.Context(), m); err != nil {
			return err
		}
	}
	if missing, sizes := a.missing(s, m); len(missing) > 0 {
		return incomplete(s.name, id, missing, bytesOf(sizes))
	}
	ready, err := a.compile(c.r.Context(), s, id)
	if err != nil {
		return a.notCompiled(c.r.Context(), s, err)
	}
	if rec.Staged.IsZero() {
		rec.Staged = a.o.Now().UTC().Round(0)
		if err := a.saveRecord(s, id, rec); err != nil {
			return err
		}
		s.compiled = ready
		s.offer(m, nil)
		var err error
		if s.retain(m) {
			err = a.refresh(c.r.Context(), s)
		}
		if err != nil { // what is served goes on being served
			a.log.LogAttrs(c.r.Context(), slog.LevelWarn, "fingerprinted files not reachable yet", slog.String("site", s.name), slog.String("release", id.Short()), slog.Any("err", err))
		}
		a.log.LogAttrs(c.r.Context(), slog.LevelInfo, "release staged", slog.String("site", s.name), slog.String("release", id.Short()), slog.Int("files", rec.Files), slog.Int64("bytes", rec.Bytes))
	}
	ready.inputs = s.inputs // that its own files are retained changes nothing
	s.compiled = ready
	notes := ready.site.Summary().Skipped
	if notes == nil {
		notes = []string{}
	}
	return c.answer(api.StageResult{Files: rec.Files, Bytes: rec.Bytes, Notes: notes})
}

// verify hashes every object of a release. Damaged ones are removed, and missing
// from then on.
func (a *Agent) verify(ctx context.Context, m *release.Manifest) error {
	done := make(map[release.Hash]bool)
	for _, f := range m.Files {
		if done[f.Hash] {
			continue
		}
		done[f.Hash] = true
		err := a.store.Verify(ctx, f.Hash)
		if _, corrupt := errors.AsType[*release.CorruptError](err); corrupt {
			a.log.LogAttrs(ctx, slog.LevelWarn, "object damaged", slog.String("path", f.Path), slog.Any("err", err))
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lostManifest forgets a release whose manifest the disk has damaged, so that it
// can be sent again.
func (a *Agent) lostManifest(c *call, s *hostedSite, id release.Hash, err error) error {
	if !isLost(err) {
		return err
	}
	a.log.LogAttrs(c.r.Context(), slog.LevelWarn, "manifest lost", slog.String("site", s.name), slog.String("release", id.Short()), slog.Any("err", err))
	return noRelease(s.name, id)
}

// isLost reports whether an error says that the disk has lost something, which
// can be sent again.
func isLost(err error) bool {
	_, corrupt := errors.AsType[*release.CorruptError](err)
	return corrupt || errors.Is(err, fs.ErrNotExist)
}

// notCompiled tells why a release cannot be served.
func (a *Agent) notCompiled(ctx context.Context, s *hostedSite, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	told := &api.Error{Status: http.StatusUnprocessableEntity, Code: api.CodeNotCompiled, Message: err.Error()}
	switch list := mistake.Of(err); {
	case len(list) > 0:
		told.Hint = list[0].Hint
	case isLost(err):
		return &api.Error{Status: http.StatusPreconditionFailed, Code: api.CodeIncomplete, Message: err.Error(), Hint: "penny deploy " + s.name + " sends what is missing"}
	}
	a.log.LogAttrs(ctx, slog.LevelWarn, "release does not compile", slog.String("site", s.name), slog.Any("err", err))
	return told
}

func noRelease(site string, id release.Hash) error {
	return &api.Error{Status: http.StatusNotFound, Code: api.CodeNoRelease, Message: fmt.Sprintf("this POP has no release %s of %s", id.Short(), site), Hint: "penny releases " + site + " lists them"}
}

func incomplete(site string, id release.Hash, missing []release.Hash, bytes int64) error {
	return &api.Error{
		Status: http.StatusPreconditionFailed, Code: api.CodeIncomplete,
		Message: fmt.Sprintf("release %s of %s lacks %d objects of %d bytes", id.Short(), site, len(missing), bytes),
		Hint:    "send them in a pack, and stage again",
		Missing: names(missing[:min(len(missing), missingListed)]),
	}
}

// askedManifest returns the release in the path, and its manifest.
func (a *Agent) askedManifest(c *call) (release.Hash, *release.Manifest, error) {
	id, err := c.releaseID()
	if err != nil {
		return id, nil, err
	}
	s, err := a.site(c.site())
	if err != nil {
		return id, nil, err
	}
	if _, ok := s.record(id); !ok {
		return id, nil, noRelease(s.name, id)
	}
	m, err := a.store.Manifest(id)
	if err != nil {
		return id, nil, a.lostManifest(c, s, id, err)
	}
	return id, m, nil
}

// getManifest answers with a release's manifest.
func (a *Agent) getManifest(c *call) error {
	id, m, err := a.askedManifest(c)
	if err != nil {
		return err
	}
	if raw, err := a.store.Statement(id); err == nil { // it is the release's, and may be gone with it
		c.w.Header().Set(api.HeaderStatement, base64.StdEncoding.EncodeToString(raw))
	}
	c.w.Header().Set("Content-Type", api.TypeManifest)
	_, _ = c.patientWriter().Write(m.Encode()) // a caller who is gone is told nothing
	return nil
}

// getCodings says which of a release's best codings the POP lacks, for who makes them.
func (a *Agent) getCodings(c *call) error {
	_, m, err := a.askedManifest(c)
	if err != nil {
		return err
	}
	lacking, err := a.store.LacksBest(m)
	if err != nil {
		return err
	}
	return c.answer(api.Codings{Lacking: names(lacking)})
}

// getReleases lists what the POP has of a site.
func (a *Agent) getReleases(c *call) error {
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	s.mu.Lock()
	list := api.Releases{Releases: make([]api.ReleaseStatus, 0, len(s.records))}
	for id, rec := range s.records {
		list.Releases = append(list.Releases, api.ReleaseStatus{
			Release: api.Release{Site: s.name, Release: id.String(), Files: rec.Files, Bytes: rec.Bytes, Time: rec.Time},
			Key:     rec.Key.String(), Staged: !rec.Staged.IsZero(), Active: s.serving && s.active == id, Here: rec.Here,
			LastActive: rec.Active,
		})
	}
	s.mu.Unlock()
	for i := range list.Releases {
		id, err := release.ParseHash(list.Releases[i].Release.Release)
		if err != nil {
			return err
		}
		if raw, err := a.store.Statement(id); err == nil { // collected meanwhile
			list.Releases[i].Statement = raw
		}
	}
	slices.SortFunc(list.Releases, func(x, y api.ReleaseStatus) int {
		if by := y.Here.Compare(x.Here); by != 0 {
			return by
		}
		return strings.Compare(x.Release.Release, y.Release.Release)
	})
	return c.answer(list)
}
