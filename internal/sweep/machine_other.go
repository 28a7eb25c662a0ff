//go:build !unix

package sweep

import "time"

// usage is what the process has used; not known here.
type usage struct {
	user, system time.Duration
	peak         int64
}

func usageNow() usage { return usage{} }

// budget is how many targets may be under way, and how many connections open: 0 for
// as many as the system allows.
func budget(wanted int) (targets, descriptors int) { return wanted, 0 }
