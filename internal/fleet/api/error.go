package api

import (
	"encoding/json"
	"time"
)

// A Code says what went wrong, for programs. Its text is part of the API.
type Code string

// The codes, with the status that they come with.
const (
	CodeBadRequest   Code = "bad-request"       // 400: the request is not one of this API
	CodeNoKey        Code = "no-key"            // 401: the connection has no client certificate
	CodeForbidden    Code = "forbidden"         // 403: the roster does not let this key do that
	CodeNotEnrolled  Code = "not-enrolled"      // 403: the agent has no roster yet
	CodeNotFound     Code = "not-found"         // 404: no such path
	CodeVersion      Code = "version"           // 404: not in this version of the API; see Error.API
	CodeNoSite       Code = "no-site"           // 404: the POP's configuration has no such site
	CodeNoRelease    Code = "no-release"        // 404: the POP does not have that release
	CodeNoHead       Code = "no-head"           // 404: nothing was ever activated
	CodeMethod       Code = "method"            // 405
	CodeStale        Code = "stale"             // 409: not newer than what the agent has; see Error.Current
	CodeLeased       Code = "leased"            // 409: somebody else holds the lease; see Error.Lease
	CodeNotStaged    Code = "not-staged"        // 412: the release is not staged
	CodeNoBase       Code = "no-base"           // 412: the POP does not have the release that HeaderBase names
	CodeIncomplete   Code = "incomplete"        // 412: objects are missing; see Error.Missing
	CodeTooLarge     Code = "too-large"         // 413: larger than the limit of this request
	CodeInvalid      Code = "invalid"           // 422: what was sent is damaged, or not signed as it should be
	CodeNotCompiled  Code = "does-not-compile"  // 422: the release cannot be served
	CodeTooMany      Code = "too-many-requests" // 429: too much is under way already
	CodeInternal     Code = "internal"          // 500: the agent's log says more
	CodeShuttingDown Code = "shutting-down"     // 503
	CodeDiskFull     Code = "disk-full"         // 507: see Error.Disk
)

// An Error is what every answer with a status of 400 or more carries.
type Error struct {
	Status  int    `json:"-"` // of the answer
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Code    Code   `json:"code"`

	API     *Versions       `json:"api,omitempty"`     // with CodeVersion: what the agent speaks
	Current json.RawMessage `json:"current,omitempty"` // with CodeStale: the statement that the agent has
	Lease   *Lease          `json:"lease,omitempty"`   // with CodeLeased
	Missing []string        `json:"missing,omitempty"` // with CodeIncomplete: hashes of objects
	Disk    *Shortage       `json:"disk,omitempty"`    // with CodeDiskFull
}

// Error returns the message; the hint is not part of it.
func (e *Error) Error() string { return e.Message }

// A Shortage says how much does not fit, in bytes.
type Shortage struct {
	Need   int64 `json:"need"`   // what the request would add
	Free   int64 `json:"free"`   // what there is room for
	Used   int64 `json:"used"`   // by the store
	Budget int64 `json:"budget"` // that the store may use
}

// A Lease is the right to deploy a site, for a while and until it is given back.
type Lease struct {
	Holder  string        `json:"holder"`
	Key     string        `json:"key"` // whose connection took it
	Expires time.Time     `json:"expires"`
	Left    time.Duration `json:"left_ns"` // until then, by the agent's own clock; what to rely on
}
