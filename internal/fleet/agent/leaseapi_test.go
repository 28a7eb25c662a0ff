package agent_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pennyfarthing/internal/fleet/api"
)

func TestTheSecondDeployIsToldWhoHoldsTheLease(t *testing.T) {
	f := newFleet(t)
	ada, bob := f.member("ada", "deploy"), f.member("bob", "deploy:"+siteName)
	p := f.ready("au")
	a, b := p.as(ada), p.as(bob)
	var lease api.Lease
	a.want(&lease, "PUT", sitePath("lease"), []byte(`{"holder":"ada on laptop","ttl":60}`))
	if lease.Holder != "ada on laptop" || lease.Key != ada.Key().Public().String() || lease.Left <= 0 {
		t.Errorf("the lease is %+v", lease)
	}
	told := b.told(http.StatusConflict, api.CodeLeased, "PUT", sitePath("lease"), []byte(`{"holder":"bob","ttl":60}`))
	if told.Lease == nil || told.Lease.Holder != "ada on laptop" || !strings.Contains(told.Message, "ada on laptop") {
		t.Errorf("told %+v", told)
	}
	b.refused(http.StatusConflict, api.CodeLeased, "DELETE", sitePath("lease"), []byte(`{"holder":"bob"}`))
	if s := b.status(); len(s.Sites) != 0 { // a lease makes no site
		t.Errorf("sites: %+v", s.Sites)
	}
	a.want(nil, "DELETE", sitePath("lease"), []byte(`{"holder":"ada on laptop"}`))
	a.want(nil, "DELETE", sitePath("lease"), []byte(`{"holder":"ada on laptop"}`))
	b.want(nil, "PUT", sitePath("lease"), []byte(`{"holder":"bob","ttl":60}`))
}

func TestALeaseThatCannotBeMeantIsRefused(t *testing.T) {
	f := newFleet(t)
	c := f.ready("au").owner()
	for _, body := range []string{
		`{"holder":"ada","ttl":0}`, `{"holder":"ada","ttl":3601}`, `{"holder":"ada","ttl":-1}`, `{"holder":"","ttl":60}`,
		fmt.Sprintf(`{"holder":%q,"ttl":60}`, strings.Repeat("a", 201)), `{"holder":"a\u001b[2J","ttl":60}`, `[]`, ``, `{"holder":1}`,
	} {
		c.refused(http.StatusBadRequest, api.CodeBadRequest, "PUT", sitePath("lease"), []byte(body))
	}
	c.refused(http.StatusRequestEntityTooLarge, api.CodeTooLarge, "PUT", sitePath("lease"), make([]byte, api.MaxJSON+1))
	c.refused(http.StatusNotFound, api.CodeNoSite, "PUT", "/v1/sites/Example.org/lease", []byte(`{"holder":"ada","ttl":60}`))
	c.refused(http.StatusNotFound, api.CodeNoSite, "PUT", "/v1/sites/..%2F..%2Fetc/lease", []byte(`{"holder":"ada","ttl":60}`))
}
