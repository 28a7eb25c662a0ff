package rules

import (
	"fmt"
	"net/textproto"
	"strings"
)

// checkName returns the canonical form of a field name, or what is wrong with
// it. remove says that the field is to be taken away, not to be set.
func checkName(name string, remove bool) (string, *problem) {
	for i := range len(name) {
		if !isTokenByte(name[i]) {
			return "", &problem{
				i, fmt.Sprintf("expected a field name, found %q", name),
				"a name has letters, digits and hyphens, no space; its value follows after a colon",
			}
		}
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if what, hint := refusedField(canonical, remove); what != "" {
		return "", &problem{0, what, hint}
	}
	return canonical, nil
}

// refusedField says why a rule may not set, or remove, a field.
func refusedField(name string, remove bool) (what, hint string) {
	switch name {
	case "Basic-Auth":
		return "the field Basic-Auth (passwords by Netlify) is not supported",
			"passwords are for an app or an origin to check: serve these paths from one"
	case "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Upgrade",
		"Http2-Settings":
		return "the field " + name + " belongs to the server: it says where an answer ends", "delete the line"
	case "Content-Encoding", "Content-Range":
		return "the field " + name + " belongs to the server: it says what the bytes of an answer are",
			"delete the line; files are compressed without it"
	case "Date", "Host":
		return "the field " + name + " belongs to the server", "delete the line"
	}
	if remove {
		return "", ""
	}
	switch name {
	case "Etag", "Age", "Accept-Ranges", "Allow":
		return "the field " + name + " belongs to the server: it says how an answer can be kept and asked for again",
			"delete the line, or write: ! " + name
	case "Alt-Svc":
		return "the field Alt-Svc belongs to the server: it announces HTTP/3", "delete the line; the server announces what it speaks"
	case "Location":
		return "the field Location belongs to a redirect", "write a line in _redirects"
	}
	return "", ""
}

// isTokenByte follows RFC 9110, section 5.6.2.
func isTokenByte(c byte) bool {
	return isLetter(c) || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
