package control

import "time"

// An Event is something that has happened on the way. A run sends them one at a time,
// in the order in which they happened.
type Event struct {
	Time time.Time `json:"time"`
	Kind EventKind `json:"event"`
	Site string    `json:"site"`
	POP  string    `json:"pop,omitempty"`
	// Wave and Do say where: with EventWave, and with EventStep, EventRetry and
	// EventProgress.
	Wave WaveName `json:"wave,omitempty"`
	Do   Action   `json:"do,omitempty"`
	// Took is how long a step took, with EventStep.
	Took time.Duration `json:"took_ns,omitempty"`
	// Done and Total are how far a step is, with EventProgress: bytes of identity
	// forms that are sent, or URLs that are verified. Wire is what went over the
	// network, in bytes.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	Wire  int64 `json:"wire,omitempty"`
	// Number is the roster's, with EventRoster.
	Number uint64 `json:"number,omitempty"`
	// Text says more, for people.
	Text string `json:"text,omitempty"`
}

// An EventKind is what kind of thing has happened.
type EventKind string

// The kinds of events.
const (
	EventWave     EventKind = "wave"     // a wave begins
	EventStep     EventKind = "step"     // a step is done
	EventRetry    EventKind = "retry"    // a step is tried again
	EventBehind   EventKind = "behind"   // a POP is left behind
	EventWaiting  EventKind = "waiting"  // somebody else holds the lease
	EventProgress EventKind = "progress" // a step goes on
	EventNote     EventKind = "note"     // worth knowing
	EventUndo     EventKind = "undo"     // every POP goes back
	EventRoster   EventKind = "roster"   // a POP was brought the roster that is in force
)
