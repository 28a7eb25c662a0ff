package edge

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// titleOf returns which site a page is of, or "" for another answer.
func titleOf(text string) string {
	_, rest, _ := strings.Cut(text, "<title>")
	title, _, _ := strings.Cut(rest, "</title>")
	return title
}

func TestTheHostSaysWhichSiteAnswers(t *testing.T) {
	r := start(t, setup{fleet: true})
	for name, c := range map[string]struct {
		request string
		status  int
		site    string
	}{
		"a host of the table is served":                        {"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 200, "site-a"},
		"another host is another site":                         {"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", 200, "site-b"},
		"the port does not matter":                             {"GET / HTTP/1.1\r\nHost: b.example:8443\r\n\r\n", 200, "site-b"},
		"case does not matter":                                 {"GET / HTTP/1.1\r\nHost: B.Example\r\n\r\n", 200, "site-b"},
		"the dot of a full name does not matter":               {"GET / HTTP/1.1\r\nHost: b.example.\r\n\r\n", 200, "site-b"},
		"nor with a port behind it":                            {"GET / HTTP/1.1\r\nHost: b.example.:80\r\n\r\n", 200, "site-b"},
		"an IPv4 address is a host":                            {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 200, "site-a"},
		"an IPv6 literal is a host":                            {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 200, "site-a"},
		"an IPv6 literal may be written long":                  {"GET / HTTP/1.1\r\nHost: [0:0:0:0:0:0:0:1]\r\n\r\n", 200, "site-a"},
		"an absolute target wins over Host":                    {"GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 200, "site-b"},
		"an absolute target without a path is the root":        {"GET http://b.example HTTP/1.1\r\nHost: a.example\r\n\r\n", 200, "site-b"},
		"an absolute target may have a query only":             {"GET http://b.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n", 200, "site-b"},
		"an absolute target of an unknown host is refused":     {"GET http://c.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 421, ""},
		"an unknown host is refused":                           {"GET / HTTP/1.1\r\nHost: c.example\r\n\r\n", 421, ""},
		"a name below a known one is unknown":                  {"GET / HTTP/1.1\r\nHost: www.a.example\r\n\r\n", 421, ""},
		"HTTP/1.0 without a Host is refused, not guessed":      {"GET / HTTP/1.0\r\n\r\n", 421, ""},
		"an unknown host is refused whatever the method":       {"DELETE / HTTP/1.1\r\nHost: c.example\r\n\r\n", 421, ""},
		"an unknown host is refused for OPTIONS *, too":        {"OPTIONS * HTTP/1.1\r\nHost: c.example\r\n\r\n", 421, ""},
		"X-Forwarded-Host and its like are nothing to us":      {"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Host: b.example\r\nForwarded: host=b.example\r\n\r\n", 200, "site-a"},
		"an address that is no host of the table is refused":   {"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", 421, ""},
		"an empty Host is refused by the scanner":              {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, ""},
		"X-Original-URL and X-Rewrite-URL do not change paths": {"GET / HTTP/1.1\r\nHost: a.example\r\nX-Original-URL: /no\r\nX-Rewrite-URL: /no\r\n\r\n", 200, "site-a"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.dial()
			conn.tb = t
			got := conn.send(c.request).receive(strings.Fields(c.request)[0])
			if got.StatusCode != c.status || titleOf(got.text) != c.site {
				t.Errorf("got %d of %q, want %d of %q", got.StatusCode, titleOf(got.text), c.status, c.site)
			}
		})
	}
}

// Browsers send requests for a second host over a connection to a first when its
// certificate covers both, and sometimes when it does not (RFC 9110 §15.5.20).
func TestAConnectionAnswersForWhatItsCertificateCoversOnly(t *testing.T) {
	r := start(t, setup{fleet: true, secure: true})
	for name, c := range map[string]struct {
		serverName, host string
		status           int
		site             string
	}{
		"the host of the server name":                      {hostA, hostA, 200, "site-a"},
		"the host of the server name, in capitals":         {hostA, strings.ToUpper(hostA), 200, "site-a"},
		"a server name in capitals":                        {strings.ToUpper(hostB), hostB, 200, "site-b"},
		"another site's host":                              {hostA, hostB, 421, ""},
		"the other way round":                              {hostB, hostA, 421, ""},
		"another site's host with a port and a dot":        {hostA, hostB + ".:443", 421, ""},
		"a host below the wildcard":                        {hostWild, hostWild, 200, "site-w"},
		"a host below the wildcard, with another name":     {"y.wild.example", hostWild, 200, "site-w"},
		"a wildcard is for one label":                      {hostWild, "deep." + hostWild, 421, ""},
		"no server name shows the first certificate":       {"", hostA, 200, "site-a"},
		"no server name does not reach another site":       {"", hostB, 421, ""},
		"an unknown server name shows the first, too":      {"c.example", hostA, 200, "site-a"},
		"an unknown server name and host":                  {"c.example", "c.example", 421, ""},
		"an address that the certificate names":            {hostA, "127.0.0.1", 200, "site-a"},
		"an address that the certificate does not name":    {hostB, "127.0.0.1", 421, ""},
		"an IPv6 address that the certificate names":       {hostA, "[::1]", 200, "site-a"},
		"a host of the table that no certificate has":      {hostB, "deep." + hostWild, 421, ""},
		"a host that is nobody's on a known server's name": {hostA, "c.example", 421, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test := func(t *testing.T, cl client) {
				got := cl.do("GET", c.host, "/")
				if got.StatusCode != c.status || titleOf(got.text) != c.site {
					t.Errorf("got %d of %q, want %d of %q", got.StatusCode, titleOf(got.text), c.status, c.site)
				}
			}
			r.everyProtocol(t, c.serverName, test)
		})
	}
}

func TestSwappedTablesAndCertificatesCountFromTheNextRequest(t *testing.T) {
	r := start(t, setup{fleet: true, secure: true})
	c := r.overHTTP2(hostB)
	if got := c.do("GET", hostB, "/"); titleOf(got.text) != "site-b" {
		t.Fatalf("before: %d %q", got.StatusCode, got.text)
	}
	moved := newSite(t, "moved", nil)
	table, err := NewTable(Route{Hosts: []string{hostB}, Site: moved.Live})
	if err != nil {
		t.Fatal(err)
	}
	r.server.SetTable(table)
	if got := c.do("GET", hostB, "/"); titleOf(got.text) != "moved" {
		t.Errorf("after the table was swapped: %d %q, want the new site", got.StatusCode, got.text)
	}
	r.server.SetCertificates(certificates(t, true, newCertificate(t, "c.example")))
	if got := c.do("GET", hostB, "/"); got.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("after the certificate was taken away: %d, want 421", got.StatusCode)
	}
	conn := r.dialTLS(hostB)
	shown := conn.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames
	if diff := cmp.Diff([]string{"c.example"}, shown); diff != "" {
		t.Errorf("a new handshake is shown another certificate (-want +got):\n%s", diff)
	}
}

