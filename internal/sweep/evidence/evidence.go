// Package evidence has what a sweep knows about a target: the tries, and the row
// on top of them.
//
// Columns have these names in every format (Parquet, JSON lines, CSV), in this
// order. [SchemaVersion] grows with every change of meaning; columns may be added
// without one. docs/sweep-rows.md explains each to users.
package evidence

import "time"

// SchemaVersion is that of the columns.
const SchemaVersion = 1

// A Try is one attempt: a name resolved, and if that succeeded one request to one
// address. A lookup that failed is a try of its own, with the scheme and host that
// it was made for.
type Try struct {
	Scheme      string    `json:"scheme" expr:"scheme"`               // http or https
	Host        string    `json:"host" expr:"host"`                   // with :port where it is not the scheme's
	Family      int32     `json:"family" expr:"family"`               // 4, 6, or 0 where there was no address
	Address     string    `json:"address" expr:"address"`             // of the connection, without port
	Resolver    string    `json:"resolver" expr:"resolver"`           // address and port of who answered, or was asked last
	Rcode       string    `json:"rcode" expr:"rcode"`                 // NOERROR, NXDOMAIN, …; empty without an answer
	Status      int32     `json:"status" expr:"status"`               // of the answer; 0 without one
	Location    string    `json:"location" expr:"location"`           // as sent
	Verdict     string    `json:"verdict" expr:"verdict"`             // a code of package verdict
	DNSUS       int64     `json:"dns_us" expr:"dns_us"`               // microseconds; 0 from the cache or for an address
	ConnectUS   int64     `json:"connect_us" expr:"connect_us"`       // 0: the phase was not reached or did not end, here and below
	TLSUS       int64     `json:"tls_us" expr:"tls_us"`               //
	FirstByteUS int64     `json:"first_byte_us" expr:"first_byte_us"` // from the request's end to the answer's first byte
	TotalUS     int64     `json:"total_us" expr:"total_us"`           // without waiting for a turn
	At          time.Time `json:"at" expr:"at"`                       // when it began
	Vantage     string    `json:"vantage" expr:"vantage"`             // from where
}

// A Row is the evidence about a target.
type Row struct {
	Rank          int64     `json:"rank" expr:"rank"`     // of the list, or the number of the line, from 1
	Target        string    `json:"target" expr:"target"` // as it was normalised
	Verdict       string    `json:"verdict" expr:"verdict"`
	Status        int32     `json:"status" expr:"status"`             // of the chain's last answer; 0 without one
	FirstStatus   int32     `json:"first_status" expr:"first_status"` // of the chain's first answer
	Error         string    `json:"error" expr:"error"`               // what went wrong, for people
	Scheme        string    `json:"scheme" expr:"scheme"`             // of the chain's last answer, or of the first try
	FinalURL      string    `json:"final_url" expr:"final_url"`
	Redirects     int32     `json:"redirects" expr:"redirects"` // followed
	Address       string    `json:"address" expr:"address"`
	Attempts      int32     `json:"attempts" expr:"attempts"` // tries, all chains
	DNSUS         int64     `json:"dns_us" expr:"dns_us"`     // of the try that the summary is from, here and below
	ConnectUS     int64     `json:"connect_us" expr:"connect_us"`
	TLSUS         int64     `json:"tls_us" expr:"tls_us"`
	FirstByteUS   int64     `json:"first_byte_us" expr:"first_byte_us"`
	TotalUS       int64     `json:"total_us" expr:"total_us"`
	TLSVersion    string    `json:"tls_version" expr:"tls_version"`       // 1.2 or 1.3
	CertNotAfter  time.Time `json:"cert_not_after" expr:"cert_not_after"` // zero (null in JSON, empty in CSV) without one
	Server        string    `json:"server" expr:"server"`
	ContentType   string    `json:"content_type" expr:"content_type"`
	ContentLength int64     `json:"content_length" expr:"content_length"` // as sent; -1 where none was
	Title         string    `json:"title" expr:"title"`
	BodySHA256    string    `json:"body_sha256" expr:"body_sha256"` // hexadecimal, of the sample; empty without a body
	BodyBytes     int64     `json:"body_bytes" expr:"body_bytes"`   // of the sample
	Suspect       bool      `json:"suspect" expr:"suspect"`         // our own line was in doubt meanwhile, and doing it again did not help
	ObservedAt    time.Time `json:"observed_at" expr:"observed_at"`
	Vantage       string    `json:"vantage" expr:"vantage"`
	Tries         []Try     `json:"tries" expr:"tries"`
}
