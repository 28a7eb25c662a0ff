package agent_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
)

// previewHost is the host of a preview whose label is made of one letter.
func previewHost(letter string) string {
	return api.PreviewHost(strings.Repeat(letter, api.MinPreviewLabel), siteName)
}

// preview returns a signed preview.
func (c *client) preview(host, id string, expires time.Time) []byte {
	c.t.Helper()
	return c.sign(api.KindPreview, api.Preview{Site: siteName, Release: id, Host: host, Expires: expires})
}

func (c *client) previews() []api.PreviewStatus {
	c.t.Helper()
	var list api.Previews
	c.want(&list, "GET", sitePath("previews"), nil)
	return list.Previews
}

func TestAPreviewIsServedAtItsHostUntilItExpiresAndNowhereElse(t *testing.T) {
	f := newFleet(t)
	p, now := f.enrol("au"), newClock()
	p.now = now.Now
	p.start()
	p.bringRoster()
	c := p.owner()
	live := c.deploy(1, tree{"index.html": "live", "404.html": "nothing"})
	id := c.stage(tree{"index.html": "next", "app.3f9a1c7be2d04a58.js": "script"})
	host := previewHost("a")
	before, _ := p.visitHost(host, "/")
	if before.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a host that nobody has opened answers %s", before.Status)
	}
	statement := c.preview(host, id, now.Now().Add(14*24*time.Hour))
	for range 2 { // it may be repeated
		c.want(nil, "PUT", sitePath("previews", host), statement)
	}
	shows := func(when string) {
		t.Helper()
		resp, text := p.visitHost(host, "/")
		if resp.StatusCode != http.StatusOK || text != "next" {
			t.Errorf("%s: the preview is %s %q", when, resp.Status, text)
		}
		if resp.Header.Get("X-Robots-Tag") != "noindex" || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: the preview has the fields %v", when, resp.Header)
		}
		if resp, _ := p.visitHost(host, "/app.3f9a1c7be2d04a58.js"); strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: a script of the preview has Cache-Control %q", when, resp.Header.Get("Cache-Control"))
		}
		if resp, text := p.visit("/"); text != "live" || resp.Header.Get("X-Robots-Tag") != "" {
			t.Errorf("%s: the site is %q with X-Robots-Tag %q", when, text, resp.Header.Get("X-Robots-Tag"))
		}
		if got := c.previews(); len(got) != 1 || got[0].Host != host || got[0].Release != id {
			t.Errorf("%s: previews are %+v", when, got)
		}
	}
	shows("when it was opened")
	p.restart()
	c = p.owner()
	shows("after a restart")
	now.pass(13 * 24 * time.Hour)
	c.want(nil, "POST", "/v1/collect", nil)
	shows("after thirteen days")
	if m := (tree{"index.html": "next", "app.3f9a1c7be2d04a58.js": "script"}).manifest(); len(c.putManifest(m).Missing) != 0 {
		t.Error("what a preview serves was collected")
	}
	now.pass(2 * 24 * time.Hour)
	c.deploy(2, tree{"index.html": "later"}) // so that what was staged before is not what comes next
	now.pass(8 * 24 * time.Hour)
	c.want(nil, "POST", "/v1/collect", nil)
	if resp, _ := p.visitHost(host, "/"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a preview that has expired answers %s", resp.Status)
	}
	if got := c.previews(); len(got) != 0 {
		t.Errorf("previews are %+v", got)
	}
	if s := c.status().Sites[0]; strings.Contains(strings.Join(s.Staged, " "), id) || !strings.Contains(strings.Join(s.Staged, " "), live) {
		t.Errorf("staged are %q; the preview was %s, what was live %s", s.Staged, id, live)
	}
	files, err := os.ReadDir(filepath.Join(p.dir, "sites", siteName, "previews"))
	if err != nil || len(files) != 0 {
		t.Errorf("files of previews: %v (%v)", files, err)
	}
	p.serves("/", "later")
}

// A preview is over when its time is, whether or not somebody has collected it.
func TestAPreviewThatExpiredWhileThePOPWasOffIsNotServed(t *testing.T) {
	f := newFleet(t)
	p, now := f.enrol("au"), newClock()
	p.now = now.Now
	p.start()
	p.bringRoster()
	c := p.owner()
	id, host := c.stage(tree{"index.html": "next"}), previewHost("a")
	c.want(nil, "PUT", sitePath("previews", host), c.preview(host, id, now.Now().Add(time.Hour)))
	now.pass(2 * time.Hour)
	p.restart()
	if resp, _ := p.visitHost(host, "/"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("it answers %s", resp.Status)
	}
	p.owner().want(nil, "POST", "/v1/collect", nil)
	if files, err := os.ReadDir(filepath.Join(p.dir, "sites", siteName, "previews")); err != nil || len(files) != 0 {
		t.Errorf("files of previews: %v (%v)", files, err)
	}
}

