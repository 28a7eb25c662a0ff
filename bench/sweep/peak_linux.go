package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"time"
)

// watchPeak looks at the most memory that a process has had, until stop is closed, and
// then says how many MiB that was. What the kernel says after its end (ru_maxrss) may
// be of the process that has started it.
func watchPeak(pid int, stop <-chan struct{}) <-chan float64 {
	peak := make(chan float64, 1)
	go func() {
		most := 0.0
		for {
			most = max(most, highWater(pid))
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return peak
}

// highWater is a process's VmHWM (proc_pid_status(5)) in MiB, or 0 when it is gone.
func highWater(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
		var kib float64
		if n, _ := fmt.Sscanf(s.Text(), "VmHWM: %f kB", &kib); n == 1 {
			return kib / (1 << 10)
		}
	}
	return 0
}
