package h1

import (
	"fmt"
	"net/http"
	"strconv"
)

// A Reason names the rule that a request broke. The set is closed, so its texts serve as metric labels.
type Reason uint8

// The reasons, in the order of their statuses.
const (
	ReasonNone Reason = iota

	ReasonBareLF
	ReasonBareCR
	ReasonEmptyLines
	ReasonTLS
	ReasonRequestLine
	ReasonMethod
	ReasonTarget
	ReasonEscape
	ReasonObsFold
	ReasonFieldName
	ReasonSpaceBeforeColon
	ReasonFieldValue
	ReasonNoHost
	ReasonTwoHosts
	ReasonHost
	ReasonContentLength
	ReasonTwoContentLengths
	ReasonTransferEncoding
	ReasonTwoTransferEncodings
	ReasonLengthAndEncoding
	ReasonOldTransferEncoding
	ReasonTrailerField
	ReasonTrailerSize
	ReasonChunkSize
	ReasonChunkExtension
	ReasonChunkEnd
	ReasonChunkOverhead

	ReasonSlowHead
	ReasonSlowBody

	ReasonRequestLineSize
	ReasonExpectation
	ReasonHeadSize
	ReasonFieldCount

	ReasonMethodSize
	ReasonConnect
	ReasonReservedMethod
	ReasonUnknownCoding

	ReasonVersion

	// ReasonSlowReader is counted only: the peer does not read, so nothing can be answered.
	ReasonSlowReader
)

// rules says what is answered for each reason, and its text. Never written to.
var rules = [...]struct {
	status int
	text   string
}{
	ReasonNone: {0, "none"},

	ReasonBareLF:               {http.StatusBadRequest, "bare LF"},
	ReasonBareCR:               {http.StatusBadRequest, "bare CR"},
	ReasonEmptyLines:           {http.StatusBadRequest, "empty lines before the request line"},
	ReasonTLS:                  {http.StatusBadRequest, "TLS on a plain port"},
	ReasonRequestLine:          {http.StatusBadRequest, "bad request line"},
	ReasonMethod:               {http.StatusBadRequest, "bad method"},
	ReasonTarget:               {http.StatusBadRequest, "bad request target"},
	ReasonEscape:               {http.StatusBadRequest, "bad percent-encoding in the path"},
	ReasonObsFold:              {http.StatusBadRequest, "obs-fold"},
	ReasonFieldName:            {http.StatusBadRequest, "bad field name"},
	ReasonSpaceBeforeColon:     {http.StatusBadRequest, "space before the colon"},
	ReasonFieldValue:           {http.StatusBadRequest, "control character in a field value"},
	ReasonNoHost:               {http.StatusBadRequest, "no Host"},
	ReasonTwoHosts:             {http.StatusBadRequest, "two Host fields"},
	ReasonHost:                 {http.StatusBadRequest, "bad Host"},
	ReasonContentLength:        {http.StatusBadRequest, "bad content-length"},
	ReasonTwoContentLengths:    {http.StatusBadRequest, "two content-length fields"},
	ReasonTransferEncoding:     {http.StatusBadRequest, "bad transfer-encoding"},
	ReasonTwoTransferEncodings: {http.StatusBadRequest, "two transfer-encoding fields"},
	ReasonLengthAndEncoding:    {http.StatusBadRequest, "content-length with transfer-encoding"},
	ReasonOldTransferEncoding:  {http.StatusBadRequest, "transfer-encoding in HTTP/1.0"},
	ReasonTrailerField:         {http.StatusBadRequest, "forbidden trailer field"},
	ReasonTrailerSize:          {http.StatusBadRequest, "trailer section too large"},
	ReasonChunkSize:            {http.StatusBadRequest, "bad chunk size"},
	ReasonChunkExtension:       {http.StatusBadRequest, "bad chunk extension"},
	ReasonChunkEnd:             {http.StatusBadRequest, "no CRLF after a chunk"},
	ReasonChunkOverhead:        {http.StatusBadRequest, "too much chunk overhead"},

	ReasonSlowHead: {http.StatusRequestTimeout, "head too slow"},
	ReasonSlowBody: {http.StatusRequestTimeout, "body too slow"},

	ReasonRequestLineSize: {http.StatusRequestURITooLong, "request line too long"},
	ReasonExpectation:     {http.StatusExpectationFailed, "unknown expectation"},
	ReasonHeadSize:        {http.StatusRequestHeaderFieldsTooLarge, "head too large"},
	ReasonFieldCount:      {http.StatusRequestHeaderFieldsTooLarge, "too many fields"},

	ReasonMethodSize:     {http.StatusNotImplemented, "method too long"},
	ReasonConnect:        {http.StatusNotImplemented, "CONNECT"},
	ReasonReservedMethod: {http.StatusNotImplemented, "reserved method"},
	ReasonUnknownCoding:  {http.StatusNotImplemented, "unknown transfer coding"},

	ReasonVersion: {http.StatusHTTPVersionNotSupported, "unsupported HTTP version"},

	ReasonSlowReader: {0, "reader too slow"},
}

// String is the reason's constant text.
func (r Reason) String() string {
	if int(r) < len(rules) {
		return rules[r].text
	}
	return "Reason(" + strconv.Itoa(int(r)) + ")"
}

// Refusal is what the reason is answered with; the zero Refusal for ReasonNone.
func (r Reason) Refusal() Refusal {
	return Refusal{Status: rules[r].status, Reason: r}
}

// A Refusal is a request that was not let through: the status to answer and why. The zero value is no refusal.
type Refusal struct {
	Status int
	Reason Reason
}

// Refused reports whether r is a refusal at all.
func (r Refusal) Refused() bool { return r.Reason != ReasonNone }

// String is for people: the status and the reason.
func (r Refusal) String() string {
	return fmt.Sprintf("%d %s: %s", r.Status, http.StatusText(r.Status), r.Reason)
}

// ServeHTTP answers with the refusal in plain text. An engine may do it in its own way.
func (r Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close")
	w.WriteHeader(r.Status)
	// The peer may be gone; there is nobody left to tell.
	_, _ = fmt.Fprintln(w, r)
	if r.Reason == ReasonTLS {
		_, _ = fmt.Fprintln(w, "hint: this port speaks plain HTTP; ask for http://, or use the port for https")
	}
}

// A BodyError is what [Conn.Read] returns when a body breaks its framing or comes too slowly. The connection is finished.
type BodyError struct{ Refusal Refusal }

// Error says which rule the body broke.
func (e *BodyError) Error() string { return "request body: " + e.Refusal.Reason.String() }
