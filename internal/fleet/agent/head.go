package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

func (a *Agent) getHead(c *call) error {
	s, err := a.site(c.site())
	if err != nil {
		return err
	}
	s.mu.Lock()
	head := s.head
	s.mu.Unlock()
	if head == nil {
		return &api.Error{Status: http.StatusNotFound, Code: api.CodeNoHead, Message: fmt.Sprintf("nothing of %s was ever activated here", s.name), Hint: "penny deploy " + s.name}
	}
	return c.answerStatement(head.raw)
}

// putHead makes a release the one that is served: it is compiled, then the head
// is brought to the disk, and only then it is served and acknowledged. So a head
// that was acknowledged is served after every crash, and one that does not compile
// never takes the place of one that does.
func (a *Agent) putHead(c *call) error {
	st, raw, err := c.statement(api.MaxStatement)
	if err != nil {
		return err
	}
	next, err := readHead(st, raw, a.enrolment.Fleet, c.site())
	if err != nil {
		return invalid(err)
	}
	if err := a.maySign(st.Key, c.site(), "head"); err != nil {
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
	// A caller who hangs up must not leave a head on disk that is not served.
	ctx := context.WithoutCancel(c.r.Context())
	has := s.head // only who holds changing writes it
	if has != nil && bytes.Equal(bytes.TrimSpace(has.raw), bytes.TrimSpace(raw)) {
		if err := a.serveAgain(ctx, s); err != nil {
			return err
		}
		return c.answer(api.HeadResult{Active: has.Release, Generation: has.Generation})
	}
	if has != nil && next.Generation <= has.Generation {
		return &api.Error{
			Status: http.StatusConflict, Code: api.CodeStale, Current: has.raw,
			Message: fmt.Sprintf("generation %d of %s is not higher than %d, which this POP has", next.Generation, s.name, has.Generation),
			Hint:    "somebody else has deployed meanwhile; look at penny status, and deploy again",
		}
	}
	if err := a.mayLeap(has, next); err != nil {
		return err
	}
	rec, ok := s.record(next.release)
	if !ok || rec.Staged.IsZero() {
		return notStaged(s.name, next.release.Short())
	}
	ready, err := a.compile(ctx, s, next.release)
	if err != nil {
		return a.notCompiled(ctx, s, err)
	}
	if err := a.dir.write(raw, sitesDir, s.name, headFile); err != nil {
		return fmt.Errorf("keep the head of %s: %w", s.name, err)
	}
	s.mu.Lock()
	s.head = next
	s.mu.Unlock()
	s.show(ready, a.o.Now())
	rec.Active = a.o.Now().UTC().Round(0)
	if err := a.saveRecord(s, next.release, rec); err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "activation not recorded", slog.String("site", s.name), slog.Any("err", err)) // it is for retention, and the head is on disk
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "release activated", slog.String("site", s.name), slog.String("release", next.release.Short()),
		slog.Uint64("generation", next.Generation), slog.String("by", a.nameOf(st.Key)))
	return c.answer(api.HeadResult{Active: next.Release, Generation: next.Generation})
}

// mayLeap refuses a head whose generation is far above that of the one before, which
// may be nil: who may deploy could otherwise spend all generations at once, and nobody
// could ever deploy again. The owner may leap, to get past what a thief has spent.
func (a *Agent) mayLeap(has, next *headState) error {
	from := uint64(0)
	if has != nil {
		from = has.Generation
	}
	if next.Generation <= api.MaxGeneration && (next.key == a.enrolment.Owner || next.Generation-from <= api.MaxLeap) {
		return nil
	}
	return &api.Error{
		Status: http.StatusUnprocessableEntity, Code: api.CodeInvalid,
		Message: fmt.Sprintf("generation %d of %s is too far above %d, which is the last one here", next.Generation, next.Site, from),
		Hint:    "the owner's key may do that: penny deploy with it",
	}
}

// serveAgain serves the head of a site if that failed before: what was missing may
// have come.
func (a *Agent) serveAgain(ctx context.Context, s *hostedSite) error {
	s.mu.Lock()
	served := s.serving && s.active == s.head.release
	s.mu.Unlock()
	if served {
		return nil
	}
	if err := a.activate(ctx, s, s.head); err != nil {
		return a.notCompiled(ctx, s, err)
	}
	return nil
}

// maySign reports whether a key may sign statements about a site. Who brings them
// has been asked before.
func (a *Agent) maySign(key keys.PublicKey, site, what string) error {
	roster := a.roster.Load().Roster
	if roster.May(key, keys.Right{What: keys.Deploy, Site: site}) {
		return nil
	}
	return &api.Error{
		Status: http.StatusForbidden, Code: api.CodeForbidden,
		Message: fmt.Sprintf("the %s is signed by %s, which may not deploy %s", what, a.nameOf(key), site),
		Hint:    "sign a new one: penny deploy " + site,
	}
}

// nameOf returns what people call a key's holder.
func (a *Agent) nameOf(key keys.PublicKey) string {
	roster := a.roster.Load().Roster
	if m, ok := roster.Member(key); ok {
		return m.Name
	}
	if key == roster.Owner() {
		return "owner"
	}
	return key.String()
}

func notStaged(site, short string) error {
	return &api.Error{
		Status: http.StatusPreconditionFailed, Code: api.CodeNotStaged,
		Message: fmt.Sprintf("release %s of %s is not staged on this POP", short, site),
		Hint:    "penny deploy " + site + " sends it",
	}
}
