package control

import (
	"errors"
	"fmt"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/mistake"
)

// A LeasedError says that somebody else is deploying the site.
type LeasedError struct {
	Site  string
	Lease api.Lease
}

// Error says who, and until when at the longest.
func (e *LeasedError) Error() string {
	return fmt.Sprintf("%s is being deployed by %s, until %s at the longest", e.Site, e.Lease.Holder, e.Lease.Expires.Local().Format(time.TimeOnly))
}

// A BusyError says that another process on this machine is deploying the site.
type BusyError struct{ Site string }

// Error says which.
func (e *BusyError) Error() string {
	return e.Site + " is being deployed from this machine by another penny"
}

// Unwrap is the same as a mistake, with what to do.
func (e *BusyError) Unwrap() error {
	return &mistake.Error{What: e.Error(), Hint: "wait for it, or let this one wait: --wait"}
}

// A GoneError is a POP that does not answer, or no longer. It is left behind; to others
// its fault is no matter.
type GoneError struct {
	POP string
	Err error
}

// Error says why.
func (e *GoneError) Error() string { return e.Err.Error() }

// Unwrap is why.
func (e *GoneError) Unwrap() error { return e.Err }

// An UndoneError says that a release was live on some POPs, that something was wrong,
// and that they went back.
type UndoneError struct {
	Site     string
	Release  string
	Previous string // what they serve again
	Err      error  // what was wrong
	Failed   error  // nil, or what was wrong with going back
}

// Error says what was wrong first.
func (e *UndoneError) Error() string {
	text := fmt.Sprintf("%v; every POP went back to %s", e.Err, Short(e.Previous))
	if e.Failed != nil {
		text = fmt.Sprintf("%v; and going back to %s failed: %v", e.Err, Short(e.Previous), e.Failed)
	}
	return text
}

// Unwrap is what was wrong.
func (e *UndoneError) Unwrap() []error {
	if e.Failed == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Failed}
}

// A WithdrawnError says that a preview did not show what it should, and was ended.
type WithdrawnError struct {
	Site    string
	Release string
	Text    string // what was done
	Err     error  // what was wrong
}

// Error says what was wrong first.
func (e *WithdrawnError) Error() string { return fmt.Sprintf("%v; %s", e.Err, e.Text) }

// Unwrap is what was wrong.
func (e *WithdrawnError) Unwrap() error { return e.Err }

// Short is how a release is shown: the first digits of its name.
func Short(release string) string {
	const digits = 10
	if len(release) > digits {
		return release[:digits]
	}
	return release
}

// A ChangedError is a file that changed while it was being deployed.
type ChangedError struct{ Path string }

// Error names it.
func (e *ChangedError) Error() string {
	return e.Path + " was changed while it was being deployed; deploy again when nothing writes to the directory any more"
}

// An OvertakenError says that somebody else has deployed meanwhile.
type OvertakenError struct {
	Site string
	Head api.Head // what they serve
	Err  error
}

// Error says what is served.
func (e *OvertakenError) Error() string {
	return fmt.Sprintf("%s was deployed by somebody else meanwhile: generation %d is release %s", e.Site, e.Head.Generation, Short(e.Head.Release))
}

// Unwrap is the POP's answer.
func (e *OvertakenError) Unwrap() error { return e.Err }

// apiCode is what an agent's answer has for programs, or nothing.
func apiCode(err error) api.Code {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	return ""
}
