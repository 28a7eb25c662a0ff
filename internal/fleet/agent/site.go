package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/site"
)

// maxSites bounds how many sites a POP has.
const maxSites = 1000

// A headState is a head with the statement that it came in. It is immutable.
type headState struct {
	api.Head
	release release.Hash
	key     keys.PublicKey
	raw     []byte
}

// A hostedSite is one site of the POP: what it serves, and what it could serve.
type hostedSite struct {
	name string
	live *site.Live

	// changing makes staging, activation and collection of a site one after the
	// other. Whoever takes it and the agent's collecting takes that first.
	changing sync.Mutex

	mu      sync.Mutex // guards what follows
	head    *headState // nil: none yet
	active  release.Hash
	serving bool      // active and manifest mean something
	since   time.Time // when it was activated
	failure string    // why the head is not what is served
	records map[release.Hash]*record
	// manifest is that of active.
	manifest *release.Manifest
	// previews are by host, and so is which of them somebody has ended. What is in
	// them is immutable.
	previews map[string]*preview
	ended    map[string]*previewEnd
	// lacking are the objects, with their sizes, that the release that was offered last
	// lacked then: most of what comes is of these.
	lacking map[release.Hash]int64

	// What only who holds changing uses:

	// retained has the fingerprinted files of all staged releases, those of the newest
	// first. Most are in many releases, and there once.
	retained []site.SourceFile
	// newest is the release whose fingerprinted files came to retained last.
	newest *release.Manifest
	// offered is the release that was offered last: it is asked for again soon.
	offered *release.Manifest
	// whole is the release that was last found to be whole in the store, when that had
	// removed so many files.
	whole   *release.Manifest
	removed uint64
	// compiled is the site of the release that was staged last, so that its
	// activation has nothing left to do, if inputs is still what it was.
	compiled *compiledSite
	// inputs counts what else went into a compiled site: configuration, retained
	// files.
	inputs uint64
}

// newSite returns a site that serves nothing yet.
func (a *Agent) newSite(name string) *hostedSite {
	return &hostedSite{
		name:    name,
		live:    site.NewReleased(a.siteOptions(name, rules.Netlify), site.LiveOptions{Name: name, Codings: a.o.Codings, Busy: a.busy, Log: a.log}),
		records: make(map[release.Hash]*record), previews: make(map[string]*preview), ended: make(map[string]*previewEnd),
	}
}

// busy reports whether there is something more urgent than better codings.
func (a *Agent) busy() bool { return a.leases.any() || a.hush.on() }

// siteOptions returns how a site is compiled.
func (a *Agent) siteOptions(name string, dialect rules.Dialect) site.Options {
	o := site.Options{Dialect: dialect, Store: a.o.Bodies, Budget: a.budget(), Now: a.o.Now}
	if configured, ok := a.config.Load().site(name); ok {
		o.HSTS = time.Duration(configured.HSTS) * time.Second
	}
	return o
}