func TestATableRefusesAHostOfTwoSites(t *testing.T) {
	a, b := newSite(t, "one", nil), newSite(t, "two", nil)
	_, err := NewTable(Route{Hosts: []string{"a.example"}, Site: a.Live}, Route{Hosts: []string{"A.example."}, Site: b.Live})
	if err == nil || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") {
		t.Errorf("got %v, want an error that names both sites", err)
	}
}

func TestNormalHost(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a.example": "a.example", "A.EXAMPLE:80": "a.example", "a.example.": "a.example", "a.example.:1": "a.example", ".": ".",
		":80": "", "[::1]": "::1", "[::1]:80": "::1", "::1": "::1", "[2001:DB8:0:0::1]:443": "2001:db8::1", "[": "[", "]": "]", "[]": "", "[]:1": "",
		"a:b:c": "a:b:c", "127.0.0.1:80": "127.0.0.1",
	} {
		if got := normalHost(in); got != want {
			t.Errorf("normalHost(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplitTarget(t *testing.T) {
	type split struct{ Path, Query string }
	for in, want := range map[string]split{
		"/": {"/", ""}, "/a?b?c": {"/a", "b?c"}, "//a": {"//a", ""}, "/?": {"/", ""}, "*": {"*", ""},
		"http://h/p?q": {"/p", "q"}, "http://h": {"/", ""}, "http://h?q": {"/", "q"}, "HTTPS://h/%2f": {"/%2f", ""},
		"/redirect?to=http://h/x": {"/redirect", "to=http://h/x"}, "": {"/", ""}, "h:443": {"h:443", ""}, "http://": {"/", ""},
	} {
		path, query := splitTarget(in)
		if diff := cmp.Diff(want, split{path, query}); diff != "" {
			t.Errorf("splitTarget(%q): (-want +got)\n%s", in, diff)
		}
	}
}

func TestPlainHTTPRedirectsToHTTPSWhereBothRun(t *testing.T) {
	r := start(t, setup{fleet: true, plain: true, secure: true})
	port := r.secure[strings.LastIndexByte(r.secure, ':'):]
	for name, c := range map[string]struct {
		request  string
		status   int
		location string
	}{
		"the target is kept":                      {"GET /x/%41?y=1&z HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", 308, "https://a.example" + port + "/x/%41?y=1&z"},
		"an absolute target gives host and path":  {"GET http://b.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n", 308, "https://b.example" + port + "/x?y"},
		"slashes do not become another host":      {"GET //evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 308, "https://a.example" + port + "//evil.example/"},
		"IPv6 literals get their brackets back":   {"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", 308, "https://[::1]" + port + "/"},
		"POST keeps its method":                   {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n", 308, "https://a.example" + port + "/"},
		"HEAD is redirected":                      {"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n", 308, "https://a.example" + port + "/"},
		"OPTIONS * is about the server":           {"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", 204, ""},
		"an unknown host is refused, not sent on": {"GET / HTTP/1.1\r\nHost: c.example\r\n\r\n", 421, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.dial()
			conn.tb = t
			got := conn.send(c.request).receive(strings.Fields(c.request)[0])
			if got.StatusCode != c.status || got.Header.Get("Location") != c.location {
				t.Errorf("got %d %q, want %d %q", got.StatusCode, got.Header.Get("Location"), c.status, c.location)
			}
		})
	}
	// h2c is plain, too.
	h2c := r.overHTTP2(hostA)
	var speaks http.Protocols
	speaks.SetUnencryptedHTTP2(true)
	h2c.base, h2c.transport = "http://"+r.plain, &http.Transport{Protocols: &speaks}
	if got := h2c.do("GET", hostA, "/x"); got.Header.Get("Location") != "https://a.example"+port+"/x" {
		t.Errorf("over HTTP/2 in clear: %d %q", got.StatusCode, got.Header.Get("Location"))
	}
}

func TestASiteForAnyHostRedirectsNobodyToNowhere(t *testing.T) {
	r := start(t, setup{plain: true, secure: true})
	if got := r.dial().send("GET / HTTP/1.0\r\n\r\n").receive("GET"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("HTTP/1.0 without a Host: %d %q, want 400", got.StatusCode, got.Header.Get("Location"))
	}
}

func TestBothAddressFamiliesAreServed(t *testing.T) {
	for name, address := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			r := start(t, setup{secure: true, address: address})
			r.everyProtocol(t, "localhost", func(t *testing.T, c client) {
				if got := c.do("GET", "", "/"); got.StatusCode != 200 {
					t.Errorf("got %d", got.StatusCode)
				}
			})
		})
	}
}

func TestListenGivesAllAddressesOnePort(t *testing.T) {
	l, err := Listen(t.Context(), true, "127.0.0.1:0", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ports []int
	for _, ln := range l.TLS {
		ports = append(ports, addrPort(ln.Addr()))
	}
	for _, pc := range l.QUIC {
		ports = append(ports, addrPort(pc.LocalAddr()))
	}
	want := []int{ports[0], ports[0], ports[0], ports[0]}
	if diff := cmp.Diff(want, ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if _, err := Listen(t.Context(), true, l.TLS[0].Addr().String()); err == nil {
		t.Error("an address that is taken was bound twice")
	}
	if _, err := Listen(t.Context(), false, "127.0.0.1"); err == nil {
		t.Error("an address without a port was bound")
	}
}
