package web

import "strings"

// command is one thing to try in a terminal.
type command struct {
	Title, Why string
	Text       string   // what to type, exactly
	Look       []string // what to look for in the output
}

// commands are the things to try against the running POPs. d is checked: it has a POP, and every POP an HTTPS address.
func commands(d WelcomeData, style string) []command {
	first, second := d.POPs[0], d.POPs[min(1, len(d.POPs)-1)]
	at := func(p WelcomePOP, path string) string { return shellQuote(p.HTTPS + path) }
	curl := "curl"
	if d.CAFile != "" {
		curl += " --cacert " + shellQuote(d.CAFile)
	}

	notModified := "The first command keeps the page's ETag in a file, the second shows it to the POP: nothing changed, so no body is sent."
	if first != second {
		notModified = "The first command keeps the ETag that one POP gave, the second shows it to another. " +
			"They serve the same files, so that one knows it too, and sends no body."
	}
	return []command{
		{
			Title: "HTTP/2",
			Why:   "Only the head of the answer, over TLS.",
			Text:  curl + " \\\n  -sI --http2 " + at(first, "/"),
			Look:  []string{"HTTP/2 200", "etag", "content-security-policy"},
		},
		{
			Title: "HTTP/3",
			Why:   "The same over QUIC. This needs a curl that was built with HTTP/3; when yours is not, it says so.",
			Text:  curl + " \\\n  -sI --http3-only " + at(first, "/"),
			Look:  []string{"HTTP/3 200"},
		},
		{
			Title: "ETag and 304",
			Why:   notModified,
			Text: curl + " \\\n  -s -o /dev/null --etag-save etag.txt " + at(first, "/") + "\n" +
				curl + " \\\n  -sI --etag-compare etag.txt " + at(second, "/"),
			Look: []string{"304"},
		},
		{
			Title: "A range",
			Why:   "Fifteen bytes of the page, from the first on.",
			Text:  curl + " \\\n  -si -r 0-14 " + at(first, "/"),
			Look:  []string{"206", "content-range: bytes 0-14/", "<!doctype html>"},
		},
		{
			Title: "Compression",
			Why:   "How many bytes this page is in each coding, and in none.",
			Text: "for coding in br zstd gzip identity; do\n  " + curl + " \\\n    -s -o /dev/null -H \"Accept-Encoding: $coding\" \\\n" +
				"    -w \"$coding %{size_download} bytes\\n\" " + at(first, "/") + "\ndone",
		},
		{
			Title: "A name that may be kept",
			Why:   "The stylesheet has a hash of its content in its name, so it is cached for a year.",
			Text:  curl + " \\\n  -sI " + at(second, "/"+style),
			Look:  []string{"max-age=31536000"},
		},
		{
			Title: "A redirect",
			Why:   "One line in the file _redirects.",
			Text:  curl + " \\\n  -sI " + at(first, "/docs"),
			Look:  []string{"302", "location: /about"},
		},
	}
}

// shellQuote makes s one word for a POSIX shell.
func shellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
