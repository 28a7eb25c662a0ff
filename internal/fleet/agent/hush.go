package agent

import (
	"sync"
	"time"
)

const (
	// hushFor is how long codings wait for the lease of whoever calls: for a deploy that
	// begins to have seen what has changed.
	hushFor = 2 * time.Second
	// hushEvery is how long it is at least from one such wait to the next, so that who
	// asks every second how the POP is costs codings a little, and not all their time.
	hushEvery = 20 * time.Second
)

// A hush keeps better codings from being begun for a moment after a member has called:
// a deploy asks every POP how it is before it takes its lease, and in penny up, all of
// them share the processors that it looks for changes with.
type hush struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	until time.Time
	next  time.Time // when a call counts again
}

// heard says that a member has called.
func (h *hush) heard() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.now(); !now.Before(h.next) {
		h.until, h.next = now.Add(hushFor), now.Add(hushEvery)
	}
}

// on reports whether codings should wait.
func (h *hush) on() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now().Before(h.until)
}
