package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/edge"
	"pennyfarthing/internal/serve/site"
)

// A preview is a release that is served at a host of its own, with the statement
// that says so. It is immutable. Nobody makes codings for it beside those that came.
type preview struct {
	api.Preview
	id   release.Hash
	key  keys.PublicKey
	raw  []byte
	live *site.Live // nil: it cannot be served, or need not
}

// readPreview returns the preview in a statement whose signature holds. Whether the
// key may sign it is the caller's to ask.
func readPreview(st *keys.Statement, raw []byte, fleet, siteName string) (*preview, error) {
	payload, err := st.Verify(fleet, api.KindPreview)
	if err != nil {
		return nil, err
	}
	p := &preview{key: st.Key, raw: raw}
	if err := json.Unmarshal(payload, &p.Preview); err != nil {
		return nil, fmt.Errorf("read a preview of %s: %w", siteName, err)
	}
	if p.Site != siteName {
		return nil, fmt.Errorf("read a preview of %s: it is of the site %.260q", siteName, p.Site)
	}
	if _, _, ok := api.PreviewLabel(p.Host); !ok || !isSiteName(p.Host) {
		return nil, fmt.Errorf("read a preview of %s: %.260q is no host of a preview", siteName, p.Host)
	}
	if p.id, err = release.ParseHash(p.Release); err != nil {
		return nil, fmt.Errorf("read a preview of %s: %w", siteName, err)
	}
	return p, nil
}

// previewFile is the name of a preview's file. A host alone could be too long for one.
func previewFile(host string) string {
	label, _, _ := strings.Cut(host, ".")
	return label + ".json"
}

// ended reports whether a preview has expired.
func (p *preview) ended(now time.Time) bool { return !now.Before(p.Expires) }

// loadPreviews brings the previews of a site back. One that is damaged, or whose
// release cannot be served, is told and left out.
func (a *Agent) loadPreviews(ctx context.Context, s *hostedSite) error {
	files, err := a.dir.list(sitesDir, s.name, previewsDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if strings.HasSuffix(file, previewEndExt) {
			e, err := a.loadPreviewEnd(s, file)
			if err != nil {
				a.log.LogAttrs(ctx, slog.LevelWarn, "end of a preview not read", slog.String("site", s.name), slog.Any("err", err))
				continue
			}
			s.ended[e.Host] = e
			continue
		}
		p, err := a.loadPreview(s, file)
		if p != nil && s.ended[p.Host] != nil { // somebody killed us while it was ended
			if err := a.endPreview(s, p.Host); err != nil {
				return err
			}
			continue
		}
		if err == nil && !p.ended(a.o.Now()) {
			err = a.openPreview(ctx, s, p)
		}
		if err != nil {
			a.log.LogAttrs(ctx, slog.LevelWarn, "preview left out", slog.String("site", s.name), slog.Any("err", err))
		}
		if p != nil { // it is collected when it has expired
			s.previews[p.Host] = p
		}
	}
	return nil
}

