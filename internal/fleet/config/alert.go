package config

import (
	"log/slog"
	"net/url"
)

// An AlertURL says where alerts go, as in "ntfy://ntfy.sh/my-topic". Whoever
// knows it can often write there, so it prints and marshals redacted.
type AlertURL string

// Reveal returns the whole URL.
func (a AlertURL) Reveal() string { return string(a) }

// String returns the scheme and nothing else.
func (a AlertURL) String() string {
	u, err := url.Parse(string(a))
	if err != nil {
		return "(redacted)"
	}
	return u.Scheme + "://(redacted)"
}

// GoString returns what String returns.
func (a AlertURL) GoString() string { return a.String() }

// LogValue returns what String returns.
func (a AlertURL) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalText returns what String returns.
func (a AlertURL) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// parseAlert never repeats its input: see [AlertURL].
func parseAlert(s string) (AlertURL, *flaw) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "" {
		return "", &flaw{"an alert needs a URL with a scheme", `write something like "ntfy://ntfy.sh/my-topic"`}
	}
	return AlertURL(s), nil
}
