package simnet

import (
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// separate keeps a terminal's Ctrl-C from a child, which its parent ends.
func separate(c *exec.Cmd) { c.SysProcAttr = &unix.SysProcAttr{Setpgid: true} }

// CPU is what this process has used until now.
func CPU() (user, system time.Duration) {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil { // there is no other reason than a wrong argument
		return 0, 0
	}
	return time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
}
