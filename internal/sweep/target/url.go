package target

import "strings"

// parseURL reads what follows http:// or https:// (RFC 3986 §3).
func parseURL(scheme, rest string) (Target, error) {
	authority, path := rest, ""
	if i := strings.IndexAny(rest, `/?#\`); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.Contains(authority, "@") {
		return Target{}, refusedUser
	}
	t := Target{Kind: URL, Scheme: scheme}
	host, port, found := cutPort(authority)
	var err error
	if found && port != "" { // an empty one is none (RFC 3986 §3.2.3)
		if t.Port, err = parsePort(port); err != nil {
			return Target{}, err
		}
	}
	if t.Port == 80 && scheme == "http" || t.Port == 443 && scheme == "https" {
		t.Port = 0
	}
	if t.Host, t.IsIP, err = parseHost(host); err != nil {
		return Target{}, err
	}
	if t.Path, err = normalPath(path); err != nil {
		return Target{}, err
	}
	const around = len("https://[]:65535")
	if len(t.Host)+len(t.Path)+around > MaxLength {
		return Target{}, refusedLong
	}
	return t, nil
}

// normalPath is a path and a query as they are sent: without the fragment, without
// segments of one or two dots, with a slash first, and with everything escaped that
// a URL must not have. Escapes that are there stay as they are, because servers may
// tell %2F from / and %c3 from %C3.
func normalPath(text string) (string, error) {
	text, _, _ = strings.Cut(text, "#")
	path, query, hasQuery := strings.Cut(text, "?")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if strings.Contains(path, "/.") {
		path = removeDotSegments(path)
	}
	if hasQuery {
		path += "?" + query
	}
	return escape(path)
}

// removeDotSegments is RFC 3986 §5.2.4 for a path that begins with a slash.
func removeDotSegments(path string) string {
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".", "..":
			if segment == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

func escape(text string) (string, error) {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c < 0x20 || c == 0x7f:
			return "", refusedControl
		case c == ' ' || c > 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0, c == '%' && !escaped(text[i:]):
			if b.Len() == 0 {
				b.WriteString(text[:i])
			}
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		case b.Len() > 0:
			b.WriteByte(c)
		}
	}
	if b.Len() == 0 {
		return text, nil
	}
	return b.String(), nil
}

// escaped reports whether a text begins with % and two hexadecimal digits.
func escaped(text string) bool { return len(text) >= 3 && isHex(text[1]) && isHex(text[2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
