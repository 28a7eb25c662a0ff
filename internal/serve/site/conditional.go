package site

import (
	"net/http"
	"strings"
	"time"
)

// validators are what the preconditions of a request are compared with: those
// of the selected representation.
type validators struct {
	etag     string // with quotes, "W/" in front if weak
	modified int64  // seconds since 1970
	// exact says that an older content may come back: a copy is fresh only if its
	// time is this one.
	exact bool
}

// precondition evaluates the conditional fields of a GET or HEAD in the order of
// RFC 9110 §13.2.2, but for Range, and returns 412, 304, or 0 to go on.
func precondition(q *Request, v validators) int {
	switch {
	case q.IfMatch != "":
		if !anyTagMatches(q.IfMatch, v.etag, strongMatch) {
			return http.StatusPreconditionFailed
		}
	case q.IfUnmodifiedSince != "":
		if t, ok := parseDate(q.IfUnmodifiedSince); ok && v.modified > t {
			return http.StatusPreconditionFailed
		}
	}
	switch {
	case q.IfNoneMatch != "":
		if anyTagMatches(q.IfNoneMatch, v.etag, weakMatch) {
			return http.StatusNotModified
		}
	case q.IfModifiedSince != "":
		if t, ok := parseDate(q.IfModifiedSince); ok && (v.modified == t || v.modified < t && !v.exact) {
			return http.StatusNotModified
		}
	}
	return 0
}

// ifRangeHolds evaluates If-Range (RFC 9110 §13.1.5): an entity tag must match
// strongly; a date must be exactly the one we send, and only counts where that
// is a strong validator, which it is not for a weakly tagged file.
func ifRangeHolds(value string, v validators) bool {
	value = strings.Trim(value, " \t")
	if tag, rest, ok := cutTag(value); ok {
		return rest == "" && strongMatch(tag, v.etag)
	}
	t, ok := parseDate(value)
	return ok && t == v.modified && !strings.HasPrefix(v.etag, "W/")
}

func strongMatch(a, b string) bool { return a == b && !strings.HasPrefix(a, "W/") }

func weakMatch(a, b string) bool { return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/") }

// anyTagMatches walks a list of entity tags (RFC 9110 §8.8.3), "*" matching any.
// A malformed rest of a list matches nothing.
func anyTagMatches(list, etag string, match func(a, b string) bool) bool {
	if strings.Trim(list, " \t") == "*" {
		return true
	}
	for {
		list = strings.TrimLeft(list, " \t,")
		tag, rest, ok := cutTag(list)
		if !ok {
			return false
		}
		if match(tag, etag) {
			return true
		}
		list = rest
	}
}

// cutTag takes one entity tag off the front of s.
func cutTag(s string) (tag, rest string, ok bool) {
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = 2
	}
	if len(s) < start+2 || s[start] != '"' {
		return "", "", false
	}
	for i := start + 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[:i+1], s[i+1:], true
		case c < 0x21 || c == 0x7f:
			return "", "", false
		}
	}
	return "", "", false
}

// parseDate reads an HTTP date in any of its three forms (RFC 9110 §5.6.7).
func parseDate(s string) (int64, bool) {
	t, err := http.ParseTime(s)
	return t.Unix(), err == nil
}

func formatDate(unix int64) string { return time.Unix(unix, 0).UTC().Format(http.TimeFormat) }
