//go:build unix

package sweep

import (
	"runtime"
	"syscall"
	"time"
)

// usage is what the process has used.
type usage struct {
	user, system time.Duration
	peak         int64 // bytes
}

func usageNow() usage {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return usage{}
	}
	peak := int64(u.Maxrss) //nolint:unconvert // 32 bits on some systems
	if runtime.GOOS != "darwin" {
		peak <<= 10 // it is in KiB
	}
	return usage{time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano()), peak}
}

// spareDescriptors are left for files, the journal and resolvers.
const spareDescriptors = 256

// budget is how many targets may be under way, and how many connections open, given
// the limit of descriptors.
func budget(wanted int) (targets, descriptors int) {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return min(wanted, 200), 200
	}
	most := 1 << 20
	if limit.Cur < 1<<20 {
		most = int(limit.Cur) //nolint:gosec // it is small
	}
	descriptors = max(16, most-spareDescriptors)
	return min(wanted, descriptors), descriptors
}
