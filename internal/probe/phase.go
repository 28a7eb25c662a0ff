package probe

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync"
	"time"
)

// A phase is how far a request has come.
type phase uint8

const (
	connecting phase = iota
	shaking
	asking
)

// A phaseError is an error that knows when it came.
type phaseError struct {
	phase phase
	err   error
}

// Error is the error's text.
func (e *phaseError) Error() string { return e.err.Error() }

// Unwrap is the error.
func (e *phaseError) Unwrap() error { return e.err }

// Why time ran out.
var (
	errConnect   = errors.New("no connection in time")
	errHandshake = errors.New("no handshake in time")
	errHead      = errors.New("no answer in time")
	errTotal     = errors.New("not done in time")
	errNoHTTP2   = errors.New("the server does not speak HTTP/2")
)

type trackerKey struct{}

// A tracker follows one request through its phases. The transports call it from
// goroutines of theirs, also when the request is over.
type tracker struct {
	now   func() time.Time
	began time.Time

	mu    sync.Mutex // guards what follows
	phase phase
	given time.Time // a connection, ready for the request
	took  Times
}

// trackerOf is the tracker of a request's context. Without one nobody looks.
func trackerOf(ctx context.Context) *tracker {
	t, ok := ctx.Value(trackerKey{}).(*tracker)
	if !ok {
		return &tracker{}
	}
	return t
}

func (t *tracker) connected(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took.Connect, t.phase = took, shaking
}

func (t *tracker) shook(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took.TLS, t.phase = took, asking
}

// trace is told when the request has a connection, its own or one that was there.
func (t *tracker) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.phase, t.given = asking, t.now()
		if info.Reused {
			t.took.Connect, t.took.TLS = 0, 0 // what was dialled meanwhile is another's
		}
	}}
}

func (t *tracker) answered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.given
	if from.IsZero() {
		from = t.began
	}
	t.took.FirstByte = t.now().Sub(from)
}

// times ends the tracking.
func (t *tracker) times() Times {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took.Total = t.now().Sub(t.began)
	return t.took
}

func (t *tracker) at() phase {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase
}
