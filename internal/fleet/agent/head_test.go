package agent_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

func TestOnlyAHigherGenerationReplacesAHead(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	one, two := tree{"index.html": "one"}, tree{"index.html": "two"}
	first := c.deploy(5, one)
	second := c.stage(two)
	old := c.head(5, first)
	for _, generation := range []uint64{1, 4, 5} {
		told := c.told(http.StatusConflict, api.CodeStale, "PUT", sitePath("head"), c.head(generation, second))
		if string(told.Current) != string(old) {
			t.Errorf("the refusal has the head %s, want %s", told.Current, old)
		}
		p.serves("/", "one")
	}
	c.want(nil, "PUT", sitePath("head"), old) // the same once more: its first answer was lost
	c.want(nil, "PUT", sitePath("head"), c.head(6, second))
	p.serves("/", "two")
	c.refused(http.StatusConflict, api.CodeStale, "PUT", sitePath("head"), old) // a replay
	var has keys.Statement
	c.want(&has, "GET", sitePath("head"), nil)
	if string(marshal(t, has)) != string(c.head(6, second)) {
		t.Errorf("the head is %s", marshal(t, has))
	}
	p.restart()
	p.owner().refused(http.StatusConflict, api.CodeStale, "PUT", sitePath("head"), old)
	p.serves("/", "two")
}

// The clocks of those who deploy may be wrong by years: a head's time is for
// people.
func TestAHeadsTimeDecidesNothing(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	first, second := c.stage(tree{"index.html": "one"}), c.stage(tree{"index.html": "two"})
	c.want(nil, "PUT", sitePath("head"), c.sign(api.KindHead, api.Head{Site: siteName, Generation: 1, Release: first, Time: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)}))
	c.want(nil, "PUT", sitePath("head"), c.sign(api.KindHead, api.Head{Site: siteName, Generation: 2, Release: second, Time: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)}))
	p.serves("/", "two")
}

func TestAHeadThatIsNotSignedAsItShouldIsRefused(t *testing.T) {
	f := newFleet(t)
	ada, bob := f.member("ada", "deploy:"+siteName), f.member("bob", "deploy:other.org")
	eve := f.member("eve", "deploy")
	p := f.ready("au")
	c := p.as(ada)
	id := c.deploy(1, tree{"index.html": "one"})
	if _, err := f.owner.Revoke("eve"); err != nil {
		t.Fatal(err)
	}
	p.bringRoster()
	foreign, err := ada.Key().Sign(api.KindHead, "elsewhere", marshal(t, api.Head{Site: siteName, Generation: 2, Release: id}))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		status int
		code   api.Code
		body   []byte
	}{
		"by somebody who may deploy another site": {http.StatusForbidden, api.CodeForbidden, p.as(bob).head(2, id)},
		"by somebody revoked":                     {http.StatusForbidden, api.CodeForbidden, p.as(eve).head(2, id)},
		"by a stranger":                           {http.StatusForbidden, api.CodeForbidden, p.as(f.stranger()).head(2, id)},
		"for another fleet":                       {http.StatusUnprocessableEntity, api.CodeInvalid, marshal(t, foreign)},
		"of another site":                         {http.StatusUnprocessableEntity, api.CodeInvalid, c.sign(api.KindHead, api.Head{Site: "other.org", Generation: 2, Release: id})},
		"of another kind":                         {http.StatusUnprocessableEntity, api.CodeInvalid, c.sign(api.KindRelease, api.Head{Site: siteName, Generation: 2, Release: id})},
		"of generation 0":                         {http.StatusUnprocessableEntity, api.CodeInvalid, c.head(0, id)},
		"of no release":                           {http.StatusUnprocessableEntity, api.CodeInvalid, c.head(2, id[:8])},
		"with a changed payload":                  {http.StatusUnprocessableEntity, api.CodeInvalid, []byte(strings.Replace(string(c.head(2, id)), `"generation":2`, `"generation":3`, 1))},
		"no statement":                            {http.StatusUnprocessableEntity, api.CodeInvalid, []byte(`{"site":"example.org"}`)},
		"too long":                                {http.StatusRequestEntityTooLarge, api.CodeTooLarge, make([]byte, api.MaxStatement+1)},
		"of a release that is not here":           {http.StatusPreconditionFailed, api.CodeNotStaged, c.head(2, strings.Repeat("0", 64))},
	} {
		t.Run(name, func(t *testing.T) {
			c.refused(test.status, test.code, "PUT", sitePath("head"), test.body)
		})
	}
	p.serves("/", "one")
}

// Control brings a POP that was away up to the head that somebody else signed.
func TestAHeadMayBeBroughtByAnotherMember(t *testing.T) {
	f := newFleet(t)
	ada, home := f.member("ada", "deploy:"+siteName), f.member("home", "deploy")
	p := f.ready("au")
	id := p.as(ada).stage(tree{"index.html": "one"})
	p.as(home).want(nil, "PUT", sitePath("head"), p.as(ada).head(1, id))
	p.serves("/", "one")
	if s := p.owner().status().Sites[0]; s.HeadKey != ada.Key().Public().String() {
		t.Errorf("the head is signed by %s, want ada", s.HeadKey)
	}
}

func TestWhatDoesNotCompileNeverReplacesWhatDoes(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	c.deploy(1, tree{"index.html": "one"})
	bad := tree{"index.html": "two", "_redirects": "/old /new 999\n"}
	m := bad.manifest()
	c.want(nil, "POST", sitePath("pack"), bad.pack(t, c.putManifest(m).Missing))
	told := c.told(http.StatusUnprocessableEntity, api.CodeNotCompiled, "POST", sitePath("releases", m.ID().String(), "stage"), nil)
	if !strings.Contains(told.Message, "999") || told.Hint == "" {
		t.Errorf("told %q, hint %q", told.Message, told.Hint)
	}
	c.refused(http.StatusPreconditionFailed, api.CodeNotStaged, "PUT", sitePath("head"), c.head(2, m.ID().String()))
	p.serves("/", "one")
	p.restart()
	p.serves("/", "one")
}

func TestAHeadWhoseObjectsAreGoneIsReportedAndMended(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	content := tree{"index.html": "one"}
	c := p.owner()
	id := c.deploy(1, content)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	object := content.manifest().Files[0].Hash.String()
	path := filepath.Join(p.dir, "store", "objects", object[:2], object)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p.start()
	c = p.owner()
	s := c.status()
	if s.Sites[0].Error == "" || s.Sites[0].Active != "" || len(s.Warnings) == 0 {
		t.Fatalf("status says nothing of it: %+v", s)
	}
	if resp, _ := p.visit("/"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a site whose content is gone is answered %s", resp.Status)
	}
	c.refused(http.StatusPreconditionFailed, api.CodeIncomplete, "PUT", sitePath("head"), c.head(1, id))
	if again := c.stage(content); again != id {
		t.Fatalf("the release is %s, was %s", again, id)
	}
	c.want(nil, "PUT", sitePath("head"), c.head(1, id)) // the same head, served at last
	p.serves("/", "one")
	if s := c.status(); s.Sites[0].Error != "" {
		t.Errorf("still in error: %s", s.Sites[0].Error)
	}
}