func TestAPreviewEndsWhenSomebodyEndsIt(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	id, host := c.stage(tree{"index.html": "next"}), previewHost("a")
	c.want(nil, "PUT", sitePath("previews", host), c.preview(host, id, time.Now().Add(time.Hour)))
	for range 2 { // it may be repeated
		c.want(nil, "DELETE", sitePath("previews", host), nil)
		if resp, _ := p.visitHost(host, "/"); resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("it answers %s", resp.Status)
		}
	}
	p.restart()
	if resp, _ := p.visitHost(host, "/"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("after a restart it answers %s", resp.Status)
	}
}

// Who has ended a preview has ended it for good: nobody brings it back.
func TestAPreviewThatWasEndedIsNotOpenedAgain(t *testing.T) {
	f := newFleet(t)
	laptop := f.member("laptop", "deploy")
	p, now := f.enrol("au"), newClock()
	p.now = now.Now
	p.start()
	p.bringRoster()
	c := p.owner()
	id, host, other := c.stage(tree{"index.html": "next"}), previewHost("a"), previewHost("b")
	expires := now.Now().Add(time.Hour)
	open, end := c.preview(host, id, expires), c.sign(api.KindPreviewEnd, api.PreviewEnd{Site: siteName, Host: host, Expires: expires})
	c.want(nil, "PUT", sitePath("previews", host), open)
	digest := c.status().Sites[0].Previews
	for name, body := range map[string][]byte{
		"of another host":    c.sign(api.KindPreviewEnd, api.PreviewEnd{Site: siteName, Host: other, Expires: expires}),
		"of another site":    c.sign(api.KindPreviewEnd, api.PreviewEnd{Site: "other.org", Host: host, Expires: expires}),
		"of another kind":    open,
		"that never expires": c.sign(api.KindPreviewEnd, api.PreviewEnd{Site: siteName, Host: host, Expires: expires.Add(2 * api.MaxPreviewAge)}),
		"of nobody":          []byte("rot"),
	} {
		t.Run(name, func(t *testing.T) {
			c.refused(http.StatusUnprocessableEntity, api.CodeInvalid, "DELETE", sitePath("previews", host), body)
		})
	}
	if resp, _ := p.visitHost(host, "/"); resp.StatusCode != http.StatusOK || digest == "" || c.status().Sites[0].Previews != digest {
		t.Errorf("what was refused has changed something: %s", resp.Status)
	}
	stranger := p.as(f.member("renewer", "renew")).sign(api.KindPreviewEnd, api.PreviewEnd{Site: siteName, Host: host, Expires: expires})
	p.bringRoster()
	c.refused(http.StatusForbidden, api.CodeForbidden, "DELETE", sitePath("previews", host), stranger)
	for range 2 { // it may be repeated
		p.as(laptop).want(nil, "DELETE", sitePath("previews", host), end)
	}
	if got := c.status().Sites[0].Previews; got == digest || got == "" {
		t.Errorf("the digest of an end is %q, before %q", got, digest)
	}
	for _, when := range []string{"at once", "after a restart"} {
		c.refused(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", sitePath("previews", host), open)
		if resp, _ := p.visitHost(host, "/"); resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s it answers %s", when, resp.Status)
		}
		var list api.Previews
		c.want(&list, "GET", sitePath("previews"), nil)
		if len(list.Previews) != 0 || len(list.Ended) != 1 || string(list.Ended[0]) != string(end) {
			t.Errorf("%s there are %+v", when, list)
		}
		p.restart()
		c = p.owner()
	}
	now.pass(2 * time.Hour)
	c.want(nil, "POST", "/v1/collect", nil)
	if files, err := os.ReadDir(filepath.Join(p.dir, "sites", siteName, "previews")); err != nil || len(files) != 0 || c.status().Sites[0].Previews != "" {
		t.Errorf("files of previews when they would have expired: %v (%v)", files, err)
	}
}

// A preview that is promoted stays where it is, and the site is what it was.
func TestAPreviewIsPromotedByAHeadAndSendsNothing(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	c.deploy(1, tree{"index.html": "live"})
	id, host := c.stage(tree{"index.html": "next"}), previewHost("a")
	c.want(nil, "PUT", sitePath("previews", host), c.preview(host, id, time.Now().Add(time.Hour)))
	c.want(nil, "PUT", sitePath("head"), c.head(2, id))
	resp, text := p.visit("/")
	if text != "next" || resp.Header.Get("X-Robots-Tag") != "" {
		t.Errorf("the site is %q with X-Robots-Tag %q", text, resp.Header.Get("X-Robots-Tag"))
	}
	if resp, text := p.visitHost(host, "/"); text != "next" || resp.Header.Get("X-Robots-Tag") != "noindex" {
		t.Errorf("the preview is %q with X-Robots-Tag %q", text, resp.Header.Get("X-Robots-Tag"))
	}
}

