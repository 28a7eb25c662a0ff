package agent

import (
	"os"
	"strconv"
	"strings"
)

// residentMemory returns the bytes of memory that this process has, or 0.
func residentMemory() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	return parseStatm(string(data)) * int64(os.Getpagesize())
}

// parseStatm returns the resident pages in a statm file of proc(5), or 0.
func parseStatm(text string) int64 {
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// loadAverage returns the load over 1, 5 and 15 minutes, or zeros.
func loadAverage() [3]float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return [3]float64{}
	}
	return parseLoad(string(data))
}

// parseLoad reads a loadavg file of proc(5).
func parseLoad(text string) (load [3]float64) {
	fields := strings.Fields(text)
	if len(fields) < len(load) {
		return load
	}
	for i := range load {
		n, err := strconv.ParseFloat(fields[i], 64)
		if inRange := n >= 0 && n < 1e9; err != nil || !inRange { // NaN is nowhere in range
			return [3]float64{}
		}
		load[i] = n
	}
	return load
}
