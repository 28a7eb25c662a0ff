package result

import (
	"time"

	"pennyfarthing/internal/sweep/evidence"
)

// A column is a column of rows, or a field of tries, in the formats that are text.
// field returns a pointer to one of *string, *int32, *int64, *bool, *time.Time and
// *[]evidence.Try.
type column[T any] struct {
	name  string
	field func(*T) any
}

// The columns, in the order of the struct, which a test compares them with.
//
//nolint:gochecknoglobals // tables
var (
	columns = [...]column[evidence.Row]{
		{"rank", func(r *evidence.Row) any { return &r.Rank }},
		{"target", func(r *evidence.Row) any { return &r.Target }},
		{"verdict", func(r *evidence.Row) any { return &r.Verdict }},
		{"status", func(r *evidence.Row) any { return &r.Status }},
		{"first_status", func(r *evidence.Row) any { return &r.FirstStatus }},
		{"error", func(r *evidence.Row) any { return &r.Error }},
		{"scheme", func(r *evidence.Row) any { return &r.Scheme }},
		{"final_url", func(r *evidence.Row) any { return &r.FinalURL }},
		{"redirects", func(r *evidence.Row) any { return &r.Redirects }},
		{"address", func(r *evidence.Row) any { return &r.Address }},
		{"attempts", func(r *evidence.Row) any { return &r.Attempts }},
		{"dns_us", func(r *evidence.Row) any { return &r.DNSUS }},
		{"connect_us", func(r *evidence.Row) any { return &r.ConnectUS }},
		{"tls_us", func(r *evidence.Row) any { return &r.TLSUS }},
		{"first_byte_us", func(r *evidence.Row) any { return &r.FirstByteUS }},
		{"total_us", func(r *evidence.Row) any { return &r.TotalUS }},
		{"tls_version", func(r *evidence.Row) any { return &r.TLSVersion }},
		{"cert_not_after", func(r *evidence.Row) any { return &r.CertNotAfter }},
		{"server", func(r *evidence.Row) any { return &r.Server }},
		{"content_type", func(r *evidence.Row) any { return &r.ContentType }},
		{"content_length", func(r *evidence.Row) any { return &r.ContentLength }},
		{"title", func(r *evidence.Row) any { return &r.Title }},
		{"body_sha256", func(r *evidence.Row) any { return &r.BodySHA256 }},
		{"body_bytes", func(r *evidence.Row) any { return &r.BodyBytes }},
		{"suspect", func(r *evidence.Row) any { return &r.Suspect }},
		{"observed_at", func(r *evidence.Row) any { return &r.ObservedAt }},
		{"vantage", func(r *evidence.Row) any { return &r.Vantage }},
		{"tries", func(r *evidence.Row) any { return &r.Tries }},
	}
	tryColumns = [...]column[evidence.Try]{
		{"scheme", func(t *evidence.Try) any { return &t.Scheme }},
		{"host", func(t *evidence.Try) any { return &t.Host }},
		{"family", func(t *evidence.Try) any { return &t.Family }},
		{"address", func(t *evidence.Try) any { return &t.Address }},
		{"resolver", func(t *evidence.Try) any { return &t.Resolver }},
		{"rcode", func(t *evidence.Try) any { return &t.Rcode }},
		{"status", func(t *evidence.Try) any { return &t.Status }},
		{"location", func(t *evidence.Try) any { return &t.Location }},
		{"verdict", func(t *evidence.Try) any { return &t.Verdict }},
		{"dns_us", func(t *evidence.Try) any { return &t.DNSUS }},
		{"connect_us", func(t *evidence.Try) any { return &t.ConnectUS }},
		{"tls_us", func(t *evidence.Try) any { return &t.TLSUS }},
		{"first_byte_us", func(t *evidence.Try) any { return &t.FirstByteUS }},
		{"total_us", func(t *evidence.Try) any { return &t.TotalUS }},
		{"at", func(t *evidence.Try) any { return &t.At }},
		{"vantage", func(t *evidence.Try) any { return &t.Vantage }},
	}
)

// appendTime writes a time to the microsecond in UTC (RFC 3339, section 5.6).
func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, time.RFC3339Nano)
}
