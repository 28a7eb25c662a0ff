package agent_test

import (
	"net/http"
	"testing"

	"pennyfarthing/internal/fleet/api"
)

func TestADeployIsServedFromTheFirstByteToTheLast(t *testing.T) {
	f := newFleet(t)
	ada := f.member("ada", "deploy:"+siteName)
	p := f.ready("au")
	c := p.as(ada)
	if resp, _ := p.visit("/"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a site that was never deployed is answered %s", resp.Status)
	}
	first := tree{"index.html": "<title>one</title>", "app.3f9c2b1e.js": "one()", "404.html": "<title>none</title>"}
	m := first.manifest()
	result := c.putManifest(m)
	if len(result.Missing) != 3 || result.Bytes != m.Bytes() || result.Staged {
		t.Fatalf("missing are %+v", result)
	}
	if resp, _ := p.visit("/"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a site without a head is answered %s %v", resp.Status, resp.Header)
	}
	c.refused(http.StatusPreconditionFailed, api.CodeNotStaged, "PUT", sitePath("head"), c.head(1, m.ID().String()))
	id := c.deploy(1, first)
	p.serves("/", first["index.html"])
	if resp, _ := p.visit("/nothing"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("what is not there is answered %s", resp.Status)
	}
	second := tree{"index.html": "<title>two</title>", "app.4a7d8c2f.js": "two()"}
	next := c.deploy(2, second)
	p.serves("/", second["index.html"])
	p.serves("/app.3f9c2b1e.js", first["app.3f9c2b1e.js"]) // of the page that somebody has open
	s := c.status()
	if len(s.Sites) != 1 || s.Sites[0].Active != next || s.Sites[0].Head.Generation != 2 || s.Sites[0].Error != "" {
		t.Fatalf("status: %+v", s.Sites)
	}
	c.want(nil, "PUT", sitePath("head"), c.head(3, id)) // a rollback
	p.serves("/", first["index.html"])
	p.serves("/app.4a7d8c2f.js", second["app.4a7d8c2f.js"])
	p.restart()
	p.serves("/", first["index.html"])
	p.serves("/app.4a7d8c2f.js", second["app.4a7d8c2f.js"])
}
