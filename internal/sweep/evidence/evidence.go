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
	Scheme      string    `json:"scheme" parquet:"scheme,dict"`           // http or https
	Host        string    `json:"host" parquet:"host"`                    // with :port where it is not the scheme's
	Family      int32     `json:"family" parquet:"family"`                // 4, 6, or 0 where there was no address
	Address     string    `json:"address" parquet:"address"`              // of the connection, without port
	Resolver    string    `json:"resolver" parquet:"resolver,dict"`       // address and port of who answered, or was asked last
	Rcode       string    `json:"rcode" parquet:"rcode,dict"`             // NOERROR, NXDOMAIN, …; empty without an answer
	Status      int32     `json:"status" parquet:"status"`                // of the answer; 0 without one
	Location    string    `json:"location" parquet:"location"`            // as sent
	Verdict     string    `json:"verdict" parquet:"verdict,dict"`         // a code of package verdict
	DNSUS       int64     `json:"dns_us" parquet:"dns_us"`                // microseconds; 0 from the cache or for an address
	ConnectUS   int64     `json:"connect_us" parquet:"connect_us"`        // 0: the phase was not reached or did not end, here and below
	TLSUS       int64     `json:"tls_us" parquet:"tls_us"`                //
	FirstByteUS int64     `json:"first_byte_us" parquet:"first_byte_us"`  // from the request's end to the answer's first byte
	TotalUS     int64     `json:"total_us" parquet:"total_us"`            // without waiting for a turn
	At          time.Time `json:"at" parquet:"at,timestamp(microsecond)"` // when it began
	Vantage     string    `json:"vantage" parquet:"vantage,dict"`         // from where
}

// A Row is the evidence about a target.
type Row struct {
	Rank          int64     `json:"rank" parquet:"rank"`     // of the list, or the number of the line, from 1
	Target        string    `json:"target" parquet:"target"` // as it was normalised
	Verdict       string    `json:"verdict" parquet:"verdict,dict"`
	Status        int32     `json:"status" parquet:"status"`             // of the chain's last answer; 0 without one
	FirstStatus   int32     `json:"first_status" parquet:"first_status"` // of the chain's first answer
	Error         string    `json:"error" parquet:"error"`               // what went wrong, for people
	Scheme        string    `json:"scheme" parquet:"scheme,dict"`        // of the chain's last answer, or of the first try
	FinalURL      string    `json:"final_url" parquet:"final_url"`
	Redirects     int32     `json:"redirects" parquet:"redirects"` // followed
	Address       string    `json:"address" parquet:"address"`
	Attempts      int32     `json:"attempts" parquet:"attempts"` // tries, all chains
	DNSUS         int64     `json:"dns_us" parquet:"dns_us"`     // of the try that the summary is from, here and below
	ConnectUS     int64     `json:"connect_us" parquet:"connect_us"`
	TLSUS         int64     `json:"tls_us" parquet:"tls_us"`
	FirstByteUS   int64     `json:"first_byte_us" parquet:"first_byte_us"`
	TotalUS       int64     `json:"total_us" parquet:"total_us"`
	TLSVersion    string    `json:"tls_version" parquet:"tls_version,dict"`                         // 1.2 or 1.3
	CertNotAfter  time.Time `json:"cert_not_after" parquet:"cert_not_after,timestamp(microsecond)"` // zero (null in JSON, empty in CSV) without one
	Server        string    `json:"server" parquet:"server,dict"`
	ContentType   string    `json:"content_type" parquet:"content_type,dict"`
	ContentLength int64     `json:"content_length" parquet:"content_length"` // as sent; -1 where none was
	Title         string    `json:"title" parquet:"title"`
	BodySHA256    string    `json:"body_sha256" parquet:"body_sha256"` // hexadecimal, of the sample; empty without a body
	BodyBytes     int64     `json:"body_bytes" parquet:"body_bytes"`   // of the sample
	Suspect       bool      `json:"suspect" parquet:"suspect"`         // our own line was in doubt meanwhile, and doing it again did not help
	ObservedAt    time.Time `json:"observed_at" parquet:"observed_at,timestamp(microsecond)"`
	Vantage       string    `json:"vantage" parquet:"vantage,dict"`
	Tries         []Try     `json:"tries" parquet:"tries,list"`
}
