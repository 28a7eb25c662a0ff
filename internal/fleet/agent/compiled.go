package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/site"
)

// A compiledSite is a release that is ready to be activated.
type compiledSite struct {
	id     release.Hash
	inputs uint64
	at     time.Time
	site   *site.Site

	manifest *release.Manifest
}

// compiledTime is how long a compiled release waits for its activation. After that
// it is compiled again, which costs time and not memory.
const compiledTime = 15 * time.Minute

// compile makes a release ready to be served. The caller holds the site's
// changing.
func (a *Agent) compile(ctx context.Context, s *hostedSite, id release.Hash) (*compiledSite, error) {
	ready := s.compiled
	if ready != nil && ready.id == id && ready.inputs == s.inputs {
		return ready, nil
	}
	m, err := a.store.Manifest(id)
	if err != nil {
		return nil, err
	}
	dialect, err := rules.ParseDialect(m.Dialect)
	if err != nil {
		return nil, err
	}
	o := a.siteOptions(s.name, dialect)
	o.Retained = s.retained
	prev := s.live.Site()
	if ready != nil && ready.id == id {
		prev = ready.site
	}
	src := newSource(a.store, a.dir.in(storeDir, "objects"), m)
	compiled, err := site.CompileSource(ctx, o, src, prev)
	src.forget()
	if err != nil {
		return nil, fmt.Errorf("compile release %s of %s: %w", id.Short(), s.name, a.lost(ctx, s, m, err))
	}
	return &compiledSite{id: id, inputs: s.inputs, at: a.o.Now(), site: compiled, manifest: m}, nil
}

// lost sees to it that what the disk has lost or damaged of a release is sent again, if
// that is why it does not compile: damaged objects are removed, and the release is not
// staged any more.
func (a *Agent) lost(ctx context.Context, s *hostedSite, m *release.Manifest, err error) error {
	s.whole = nil // whatever it was
	if damaged, ok := errors.AsType[*site.DamagedError](err); ok {
		// There may be others, and all are to be sent at once.
		err = errors.Join(err, a.store.Discard(release.Hash(damaged.Hash)), a.verify(ctx, m))
	}
	if !isLost(err) {
		return err
	}
	if rec, ok := s.record(m.ID()); ok && !rec.Staged.IsZero() {
		rec.Staged = time.Time{}
		err = errors.Join(err, a.saveRecord(s, m.ID(), rec))
	}
	return err
}

// activate serves a head. The caller holds the site's changing, or is alone.
func (a *Agent) activate(ctx context.Context, s *hostedSite, head *headState) error {
	ready, err := a.compile(ctx, s, head.release)
	if err != nil {
		return err
	}
	s.show(ready, a.o.Now())
	return nil
}

// fail says why a site is not served as it should.
func (s *hostedSite) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err.Error()
}

// show swaps what is served.
func (s *hostedSite) show(ready *compiledSite, now time.Time) {
	s.live.Activate(ready.site)
	s.compiled = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serving || s.active != ready.id {
		s.since = now
	}
	s.active, s.manifest, s.serving, s.failure = ready.id, ready.manifest, true, ""
}

// refresh compiles what is served again: its retained files or its configuration
// have changed. The caller holds the site's changing.
func (a *Agent) refresh(ctx context.Context, s *hostedSite) error {
	s.inputs++
	s.mu.Lock()
	id, serving := s.active, s.serving
	s.mu.Unlock()
	if !serving {
		return nil
	}
	kept := s.compiled
	ready, err := a.compile(ctx, s, id)
	if err != nil {
		return err
	}
	s.show(ready, a.o.Now())
	if kept != nil && kept.id != id {
		s.compiled = kept // still what it was, but for what is retained beside it
	}
	return nil
}
