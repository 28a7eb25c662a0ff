package agent

import "context"

// A gate lets so many through at a time.
type gate chan struct{}

func newGate(n int) gate { return make(gate, n) }

// take waits for its turn.
func (g gate) take(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try takes a turn if there is one.
func (g gate) try() bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}

// give ends a turn.
func (g gate) give() { <-g }
