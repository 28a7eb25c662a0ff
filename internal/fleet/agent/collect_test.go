package agent_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
)

func TestWhatRetentionDoesNotKeepIsCollectedAndNothingElse(t *testing.T) {
	f := newFleet(t)
	p, now := f.enrol("au"), newClock()
	p.now = now.Now
	p.start()
	p.bringRoster()
	c := p.owner()
	page := func(i int) tree {
		return tree{"index.html": fmt.Sprintf("page %d", i), fmt.Sprintf("app.%08xa.js", i+0xabcdef00): fmt.Sprintf("script %d", i)}
	}
	var ids []string
	for i := range 12 {
		ids = append(ids, c.deploy(uint64(i+1), page(i)))
	}
	before := c.status().Disk.Used
	var result api.CollectResult
	c.want(&result, "POST", "/v1/collect", nil)
	if result.Freed != 0 || result.Skipped != "" {
		t.Errorf("all are of the last week, and collecting says %+v", result)
	}
	now.pass(8 * 24 * time.Hour)
	c.want(nil, "PUT", sitePath("lease"), []byte(`{"holder":"ada","ttl":60}`))
	c.want(&result, "POST", "/v1/collect", nil)
	if result.Skipped == "" || result.Freed != 0 {
		t.Errorf("while somebody deploys, collecting says %+v", result)
	}
	now.pass(2 * time.Minute) // nobody gave it back
	result = api.CollectResult{}
	c.want(&result, "POST", "/v1/collect", nil)
	if result.Freed <= 0 || result.Skipped != "" {
		t.Errorf("collecting says %+v", result)
	}
	s := c.status()
	if s.Disk.Used != before-result.Freed || len(s.Sites[0].Staged) != 10 {
		t.Errorf("%d bytes are used, %d were, %d were freed; %d releases are there", s.Disk.Used, before, result.Freed, len(s.Sites[0].Staged))
	}
	if resp, _ := p.visit("/" + page(1).manifest().Files[0].Path); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a script of a release that is gone is answered %s", resp.Status)
	}
	p.serves("/"+page(2).manifest().Files[0].Path, "script 2")
	p.serves("/", "page 11")
	c.refused(http.StatusPreconditionFailed, api.CodeNotStaged, "PUT", sitePath("head"), c.head(13, ids[1]))
	c.want(nil, "PUT", sitePath("head"), c.head(13, ids[2]))
	p.serves("/", "page 2")
	p.restart()
	p.serves("/", "page 2")
	p.serves("/"+page(5).manifest().Files[0].Path, "script 5")
}

// What a deploy pushes out is collected when its lease is given back.
func TestWhatADeployPushesOutIsCollectedAfterIt(t *testing.T) {
	f := newFleet(t)
	p, now := f.enrol("au"), newClock()
	p.now = now.Now
	p.start()
	p.bringRoster()
	c := p.owner()
	for i := range 11 {
		c.deploy(uint64(i+1), tree{"index.html": fmt.Sprintf("page %d", i)})
	}
	now.pass(8 * 24 * time.Hour)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c.want(nil, "PUT", sitePath("lease"), []byte(`{"holder":"ada","ttl":60}`))
		c.want(nil, "DELETE", sitePath("lease"), []byte(`{"holder":"ada"}`))
		if staged := c.status().Sites[0].Staged; len(staged) == 10 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d releases are there, want 10", len(staged))
		}
	}
	p.serves("/", "page 10")
}

// A laptop that was closed for a week in the middle of a deploy goes on.
func TestWhatIsOnItsWayIsKeptForAWeek(t *testing.T) {
	f := newFleet(t)
	p, now := f.enrol("au"), newClock()
	p.now = now.Now
	p.start()
	p.bringRoster()
	c := p.owner()
	content := tree{"index.html": "one", "b.html": "two"}
	m := content.manifest()
	c.want(nil, "POST", sitePath("pack"), content.pack(t, c.putManifest(m).Missing[:1]))
	now.pass(6 * 24 * time.Hour)
	c.want(nil, "POST", "/v1/collect", nil)
	if missing := c.putManifest(m).Missing; len(missing) != 1 {
		t.Errorf("missing are %q", missing)
	}
	now.pass(8 * 24 * time.Hour)
	c.want(nil, "POST", "/v1/collect", nil)
	if missing := c.putManifest(m).Missing; len(missing) != 2 {
		t.Errorf("after a week missing are %q", missing)
	}
}