func TestWhatIsNoPreviewIsRefused(t *testing.T) {
	f := newFleet(t)
	other := f.member("other", "deploy:other.org")
	p := f.ready("au")
	c := p.owner()
	id := c.stage(tree{"index.html": "next"})
	never := (tree{"index.html": "never staged"}).manifest().ID().String()
	host, soon := previewHost("a"), time.Now().Add(time.Hour)
	long := api.PreviewHost(strings.Repeat("a", 64), siteName)
	for _, c2 := range []struct {
		name   string
		host   string
		body   []byte
		status int
		code   api.Code
	}{
		{"no statement", host, []byte("{}"), http.StatusUnprocessableEntity, api.CodeInvalid},
		{"another kind of statement", host, c.head(1, id), http.StatusUnprocessableEntity, api.CodeInvalid},
		{"one of another host", host, c.preview(previewHost("b"), id, soon), http.StatusUnprocessableEntity, api.CodeInvalid},
		{"a label that can be guessed", api.PreviewHost("next", siteName), c.preview(api.PreviewHost("next", siteName), id, soon), http.StatusBadRequest, api.CodeBadRequest},
		{"a label that is too long", long, c.preview(long, id, soon), http.StatusBadRequest, api.CodeBadRequest},
		{"a path", "..%2f..%2fhead", c.preview(host, id, soon), http.StatusBadRequest, api.CodeBadRequest},
		{"the site itself", siteName, c.preview(siteName, id, soon), http.StatusBadRequest, api.CodeBadRequest},
		{"the host of another site", strings.Repeat("a", 26) + ".preview.other.org", c.preview(strings.Repeat("a", 26)+".preview.other.org", id, soon), http.StatusUnprocessableEntity, api.CodeInvalid},
		{"a release that is not staged", host, c.preview(host, never, soon), http.StatusPreconditionFailed, api.CodeNotStaged},
		{"one that has expired", host, c.preview(host, id, time.Now().Add(-time.Hour)), http.StatusUnprocessableEntity, api.CodeInvalid},
		{"one that would stay for years", host, c.preview(host, id, time.Now().Add(2*api.MaxPreviewAge)), http.StatusUnprocessableEntity, api.CodeInvalid},
		{"a signature of somebody who may not", host, p.as(other).preview(host, id, soon), http.StatusForbidden, api.CodeForbidden},
	} {
		t.Run(c2.name, func(t *testing.T) {
			resp, data := c.send("PUT", "/v1/sites/"+siteName+"/previews/"+c2.host, c2.body)
			if resp.StatusCode != c2.status || !strings.Contains(string(data), string(c2.code)) {
				t.Errorf("%s %s, want %d with the code %s", resp.Status, data, c2.status, c2.code)
			}
		})
	}
	if got := c.previews(); len(got) != 0 {
		t.Errorf("previews are %+v", got)
	}
}

func TestThereAreOnlySoManyPreviews(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	id, soon := c.stage(tree{"index.html": "next"}), time.Now().Add(time.Hour)
	for i := range api.MaxPreviews {
		host := previewHost(string(rune('a' + i)))
		c.want(nil, "PUT", sitePath("previews", host), c.preview(host, id, soon))
	}
	host := previewHost("z")
	told := c.told(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", sitePath("previews", host), c.preview(host, id, soon))
	if !strings.Contains(told.Hint, "--end-preview") {
		t.Errorf("hint: %q", told.Hint)
	}
	c.want(nil, "PUT", sitePath("previews", previewHost("a")), c.preview(previewHost("a"), id, soon.Add(time.Hour))) // a longer time for one that is there
	c.want(nil, "DELETE", sitePath("previews", previewHost("b")), nil)
	c.want(nil, "PUT", sitePath("previews", host), c.preview(host, id, soon))
}

// What is configured is somebody's site, whoever says that it is a preview.
func TestAConfiguredHostIsNoPreview(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	c.deploy(1, tree{"index.html": "live"})
	id, host := c.stage(tree{"index.html": "next"}), previewHost("a")
	c.want(nil, "PUT", sitePath("previews", host), c.preview(host, id, time.Now().Add(time.Hour)))
	c.want(nil, "PUT", "/v1/config", c.sign(api.KindConfig, api.Config{Number: 1, Sites: []api.ConfigSite{{Name: siteName, Hosts: []string{host}}}}))
	if _, text := p.visitHost(host, "/"); text != "live" {
		t.Errorf("it is %q", text)
	}
	p.restart()
	if _, text := p.visitHost(host, "/"); text != "live" {
		t.Errorf("after a restart it is %q", text)
	}
}
