//go:build !unix

package edge

import "pennyfarthing/internal/loop"

// patientWaiter returns nil: nothing but a reading goroutine can wait here.
func patientWaiter(*countedConn) loop.Waiter { return nil }
