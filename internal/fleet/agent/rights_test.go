package agent_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// TestEveryRouteAsksForItsRight asks for every route with every kind of key. It
// looks at one thing only: whether the caller was let in, which is everything but
// 401 and 403. The table here is written by hand and not made from the agent's.
func TestEveryRouteAsksForItsRight(t *testing.T) {
	f := newFleet(t)
	revoked := f.member("revoked", "deploy", "renew", "operate")
	people := map[string]*keys.Identity{
		"owner":    f.owner.Identity(),
		"this":     f.member("this", "deploy:"+siteName),
		"other":    f.member("other", "deploy:other.org"),
		"every":    f.member("every", "deploy"),
		"renewer":  f.member("renewer", "renew"),
		"operator": f.member("operator", "operate"),
		"revoked":  revoked,
		"stranger": f.stranger(),
	}
	if _, err := f.owner.Revoke("revoked"); err != nil {
		t.Fatal(err)
	}
	p := f.ready("au")
	p.owner().deploy(1, tree{"index.html": "home"})
	const members = "owner this other every renewer operator"
	const deployers = "owner this every"
	id := strings.Repeat("0", 64)
	host := api.PreviewHost(strings.Repeat("a", api.MinPreviewLabel), siteName)
	may := map[string]string{
		"GET /v1/status":           members,
		"GET /v1/roster":           members,
		"PUT /v1/roster":           members + " revoked stranger",
		"GET /v1/config":           members,
		"PUT /v1/config":           "owner operator",
		"GET /v1/logs":             "owner operator",
		"POST /v1/collect":         "owner operator",
		"POST /v1/batch":           members,
		"GET /v1/leaf":             "owner renewer",
		"PUT /v1/leaf":             "owner renewer",
		"PUT /v1/certificates/x.y": "owner renewer",

		"GET " + sitePath("head"):                    members,
		"PUT " + sitePath("head"):                    deployers,
		"PUT " + sitePath("lease"):                   deployers,
		"DELETE " + sitePath("lease"):                deployers,
		"GET " + sitePath("releases"):                members,
		"GET " + sitePath("releases", id):            deployers,
		"PUT " + sitePath("releases", id):            deployers,
		"POST " + sitePath("releases", id, "stage"):  deployers,
		"GET " + sitePath("releases", id, "codings"): deployers,
		"GET " + sitePath("previews"):                deployers,
		"PUT " + sitePath("previews", host):          deployers,
		"DELETE " + sitePath("previews", host):       deployers,
		"POST " + sitePath("pack"):                   deployers,
		"POST " + sitePath("objects"):                deployers,
	}
	if got, want := len(may), agent.Routes(); got != want {
		t.Errorf("the table has %d routes, and the agent %d", got, want)
	}
	for name, id := range people {
		c := p.as(id)
		for route, who := range may {
			t.Run(name+" "+route, func(t *testing.T) {
				method, path, _ := strings.Cut(route, " ")
				resp, data := c.send(method, path, []byte("{}"))
				let := resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusUnauthorized
				if want := strings.Contains(" "+who+" ", " "+name+" "); let != want {
					t.Errorf("answered %s %s; may it: %v", resp.Status, data, want)
				}
			})
		}
	}
}

func TestWhoIsRefusedIsToldWhy(t *testing.T) {
	f := newFleet(t)
	ada := f.member("ada", "deploy:other.org")
	p := f.ready("au")
	told := p.as(ada).told(http.StatusForbidden, api.CodeForbidden, "PUT", sitePath("lease"), []byte(`{"holder":"ada","ttl":60}`))
	if want := "ada may not do this: it takes the right deploy:" + siteName; told.Message != want || !strings.Contains(told.Hint, "penny key add") {
		t.Errorf("told %q, hint %q; want %q", told.Message, told.Hint, want)
	}
	stranger := f.stranger()
	told = p.as(stranger).told(http.StatusForbidden, api.CodeForbidden, "GET", "/v1/status", nil)
	if !strings.Contains(told.Message, stranger.Key().Public().String()) {
		t.Errorf("told %q, without the key", told.Message)
	}
}

