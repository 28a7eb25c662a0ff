package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// A previewEnd is a preview that somebody has ended before it expired. It is remembered
// until then, so that nobody brings the preview back from a POP that was away. It is
// immutable.
type previewEnd struct {
	api.PreviewEnd
	raw []byte
}

// previewEndExt ends the names of their files, beside those of previews.
const previewEndExt = ".ended.json"

func previewEndFile(host string) string {
	label, _, _ := strings.Cut(host, ".")
	return label + previewEndExt
}

// over reports whether the preview would have expired by now.
func (e *previewEnd) over(now time.Time) bool { return !now.Before(e.Expires) }

// readPreviewEnd returns the end of a preview in a statement whose signature holds.
// Whether the key may sign it is the caller's to ask.
func readPreviewEnd(st *keys.Statement, raw []byte, fleet, siteName string) (*previewEnd, error) {
	payload, err := st.Verify(fleet, api.KindPreviewEnd)
	if err != nil {
		return nil, err
	}
	e := &previewEnd{raw: raw}
	if err := json.Unmarshal(payload, &e.PreviewEnd); err != nil {
		return nil, fmt.Errorf("read the end of a preview of %s: %w", siteName, err)
	}
	if _, _, ok := api.PreviewLabel(e.Host); !ok || !isSiteName(e.Host) || e.Site != siteName {
		return nil, fmt.Errorf("read the end of a preview of %s: it is of %.260q, at %.260q", siteName, e.Site, e.Host)
	}
	return e, nil
}

// loadPreviewEnd reads one back.
func (a *Agent) loadPreviewEnd(s *hostedSite, file string) (*previewEnd, error) {
	st, raw, err := a.keptAboutPreview(s, file)
	if err != nil {
		return nil, err
	}
	return readPreviewEnd(st, raw, a.enrolment.Fleet, s.name)
}

// takePreviewEnd remembers that a preview has ended, if the body of a call says so with
// a signature. The caller holds changing.
func (a *Agent) takePreviewEnd(c *call, s *hostedSite, host string) error {
	raw, err := c.body(api.MaxStatement)
	if err != nil || len(raw) == 0 {
		return err
	}
	st, err := keys.ParseStatement(raw)
	if err != nil {
		return invalid(err)
	}
	e, err := readPreviewEnd(st, raw, a.enrolment.Fleet, s.name)
	if err != nil {
		return invalid(err)
	}
	if e.Host != host {
		return invalid(fmt.Errorf("the preview that has ended was at %.260s, not at %s", e.Host, host))
	}
	if err := a.maySign(st.Key, s.name, "end of a preview"); err != nil {
		return err
	}
	now := a.o.Now()
	if e.over(now) {
		return nil
	}
	if e.Expires.Sub(now) > api.MaxPreviewAge {
		return invalid(fmt.Errorf("no preview lasts until %s", e.Expires.UTC().Format(time.RFC3339)))
	}
	if err := a.makeRoomForEnd(s, host); err != nil {
		return err
	}
	if err := a.dir.makeDir(sitesDir, s.name, previewsDir); err != nil {
		return err
	}
	if err := a.dir.write(raw, sitesDir, s.name, previewsDir, previewEndFile(host)); err != nil {
		return fmt.Errorf("remember that a preview of %s has ended: %w", s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[host] = e
	return nil
}

// makeRoomForEnd forgets, of too many ends, that of the preview that would expire first.
func (a *Agent) makeRoomForEnd(s *hostedSite, host string) error {
	s.mu.Lock()
	first := ""
	if s.ended[host] == nil && len(s.ended) >= api.MaxPreviewEnds {
		for other, e := range s.ended {
			if first == "" || e.Expires.Before(s.ended[first].Expires) {
				first = other
			}
		}
	}
	s.mu.Unlock()
	if first == "" {
		return nil
	}
	return a.forgetPreviewEnd(s, first)
}

// forgetPreviewEnd forgets that a preview has ended. The caller holds changing.
func (a *Agent) forgetPreviewEnd(s *hostedSite, host string) error {
	if err := a.dir.remove(sitesDir, s.name, previewsDir, previewEndFile(host)); err != nil {
		return fmt.Errorf("forget the end of a preview of %s: %w", s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ended, host)
	return nil
}

// stillOpen refuses a preview at a host whose preview has ended.
func (s *hostedSite) stillOpen(host string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended[host] == nil {
		return nil
	}
	return &api.Error{
		Status: http.StatusUnprocessableEntity, Code: api.CodeInvalid, Message: "the preview at this host was ended",
		Hint: "penny deploy " + s.name + " --preview opens another one",
	}
}

// previewDigest is the same on two POPs that have the same previews, and tells nobody
// where they are. It is empty if there are none. The caller holds mu.
func (s *hostedSite) previewDigest(now time.Time) string {
	var lines []string
	for host, p := range s.previews {
		if p.live != nil && !p.ended(now) {
			lines = append(lines, host+" until "+strconv.FormatInt(p.Expires.Unix(), 10))
		}
	}
	for host, e := range s.ended {
		if !e.over(now) {
			lines = append(lines, host+" ended")
		}
	}
	if len(lines) == 0 {
		return ""
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:8])
}
