// Package queue hands the shards of a list to who asks their targets, so that every
// target gets exactly one row, whatever dies.
//
// A shard is added once, leased to one worker at a time, and done once. A lease runs
// out, and its shard is leased again; so two workers may have asked the same shard,
// but only one of them gets to say that it is done, and only the part that it names
// counts. What a worker writes must therefore be complete on disk before [Queue.Done],
// and a part of which Done was not told is nobody's.
//
// Implementations are below, one a package (local: a file of one machine); all pass
// package queuetest.
package queue

import (
	"context"
	"errors"
	"time"

	"pennyfarthing/internal/sweep/target"
)

// Errors that callers branch on.
var (
	// ErrNone is that no shard is waiting now; there may be in a moment, when one is
	// added, returned, or its lease runs out.
	ErrNone = errors.New("no shard is waiting")
	// ErrFinished is that the list is complete and every shard is done.
	ErrFinished = errors.New("every shard is done")
	// ErrLost is that a lease has run out, or was returned, and its shard waits for, or is
	// with, somebody else.
	ErrLost = errors.New("the lease is lost")
	// ErrDone is that a shard is done already, with another part. The part at hand is
	// to be removed.
	ErrDone = errors.New("the shard is done already")
	// ErrUnknown is that there is no such shard.
	ErrUnknown = errors.New("there is no such shard")
	// ErrRows is that a part has not as many rows as its shard has targets.
	ErrRows = errors.New("the part has not one row a target")
	// ErrOrder is that a shard was added that is not the next one.
	ErrOrder = errors.New("the shard is not the next one")
)

// A Shard is what is added: the encoded targets of a [target.Shard].
type Shard struct {
	ID    uint32
	Count int    // of targets
	Data  []byte // as target.Codec writes them
	End   target.Position
}

// A Lease is the right to ask a shard's targets, and to say that it is done.
type Lease struct {
	Shard      uint32
	Attempt    int // how often it was leased, this time included; never the same twice
	Count      int // of targets
	Worker     string
	Expires    time.Time
	Suspicions []string // why earlier attempts were not believed, the last 8
}

// A Part is what became of a shard: a file with its rows.
type Part struct {
	Shard    uint32 `json:"shard"`
	Attempt  int    `json:"attempt"`
	File     string `json:"file"` // relative to the run
	Rows     int64  `json:"rows"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Counters []byte `json:"counters,omitempty"` // what the report adds up; its own format
}

// Progress is how far a run is.
type Progress struct {
	Shards      int // added
	Done        int
	Leased      int
	Waiting     int
	Suspect     int // not done, and returned as suspect at least once
	Targets     int64
	TargetsDone int64
	Rows        int64           // of the parts
	Bytes       int64           // of the parts
	Listed      bool            // no shard will be added
	End         target.Position // of the list, behind the last shard that was added
}

// A Queue is safe for use by several goroutines. Every method may be called again
// after an error, also after one that leaves open whether it took effect.
type Queue interface {
	// Add adds shards, in the order of their IDs, all of them or none. Those that are
	// there already are left as they are. When it returns, they are on disk.
	Add(ctx context.Context, shards ...Shard) error
	// Listed says that every shard of the list was added.
	Listed(ctx context.Context) error
	// Lease takes the oldest shard that waits, for so long; those that were returned as
	// suspect come behind all others. It does not wait: see ErrNone and ErrFinished.
	Lease(ctx context.Context, worker string, d time.Duration) (Lease, error)
	// Targets are the encoded targets of a shard.
	Targets(ctx context.Context, shard uint32) ([]byte, error)
	// Extend lets a lease end so long from now. ErrLost and ErrDone say that it is over.
	Extend(ctx context.Context, lease Lease, d time.Duration) error
	// Done says that the part is on disk, under its final name. It does not need the
	// lease to be still valid: who is first is believed, and everybody else gets
	// ErrDone. To say the same again is no error.
	Done(ctx context.Context, lease Lease, part Part) error
	// Return gives a shard back. With a suspicion (why what was seen is not to be
	// believed), it comes last; without one, as the oldest. To return a lease that is
	// over is no error.
	Return(ctx context.Context, lease Lease, suspicion string) error
	// Progress counts.
	Progress(ctx context.Context) (Progress, error)
	// Parts calls yield with each part that is done, in the order of the shards, until
	// it returns an error, which Parts returns.
	Parts(ctx context.Context, yield func(Part) error) error
}

// KeptSuspicions is how many of a shard's suspicions are kept.
const KeptSuspicions = 8