// A connection outlives a roster: what a key may do is asked at every call.
func TestARevokedMemberIsRefusedOnAConnectionThatIsOpen(t *testing.T) {
	f := newFleet(t)
	ada := f.member("ada", "deploy")
	p := f.ready("au")
	c := p.as(ada)
	c.status()
	if _, err := f.owner.Revoke("ada"); err != nil {
		t.Fatal(err)
	}
	c.status() // the POP does not know it yet
	p.bringRoster()
	c.refused(http.StatusForbidden, api.CodeForbidden, "GET", "/v1/status", nil)
}

func TestAPOPWithoutARosterKnowsTheOwnerOnly(t *testing.T) {
	f := newFleet(t)
	ada := f.member("ada", "deploy")
	p := f.enrol("au")
	p.start()
	p.as(ada).refused(http.StatusForbidden, api.CodeNotEnrolled, "GET", "/v1/status", nil)
	if s := p.owner().status(); s.Roster != 0 || !strings.Contains(fmt.Sprint(s.Warnings), "no roster") {
		t.Errorf("roster %d, warnings %q", s.Roster, s.Warnings)
	}
	_, st := f.owner.Roster()
	p.as(ada).want(nil, "PUT", "/v1/roster", marshal(t, st)) // anybody may bring what the owner signed
	if s := p.as(ada).status(); s.Roster == 0 || len(s.Warnings) != 0 {
		t.Errorf("roster %d, warnings %q", s.Roster, s.Warnings)
	}
}

func TestOnlyANewerRosterIsTaken(t *testing.T) {
	f := newFleet(t)
	_, first := f.owner.Roster()
	ada := f.member("ada", "deploy")
	_, second := f.owner.Roster()
	p := f.ready("au")
	c := p.as(ada)
	_, now := f.owner.Roster()
	c.want(nil, "PUT", "/v1/roster", marshal(t, now)) // the same once more is no mistake
	for _, old := range []*keys.Statement{first, second} {
		told := c.told(http.StatusConflict, api.CodeStale, "PUT", "/v1/roster", marshal(t, old))
		if string(told.Current) != string(marshal(t, now)) {
			t.Errorf("the refusal has the roster %s", told.Current)
		}
	}
	var has keys.Statement
	c.want(&has, "GET", "/v1/roster", nil)
	if string(marshal(t, has)) != string(marshal(t, now)) {
		t.Errorf("the POP has another roster: %s", marshal(t, has))
	}
	p.restart()
	if s := p.as(ada).status(); s.Roster != mustRoster(f).Number {
		t.Errorf("after a restart the POP has roster %d", s.Roster)
	}
}

func mustRoster(f *fleet) *keys.Roster {
	r, _ := f.owner.Roster()
	return r
}

func TestARosterOfSomebodyElseIsRefused(t *testing.T) {
	f, other := newFleet(t), newFleet(t)
	p := f.ready("au")
	before := p.owner().status().Roster
	for range 5 {
		other.member("m"+strings.Repeat("x", int(mustRoster(other).Number)), "deploy") // a higher number
	}
	_, theirs := other.owner.Roster()
	p.as(f.stranger()).refused(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", "/v1/roster", marshal(t, theirs))
	_, ours := f.owner.Roster()
	forged := *ours
	forged.Signature = make([]byte, len(ours.Signature))
	p.as(f.stranger()).refused(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", "/v1/roster", marshal(t, forged))
	p.as(f.stranger()).refused(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", "/v1/roster", []byte("{}"))
	p.as(f.stranger()).refused(http.StatusRequestEntityTooLarge, api.CodeTooLarge, "PUT", "/v1/roster", make([]byte, api.MaxRoster+1))
	if after := p.owner().status().Roster; after != before {
		t.Errorf("the roster is %d, and was %d", after, before)
	}
}
