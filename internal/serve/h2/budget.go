package h2

import "time"

// A Kind is a kind of frame that costs us work and brings nobody forward, as a
// label of metrics.
type Kind uint8

// The kinds, each with an attack that is made of it.
const (
	ResetsReceived Kind = iota // rapid reset, CVE-2023-44487
	ResetsSent                 // MadeYouReset, CVE-2025-8671
	Pings                      // CVE-2019-9512
	SettingsFrames             // CVE-2019-9515
	EmptyFrames                // empty DATA, CVE-2019-9518
	WindowUpdates              // of nothing or next to nothing
	Continuations              // CVE-2024-27316
	Priorities                 // CVE-2019-9513
	UnknownFrames              // that extensions may send, a few
	SlowFrames                 // one is enough: a frame or a header block that does not end
	kinds
)

// String is the kind's name in metrics.
func (k Kind) String() string {
	return [...]string{
		"resets received", "resets sent", "pings", "settings", "empty data", "window updates", "continuations", "priorities", "unknown frames", "slow frames",
	}[k]
}

// budgetPeriod is the time that the limits are for.
const budgetPeriod = 10 * time.Second

// limits are how many frames of a kind one connection may send in a period.
// Browsers stay far below: they reset what a page that is left had asked for,
// ping every few seconds, and change settings once.
var limits = [kinds]int{
	ResetsReceived: 200, ResetsSent: 200, Pings: 1000, SettingsFrames: 100, EmptyFrames: 500,
	WindowUpdates: 1000, Continuations: 200, Priorities: 1000, UnknownFrames: 500,
}

// tinyUpdate is the window update, in bytes, that counts as next to nothing.
const tinyUpdate = 256

// A budget counts what one connection has sent.
type budget struct {
	counts [kinds]int
	since  time.Time
}

// spend counts one frame and reports whether there is still budget. The clock is
// only asked when a limit is met.
func (b *budget) spend(k Kind) bool {
	if b.counts[k]++; b.counts[k] <= limits[k] {
		return true
	}
	now := time.Now()
	if now.Sub(b.since) < budgetPeriod {
		return false
	}
	b.counts, b.since = [kinds]int{}, now
	b.counts[k] = 1
	return true
}

// earn takes back up to n frames that were counted, because the client had a
// good reason for them.
func (b *budget) earn(k Kind, n int) { b.counts[k] = max(0, b.counts[k]-n) }

// spend counts a frame of a kind against the budget.
func (c *conn) spend(k Kind) error {
	if c.budget.spend(k) {
		return nil
	}
	return c.abuse(k, "too many "+k.String())
}

// abuse ends the connection for a kind of frame.
func (c *conn) abuse(k Kind, why string) error {
	if c.server.options.OnAbuse != nil {
		c.server.options.OnAbuse(k)
	}
	return &connError{EnhanceYourCalm, why}
}