// loadSites brings back every site of the state directory, and serves their heads.
// What is wrong with one is told, and costs the others nothing.
func (a *Agent) loadSites(ctx context.Context) error {
	names, err := a.dir.list(sitesDir)
	if err != nil {
		return err
	}
	stored, err := a.store.Manifests()
	if err != nil {
		return err
	}
	have := make(map[release.Hash]bool, len(stored))
	for _, r := range stored {
		have[r.ID] = true
	}
	for _, name := range names {
		if !isSiteName(name) {
			continue
		}
		s := a.newSite(name)
		if err := a.loadRecords(ctx, s, have); err != nil {
			return err
		}
		if s.head, err = a.loadHead(name); err != nil {
			s.failure = err.Error()
			a.log.LogAttrs(ctx, slog.LevelWarn, "head not read", slog.String("site", name), slog.Any("err", err))
		}
		a.sites[name] = s
	}
	for _, s := range a.sites {
		if s.head == nil || !a.served(s.name) {
			continue
		}
		if err := a.activate(ctx, s, s.head); err != nil {
			s.failure = err.Error()
			a.log.LogAttrs(ctx, slog.LevelWarn, "head not served", slog.String("site", s.name), slog.String("release", s.head.release.Short()), slog.Any("err", err))
		}
	}
	for _, s := range a.sites {
		if err := a.loadPreviews(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) loadHead(name string) (*headState, error) {
	raw, err := a.dir.read(api.MaxStatement, sitesDir, name, headFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := keys.ParseStatement(raw)
	if err != nil {
		return nil, err
	}
	return readHead(st, raw, a.enrolment.Fleet, name)
}

// readHead returns the head in a statement whose signature holds. Whether the key
// may sign it is the caller's to ask.
func readHead(st *keys.Statement, raw []byte, fleet, siteName string) (*headState, error) {
	payload, err := st.Verify(fleet, api.KindHead)
	if err != nil {
		return nil, err
	}
	h := &headState{key: st.Key, raw: raw}
	if err := json.Unmarshal(payload, &h.Head); err != nil {
		return nil, fmt.Errorf("read the head of %s: %w", siteName, err)
	}
	if h.Site != siteName {
		return nil, fmt.Errorf("read the head of %s: it is of the site %.260q", siteName, h.Site)
	}
	if h.Generation == 0 {
		return nil, fmt.Errorf("read the head of %s: its generation is 0", siteName)
	}
	if h.release, err = release.ParseHash(h.Release); err != nil {
		return nil, fmt.Errorf("read the head of %s: %w", siteName, err)
	}
	return h, nil
}

// loadRecords reads what is known of a site's releases. Records whose manifest is
// gone are removed: a killed process was collecting.
func (a *Agent) loadRecords(ctx context.Context, s *hostedSite, have map[release.Hash]bool) error {
	names, err := a.dir.list(sitesDir, s.name, releasesDir)
	if err != nil {
		return err
	}
	for _, file := range names {
		id, err := release.ParseHash(strings.TrimSuffix(file, recordExt))
		if err != nil || !strings.HasSuffix(file, recordExt) {
			continue
		}
		rec := new(record)
		data, err := a.dir.read(maxSmall, sitesDir, s.name, releasesDir, file)
		if err == nil {
			err = json.Unmarshal(data, rec)
		}
		if err == nil && !have[id] {
			err = fmt.Errorf("its manifest is gone: %w", fs.ErrNotExist)
		}
		if err != nil {
			a.log.LogAttrs(ctx, slog.LevelWarn, "release forgotten", slog.String("site", s.name), slog.String("release", id.Short()), slog.Any("err", err))
			if err := a.dir.remove(sitesDir, s.name, releasesDir, file); err != nil {
				return err
			}
			continue
		}
		s.records[id] = rec
	}
	a.recallRetained(ctx, s)
	return nil
}

const recordExt = ".json"

// saveRecord has a record on disk. The caller holds the site's changing.
func (a *Agent) saveRecord(s *hostedSite, id release.Hash, rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := a.dir.makeDir(sitesDir, s.name, releasesDir); err != nil {
		return err
	}
	if err := a.dir.write(data, sitesDir, s.name, releasesDir, id.String()+recordExt); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[id] = &rec
	return nil
}

// record returns a copy of what is known of a release.
func (s *hostedSite) record(id release.Hash) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.records[id]
	if !ok {
		return record{}, false
	}
	return *rec, true
}

// served reports whether the POP serves a site: once there is a configuration it
// says so, and until then every site is served that somebody may deploy.
func (a *Agent) served(name string) bool {
	config := a.config.Load()
	_, ok := config.site(name)
	return ok || config.Number == 0
}

// site returns a site of the POP.
func (a *Agent) site(name string) (*hostedSite, error) {
	if !a.served(name) {
		return nil, &api.Error{
			Status: http.StatusNotFound, Code: api.CodeNoSite,
			Message: fmt.Sprintf("configuration %d of this POP has no site %s", a.config.Load().Number, name),
			Hint:    "add it to penny.toml, and tell the POPs: penny apply",
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.sites[name]
	if !ok {
		return nil, noSite(name)
	}
	return s, nil
}

// siteToDeploy returns a site of the POP, and makes it if this is the first that
// is heard of it.
func (a *Agent) siteToDeploy(ctx context.Context, name string) (*hostedSite, error) {
	s, err := a.site(name)
	if err == nil || !a.served(name) {
		return s, err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	if err := a.ensure(ctx, name); err != nil {
		return nil, err
	}
	return a.site(name)
}

// ensure makes a site if it is not there. The caller holds changing.
func (a *Agent) ensure(ctx context.Context, name string) error {
	a.mu.Lock()
	_, has := a.sites[name]
	full := len(a.sites) >= maxSites
	a.mu.Unlock()
	switch {
	case has:
		return nil
	case full:
		return &api.Error{Status: http.StatusUnprocessableEntity, Code: api.CodeInvalid, Message: fmt.Sprintf("this POP has %d sites, and takes no more", maxSites)}
	}
	if err := a.dir.makeDir(sitesDir, name); err != nil {
		return err
	}
	s := a.newSite(name)
	select { // its goroutine is Run's
	case a.started <- s:
	case <-ctx.Done():
		return ctx.Err()
	case <-a.stopping:
		return errStopping()
	}
	a.mu.Lock()
	a.sites[name] = s
	a.mu.Unlock()
	return a.route()
}

// allSites returns the sites by name.
func (a *Agent) allSites() []*hostedSite {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*hostedSite, 0, len(a.sites))
	for _, s := range a.sites {
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y *hostedSite) int { return strings.Compare(x.name, y.name) })
	return all
}
