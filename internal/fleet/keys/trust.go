package keys

import (
	"path/filepath"
	"strings"
	"unicode"
)

// TrustHint returns the commands that make browsers and other programs on a kind
// of system (a value of runtime.GOOS) trust the CA in a PEM file. Each command is
// one line, after a line that begins with "#" and says for what it is. They are
// for a person to type; nothing here runs them.
func TrustHint(goos, caFile string) []string {
	file, name := quoteFor(goos, caFile), nickname(caFile)
	curl := []string{"# curl, this once", "curl --cacert " + file + " https://..."}
	switch goos {
	case "darwin":
		return append([]string{
			"# Safari, Chrome, curl: for you alone",
			"security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db " + file,
		}, curl...)
	case "windows":
		return append([]string{
			"# Edge, Chrome, Firefox: for you alone",
			"certutil -addstore -user -f ROOT " + file,
		}, curl...)
	default:
		return append([]string{
			"# Debian, Ubuntu: all but browsers",
			"sudo cp " + file + " /usr/local/share/ca-certificates/" + name + ".crt && sudo update-ca-certificates",
			"# Fedora, Arch: all but some browsers",
			"sudo trust anchor --store " + file,
			"# Chromium, Chrome (certutil is in the package libnss3-tools or nss-tools)",
			nssCommand(`"$HOME/.pki/nssdb"`, name, file),
			"# Firefox: every profile",
			`for p in "$HOME"/.mozilla/firefox/*/cert9.db; do ` + nssCommand(`"${p%/cert9.db}"`, name, file) + "; done",
		}, curl...)
	}
}

// nssCommand adds a CA to a database of the kind that Chromium and Firefox have.
// An older one under the same nickname goes first, because NSS refuses to give
// a nickname to two subjects.
func nssCommand(db, name, file string) string {
	return "certutil -d sql:" + db + " -D -n " + name + " 2>/dev/null; certutil -d sql:" + db + " -A -t C,, -n " + name + " -i " + file
}

// nickname is what lists of CAs call this one: after its directory, so that
// trusting one CA of this machine does not end the trust in another.
func nickname(caFile string) string {
	dir := filepath.Base(filepath.Dir(caFile))
	plain := func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '.') {
			return r
		}
		return '-'
	}
	return "penny-" + strings.Trim(strings.Map(plain, dir), "-.")
}

// quoteFor writes a path so that the shell of a system takes it for one word.
func quoteFor(goos, path string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@"
	if goos == "windows" {
		if path != "" && strings.Trim(path, plain+`\`) == "" {
			return path
		}
		return `"` + path + `"` // no path on Windows has a quotation mark in it
	}
	if path != "" && strings.Trim(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
