package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
)

const (
	// manifestWindow bounds the memory that a compressed manifest asks for: what
	// encoders take at their best level.
	manifestWindow = 32 << 20
	// missingListed is how many missing objects an error names.
	missingListed = 10_000
)

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
	m, err := c.manifest(id, about, base)
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
	missing, need := a.missing(m)
	if err := a.disk.check(need); err != nil {
		return err
	}
	if _, err := a.store.PutManifest(m, raw); err != nil {
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
	if c.version == 1 {
		return c.answer(api.ManifestResult{Missing: names(missing), Bytes: need, Staged: !rec.Staged.IsZero()})
	}
	return c.answer(api.ManifestRuns{Missing: runs(m, missing), Bytes: need, Staged: !rec.Staged.IsZero()})
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

// manifest reads the manifest in the body, which must be the release that its name
// and its statement say.
func (c *call) manifest(id release.Hash, about *api.Release, base []byte) (*release.Manifest, error) {
	text, err := c.decoded(api.MaxManifest, base)
	if err != nil {
		return nil, err
	}
	if got := release.HashOf(text); got != id {
		return nil, invalid(fmt.Errorf("this manifest is release %s, not %s", got.Short(), id.Short()))
	}
	m, err := release.ParseManifest(text)
	if err != nil {
		return nil, invalid(err)
	}
	if m.Site != c.site() {
		return nil, invalid(fmt.Errorf("this manifest is of the site %s, not of %s", m.Site, c.site()))
	}
	if len(m.Files) != about.Files || m.Bytes() != about.Bytes {
		return nil, invalid(fmt.Errorf("the statement speaks of %d files of %d bytes, and the manifest has %d of %d", about.Files, about.Bytes, len(m.Files), m.Bytes()))
	}
	return m, nil
}

// base returns the manifest that the one in the body is coded against, or nil.
func (a *Agent) base(c *call) ([]byte, error) {
	text := c.r.Header.Get(api.HeaderBase)
	if text == "" {
		return nil, nil
	}
	lacks := &api.Error{
		Status: http.StatusPreconditionFailed, Code: api.CodeNoBase,
		Message: fmt.Sprintf("this POP has no release %.64q of %s to start from", text, c.site()), Hint: "send the manifest without " + api.HeaderBase,
	}
	id, err := release.ParseHash(text)
	if err != nil {
		return nil, lacks
	}
	s, err := a.site(c.site())
	if err != nil {
		return nil, lacks
	}
	if _, ok := s.record(id); !ok {
		return nil, lacks
	}
	m, err := a.store.Manifest(id)
	if err != nil {
		return nil, lacks
	}
	return m.Encode(), nil
}

// decoded reads a body that may come with Content-Encoding: zstd, of at most limit
// bytes when decoded, and coded against a base that is not nil.
func (c *call) decoded(limit int64, base []byte) ([]byte, error) {
	body := http.MaxBytesReader(c.w, c.r.Body, limit)
	switch coding := c.r.Header.Get("Content-Encoding"); coding {
	case "", "identity":
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, unreadable(err)
		}
		return text, nil
	case "zstd":
	case api.CodingDelta:
		if base == nil {
			return nil, &api.Error{Status: http.StatusUnsupportedMediaType, Code: api.CodeBadRequest, Message: "the body says what is different, and not from what", Hint: api.HeaderBase + " names a release"}
		}
		text, err := release.Undelta(body, base, limit)
		if errors.Is(err, release.ErrTooLong) {
			return nil, &http.MaxBytesError{Limit: limit}
		}
		if err != nil {
			return nil, invalid(err)
		}
		return text, nil
	default:
		return nil, &api.Error{Status: http.StatusUnsupportedMediaType, Code: api.CodeBadRequest, Message: fmt.Sprintf("the body comes in the coding %.40q", coding), Hint: "send it in zstd, or as it is"}
	}
	options := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(manifestWindow)}
	if base != nil {
		options = append(options, zstd.WithDecoderDictRaw(0, base))
	}
	decoder, err := zstd.NewReader(body, options...)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	text, err := io.ReadAll(io.LimitReader(decoder, limit+1))
	switch {
	case err != nil:
		return nil, invalid(fmt.Errorf("the body is not whole, or is not zstd with a window of at most %d bytes: %w", manifestWindow, err))
	case int64(len(text)) > limit:
		return nil, &http.MaxBytesError{Limit: limit}
	}
	return text, nil
}

// missing returns the objects of a manifest that the store lacks, each once, and
// how many bytes they have.
func (a *Agent) missing(m *release.Manifest) (missing []release.Hash, bytes int64) {
	hashes := make([]release.Hash, len(m.Files))
	for i, f := range m.Files {
		hashes[i] = f.Hash
	}
	missing = a.store.Missing(hashes)
	if len(missing) == 0 {
		return nil, 0
	}
	wanted := make(map[release.Hash]bool, len(missing))
	for _, h := range missing {
		wanted[h] = true
	}
	for _, f := range m.Files {
		if wanted[f.Hash] {
			bytes += f.Size
			wanted[f.Hash] = false
		}
	}
	return missing, bytes
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
	if missing, bytes := a.missing(m); len(missing) > 0 {
		return incomplete(s.name, id, missing, bytes)
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

// getManifest answers with a release's manifest.
func (a *Agent) getManifest(c *call) error {
	id, err := c.releaseID()
	if err != nil {
		return err
	}
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	if _, ok := s.record(id); !ok {
		return noRelease(s.name, id)
	}
	m, err := a.store.Manifest(id)
	if err != nil {
		return a.lostManifest(c, s, id, err)
	}
	if raw, err := a.store.Statement(id); err == nil { // it is the release's, and may be gone with it
		c.w.Header().Set(api.HeaderStatement, base64.StdEncoding.EncodeToString(raw))
	}
	c.w.Header().Set("Content-Type", api.TypeManifest)
	_, _ = c.patientWriter().Write(m.Encode()) // a caller who is gone is told nothing
	return nil
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
