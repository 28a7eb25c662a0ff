//go:build unix

package sweep

import (
	"bytes"
	"fmt"
	"os"
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
	return usage{time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano()), peakOf(&u)}
}

// peakOf is the most memory that was resident, in bytes. On Linux ru_maxrss begins with
// that of the process that has started us, so that the kernel's other count is taken.
func peakOf(u *syscall.Rusage) int64 {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		if _, after, ok := bytes.Cut(status, []byte("\nVmHWM:")); ok { // proc_pid_status(5)
			var kib int64
			if n, _ := fmt.Sscanf(string(after), "%d kB", &kib); n == 1 {
				return kib << 10
			}
		}
	}
	peak := int64(u.Maxrss) //nolint:unconvert // 32 bits on some systems
	if runtime.GOOS != "darwin" {
		peak <<= 10 // it is in KiB
	}
	return peak
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
