//go:build unix

package edge

import "syscall"

// ownTime is what this process has used of all processors, in nanoseconds.
func ownTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it fails for other arguments only
	return u.Utime.Nano() + u.Stime.Nano()
}
