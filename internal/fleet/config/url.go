package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"strings"
)

// parseOrigin returns the URL that requests for a site are sent on to.
func parseOrigin(s string) (*url.URL, *flaw) {
	u, f := parseWeb(s, "http", "https")
	switch {
	case f != nil:
		return nil, f
	case u.User != nil:
		// Not repeated: there may be a password in it.
		return nil, &flaw{"the origin's URL has a user or password in it", "leave out what stands before the @"}
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return nil, &flaw{fmt.Sprintf("%s has a query or fragment", quote(s)), "leave out what begins with ? or #"}
	}
	return u, nil
}

// parseWeb returns an absolute URL with one of some schemes and with a host.
func parseWeb(s string, schemes ...string) (*url.URL, *flaw) {
	u, err := url.Parse(s)
	bad := &flaw{"this is not a URL with scheme and host", fmt.Sprintf(`write something like "%s://example.net"`, schemes[len(schemes)-1])}
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, bad
	}
	for _, scheme := range schemes {
		if u.Scheme != scheme {
			continue
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		if strings.HasSuffix(u.Host, ":") {
			return nil, bad
		}
		host := u.Hostname()
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if _, f := parseHostPort(host + ":" + port); f != nil {
			return nil, f
		}
		return u, nil
	}
	return nil, &flaw{fmt.Sprintf("the scheme %s is not possible here", quote(u.Scheme)), "use " + strings.Join(schemes, " or ")}
}

// parseEmail returns s, a plain mail address.
func parseEmail(s string) (string, *flaw) {
	bad := &flaw{fmt.Sprintf("%s is not a mail address", quote(s)), `write something like "me@example.org"`}
	addr, err := mail.ParseAddress(s)
	if err != nil || addr.Address != s {
		return "", bad
	}
	_, domain, _ := strings.Cut(s[strings.LastIndex(s, "@"):], "@")
	if _, f := parseHost(domain); f != nil || domain == "localhost" {
		return "", bad
	}
	return s, nil
}

// parseContact returns s, how the owner of a target reaches who sweeps.
func parseContact(s string) (string, *flaw) {
	if to, ok := strings.CutPrefix(s, "mailto:"); ok {
		_, f := parseEmail(to)
		return s, f
	}
	if strings.HasPrefix(s, "https:") {
		_, f := parseWeb(s, "https")
		return s, f
	}
	f := &flaw{fmt.Sprintf("%s is neither a mailto: nor an https: URL", quote(s)), `write something like "mailto:me@example.org"`}
	if _, wrong := parseEmail(s); wrong == nil {
		f.hint = "write " + quote("mailto:"+s)
	}
	return "", f
}

// parseCA returns s, the name of a certificate authority or the URL of an ACME
// directory (RFC 8555, section 7.1.1).
func parseCA(s string) (string, *flaw) {
	if s == LetsEncrypt || s == LetsEncryptStaging {
		return s, nil
	}
	if strings.HasPrefix(s, "https:") {
		_, f := parseWeb(s, "https")
		return s, f
	}
	return "", &flaw{
		fmt.Sprintf("%s is not a certificate authority that is known by name", quote(s)),
		didYouMean(s, []string{LetsEncrypt, LetsEncryptStaging}, "write letsencrypt, letsencrypt-staging or the https URL of an ACME directory"),
	}
}
