//go:build !linux

package simnet

import (
	"os/exec"
	"time"
)

func separate(*exec.Cmd) {}

// CPU is nothing here: nothing runs.
func CPU() (user, system time.Duration) { return 0, 0 }
