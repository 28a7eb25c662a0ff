package agent_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"pennyfarthing/internal/fleet/api"
)

func TestAConfigurationSaysWhichSitesAreServedAndUnderWhichNames(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	c.deploy(1, tree{"index.html": "one"})
	config := func(number uint64, sites ...api.ConfigSite) []byte {
		return c.sign(api.KindConfig, api.Config{Number: number, Sites: sites})
	}
	var result api.ConfigResult
	c.want(&result, "PUT", "/v1/config", config(1, api.ConfigSite{Name: siteName, Hosts: []string{"www.example.org"}}, api.ConfigSite{Name: "new.org"}))
	if result.Number != 1 || len(result.Restart) != 0 {
		t.Errorf("answered %+v", result)
	}
	for host, want := range map[string]int{siteName: 200, "www.example.org": 200, "new.org": 503, "other.org": 421} {
		if resp, _ := p.visitHost(host, "/"); resp.StatusCode != want {
			t.Errorf("%s is answered %s, want %d", host, resp.Status, want)
		}
	}
	told := c.told(http.StatusNotFound, api.CodeNoSite, "PUT", api.Path(1, "sites", "other.org", "lease"), []byte(`{"holder":"ada","ttl":60}`))
	if !strings.Contains(told.Hint, "penny.toml") {
		t.Errorf("the hint is %q", told.Hint)
	}
	if s := c.status(); s.Config != 1 || len(s.Sites) != 2 || !s.Sites[0].Configured || s.Sites[1].Site != "new.org" {
		t.Errorf("status: config %d, sites %+v", s.Config, s.Sites)
	}
	c.want(nil, "PUT", "/v1/config", config(2, api.ConfigSite{Name: "new.org"}))
	if resp, _ := p.visit("/"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a site that was taken out is answered %s", resp.Status)
	}
	p.restart()
	c = p.owner()
	if resp, _ := p.visitHost("new.org", "/"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after a restart the new site is answered %s", resp.Status)
	}
	c.want(nil, "PUT", "/v1/config", config(3, api.ConfigSite{Name: siteName}))
	p.serves("/", "one") // what it had is there still
}

func TestOnlyANewerConfigurationOfAnOperatorIsTaken(t *testing.T) {
	f := newFleet(t)
	operator, ada := f.member("operator", "operate"), f.member("ada", "deploy")
	p := f.ready("au")
	c := p.as(operator)
	c.refused(http.StatusNotFound, api.CodeNotFound, "GET", "/v1/config", nil)
	second := c.sign(api.KindConfig, api.Config{Number: 2, Sites: []api.ConfigSite{{Name: siteName}}})
	c.want(nil, "PUT", "/v1/config", second)
	c.want(nil, "PUT", "/v1/config", second)
	told := c.told(http.StatusConflict, api.CodeStale, "PUT", "/v1/config", c.sign(api.KindConfig, api.Config{Number: 2}))
	if string(told.Current) != string(second) {
		t.Errorf("told %s, want %s", told.Current, second)
	}
	c.refused(http.StatusForbidden, api.CodeForbidden, "PUT", "/v1/config", p.as(ada).sign(api.KindConfig, api.Config{Number: 3}))
	for name, bad := range map[string]api.Config{
		"no number":          {},
		"a host twice":       {Number: 3, Sites: []api.ConfigSite{{Name: "a.org", Hosts: []string{"b.org"}}, {Name: "b.org"}}},
		"no host name":       {Number: 3, Sites: []api.ConfigSite{{Name: "../a"}}},
		"no such dialect":    {Number: 3, Sites: []api.ConfigSite{{Name: "a.org", Dialect: "apache"}}},
		"an HSTS of forever": {Number: 3, Sites: []api.ConfigSite{{Name: "a.org", HSTS: 1 << 40}}},
		"no network":         {Number: 3, Edge: api.ConfigEdge{TrustedProxies: []string{"10.0.0.1"}}},
		"PROXY of anybody":   {Number: 3, Edge: api.ConfigEdge{ProxyProtocol: true}},
		"a negative limit":   {Number: 3, Edge: api.ConfigEdge{HeaderBytes: -1}},
		"a retention of -1":  {Number: 3, Retention: api.Retention{Releases: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			c.refused(http.StatusUnprocessableEntity, api.CodeInvalid, "PUT", "/v1/config", c.sign(api.KindConfig, bad))
		})
	}
	var result api.ConfigResult
	c.want(&result, "PUT", "/v1/config", c.sign(api.KindConfig, api.Config{Number: 3, Edge: api.ConfigEdge{HeaderFields: 20}}))
	if !slices.Equal(result.Restart, []string{"edge"}) {
		t.Errorf("limits of the edge need a restart, and the answer is %+v", result)
	}
	p.restart()
	if s := p.owner().status(); s.Config != 3 {
		t.Errorf("after a restart the POP has configuration %d", s.Config)
	}
}

func TestHSTSFollowsTheConfiguration(t *testing.T) {
	f := newFleet(t)
	p := f.enrol("au")
	secure := p.startTLS()
	p.bringRoster()
	c := p.owner()
	c.deploy(1, tree{"index.html": "one"})
	c.want(nil, "PUT", "/v1/certificates/"+siteName, certificate(t, siteName).pem)
	hsts := func() string {
		resp := p.visitTLS(secure, siteName, nil)
		return resp.Header.Get("Strict-Transport-Security")
	}
	if got := hsts(); got != "" {
		t.Errorf("nobody asked for HSTS, and it is %q", got)
	}
	c.want(nil, "PUT", "/v1/config", c.sign(api.KindConfig, api.Config{Number: 1, Sites: []api.ConfigSite{{Name: siteName, HSTS: 3600}}}))
	if got := hsts(); got != "max-age=3600" {
		t.Errorf("HSTS is %q", got)
	}
}
