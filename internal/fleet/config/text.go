package config

import (
	"fmt"
	"strings"
	"unicode"
)

// parseText returns s, one line that is not blank.
func parseText(s string) (string, *flaw) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", &flaw{"the text is empty", "write something, or delete the key"}
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", &flaw{fmt.Sprintf("%s has control characters or several lines", quote(s)), "write one line of plain text"}
	}
	return s, nil
}

// parseCommand returns s, a shell command, which may have several lines.
func parseCommand(s string) (string, *flaw) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", &flaw{"the command is empty", "write a command, or delete the key"}
	case strings.Contains(s, "\x00"):
		return "", &flaw{"the command has a NUL byte", "delete it"}
	}
	return s, nil
}

// parseDirectory returns s, the path of a directory. Nothing in it is expanded.
func parseDirectory(s string) (string, *flaw) {
	if _, f := parseText(s); f != nil {
		return "", f
	}
	if s == "~" || strings.HasPrefix(s, "~/") {
		return "", &flaw{fmt.Sprintf("%s begins with ~, which only shells know", quote(s)), "write the whole path, or one that begins at the fleet file"}
	}
	return s, nil
}

// parseSSH returns s, what ssh is told to connect to. One that begins with a
// hyphen would be an option to ssh.
func parseSSH(s string) (string, *flaw) {
	if s == "" || s[0] == '-' || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return "", &flaw{fmt.Sprintf("%s is no destination for ssh", quote(s)), `write an alias of your ssh configuration, or "user@host"`}
	}
	return s, nil
}

// parseDialect returns one of the dialects.
func parseDialect(s string) (Dialect, *flaw) {
	switch d := Dialect(s); d {
	case DialectNetlify, DialectCloudflare:
		return d, nil
	}
	known := []string{string(DialectNetlify), string(DialectCloudflare)}
	return "", &flaw{fmt.Sprintf("%s is not a dialect of _headers and _redirects", quote(s)), didYouMean(s, known, "write netlify or cloudflare")}
}

// parsePath returns s, the path of a URL.
func parsePath(s string) (string, *flaw) {
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) {
		return "", &flaw{fmt.Sprintf("%s is not the path of a URL", quote(s)), `write something like "/healthz"`}
	}
	return s, nil
}
