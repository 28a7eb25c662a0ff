//go:build !unix

package h3

import "time"

// processorTime is unknown here; it is only logged.
func processorTime() time.Duration { return 0 }
