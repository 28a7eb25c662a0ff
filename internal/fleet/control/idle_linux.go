package control

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// lowerPriority gives the calling thread the lowest priority: on Linux a nice value is a
// thread's own (setpriority(2), notes). Whoever calls it has locked the thread.
func lowerPriority() {
	const lowest = 19
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, lowest) // without it the work is done all the same
}

// loadAverage returns the load over one minute, or 0 where the system does not tell.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	return parseLoad(string(text))
}

// parseLoad reads the first field of a loadavg file of proc(5).
func parseLoad(text string) float64 {
	first, _, _ := strings.Cut(text, " ")
	load, err := strconv.ParseFloat(first, 64)
	if inRange := load >= 0; err != nil || !inRange { // NaN is not
		return 0
	}
	return load
}