// keptAboutPreview reads a statement about a preview back.
func (a *Agent) keptAboutPreview(s *hostedSite, file string) (*keys.Statement, []byte, error) {
	raw, err := a.dir.read(api.MaxStatement, sitesDir, s.name, previewsDir, file)
	if err != nil {
		return nil, nil, err
	}
	st, err := keys.ParseStatement(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return st, raw, nil
}

func (a *Agent) loadPreview(s *hostedSite, file string) (*preview, error) {
	st, raw, err := a.keptAboutPreview(s, file)
	if err != nil {
		return nil, err
	}
	return readPreview(st, raw, a.enrolment.Fleet, s.name)
}

// openPreview compiles what a preview serves. All previews of a site together may
// have as much memory for bodies as the site.
func (a *Agent) openPreview(ctx context.Context, s *hostedSite, p *preview) error {
	m, err := a.store.Manifest(p.id)
	if err != nil {
		return err
	}
	dialect, err := rules.ParseDialect(m.Dialect)
	if err != nil {
		return err
	}
	o := a.siteOptions(s.name, dialect)
	o.Preview, o.HSTS = true, 0
	if o.Budget > 0 {
		o.Budget = max(1, o.Budget/api.MaxPreviews)
	}
	src := newSource(a.store, a.dir.in(storeDir, "objects"), m)
	compiled, err := site.CompileSource(ctx, o, src, s.live.Site())
	src.forget()
	if err != nil {
		return fmt.Errorf("compile release %s of %s: %w", p.id.Short(), s.name, err)
	}
	p.live = site.NewReleased(o, site.LiveOptions{Name: s.name, Log: a.log})
	p.live.Activate(compiled)
	return nil
}

// previewRoutes are the hosts of a site's previews, but for those that somebody has
// configured for something else.
func (a *Agent) previewRoutes(s *hostedSite, taken map[string]bool) []edge.Route {
	s.mu.Lock()
	defer s.mu.Unlock()
	var routes []edge.Route
	for host, p := range s.previews {
		if taken[host] || p.live == nil || p.ended(a.o.Now()) {
			continue
		}
		taken[host] = true
		routes = append(routes, edge.Route{Hosts: []string{host}, Site: p.live})
	}
	return routes
}

// previewHost reads the host in the path.
func (c *call) previewHost() (string, error) {
	host := c.values["host"]
	if _, _, ok := api.PreviewLabel(host); !ok || !isSiteName(host) {
		return "", &api.Error{
			Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("%.260q is no host of a preview", host),
			Hint: fmt.Sprintf("it is %s, where the label has at least %d of the characters a-z and 2-7", api.PreviewHost("LABEL", c.site()), api.MinPreviewLabel),
		}
	}
	return host, nil
}

// putPreview serves a release at a host of its own, until it expires. It may be
// repeated at any time, and another statement about the same host replaces it.
func (a *Agent) putPreview(c *call) error {
	host, err := c.previewHost()
	if err != nil {
		return err
	}
	st, raw, err := c.statement(api.MaxStatement)
	if err != nil {
		return err
	}
	p, err := readPreview(st, raw, a.enrolment.Fleet, c.site())
	if err != nil {
		return invalid(err)
	}
	if err := a.checkPreview(p, host); err != nil {
		return err
	}
	if err := a.maySign(st.Key, c.site(), "preview"); err != nil {
		return err
	}
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	a.collecting.RLock()
	defer a.collecting.RUnlock()
	a.changing.Lock()
	defer a.changing.Unlock()
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := errors.Join(s.stillOpen(host), s.roomFor(p, a.o.Now())); err != nil {
		return err
	}
	if has := s.preview(host); has != nil && has.live != nil && bytes.Equal(bytes.TrimSpace(has.raw), bytes.TrimSpace(raw)) {
		return c.answer(p.Preview)
	}
	if rec, ok := s.record(p.id); !ok || rec.Staged.IsZero() {
		return notStaged(s.name, p.id.Short())
	}
	ctx := context.WithoutCancel(c.r.Context())
	if err := a.openPreview(ctx, s, p); err != nil {
		return a.notCompiled(ctx, s, err)
	}
	if err := a.dir.makeDir(sitesDir, s.name, previewsDir); err != nil {
		return err
	}
	if err := a.dir.write(raw, sitesDir, s.name, previewsDir, previewFile(host)); err != nil {
		return fmt.Errorf("keep a preview of %s: %w", s.name, err)
	}
	s.mu.Lock()
	s.previews[host] = p
	s.mu.Unlock()
	if err := a.route(); err != nil {
		return err
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "preview opened", slog.String("site", s.name), slog.String("release", p.id.Short()), slog.Time("expires", p.Expires), slog.String("by", a.nameOf(st.Key)))
	return c.answer(p.Preview)
}

// checkPreview asks whether what a preview says can be meant.
func (a *Agent) checkPreview(p *preview, host string) error {
	_, of, _ := api.PreviewLabel(host)
	switch left := p.Expires.Sub(a.o.Now()); {
	case p.Host != host:
		return invalid(fmt.Errorf("the preview is at %.260s, not at %s", p.Host, host))
	case !slices.Contains(a.config.Load().hosts(p.Site), of):
		return invalid(fmt.Errorf("%.260q is no host of %s, so a preview of it cannot be there", of, p.Site))
	case left <= 0:
		return invalid(fmt.Errorf("the preview has expired at %s", p.Expires.UTC().Format(time.RFC3339)))
	case left > api.MaxPreviewAge:
		return invalid(fmt.Errorf("the preview would expire at %s, in more than %d days", p.Expires.UTC().Format(time.RFC3339), int(api.MaxPreviewAge.Hours()/24)))
	}
	return nil
}

// preview returns the preview at a host, or nil.
func (s *hostedSite) preview(host string) *preview {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.previews[host]
}

// roomFor refuses a preview where there are too many, and one whose file is another's.
func (s *hostedSite) roomFor(p *preview, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	others := 0
	for host, other := range s.previews {
		if host == p.Host || other.ended(now) {
			continue
		}
		if previewFile(host) == previewFile(p.Host) {
			return invalid(fmt.Errorf("another preview of %s has this label", s.name))
		}
		others++
	}
	if others >= api.MaxPreviews {
		return &api.Error{
			Status: http.StatusUnprocessableEntity, Code: api.CodeInvalid, Message: fmt.Sprintf("%s has %d previews, and can have no more", s.name, others),
			Hint: "wait until one expires, or end one: penny deploy " + s.name + " --end-preview HOST",
		}
	}
	return nil
}

// deletePreview ends a preview. It is no error if it has ended. A statement in the body
// makes that last.
func (a *Agent) deletePreview(c *call) error {
	host, err := c.previewHost()
	if err != nil {
		return err
	}
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	if err := a.takePreviewEnd(c, s, host); err != nil {
		return err
	}
	if s.preview(host) != nil {
		if err := a.endPreview(s, host); err != nil {
			return err
		}
		if err := a.route(); err != nil {
			return err
		}
		a.log.LogAttrs(c.r.Context(), slog.LevelInfo, "preview ended", slog.String("site", s.name))
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// endPreview forgets a preview. The caller holds changing, and routes anew.
func (a *Agent) endPreview(s *hostedSite, host string) error {
	if err := a.dir.remove(sitesDir, s.name, previewsDir, previewFile(host)); err != nil {
		return fmt.Errorf("end a preview of %s: %w", s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.previews, host)
	return nil
}

// endPreviews forgets the previews that have expired. What they served is not kept
// for them any more. It waits for nobody, because who changes the set of sites waits
// for the goroutine that calls it: what it does not do now it does in a minute.
func (a *Agent) endPreviews(ctx context.Context) error {
	if !a.changing.TryLock() {
		return nil
	}
	defer a.changing.Unlock()
	now, some := a.o.Now(), false
	for _, s := range a.allSites() {
		s.mu.Lock()
		hosts := slices.Collect(maps.Keys(s.previews))
		hosts = slices.DeleteFunc(hosts, func(host string) bool { return !s.previews[host].ended(now) })
		ends := slices.Collect(maps.Keys(s.ended))
		ends = slices.DeleteFunc(ends, func(host string) bool { return !s.ended[host].over(now) })
		s.mu.Unlock()
		for _, host := range ends {
			if err := a.forgetPreviewEnd(s, host); err != nil {
				return err
			}
		}
		for _, host := range hosts {
			if err := a.endPreview(s, host); err != nil {
				return err
			}
			some = true
			a.log.LogAttrs(ctx, slog.LevelInfo, "preview expired", slog.String("site", s.name))
		}
	}
	if !some {
		return nil
	}
	return a.route()
}

// getPreviews lists the previews of a site.
func (a *Agent) getPreviews(c *call) error {
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	now := a.o.Now()
	list := api.Previews{Previews: []api.PreviewStatus{}}
	s.mu.Lock()
	for _, p := range s.previews {
		if p.live != nil && !p.ended(now) {
			list.Previews = append(list.Previews, api.PreviewStatus{Preview: p.Preview, Key: p.key.String(), Statement: p.raw})
		}
	}
	for _, e := range s.ended {
		if !e.over(now) {
			list.Ended = append(list.Ended, e.raw)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list.Ended, func(x, y json.RawMessage) int { return bytes.Compare(x, y) })
	slices.SortFunc(list.Previews, func(x, y api.PreviewStatus) int {
		if by := y.Expires.Compare(x.Expires); by != 0 {
			return by
		}
		return strings.Compare(x.Host, y.Host)
	})
	return c.answer(list)
}
