package h3

import "time"

// A Kind is a kind of frame or stream that costs us work and brings nobody
// forward, as a label of metrics.
type Kind uint8

// The kinds.
const (
	ResetsReceived Kind = iota // requests that are given up before their answer begins: rapid reset, CVE-2023-44487
	ResetsSent                 // requests that are malformed, rejected, or not read
	EmptyFrames                // empty DATA
	UnknownFrames              // that extensions may send, a few
	UnknownStreams             // of types that extensions may have
	ControlFrames              // GOAWAY and MAX_PUSH_ID
	Priorities                 // PRIORITY_UPDATE
	Instructions               // of QPACK, for a table that is not there
	SlowFrames                 // one is enough: SETTINGS, or a later frame of the control stream, that do not end
	kinds
)

// String is the kind's name in metrics.
func (k Kind) String() string {
	return [...]string{
		"resets received", "resets sent", "empty data", "unknown frames", "unknown streams", "control frames", "priorities", "instructions", "slow frames",
	}[k]
}

// budgetPeriod is the time that the limits are for.
const budgetPeriod = 10 * time.Second

// limits are how many of a kind one connection may send in a period. Browsers stay
// far below: they reset what a page that is left had asked for, and change a
// priority now and then.
var limits = [kinds]int{
	ResetsReceived: 200, ResetsSent: 200, EmptyFrames: 500, UnknownFrames: 500, UnknownStreams: 200,
	ControlFrames: 100, Priorities: 1000, Instructions: 1000,
}

// A budget counts what one connection has sent.
type budget struct {
	counts [kinds]int
	since  time.Time
}

// spend counts one and reports whether there is still budget. The clock is only
// asked when a limit is met.
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

// earn takes back up to n that were counted, because the client had a good reason
// for them.
func (b *budget) earn(k Kind, n int) { b.counts[k] = max(0, b.counts[k]-n) }

// spend counts one of a kind against the budget. Its error is nil or ends the
// connection.
func (c *conn) spend(k Kind) error {
	c.mu.Lock()
	left := c.budget.spend(k)
	c.mu.Unlock()
	if left {
		return nil
	}
	return c.abuse(k, ExcessiveLoad, "too many "+k.String())
}

// abuse tells of a kind that was too much, and returns what ends the connection
// for it. It tells once for a connection.
func (c *conn) abuse(k Kind, code ErrCode, why string) error {
	c.mu.Lock()
	told := c.abused
	c.abused = true
	c.mu.Unlock()
	if !told && c.server.options.OnAbuse != nil {
		c.server.options.OnAbuse(k)
	}
	return &connError{code, why}
}
