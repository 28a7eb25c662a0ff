package define

import (
	"net/url"
	"strings"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/verdict"
)

// A place is a URL of HTTP, as a try has its scheme and host.
type place struct {
	scheme string
	host   string
	path   string
}

// follow is where a try's answer leads to, if it is a redirect that can be followed.
func (p place) follow(t *evidence.Try) (place, bool) {
	if verdict.OfStatus(int(t.Status)) != verdict.HTTPRedirect {
		return place{}, false
	}
	base := url.URL{Scheme: p.scheme, Host: p.host, Path: "/"}
	if u, err := url.Parse(p.scheme + "://" + p.host + p.path); err == nil {
		base = *u
	}
	to, err := base.Parse(t.Location)
	if t.Location == "" || err != nil || to.User != nil || to.Scheme != "http" && to.Scheme != "https" {
		return place{}, false
	}
	host := strings.ToLower(to.Host)
	switch to.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	path := to.EscapedPath()
	if path == "" {
		path = "/"
	}
	if to.RawQuery != "" || to.ForceQuery {
		path += "?" + to.RawQuery
	}
	return place{to.Scheme, host, path}, true
}
