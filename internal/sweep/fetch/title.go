package fetch

import (
	"bytes"
	"html"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
)

// maxTitle is the longest title that is kept, in runes.
const maxTitle = 256

// Title is the title in the sample of an HTML document: decoded, on one line, without
// control characters, at most 256 runes. It is empty where there is none. The
// character set is the one that contentType says, or the document (WHATWG, encoding
// sniffing).
func Title(sample []byte, contentType string) string {
	raw := titleOf(sample)
	if len(raw) == 0 {
		return ""
	}
	text := string(raw)
	if !utf8.Valid(raw) || !ascii(raw) {
		if e, name, _ := charset.DetermineEncoding(sample[:min(len(sample), 1024)], contentType); name != "utf-8" {
			if decoded, err := io.ReadAll(e.NewDecoder().Reader(bytes.NewReader(raw))); err == nil {
				text = string(decoded)
			}
		}
	}
	text = strings.ToValidUTF8(html.UnescapeString(text), "\ufffd")
	var b strings.Builder
	space, runes := false, 0
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case !unicode.IsPrint(r):
			continue
		}
		if space {
			runes++
		}
		if runes++; runes > maxTitle {
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// titleOf is what stands in the first title element.
func titleOf(b []byte) []byte {
	const open, end = "<title", "</title"
	for {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			return nil
		}
		b = b[i:]
		if len(b) <= len(open) {
			return nil
		}
		if c := b[len(open)]; equalFold(b[:len(open)], open) && (c == '>' || c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
			break
		}
		b = b[1:]
	}
	i := bytes.IndexByte(b, '>')
	if i < 0 {
		return nil
	}
	b = b[i+1:]
	for j := 0; ; j++ {
		k := bytes.IndexByte(b[j:], '<')
		if k < 0 {
			return b // it was cut
		}
		if j += k; len(b)-j >= len(end) && equalFold(b[j:j+len(end)], end) {
			return b[:j]
		}
	}
}
